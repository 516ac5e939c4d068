//! One request and its response, as far as the record is concerned.
//!
//! What always holds: an exchange leaves exactly one record, when it is dropped. Whatever path the request took, and
//! wherever it broke off, that moment comes; until someone says how it ended, it ended because the client went away.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, Request, Version, header};
use weir_record::{AccessRecord, Outcome, Span, SpanKind, SpanStatus, keys};

use crate::{core::Shared, refusal::Refusal, trace::TraceContext};

/// A request under way.
pub(crate) struct Exchange {
    /// The record in the making.
    pub record: AccessRecord,
    /// The trace that the request belongs to.
    pub trace: TraceContext,
    shared: Arc<Shared>,
    begun: Instant,
    authorizer: Option<(Duration, Duration)>,
    integration: Option<IntegrationCall>,
}

/// The call to the integration: when it began, when it ended, where it went.
struct IntegrationCall {
    begun: Instant,
    ended: Option<Instant>,
    url: String,
}

impl Exchange {
    /// Begins with the head of a request.
    pub(crate) fn begin<B>(shared: Arc<Shared>, request: &Request<B>, client: &str) -> Self {
        shared.stats.arrive();
        let headers = request.headers();
        let trace = TraceContext::read(headers);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = AccessRecord {
            time_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            request_id: uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid().to_string(),
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            protocol: Some(protocol(request.version()).to_owned()),
            domain: text(headers, &header::HOST).or_else(|| request.uri().host().map(str::to_owned)),
            outcome: Outcome::ClientClosed,
            client_address: Some(client.to_owned()),
            user_agent: text(headers, &header::USER_AGENT),
            trace_id: Some(trace.trace_id),
            span_id: Some(trace.span_id),
            ..AccessRecord::default()
        };
        Self { record, trace, shared, begun: Instant::now(), authorizer: None, integration: None }
    }

    /// Whether the trace is kept whatever becomes of the request.
    pub(crate) fn is_sampled(&self) -> bool {
        self.trace.is_sampled(self.shared.telemetry.trace_ratio)
    }

    /// The authorizer has decided, after this time.
    pub(crate) fn authorized(&mut self, took: Duration, status: u16) {
        self.authorizer = Some((self.begun.elapsed().saturating_sub(took), took));
        self.record.authorizer_latency_us = Some(micros(took));
        self.record.authorizer_status = Some(status);
    }

    /// The integration is being called.
    pub(crate) fn integration_begins(&mut self, url: String) {
        self.integration = Some(IntegrationCall { begun: Instant::now(), ended: None, url });
    }

    /// The integration has answered to the last byte, or has failed.
    pub(crate) fn integration_ends(&mut self) {
        if let Some(call) = &mut self.integration {
            let ended = *call.ended.get_or_insert_with(Instant::now);
            self.record.integration_latency_us = Some(micros(ended - call.begun));
        }
    }

    /// The gateway itself answers.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.record.outcome = refusal.outcome;
        self.record.throttle_scope = refusal.throttle_scope;
        self.record.error_message.clone_from(&refusal.detail);
    }

    /// The spans of the exchange: the server span, the authorizer's and the integration's.
    fn spans(&self, is_slow_or_failed: bool) -> Vec<Span> {
        if !self.shared.telemetry.is_enabled || !(is_slow_or_failed || self.is_sampled()) {
            return Vec::new();
        }
        let record = &self.record;
        let failed = record.status.is_some_and(|status| status >= 500);
        let mut server =
            self.span(self.trace.span_id, self.trace.parent, SpanKind::Server, Duration::ZERO, record.latency_us);
        server.name =
            if record.route.is_empty() { record.method.clone() } else { format!("{} {}", record.method, record.route) };
        server.status = if failed { SpanStatus::Error } else { SpanStatus::Unset };
        server.status_message = if failed { record.error_message.clone() } else { None };
        server.attributes = self.server_attributes();
        let mut spans = vec![server];
        if let Some((at, took)) = self.authorizer {
            let id = crate::trace::new_span_id();
            let mut span = self.span(id, Some(self.trace.span_id), SpanKind::Internal, at, micros(took));
            "authorize".clone_into(&mut span.name);
            spans.push(span);
        }
        if let Some(call) = &self.integration {
            let at = call.begun - self.begun;
            let took = record.integration_latency_us.unwrap_or(0);
            let mut span = self.span(self.trace.client_span_id, Some(self.trace.span_id), SpanKind::Client, at, took);
            span.name.clone_from(&record.method);
            let status = record.integration_status;
            // OpenTelemetry's HTTP conventions: for a client span, 4xx is an error too.
            span.status = if status.is_none_or(|status| status >= 400) { SpanStatus::Error } else { SpanStatus::Unset };
            span.attributes.insert(keys::HTTP_METHOD.to_owned(), record.method.clone());
            span.attributes.insert(keys::URL_FULL.to_owned(), call.url.clone());
            if let Some(status) = status {
                span.attributes.insert(keys::HTTP_STATUS.to_owned(), status.to_string());
            }
            spans.push(span);
        }
        spans
    }

    fn span(
        &self,
        id: weir_record::SpanId,
        parent: Option<weir_record::SpanId>,
        kind: SpanKind,
        at: Duration,
        duration_us: u64,
    ) -> Span {
        let named = |name: &String| (!name.is_empty()).then(|| name.clone());
        Span {
            time_us: self.record.time_us.saturating_add_unsigned(micros(at)),
            duration_us,
            trace_id: self.trace.trace_id,
            span_id: id,
            parent_span_id: parent,
            trace_state: self.trace.state.clone(),
            name: String::new(),
            kind,
            status: SpanStatus::Unset,
            status_message: None,
            service: crate::telemetry::SERVICE.to_owned(),
            api: named(&self.record.api),
            stage: named(&self.record.stage),
            attributes: BTreeMap::new(),
            events: None,
            links: None,
        }
    }

    fn server_attributes(&self) -> BTreeMap<String, String> {
        let record = &self.record;
        let mut attributes = BTreeMap::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                attributes.insert(key.to_owned(), value);
            }
        };
        put(keys::REQUEST_ID, Some(record.request_id.clone()));
        put(keys::HTTP_METHOD, Some(record.method.clone()));
        put(keys::HTTP_ROUTE, Some(record.route.clone()));
        put(keys::URL_PATH, Some(record.path.clone()));
        put(keys::HTTP_STATUS, record.status.map(|status| status.to_string()));
        put(keys::OUTCOME, Some(record.outcome.to_string()));
        put(keys::CLIENT_ADDRESS, record.client_address.clone());
        put(keys::USER_AGENT, record.user_agent.clone());
        put(keys::ERROR_TYPE, (record.outcome != Outcome::Ok).then(|| record.outcome.to_string()));
        attributes
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.integration_ends();
        self.record.latency_us = micros(self.begun.elapsed());
        let telemetry = &self.shared.telemetry;
        let failed = self.record.status.is_some_and(|status| status >= 500);
        let spans = self.spans(failed || self.record.latency_us >= telemetry.slow_us);
        self.shared.stats.end(self.record.outcome);
        telemetry.offer(&self.record, &spans);
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
