//! One try to hand a message to one collector, and what its answer means.
//!
//! Retryable codes: <https://opentelemetry.io/docs/specs/otlp/#failures>. Two departures, both so that nothing is lost
//! that an operator can mend: a collector that does not know us (`UNAUTHENTICATED`, `PERMISSION_DENIED`,
//! `UNIMPLEMENTED`) is asked again; and `OUT_OF_RANGE`, which stands for a message beyond the collector's limit, is not.

use std::{error::Error, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderValue, uri::PathAndQuery};
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Code, ConnectError, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::AsciiMetadataValue,
    transport::Channel,
};

/// The longest that a collector may make us wait, whatever it says.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why a collector did not acknowledge a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It will never take it.
    #[error("refused for good: {0}")]
    Refused(String),
    /// It has not taken it: it said so, or was never asked.
    #[error("not taken: {reason}")]
    NotTaken {
        /// Why.
        reason: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It may have taken it: it did not answer, or not clearly.
    #[error("unanswered: {0}")]
    Unanswered(String),
}

impl SendError {
    /// A collector that cannot be reached.
    pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Self {
        Self::NotTaken { reason: innermost(error).to_string(), retry_after: None }
    }
}

impl From<&Status> for SendError {
    fn from(status: &Status) -> Self {
        let text = || {
            format!(
                "{:?}: {}",
                status.code(),
                status.source().map_or_else(|| status.message().to_owned(), |source| innermost(source).to_string())
            )
        };
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(text()),
            Code::ResourceExhausted | Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => {
                Self::NotTaken { reason: text(), retry_after: retry_after(status.details()) }
            }
            _ if never_connected(status) => Self::NotTaken { reason: text(), retry_after: None },
            _ => Self::Unanswered(text()),
        }
    }
}

/// A message, with the token that it is sent under.
pub(super) fn request(body: Bytes, authorization: Option<HeaderValue>) -> Request<Bytes> {
    let mut request = Request::new(body);
    if let Some(mut value) = authorization.and_then(|value| AsciiMetadataValue::try_from(value.as_bytes()).ok()) {
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Sends a message and waits for its acknowledgement.
pub(super) async fn send(
    channel: &Channel,
    method: &'static str,
    request: Request<Bytes>,
    patience: Duration,
) -> Result<(), SendError> {
    let sent = async {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.map_err(|error| SendError::unreachable(&error))?;
        let answer = grpc.unary(request, PathAndQuery::from_static(method), BytesCodec).await;
        answer.map(drop).map_err(|status| SendError::from(&status))
    };
    timeout(patience, sent).await.unwrap_or_else(|_| Err(SendError::Unanswered("no answer in time".to_owned())))
}

/// Whether there was no connection to write the message to.
fn never_connected(status: &Status) -> bool {
    let mut error = status.source();
    while let Some(current) = error {
        if current.is::<ConnectError>() {
            return true;
        }
        error = current.source();
    }
    false
}

/// tonic's own text says only that there was a transport error.
fn innermost<'e>(mut error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// `google.rpc.Status`: <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>.
#[derive(Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`.
#[derive(Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The delay in the `RetryInfo` among a status's details.
fn retry_after(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.into_iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value).ok()?.delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())).min(LONGEST_RETRY_AFTER))
}

/// Hands messages through as bytes: they are encoded already, and stay the same when they are sent again.
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
    use super::*;

    #[test]
    fn the_delay_that_a_full_collector_asks_for_is_read() {
        let details = b"\x08\x08\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        assert_eq!(retry_after(details), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(b"\xff"), None);
    }

    #[test]
    fn only_a_clear_answer_is_not_in_doubt() {
        assert!(matches!(SendError::from(&Status::resource_exhausted("")), SendError::NotTaken { .. }));
        assert!(matches!(SendError::from(&Status::unavailable("")), SendError::Unanswered(_)));
        assert!(matches!(SendError::from(&Status::invalid_argument("")), SendError::Refused(_)));
    }
}
