//! OTLP over gRPC: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.
//!
//! The services take messages as bytes, because the write-ahead log keeps exactly these bytes; the intake decodes them
//! once.

use std::{convert::Infallible, future::Future, pin::Pin, task};

use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tower::Service;

use super::{MESSAGE_LIMIT_BYTES, RETRY_AFTER_SECONDS};
use crate::{Accepted, Intake, Refusal, Signal};

/// Serves both services until `shutdown`; calls that are under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    intake: Intake,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(LogsService(intake.clone()))
        .add_service(TraceService(intake))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

macro_rules! service {
    ($(#[$doc:meta])* $type:ident, $name:literal, $signal:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        struct $type(Intake);

        impl NamedService for $type {
            const NAME: &'static str = $name;
        }

        impl Service<http::Request<Body>> for $type {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

            fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
                task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let export = concat!("/", $name, "/Export");
                let intake = self.0.clone();
                Box::pin(async move {
                    if request.uri().path() != export {
                        return Ok(Status::unimplemented(format!("there is only {export}")).into_http());
                    }
                    Ok(export_call(intake, $signal, request).await)
                })
            }
        }
    };
}

service! {
    /// Takes access records.
    LogsService, "opentelemetry.proto.collector.logs.v1.LogsService", Signal::Logs
}
service! {
    /// Takes spans.
    TraceService, "opentelemetry.proto.collector.trace.v1.TraceService", Signal::Traces
}

async fn export_call(intake: Intake, signal: Signal, request: http::Request<Body>) -> http::Response<Body> {
    let mut grpc = Grpc::new(BytesCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(MESSAGE_LIMIT_BYTES);
    grpc.unary(Export { intake, signal }, request).await
}

struct Export {
    intake: Intake,
    signal: Signal,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (intake, signal) = (self.intake.clone(), self.signal);
        Box::pin(async move {
            match intake.take(signal, request.into_inner()).await {
                Ok(accepted) => Ok(Response::new(answer(signal, accepted).into())),
                Err(refusal) => Err(status(&refusal)),
            }
        })
    }
}

/// The protobuf of the answer; a partial success says what was rejected.
pub(super) fn answer(signal: Signal, accepted: Accepted) -> Vec<u8> {
    let rejected = i64::try_from(accepted.rejected.total()).unwrap_or(i64::MAX);
    let error_message = super::http::rejection_text(accepted);
    match signal {
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: error_message
                .map(|error_message| ExportLogsPartialSuccess { rejected_log_records: rejected, error_message }),
        }
        .encode_to_vec(),
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: error_message
                .map(|error_message| ExportTracePartialSuccess { rejected_spans: rejected, error_message }),
        }
        .encode_to_vec(),
    }
}

/// A sender tells from the code whether to resend; `RESOURCE_EXHAUSTED` only counts as retryable with `RetryInfo`.
fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Malformed(error) => Status::invalid_argument(error.to_string()),
        Refusal::Full(_) => {
            let details = retry_info();
            Status::with_details_and_metadata(Code::ResourceExhausted, refusal.to_string(), details, MetadataMap::new())
        }
        Refusal::Closed => Status::unavailable(refusal.to_string()),
    }
}

/// `google.rpc.Status` with one `google.rpc.RetryInfo`, in protobuf.
fn retry_info() -> Bytes {
    /// A message with one field of bytes or of a message, number `tag`.
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag << 3 | 2, u8::try_from(content.len()).unwrap_or(u8::MAX)];
        bytes.extend_from_slice(content);
        bytes
    }
    let seconds = u8::try_from(RETRY_AFTER_SECONDS).unwrap_or(u8::MAX);
    let retry_info = field(1, &[1 << 3, seconds]);
    let mut any = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    any.extend(field(2, &retry_info));
    let mut status = vec![1 << 3, Code::ResourceExhausted as u8];
    status.extend(field(3, &any));
    status.into()
}

/// Hands messages through as bytes.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use weir_record::otlp::Rejection;

    use super::*;

    #[test]
    fn a_full_collector_tells_when_to_come_again() {
        let status = status(&Refusal::Full("a bound"));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let expected = b"\x08\x08\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        assert_eq!(status.details(), expected);
    }

    #[test]
    fn rejected_spans_are_a_partial_success() {
        let mut accepted = Accepted::default();
        (0..3).for_each(|_| accepted.rejected.count(Rejection::NoIds));
        let bytes = answer(Signal::Traces, accepted);
        let partial = ExportTraceServiceResponse::decode(&bytes[..]).unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_spans, 3);
        assert!(answer(Signal::Logs, Accepted::default()).is_empty());
    }
}
