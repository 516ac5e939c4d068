//! OTLP messages into records and spans. Accepts whatever a sender says; nothing it said is lost.

use std::{collections::BTreeMap, str::FromStr};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, Span as WireSpan, Status, span::SpanKind as WireKind, status::StatusCode},
};
use serde_json::json;

use super::{
    Spans, encode,
    value::{as_bool, as_integer, attributes_to_json, into_text},
};
use crate::{AccessRecord, Batch, BatchStamp, Source, Span, SpanId, SpanKind, SpanStatus, TraceId, keys};

pub(super) fn resource_logs(message: ResourceLogs) -> Batch<AccessRecord> {
    let origin = Origin::read(message.resource);
    let mut records = Vec::with_capacity(message.scope_logs.iter().map(|scope| scope.log_records.len()).sum());
    for scope in message.scope_logs {
        let name = scope.scope.map(|scope| scope.name).filter(|name| !name.is_empty() && name != encode::SCOPE);
        records.extend(scope.log_records.into_iter().map(|log| access_record(log, &origin, name.as_deref())));
    }
    Batch { source: origin.source, records }
}

pub(super) fn resource_spans(message: ResourceSpans) -> Spans {
    let origin = Origin::read(message.resource);
    let mut records = Vec::with_capacity(message.scope_spans.iter().map(|scope| scope.spans.len()).sum());
    let mut invalid = 0;
    for scope in message.scope_spans {
        let name = scope.scope.map(|scope| scope.name).filter(|name| !name.is_empty() && name != encode::SCOPE);
        for span in scope.spans {
            match read_span(span, &origin, name.as_deref()) {
                Some(span) => records.push(span),
                None => invalid += 1,
            }
        }
    }
    Spans { batch: Batch { source: origin.source, records }, invalid }
}

/// The sender that a resource names.
pub(super) fn source(resource: Option<Resource>) -> Source {
    Origin::read(resource).source
}

/// What a resource says of all its records.
struct Origin {
    source: Source,
    environment: Option<String>,
    attributes: BTreeMap<String, String>,
}

impl Origin {
    fn read(resource: Option<Resource>) -> Self {
        let mut origin = Self { source: Source::default(), environment: None, attributes: BTreeMap::new() };
        let (mut sequence, mut offered, mut dropped, mut doubtful) = (None, None, None, false);
        for (key, value) in pairs(resource.unwrap_or_default().attributes) {
            match key.as_str() {
                keys::SERVICE_NAME => origin.source.service = into_text(value),
                keys::SERVICE_INSTANCE_ID => origin.source.instance = into_text(value),
                keys::DEPLOYMENT_ENVIRONMENT => origin.environment = Some(into_text(value)),
                keys::BATCH_SEQUENCE => sequence = as_integer(&value),
                keys::RECORDS_OFFERED => offered = as_integer(&value),
                keys::RECORDS_DROPPED => dropped = as_integer(&value),
                keys::BATCH_DOUBTFUL => doubtful = matches!(value, Value::BoolValue(true)),
                _ => drop(origin.attributes.insert(key, into_text(value))),
            }
        }
        // A number without a name identifies nothing: two anonymous senders would drop each other's batches.
        origin.source.stamp = sequence.filter(|_| !origin.source.instance.is_empty()).map(|sequence| BatchStamp {
            sequence,
            offered: offered.unwrap_or(0),
            dropped: dropped.unwrap_or(0),
            doubtful,
        });
        origin
    }
}

fn pairs(attributes: Vec<KeyValue>) -> impl Iterator<Item = (String, Value)> {
    attributes.into_iter().filter_map(|pair| Some((pair.key, pair.value?.value?)))
}

fn access_record(log: LogRecord, origin: &Origin, scope: Option<&str>) -> AccessRecord {
    let time = if log.time_unix_nano == 0 { log.observed_time_unix_nano } else { log.time_unix_nano };
    let mut record = AccessRecord {
        time_us: micros(time),
        trace_id: TraceId::from_slice(&log.trace_id),
        span_id: SpanId::from_slice(&log.span_id),
        attributes: origin.attributes.clone(),
        ..Default::default()
    };
    let mut keep = |key: &str, text: String| {
        if !text.is_empty() {
            record.attributes.insert(key.to_owned(), text);
        }
    };
    if log.event_name != keys::EVENT_REQUEST {
        keep(keys::LOG_EVENT_NAME, log.event_name);
        keep(keys::LOG_SEVERITY, log.severity_text);
    }
    if let Some(body) = log.body.and_then(|body| body.value) {
        keep(keys::LOG_BODY, into_text(body));
    }
    keep(keys::SCOPE_NAME, scope.unwrap_or_default().to_owned());
    for (key, value) in pairs(log.attributes) {
        if let Some(value) = assign(&mut record, &key, value) {
            record.attributes.insert(key, into_text(value));
        }
    }
    if record.api.is_empty() {
        record.api.clone_from(&origin.source.service);
    }
    if let (true, Some(environment)) = (record.stage.is_empty(), &origin.environment) {
        record.stage.clone_from(environment);
    }
    record
}

/// Puts a value into the field of its key; gives it back when there is none, or when it does not fit.
fn assign(record: &mut AccessRecord, key: &str, value: Value) -> Option<Value> {
    match key {
        keys::REQUEST_ID => text(&mut record.request_id, value),
        keys::API => text(&mut record.api, value),
        keys::STAGE => text(&mut record.stage, value),
        keys::HTTP_ROUTE => text(&mut record.route, value),
        keys::HTTP_METHOD => text(&mut record.method, value),
        keys::URL_PATH => text(&mut record.path, value),
        keys::PROTOCOL_VERSION => optional_text(&mut record.protocol, value),
        keys::SERVER_ADDRESS => optional_text(&mut record.domain, value),
        keys::HTTP_STATUS => optional_number(&mut record.status, value),
        keys::OUTCOME => name(&mut record.outcome, value),
        keys::THROTTLE_SCOPE => optional_name(&mut record.throttle_scope, value),
        keys::LATENCY => number(&mut record.latency_us, value),
        keys::INTEGRATION_LATENCY => optional_number(&mut record.integration_latency_us, value),
        keys::AUTHORIZER_LATENCY => optional_number(&mut record.authorizer_latency_us, value),
        keys::INTEGRATION_STATUS => optional_number(&mut record.integration_status, value),
        keys::AUTHORIZER_STATUS => optional_number(&mut record.authorizer_status, value),
        keys::HTTP_REQUEST_BYTES => number(&mut record.request_bytes, value),
        keys::HTTP_RESPONSE_BYTES => number(&mut record.response_bytes, value),
        keys::CLIENT_ADDRESS => optional_text(&mut record.client_address, value),
        keys::USER_AGENT => optional_text(&mut record.user_agent, value),
        keys::PRINCIPAL => optional_text(&mut record.principal, value),
        keys::API_KEY_ID => optional_text(&mut record.api_key_id, value),
        keys::USAGE_PLAN => optional_text(&mut record.usage_plan, value),
        keys::CACHE => name(&mut record.cache, value),
        keys::CANARY => match as_bool(&value) {
            Some(canary) => {
                record.canary = canary;
                None
            }
            None => Some(value),
        },
        keys::ERROR_MESSAGE => optional_text(&mut record.error_message, value),
        _ => Some(value),
    }
}

fn text(field: &mut String, value: Value) -> Option<Value> {
    *field = into_text(value);
    None
}

fn optional_text(field: &mut Option<String>, value: Value) -> Option<Value> {
    *field = Some(into_text(value));
    None
}

fn number<T: TryFrom<u64>>(field: &mut T, value: Value) -> Option<Value> {
    match as_integer(&value).and_then(|number| T::try_from(number).ok()) {
        Some(number) => {
            *field = number;
            None
        }
        None => Some(value),
    }
}

fn optional_number<T: TryFrom<u64> + Default>(field: &mut Option<T>, value: Value) -> Option<Value> {
    let mut number_read = T::default();
    let left_over = number(&mut number_read, value);
    if left_over.is_none() {
        *field = Some(number_read);
    }
    left_over
}

fn name<T: FromStr>(field: &mut T, value: Value) -> Option<Value> {
    if let Value::StringValue(text) = &value
        && let Ok(parsed) = text.parse()
    {
        *field = parsed;
        return None;
    }
    Some(value)
}

fn optional_name<T: FromStr + Default>(field: &mut Option<T>, value: Value) -> Option<Value> {
    let mut name_read = T::default();
    let left_over = name(&mut name_read, value);
    if left_over.is_none() {
        *field = Some(name_read);
    }
    left_over
}

fn read_span(span: WireSpan, origin: &Origin, scope: Option<&str>) -> Option<Span> {
    let status = span.status.unwrap_or_default();
    let mut read = Span {
        time_us: micros(span.start_time_unix_nano),
        duration_us: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000,
        trace_id: TraceId::from_slice(&span.trace_id)?,
        span_id: SpanId::from_slice(&span.span_id)?,
        parent_span_id: SpanId::from_slice(&span.parent_span_id),
        trace_state: non_empty(span.trace_state),
        name: span.name,
        kind: kind(span.kind),
        status: status_of(&status),
        status_message: non_empty(status.message),
        service: origin.source.service.clone(),
        api: None,
        stage: None,
        attributes: origin.attributes.clone(),
        events: None,
        links: None,
    };
    if let Some(scope) = scope {
        read.attributes.insert(keys::SCOPE_NAME.to_owned(), scope.to_owned());
    }
    for (key, value) in pairs(span.attributes) {
        match key.as_str() {
            keys::API => read.api = Some(into_text(value)),
            keys::STAGE => read.stage = Some(into_text(value)),
            _ => drop(read.attributes.insert(key, into_text(value))),
        }
    }
    if read.stage.is_none() {
        read.stage.clone_from(&origin.environment);
    }
    let events = span.events.into_iter().map(|event| {
        let (time_us, attributes) = (micros(event.time_unix_nano), attributes_to_json(event.attributes));
        json!({ "time_us": time_us, "name": event.name, "attributes": attributes })
    });
    read.events = json_array(events);
    let links = span.links.into_iter().map(|link| {
        let (trace_id, span_id) = (TraceId::from_slice(&link.trace_id), SpanId::from_slice(&link.span_id));
        let attributes = attributes_to_json(link.attributes);
        json!({
            "trace_id": trace_id.map(|id| id.to_string()),
            "span_id": span_id.map(|id| id.to_string()),
            "attributes": attributes,
        })
    });
    read.links = json_array(links);
    Some(read)
}

fn json_array(items: impl ExactSizeIterator<Item = serde_json::Value>) -> Option<String> {
    (items.len() > 0).then(|| serde_json::Value::Array(items.collect()).to_string())
}

fn kind(kind: i32) -> SpanKind {
    match WireKind::try_from(kind) {
        Ok(WireKind::Internal) => SpanKind::Internal,
        Ok(WireKind::Server) => SpanKind::Server,
        Ok(WireKind::Client) => SpanKind::Client,
        Ok(WireKind::Producer) => SpanKind::Producer,
        Ok(WireKind::Consumer) => SpanKind::Consumer,
        Ok(WireKind::Unspecified) | Err(_) => SpanKind::Unspecified,
    }
}

fn status_of(status: &Status) -> SpanStatus {
    match StatusCode::try_from(status.code) {
        Ok(StatusCode::Ok) => SpanStatus::Ok,
        Ok(StatusCode::Error) => SpanStatus::Error,
        Ok(StatusCode::Unset) | Err(_) => SpanStatus::Unset,
    }
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn micros(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000).unwrap_or(i64::MAX)
}
