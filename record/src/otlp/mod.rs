//! The OTLP form of records and spans: what goes over the wire and, byte for byte, into the write-ahead log.
//!
//! One message holds one [`Batch`] for each resource in it. Decoding accepts any OTLP: known attributes fill the
//! fields, all others (and those whose value does not fit its field) land in `attributes`, within the bounds that
//! [`AccessView`] names. A record that breaks them is [rejected](Rejection) alone.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.

mod decode;
mod encode;
mod meaning;
mod sources;
#[cfg(test)]
mod tests;
mod value;
mod view;
mod walk;
mod wire;

pub use encode::{
    HEAD_ROOM, doubtful_mark, elsewhere_marks, log_record as encode_log_record, message, message_in_place,
    span as encode_span,
};
use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest};
use prost::Message;
pub use sources::sources;
pub use view::{ATTRIBUTE_BYTES, ATTRIBUTES_BYTES, AccessView, MOST_ATTRIBUTES};
pub use walk::{LogsView, MESSAGE_ROWS_BYTES, NESTING, RECORD_BYTES, ROW_BYTES, Rejection, view_logs};
pub use wire::WireError;

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
    /// The bytes of the message's frame are no protobuf of the expected message.
    #[error("not an OTLP {signal} message: {source}")]
    Wire {
        /// `logs` or `traces`.
        signal: &'static str,
        /// What the walk met.
        source: WireError,
    },
    /// A text of the message's frame is not UTF-8.
    #[error("not an OTLP {signal} message: {source}")]
    Text {
        /// `logs` or `traces`.
        signal: &'static str,
        /// Where it is not.
        source: std::str::Utf8Error,
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
    let mut encoded = Vec::new();
    records.iter().for_each(|record| encode::log_record(&mut encoded, record));
    message(source, &encoded)
}

/// The protobuf of an `ExportTraceServiceRequest` that holds these spans of this source.
#[must_use]
pub fn encode_traces(source: &Source, spans: &[Span]) -> Vec<u8> {
    let mut encoded = Vec::new();
    spans.iter().for_each(|span| encode::span(&mut encoded, &span.into()));
    message(source, &encoded)
}

/// The records in the protobuf of an `ExportLogsServiceRequest`, a batch for each resource. A record that is rejected
/// is left out; [`view_logs`] says why.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode_logs(bytes: &[u8]) -> Result<Vec<Batch<AccessRecord>>, DecodeError> {
    let mut budget = MESSAGE_ROWS_BYTES;
    let batch = |view: LogsView<'_>| {
        let mut records = Vec::new();
        view.for_each(&mut budget, |record| records.extend(record.ok().map(|view| AccessRecord::from(&*view))));
        Batch { source: view.source().clone(), records }
    };
    Ok(view_logs(bytes)?.into_iter().map(batch).collect())
}

/// The spans in the protobuf of an `ExportTraceServiceRequest`, a batch for each resource.
///
/// A span without valid ids is no span by OpenTelemetry's definition; it is left out, and [`Spans::rejected`] says so.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode_traces(bytes: &[u8]) -> Result<Vec<Spans>, DecodeError> {
    let message = ExportTraceServiceRequest::decode(bytes)
        .map_err(|source| DecodeError::Protobuf { signal: "traces", source })?;
    let mut budget = MESSAGE_ROWS_BYTES;
    Ok(message.resource_spans.into_iter().map(|spans| decode::resource_spans(spans, &mut budget)).collect())
}

/// The spans of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    /// The valid spans and their source.
    pub batch: Batch<Span>,
    /// Why the others were left out, one reason for each.
    pub rejected: Vec<Rejection>,
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
