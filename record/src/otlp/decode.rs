//! OTLP messages of traces into spans, and what a resource says of its records.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, Span as WireSpan, Status, span::SpanKind as WireKind, status::StatusCode},
};
use serde_json::json;

use super::{
    Spans, encode,
    value::{as_integer, attributes_to_json, into_text},
    walk::{ROW_BYTES, Rejection},
};
use crate::{Batch, BatchStamp, Source, Span, SpanId, SpanKind, SpanStatus, Told, TraceId, keys};

pub(super) fn resource_spans(message: ResourceSpans, budget: &mut usize) -> Spans {
    let origin = Origin::read(message.resource);
    let mut records = Vec::with_capacity(message.scope_spans.iter().map(|scope| scope.spans.len()).sum());
    let mut rejected = Vec::new();
    for scope in message.scope_spans {
        let name = scope.scope.map(|scope| scope.name).filter(|name| !name.is_empty() && name != encode::SCOPE);
        for span in scope.spans {
            // What the resource says is copied for each span: that is how a small message becomes a large one.
            let bytes = ROW_BYTES + origin.attributes_bytes();
            match budget.checked_sub(bytes) {
                None => rejected.push(Rejection::Expansion),
                Some(rest) => match read_span(span, &origin, name.as_deref()) {
                    Some(span) => {
                        *budget = rest;
                        records.push(span);
                    }
                    None => rejected.push(Rejection::NoIds),
                },
            }
        }
    }
    Spans { batch: Batch { source: origin.source, records }, rejected }
}

/// The sender that a resource names.
pub(super) fn source(resource: Option<Resource>) -> Source {
    Origin::read(resource).source
}

/// What a resource says of all its records.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) environment: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Origin {
    fn attributes_bytes(&self) -> usize {
        self.attributes.iter().map(|(key, text)| key.len() + text.len()).sum()
    }

    pub(super) fn read(resource: Option<Resource>) -> Self {
        let mut origin = Self { source: Source::default(), environment: None, attributes: BTreeMap::new() };
        let (mut sequence, mut offered, mut dropped, mut doubtful) = (None, None, None, false);
        let mut elsewhere = Told::default();
        for (key, value) in pairs(resource.unwrap_or_default().attributes) {
            match key.as_str() {
                keys::SERVICE_NAME => origin.source.service = into_text(value),
                keys::SERVICE_INSTANCE_ID => origin.source.instance = into_text(value),
                keys::DEPLOYMENT_ENVIRONMENT => origin.environment = Some(into_text(value)),
                keys::BATCH_SEQUENCE => sequence = as_integer(&value),
                keys::RECORDS_OFFERED => offered = as_integer(&value),
                keys::RECORDS_DROPPED => dropped = as_integer(&value),
                keys::BATCH_DOUBTFUL => doubtful = matches!(value, Value::BoolValue(true)),
                keys::ELSEWHERE_SEQUENCE => elsewhere.sequence = as_integer(&value).unwrap_or(0),
                keys::ELSEWHERE_OFFERED => elsewhere.offered = as_integer(&value).unwrap_or(0),
                keys::ELSEWHERE_DROPPED => elsewhere.dropped = as_integer(&value).unwrap_or(0),
                _ => drop(origin.attributes.insert(key, into_text(value))),
            }
        }
        // A number without a name identifies nothing: two anonymous senders would drop each other's batches.
        origin.source.stamp = sequence.filter(|_| !origin.source.instance.is_empty()).map(|sequence| BatchStamp {
            sequence,
            offered: offered.unwrap_or(0),
            dropped: dropped.unwrap_or(0),
            doubtful,
            elsewhere: (elsewhere.sequence > 0).then_some(elsewhere),
        });
        origin
    }
}

fn pairs(attributes: Vec<KeyValue>) -> impl Iterator<Item = (String, Value)> {
    attributes.into_iter().filter_map(|pair| Some((pair.key, pair.value?.value?)))
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

pub(super) fn micros(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000).unwrap_or(i64::MAX)
}
