//! The same messages by way of `prost`: what the bytes are compared with.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, Status, span::SpanKind as WireKind, status::StatusCode},
};

use super::super::value::{attribute, integer_attribute};
use super::{SCOPE, doubtful_mark, elsewhere_marks, nanos};
use crate::{AccessRecord, CacheStatus, Source, Span, SpanKind, SpanStatus, keys};

pub(in super::super) fn logs(source: &Source, records: &[AccessRecord]) -> ExportLogsServiceRequest {
    let scope_logs =
        ScopeLogs { scope: Some(scope()), log_records: records.iter().map(log_record).collect(), ..Default::default() };
    let resource_logs =
        ResourceLogs { resource: Some(resource(source)), scope_logs: vec![scope_logs], ..Default::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

pub(in super::super) fn traces(source: &Source, spans: &[Span]) -> ExportTraceServiceRequest {
    let scope_spans =
        ScopeSpans { scope: Some(scope()), spans: spans.iter().map(wire_span).collect(), ..Default::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource(source)), scope_spans: vec![scope_spans], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() }
}

fn resource(source: &Source) -> Resource {
    let mut attributes = vec![text_attribute(keys::SERVICE_NAME, &source.service)];
    if !source.instance.is_empty() {
        attributes.push(text_attribute(keys::SERVICE_INSTANCE_ID, &source.instance));
    }
    if let Some(stamp) = source.stamp {
        attributes.push(integer_attribute(keys::BATCH_SEQUENCE, stamp.sequence));
        attributes.push(integer_attribute(keys::RECORDS_OFFERED, stamp.offered));
        attributes.push(integer_attribute(keys::RECORDS_DROPPED, stamp.dropped));
        if stamp.doubtful {
            attributes.push(doubtful_mark());
        }
        attributes.extend(stamp.elsewhere.into_iter().flat_map(elsewhere_marks));
    }
    Resource { attributes, ..Default::default() }
}

/// Attributes under construction: what a record does not say is not written.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(text_attribute(key, value));
        }
    }

    fn optional_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(text_attribute(key, value));
        }
    }

    fn optional_integer(&mut self, key: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.0.push(integer_attribute(key, value.into()));
        }
    }
}

fn log_record(record: &AccessRecord) -> LogRecord {
    let mut to = Attributes(Vec::with_capacity(27 + record.attributes.len()));
    to.text(keys::REQUEST_ID, &record.request_id);
    to.text(keys::API, &record.api);
    to.text(keys::STAGE, &record.stage);
    to.text(keys::HTTP_ROUTE, &record.route);
    to.text(keys::HTTP_METHOD, &record.method);
    to.text(keys::URL_PATH, &record.path);
    to.optional_text(keys::PROTOCOL_VERSION, record.protocol.as_deref());
    to.optional_text(keys::SERVER_ADDRESS, record.domain.as_deref());
    to.optional_integer(keys::HTTP_STATUS, record.status);
    to.text(keys::OUTCOME, record.outcome.as_str());
    to.optional_text(keys::THROTTLE_SCOPE, record.throttle_scope.map(|scope| scope.as_str()));
    to.optional_integer(keys::LATENCY, Some(record.latency_us));
    to.optional_integer(keys::INTEGRATION_LATENCY, record.integration_latency_us);
    to.optional_integer(keys::AUTHORIZER_LATENCY, record.authorizer_latency_us);
    to.optional_integer(keys::INTEGRATION_STATUS, record.integration_status);
    to.optional_integer(keys::AUTHORIZER_STATUS, record.authorizer_status);
    to.optional_integer(keys::HTTP_REQUEST_BYTES, Some(record.request_bytes));
    to.optional_integer(keys::HTTP_RESPONSE_BYTES, Some(record.response_bytes));
    to.optional_text(keys::CLIENT_ADDRESS, record.client_address.as_deref());
    to.optional_text(keys::USER_AGENT, record.user_agent.as_deref());
    to.optional_text(keys::PRINCIPAL, record.principal.as_deref());
    to.optional_text(keys::API_KEY_ID, record.api_key_id.as_deref());
    to.optional_text(keys::USAGE_PLAN, record.usage_plan.as_deref());
    to.optional_text(keys::CACHE, (record.cache != CacheStatus::None).then(|| record.cache.as_str()));
    if record.canary {
        to.0.push(attribute(keys::CANARY, Value::BoolValue(true)));
    }
    to.0.extend(record.trace_kept.map(|kept| attribute(keys::TRACE_KEPT, Value::BoolValue(kept))));
    to.optional_text(keys::ERROR_MESSAGE, record.error_message.as_deref());
    to.0.extend(record.attributes.iter().map(|(key, value)| text_attribute(key, value)));
    let time = nanos(record.time_us);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: SeverityNumber::Info.into(),
        attributes: to.0,
        trace_id: record.trace_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        span_id: record.span_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        event_name: keys::EVENT_REQUEST.to_owned(),
        ..Default::default()
    }
}

fn wire_span(span: &Span) -> WireSpan {
    let mut to = Attributes(Vec::with_capacity(2 + span.attributes.len()));
    to.optional_text(keys::API, span.api.as_deref());
    to.optional_text(keys::STAGE, span.stage.as_deref());
    to.0.extend(span.attributes.iter().map(|(key, value)| text_attribute(key, value)));
    let start = nanos(span.time_us);
    WireSpan {
        trace_id: span.trace_id.as_bytes().to_vec(),
        span_id: span.span_id.as_bytes().to_vec(),
        parent_span_id: span.parent_span_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        trace_state: span.trace_state.clone().unwrap_or_default(),
        name: span.name.clone(),
        kind: wire_kind(span.kind).into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(span.duration_us.saturating_mul(1_000)),
        attributes: to.0,
        status: Some(Status {
            message: span.status_message.clone().unwrap_or_default(),
            code: wire_status(span.status).into(),
        }),
        ..Default::default()
    }
}

const fn wire_kind(kind: SpanKind) -> WireKind {
    match kind {
        SpanKind::Unspecified => WireKind::Unspecified,
        SpanKind::Internal => WireKind::Internal,
        SpanKind::Server => WireKind::Server,
        SpanKind::Client => WireKind::Client,
        SpanKind::Producer => WireKind::Producer,
        SpanKind::Consumer => WireKind::Consumer,
    }
}

const fn wire_status(status: SpanStatus) -> StatusCode {
    match status {
        SpanStatus::Unset => StatusCode::Unset,
        SpanStatus::Ok => StatusCode::Ok,
        SpanStatus::Error => StatusCode::Error,
    }
}

fn text_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.to_owned()))
}
