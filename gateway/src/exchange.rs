//! One request and its response, as far as the record is concerned.
//!
//! What always holds: an exchange leaves exactly one record, when it is dropped. Whatever path the request took, and
//! wherever it broke off, that moment comes; until someone says how it ended, it ended because the client went away.

mod spans;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use weir_record::{AccessRecord, Outcome, keys};

use crate::{
    config::definitions::ApiKind,
    connection::{
        Client,
        upgrade::{TunnelEnd, TunnelReason},
    },
    core::Shared,
    facts::{Facts, IntegrationFacts, Place},
    limits::headers::Fields,
    refusal::Refusal,
    serving::Found,
    trace::{TraceContext, xray},
};

/// A wait that took less is no span.
const SHORT_WAIT: Duration = Duration::from_micros(100);

/// A request under way.
pub(crate) struct Exchange {
    /// The record in the making.
    pub record: AccessRecord,
    /// What is known beyond the record.
    pub facts: Facts,
    /// The trace that the request belongs to.
    pub trace: TraceContext,
    /// The request's id, for headers.
    pub request_id: HeaderValue,
    /// The request's headers, where the API's own responses may speak of them.
    pub headers: HeaderMap,
    /// The `Origin` that the client asks from, if it names one.
    pub origin: Option<HeaderValue>,
    /// Whether the answer is one to a preflight request, with all its headers.
    pub is_preflight: bool,
    /// What the limits say, for the client.
    pub limits: Option<Fields>,
    /// The API key that an authorizer gave.
    pub usage_identifier_key: Option<String>,
    shared: Arc<Shared>,
    begun: Instant,
    /// When the authorizer was asked, since the beginning, and how long it took.
    authorizer: Option<(Duration, Duration)>,
    /// When, and for how long, a limit's count had to be waited for.
    limits_wait: Option<(Duration, Duration)>,
    integration: Option<IntegrationCall>,
}

/// The call to the integration: when it began, when it ended.
struct IntegrationCall {
    begun: Instant,
    ended: Option<Instant>,
}

impl Exchange {
    /// Begins with the head of a request.
    pub(crate) fn begin<B>(shared: Arc<Shared>, request: &Request<B>, client: Rc<Client>) -> Self {
        shared.stats.arrive();
        let headers = request.headers();
        let trace = TraceContext::read(headers);
        let mut buffer = uuid::Uuid::encode_buffer();
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
        let id: &str = id.hyphenated().encode_lower(&mut buffer);
        let record = AccessRecord {
            time_us: now_us(),
            request_id: id.to_owned(),
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            protocol: Some(protocol(request.version()).to_owned()),
            domain: text(headers, &header::HOST).or_else(|| request.uri().host().map(str::to_owned)),
            outcome: Outcome::ClientClosed,
            user_agent: text(headers, &header::USER_AGENT),
            trace_id: Some(trace.trace_id),
            span_id: Some(trace.span_id),
            ..AccessRecord::default()
        };
        let facts = Facts {
            place: Place::Nowhere,
            address: client.address(headers),
            client,
            query: request.uri().query().map(str::to_owned),
            below: 0,
            base_path: None,
            caller: None,
            authenticate: None,
            authorizer: None,
            authorize: None,
            integration: IntegrationFacts::default(),
            error: None,
        };
        let request_id = HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            record,
            facts,
            trace,
            request_id,
            headers: HeaderMap::new(),
            origin: None,
            is_preflight: false,
            limits: None,
            usage_identifier_key: None,
            shared,
            begun: Instant::now(),
            authorizer: None,
            limits_wait: None,
            integration: None,
        }
    }

    /// Where the request belongs.
    pub(crate) fn found(&mut self, found: Found) {
        let Found { place, below, base_path, is_unmapped: _ } = found;
        if let Some(api) = place.api() {
            self.record.api.clone_from(&api.name);
        }
        if let Some(stage) = place.stage() {
            self.record.stage.clone_from(&stage.name);
        }
        if let Some(route) = place.route() {
            self.record.route.clone_from(&route.key.template);
        }
        (self.facts.place, self.facts.below, self.facts.base_path) = (place, below, base_path);
    }

    /// The kind of the API that the request belongs to.
    pub(crate) fn kind(&self) -> ApiKind {
        self.facts.place.api().map_or(ApiKind::Http, |api| api.kind)
    }

    /// How the client reached the gateway: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.facts.client.tls.is_some() { "https" } else { "http" }
    }

    /// `$context.extendedRequestId` of REST APIs, as `x-amz-apigw-id` has it.
    pub(crate) fn extended_request_id(&self) -> String {
        crate::context::extended_request_id(&self.record.request_id)
    }

    /// Whether the trace is kept whatever becomes of the request.
    pub(crate) fn is_sampled(&self) -> bool {
        let ratio = self.facts.place.route().map_or(self.shared.telemetry.trace_ratio, |route| route.trace_ratio);
        self.trace.is_sampled(ratio)
    }

    /// The authorizer has decided, after this time; a refusal says how.
    pub(crate) fn authorized(&mut self, took: Duration, refusal: Option<&Refusal>) {
        self.authorizer = Some((self.begun.elapsed().saturating_sub(took), took));
        self.record.authorizer_latency_us = Some(micros(took));
        let status = refusal.map_or(200, |refusal| match refusal.outcome {
            Outcome::Unauthorized | Outcome::MissingIdentity | Outcome::ExpiredToken => 401,
            outcome if outcome.is_auth_failure() => 403,
            _ => 500,
        });
        self.record.authorizer_status = Some(status);
        if let Some(authorizer) = &mut self.facts.authorizer {
            authorizer.phase.status = status;
            authorizer.phase.latency_us = micros(took);
            authorizer.phase.error = refusal.and_then(|refusal| refusal.detail.clone());
        }
    }

    /// The limits have decided, after this time.
    pub(crate) fn waited_for_limits(&mut self, took: Duration) {
        if took >= SHORT_WAIT {
            self.limits_wait = Some((self.begun.elapsed().saturating_sub(took), took));
        }
    }

    /// The integration is being called.
    pub(crate) fn integration_begins(&mut self) {
        self.integration = Some(IntegrationCall { begun: Instant::now(), ended: None });
    }

    /// The head of the integration's answer is there.
    pub(crate) fn integration_answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.record.integration_status = Some(status.as_u16());
        // Only access logs and mappings ask for its own ids.
        let is_mapped = self.facts.place.route().is_some_and(|route| route.integration.is_mapped());
        if is_mapped || self.facts.place.api().is_some_and(|api| api.access_log.is_some()) {
            let (request_id, request_id_2) = crate::handle::ids_of_integration(headers);
            (self.facts.integration.request_id, self.facts.integration.request_id_2) = (request_id, request_id_2);
        }
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

    /// The tunnel that the connection had become has ended, and with it the exchange.
    pub(crate) fn tunnel_ended(mut self: Box<Self>, end: TunnelEnd) {
        self.integration_ends();
        (self.record.request_bytes, self.record.response_bytes) = (end.bytes_up, end.bytes_down);
        if end.reason != TunnelReason::Closed {
            self.record.error_message = Some(format!("the tunnel ended: {}", end.reason.as_str()));
        }
        self.record.outcome = match end.reason {
            TunnelReason::NoUpstream => Outcome::IntegrationReset,
            _ => Outcome::Ok,
        };
    }

    fn offer(&mut self) {
        self.integration_ends();
        self.record.latency_us = micros(self.begun.elapsed());
        let telemetry = &self.shared.telemetry;
        let failed = self.record.status.is_some_and(|status| status >= 500);
        let slow_us = self.facts.place.route().map_or(telemetry.slow_us, |route| route.slow_us);
        let is_kept = telemetry.is_enabled && (failed || self.record.latency_us >= slow_us || self.is_sampled());
        self.record.trace_kept = Some(is_kept);
        if let Some(other) = self.trace.other_trace() {
            self.record.attributes.insert(keys::XRAY_TRACE_ID.to_owned(), xray::root(other));
        }
        let tells_principal = match self.facts.place.api() {
            Some(api) => self.facts.keep_back(&api.privacy, &mut self.record),
            None => self.facts.keep_back(&self.shared.serving.borrow().privacy, &mut self.record),
        };
        if !tells_principal {
            self.facts.forget_principal(self.record.principal.as_ref());
        }
        let spans = if is_kept { self.spans() } else { Vec::new() };
        self.shared.stats.end(self.record.outcome);
        telemetry.offer(&self.record, &spans);
        if let Some(log) = self.facts.place.api().and_then(|api| api.access_log.as_ref()) {
            telemetry.log(log, &self.record, &self.facts);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.offer();
    }
}

/// The system's time, microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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

/// Microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
