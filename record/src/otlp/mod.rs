//! The OTLP form of records and spans: what goes over the wire and, byte for byte, into the write-ahead log.
//!
//! One message holds one [`Batch`] for each resource in it. Decoding accepts any OTLP: known attributes fill the
//! fields, all others (and those whose value does not fit its field) land in `attributes`.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.

mod decode;
mod encode;
mod sources;
#[cfg(test)]
mod tests;
mod value;

use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest};
use prost::Message;
pub use sources::sources;

use crate::{AccessRecord, Batch, Source, Span};

/// Bytes that are no OTLP message of the signal they were read as.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no protobuf of the expected message.
    #[error("not an OTLP {signal} message: {source}")]
    Protobuf {
        /// `logs` or `traces`.
        signal: &'static str,
        /// What the decoder met.
        source: prost::DecodeError,
    },
    /// The text is no JSON of the expected message.
    #[error("not an OTLP {signal} message in JSON: {source}")]
    Json {
        /// `logs` or `traces`.
        signal: &'static str,
        /// What the decoder met, and where.
        source: serde_json::Error,
    },
}

/// The protobuf of an `ExportLogsServiceRequest` that holds these records of this source.
#[must_use]
pub fn encode_logs(source: &Source, records: &[AccessRecord]) -> Vec<u8> {
    encode::logs(source, records).encode_to_vec()
}

/// The protobuf of an `ExportTraceServiceRequest` that holds these spans of this source.
#[must_use]
pub fn encode_traces(source: &Source, spans: &[Span]) -> Vec<u8> {
    encode::traces(source, spans).encode_to_vec()
}

/// The records in the protobuf of an `ExportLogsServiceRequest`, a batch for each resource.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode_logs(bytes: &[u8]) -> Result<Vec<Batch<AccessRecord>>, DecodeError> {
    let message =
        ExportLogsServiceRequest::decode(bytes).map_err(|source| DecodeError::Protobuf { signal: "logs", source })?;
    Ok(message.resource_logs.into_iter().map(decode::resource_logs).collect())
}

/// The spans in the protobuf of an `ExportTraceServiceRequest`, a batch for each resource.
///
/// A span without valid ids is no span by OpenTelemetry's definition; it is left out, and [`Spans::invalid`] counts it.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode_traces(bytes: &[u8]) -> Result<Vec<Spans>, DecodeError> {
    let message = ExportTraceServiceRequest::decode(bytes)
        .map_err(|source| DecodeError::Protobuf { signal: "traces", source })?;
    Ok(message.resource_spans.into_iter().map(decode::resource_spans).collect())
}

/// The spans of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    /// The valid spans and their source.
    pub batch: Batch<Span>,
    /// How many were left out, because they had no valid trace id or span id.
    pub invalid: usize,
}

/// The protobuf of a logs message that came as JSON.
///
/// # Errors
/// When the text is no such message.
pub fn logs_json_to_protobuf(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let message: ExportLogsServiceRequest =
        serde_json::from_slice(json).map_err(|source| DecodeError::Json { signal: "logs", source })?;
    Ok(message.encode_to_vec())
}

/// The protobuf of a traces message that came as JSON.
///
/// # Errors
/// When the text is no such message.
pub fn traces_json_to_protobuf(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let message: ExportTraceServiceRequest =
        serde_json::from_slice(json).map_err(|source| DecodeError::Json { signal: "traces", source })?;
    Ok(message.encode_to_vec())
}
