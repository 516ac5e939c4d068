//! OTLP over gRPC: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.
//!
//! A unary call is one framed message in a POST over HTTP/2, and its answer the same with a status behind it
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). It is read here and not by a server of tonic's, because
//! room must be made before a message is read, and because the write-ahead log keeps exactly the bytes that came.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message as _;
use tonic::{Code, Status, metadata::MetadataMap};
use weir_station::server::Peer;

use super::{
    Reception,
    body::{Compression, Framing},
    http::{CHALLENGE, rejection_text, text, whole_seconds},
    reception::{Arrival, Envelope, Form},
};
use crate::{Accepted, Refusal, Signal, refusal::Reason};

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const GRPC: &str = "application/grpc";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The two calls.
pub(crate) fn router(reception: Arc<Reception>) -> Router {
    Router::new()
        .route(LOGS, post(|state, peer, request| export(Signal::Logs, state, peer, request)))
        .route(TRACES, post(|state, peer, request| export(Signal::Traces, state, peer, request)))
        .fallback(async || Status::unimplemented(format!("there are only {LOGS} and {TRACES}")).into_http::<Body>())
        .with_state(reception)
}

async fn export(
    signal: Signal,
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    // What follows is its encoding, `+proto`, or a parameter; `application/grpc-web` is another protocol.
    if text(&parts.headers, CONTENT_TYPE).split(['+', ';']).next() != Some(GRPC) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected content-type {GRPC}")).into_response();
    }
    let envelope = envelope(&parts.headers);
    let arrival = Arrival { signal, peer, headers: parts.headers, envelope, body: &mut body };
    match reception.take(arrival).await {
        Ok(accepted) => success(answer(signal, accepted)),
        Err(refusal) => failure(&refusal),
    }
}

fn envelope(headers: &HeaderMap) -> Result<Envelope, Refusal> {
    let name = text(headers, GRPC_ENCODING);
    let compression = Compression::named(name)
        .ok_or_else(|| Refusal::Unsupported(format!("grpc-encoding is {name:?}; expected gzip, zstd or identity")))?;
    // The prefix of the message tells its length.
    Ok(Envelope { form: Form::Protobuf, compression, framing: Framing::Grpc, declared_bytes: None })
}

/// The protobuf of the answer; a partial success says what was rejected.
pub(super) fn answer(signal: Signal, accepted: Accepted) -> Vec<u8> {
    let rejected = i64::try_from(accepted.rejected.total()).unwrap_or(i64::MAX);
    let error_message = rejection_text(accepted);
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

/// An answer in its frame, with the status OK behind it.
fn success(answer: Vec<u8>) -> Response {
    let length = u32::try_from(answer.len()).expect("an answer is a few numbers and a line of text");
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend(answer);
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

fn failure(refusal: &Refusal) -> Response {
    let mut response = status(refusal).into_http::<Body>();
    let headers = response.headers_mut();
    match refusal.reason() {
        Reason::Unsupported => {
            headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
        }
        Reason::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        _ => {}
    }
    response
}

/// A sender tells from the code whether to resend. `RESOURCE_EXHAUSTED` only counts as retryable with `RetryInfo`;
/// `OUT_OF_RANGE` always does, and so does not stand for a message that is too large.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal.reason() {
        Reason::Malformed | Reason::TooLarge => Code::InvalidArgument,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::SenderLimit | Reason::InFlight | Reason::WalBudget | Reason::Disk => Code::ResourceExhausted,
        Reason::Slow | Reason::BrokenOff | Reason::Shutdown => Code::Unavailable,
    };
    let details = refusal.retry_after().map_or_else(Bytes::new, |retry_after| retry_info(code, retry_after));
    Status::with_details_and_metadata(code, refusal.to_string(), details, MetadataMap::new())
}

/// `google.rpc.Status` with one `google.rpc.RetryInfo`, in protobuf.
fn retry_info(code: Code, retry_after: Duration) -> Bytes {
    /// A message with one field of bytes or of a message, number `tag`.
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag << 3 | 2, u8::try_from(content.len()).expect("what is written here is short")];
        bytes.extend_from_slice(content);
        bytes
    }
    // Numbers up to 127 are one byte.
    let seconds = u8::try_from(whole_seconds(retry_after).min(127)).unwrap_or(127);
    let retry_info = field(1, &[1 << 3, seconds]);
    let mut any = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    any.extend(field(2, &retry_info));
    let mut status = vec![1 << 3, code as u8];
    status.extend(field(3, &any));
    status.into()
}

#[cfg(test)]
mod tests {
    use weir_record::otlp::Rejection;

    use super::*;
    use crate::refusal::Bound;

    #[test]
    fn a_full_collector_tells_when_to_come_again() {
        let status = status(&Refusal::Full(Bound::InFlight));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let expected = b"\x08\x08\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        assert_eq!(status.details(), expected);
    }

    #[test]
    fn what_will_never_be_taken_does_not_tell_when_to_come_again() {
        for refusal in [Refusal::TooLarge, Refusal::Broken(String::new()), Refusal::Unauthenticated] {
            assert!(status(&refusal).details().is_empty());
        }
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
