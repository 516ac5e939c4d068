//! Records and spans into OTLP messages, written straight into their bytes.
//!
//! The gateway encodes every record on its request's own thread, so nothing is built on the way: no structs of the
//! message, no strings of its keys. A record or span is encoded alone, as one field of its list; a message is its head
//! and any number of these, one behind the other. What always holds: the bytes are those that `prost` would write.

#[cfg(test)]
pub(super) mod oracle;
mod writer;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use writer::{Writer, field_bytes, known};

use super::value::{attribute, integer_attribute};
use crate::{AccessRecord, CacheStatus, Source, SpanKind, SpanStatus, SpanView, Told, keys};

/// Name of the instrumentation scope that our own telemetry bears.
pub(super) const SCOPE: &str = "weir";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Numbers of the fields, from `opentelemetry/proto`: <https://github.com/open-telemetry/opentelemetry-proto>. What
/// logs and traces have in common stands first.
mod field {
    /// `ExportLogsServiceRequest.resource_logs`, `ExportTraceServiceRequest.resource_spans`.
    pub(super) const GROUPS: u32 = 1;
    /// `ResourceLogs.resource`, `ResourceSpans.resource`.
    pub(super) const RESOURCE: u32 = 1;
    /// `ResourceLogs.scope_logs`, `ResourceSpans.scope_spans`.
    pub(super) const SCOPES: u32 = 2;
    /// `ScopeLogs.scope`, `ScopeSpans.scope`.
    pub(super) const SCOPE: u32 = 1;
    /// `ScopeLogs.log_records`, `ScopeSpans.spans`.
    pub(super) const RECORDS: u32 = 2;
    /// `Resource.attributes`.
    pub(super) const RESOURCE_ATTRIBUTES: u32 = 1;
    /// `InstrumentationScope.name`.
    pub(super) const SCOPE_NAME: u32 = 1;
    /// `InstrumentationScope.version`.
    pub(super) const SCOPE_VERSION: u32 = 2;

    /// `LogRecord`.
    pub(super) mod log {
        pub(in super::super) const TIME: u32 = 1;
        pub(in super::super) const SEVERITY: u32 = 2;
        pub(in super::super) const ATTRIBUTES: u32 = 6;
        pub(in super::super) const TRACE_ID: u32 = 9;
        pub(in super::super) const SPAN_ID: u32 = 10;
        pub(in super::super) const OBSERVED_TIME: u32 = 11;
        pub(in super::super) const EVENT_NAME: u32 = 12;
    }

    /// `Span`, and its `Status`.
    pub(super) mod span {
        pub(in super::super) const TRACE_ID: u32 = 1;
        pub(in super::super) const SPAN_ID: u32 = 2;
        pub(in super::super) const TRACE_STATE: u32 = 3;
        pub(in super::super) const PARENT: u32 = 4;
        pub(in super::super) const NAME: u32 = 5;
        pub(in super::super) const KIND: u32 = 6;
        pub(in super::super) const START: u32 = 7;
        pub(in super::super) const END: u32 = 8;
        pub(in super::super) const ATTRIBUTES: u32 = 9;
        pub(in super::super) const STATUS: u32 = 15;
        pub(in super::super) const STATUS_MESSAGE: u32 = 2;
        pub(in super::super) const STATUS_CODE: u32 = 3;
    }
}

/// `SeverityNumber.SEVERITY_NUMBER_INFO`.
const SEVERITY_INFO: u64 = 9;

/// Room for the head of a message: as much as it takes for a source whose names are as long as names are.
pub const HEAD_ROOM: usize = 512;

/// The protobuf of an export request of this source, with records or spans that were encoded one by one.
#[must_use]
pub fn message(source: &Source, records: &[u8]) -> Vec<u8> {
    let mut bytes = head(source, records.len());
    bytes.extend_from_slice(records);
    bytes
}

/// The same, of records that stand behind [`HEAD_ROOM`] bytes: gives them back, and where in them the message begins.
#[must_use]
pub fn message_in_place(source: &Source, mut bytes: Vec<u8>) -> (Vec<u8>, usize) {
    let room = HEAD_ROOM.min(bytes.len());
    let head = head(source, bytes.len() - room);
    match room.checked_sub(head.len()) {
        Some(begin) => {
            bytes[begin..room].copy_from_slice(&head);
            (bytes, begin)
        }
        None => {
            bytes.splice(..room, head);
            (bytes, 0)
        }
    }
}

/// A message up to its records, which take so many bytes.
fn head(source: &Source, records: usize) -> Vec<u8> {
    let mut resource = Vec::with_capacity(256);
    self::resource(&mut Writer(&mut resource), source);
    let scope = field_bytes(field::SCOPE_NAME, SCOPE.len()) + field_bytes(field::SCOPE_VERSION, VERSION.len());
    let scopes = field_bytes(field::SCOPE, scope) + records;
    let group = field_bytes(field::RESOURCE, resource.len()) + field_bytes(field::SCOPES, scopes);
    let mut bytes = Vec::with_capacity(HEAD_ROOM);
    let mut to = Writer(&mut bytes);
    to.begin(field::GROUPS, group);
    to.bytes(field::RESOURCE, &resource);
    to.begin(field::SCOPES, scopes);
    to.begin(field::SCOPE, scope);
    to.bytes(field::SCOPE_NAME, SCOPE.as_bytes());
    to.bytes(field::SCOPE_VERSION, VERSION.as_bytes());
    bytes
}

fn resource(to: &mut Writer<'_>, source: &Source) {
    const ATTRIBUTES: u32 = field::RESOURCE_ATTRIBUTES;
    to.text_attribute(ATTRIBUTES, keys::SERVICE_NAME, &source.service);
    if !source.instance.is_empty() {
        to.text_attribute(ATTRIBUTES, keys::SERVICE_INSTANCE_ID, &source.instance);
    }
    let Some(stamp) = source.stamp else { return };
    to.integer_attribute(ATTRIBUTES, keys::BATCH_SEQUENCE, stamp.sequence);
    to.integer_attribute(ATTRIBUTES, keys::RECORDS_OFFERED, stamp.offered);
    to.integer_attribute(ATTRIBUTES, keys::RECORDS_DROPPED, stamp.dropped);
    if stamp.doubtful {
        to.truth_attribute(ATTRIBUTES, keys::BATCH_DOUBTFUL, true);
    }
    if let Some(told) = stamp.elsewhere {
        to.integer_attribute(ATTRIBUTES, keys::ELSEWHERE_SEQUENCE, told.sequence);
        to.integer_attribute(ATTRIBUTES, keys::ELSEWHERE_OFFERED, told.offered);
        to.integer_attribute(ATTRIBUTES, keys::ELSEWHERE_DROPPED, told.dropped);
    }
}

/// The attribute of a resource whose batch is [`doubtful`](crate::BatchStamp::doubtful).
#[must_use]
pub fn doubtful_mark() -> KeyValue {
    attribute(keys::BATCH_DOUBTFUL, Value::BoolValue(true))
}

/// The attributes of a resource that tell what another collector was [told](crate::BatchStamp::elsewhere).
#[must_use]
pub fn elsewhere_marks(told: Told) -> [KeyValue; 3] {
    [
        integer_attribute(keys::ELSEWHERE_SEQUENCE, told.sequence),
        integer_attribute(keys::ELSEWHERE_OFFERED, told.offered),
        integer_attribute(keys::ELSEWHERE_DROPPED, told.dropped),
    ]
}

/// Attributes of one record or span, in this field: what it does not say is not written.
struct Attributes<'w, 'v, const FIELD: u32>(&'w mut Writer<'v>);

impl<const FIELD: u32> Attributes<'_, '_, FIELD> {
    #[inline]
    fn text<const N: usize>(&mut self, key: &[u8; N], value: &str) {
        if !value.is_empty() {
            self.0.known_text(FIELD, key, value);
        }
    }

    #[inline]
    fn optional_text<const N: usize>(&mut self, key: &[u8; N], value: Option<&str>) {
        if let Some(value) = value {
            self.0.known_text(FIELD, key, value);
        }
    }

    #[inline]
    fn integer<const N: usize>(&mut self, key: &[u8; N], value: u64) {
        self.0.known_integer(FIELD, key, value);
    }

    #[inline]
    fn optional_integer<const N: usize>(&mut self, key: &[u8; N], value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.0.known_integer(FIELD, key, value.into());
        }
    }

    fn optional_truth(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.0.truth_attribute(FIELD, key, value);
        }
    }

    fn others<'a>(&mut self, attributes: impl Iterator<Item = (&'a str, &'a str)>) {
        for (key, value) in attributes {
            self.0.text_attribute(FIELD, key, value);
        }
    }
}

/// Writes a record behind what is there, as one of a message's records.
pub fn log_record(to: &mut Vec<u8>, record: &AccessRecord) {
    to.reserve(1_024);
    let mut to = Writer(to);
    let begin = to.begin_unknown(field::RECORDS);
    let time = nanos(record.time_us);
    to.fixed64(field::log::TIME, time);
    to.varint(field::log::SEVERITY, SEVERITY_INFO);
    log_attributes(&mut Attributes(&mut to), record);
    if let Some(id) = record.trace_id {
        to.bytes(field::log::TRACE_ID, id.as_bytes());
    }
    if let Some(id) = record.span_id {
        to.bytes(field::log::SPAN_ID, id.as_bytes());
    }
    to.fixed64(field::log::OBSERVED_TIME, time);
    to.bytes(field::log::EVENT_NAME, keys::EVENT_REQUEST.as_bytes());
    to.end(begin);
}

fn log_attributes(to: &mut Attributes<'_, '_, { field::log::ATTRIBUTES }>, record: &AccessRecord) {
    to.text(known!(keys::REQUEST_ID), &record.request_id);
    to.text(known!(keys::API), &record.api);
    to.text(known!(keys::STAGE), &record.stage);
    to.text(known!(keys::HTTP_ROUTE), &record.route);
    to.text(known!(keys::HTTP_METHOD), &record.method);
    to.text(known!(keys::URL_PATH), &record.path);
    to.optional_text(known!(keys::PROTOCOL_VERSION), record.protocol.as_deref());
    to.optional_text(known!(keys::SERVER_ADDRESS), record.domain.as_deref());
    to.optional_integer(known!(keys::HTTP_STATUS), record.status);
    to.text(known!(keys::OUTCOME), record.outcome.as_str());
    to.optional_text(known!(keys::THROTTLE_SCOPE), record.throttle_scope.map(|scope| scope.as_str()));
    to.integer(known!(keys::LATENCY), record.latency_us);
    to.optional_integer(known!(keys::INTEGRATION_LATENCY), record.integration_latency_us);
    to.optional_integer(known!(keys::AUTHORIZER_LATENCY), record.authorizer_latency_us);
    to.optional_integer(known!(keys::INTEGRATION_STATUS), record.integration_status);
    to.optional_integer(known!(keys::AUTHORIZER_STATUS), record.authorizer_status);
    to.integer(known!(keys::HTTP_REQUEST_BYTES), record.request_bytes);
    to.integer(known!(keys::HTTP_RESPONSE_BYTES), record.response_bytes);
    to.optional_text(known!(keys::CLIENT_ADDRESS), record.client_address.as_deref());
    to.optional_text(known!(keys::USER_AGENT), record.user_agent.as_deref());
    to.optional_text(known!(keys::PRINCIPAL), record.principal.as_deref());
    to.optional_text(known!(keys::API_KEY_ID), record.api_key_id.as_deref());
    to.optional_text(known!(keys::USAGE_PLAN), record.usage_plan.as_deref());
    to.optional_text(known!(keys::CACHE), (record.cache != CacheStatus::None).then(|| record.cache.as_str()));
    to.optional_truth(keys::CANARY, record.canary.then_some(true));
    to.optional_truth(keys::TRACE_KEPT, record.trace_kept);
    to.optional_text(known!(keys::ERROR_MESSAGE), record.error_message.as_deref());
    to.others(record.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())));
}

/// Writes a span behind what is there, as one of a message's spans.
pub fn span(to: &mut Vec<u8>, span: &SpanView<'_>) {
    to.reserve(1_024);
    let mut to = Writer(to);
    let begin = to.begin_unknown(field::RECORDS);
    to.bytes(field::span::TRACE_ID, span.trace_id.as_bytes());
    to.bytes(field::span::SPAN_ID, span.span_id.as_bytes());
    to.text(field::span::TRACE_STATE, span.trace_state.unwrap_or_default());
    if let Some(parent) = span.parent_span_id {
        to.bytes(field::span::PARENT, parent.as_bytes());
    }
    to.text(field::span::NAME, &span.name);
    to.varint(field::span::KIND, wire_kind(span.kind));
    let start = nanos(span.time_us);
    to.fixed64(field::span::START, start);
    to.fixed64(field::span::END, start.saturating_add(span.duration_us.saturating_mul(1_000)));
    let mut attributes = Attributes::<{ field::span::ATTRIBUTES }>(&mut to);
    attributes.optional_text(known!(keys::API), span.api);
    attributes.optional_text(known!(keys::STAGE), span.stage);
    attributes.others(span.attributes.iter().map(|(key, value)| (*key, &**value)));
    let message = span.status_message.unwrap_or_default();
    let status = to.begin_unknown(field::span::STATUS);
    to.text(field::span::STATUS_MESSAGE, message);
    to.varint(field::span::STATUS_CODE, wire_status(span.status));
    to.end(status);
    to.end(begin);
}

/// `Span.SpanKind`.
const fn wire_kind(kind: SpanKind) -> u64 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// `Status.StatusCode`.
const fn wire_status(status: SpanStatus) -> u64 {
    match status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    }
}

/// OTLP's time, nanoseconds since the epoch, cannot lie before it.
fn nanos(time_us: i64) -> u64 {
    u64::try_from(time_us).unwrap_or(0).saturating_mul(1_000)
}
