//! The spans of an exchange whose trace is kept: the server's, and below it the authorizer's, the wait for a limit and
//! the call to the integration, by OpenTelemetry's conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use std::{collections::BTreeMap, time::Duration};

use weir_record::{Outcome, Span, SpanId, SpanKind, SpanStatus, keys};

use super::{Exchange, micros};
use crate::{integration::Integration, trace::new_span_id};

impl Exchange {
    /// All spans.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans = vec![self.server_span()];
        let parent = Some(self.trace.span_id);
        for (name, part) in [("authorize", self.authorizer), ("wait for limits", self.limits_wait)] {
            if let Some((at, took)) = part {
                let mut span = self.span(new_span_id(), parent, SpanKind::Internal, at, micros(took));
                name.clone_into(&mut span.name);
                spans.push(span);
            }
        }
        spans.extend(self.client_span());
        spans
    }

    fn server_span(&self) -> Span {
        let record = &self.record;
        let failed = record.status.is_none_or(|status| status >= 500);
        let mut span =
            self.span(self.trace.span_id, self.trace.parent, SpanKind::Server, Duration::ZERO, record.latency_us);
        span.name =
            if record.route.is_empty() { record.method.clone() } else { format!("{} {}", record.method, record.route) };
        span.status = if failed { SpanStatus::Error } else { SpanStatus::Unset };
        span.status_message = if failed { record.error_message.clone() } else { None };
        span.attributes = self.server_attributes();
        span
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
        put(keys::URL_SCHEME, Some(self.scheme().to_owned()));
        put(keys::URL_PATH, Some(record.path.clone()));
        put(keys::SERVER_ADDRESS, record.domain.clone());
        put(keys::PROTOCOL_VERSION, record.protocol.clone());
        put(keys::HTTP_STATUS, record.status.map(|status| status.to_string()));
        put(keys::OUTCOME, Some(record.outcome.to_string()));
        put(keys::CLIENT_ADDRESS, record.client_address.clone());
        put(keys::USER_AGENT, record.user_agent.clone());
        put(keys::ERROR_TYPE, (record.outcome != Outcome::Ok).then(|| record.outcome.to_string()));
        attributes
    }

    fn client_span(&self) -> Option<Span> {
        let call = self.integration.as_ref()?;
        let record = &self.record;
        let at = call.begun.saturating_duration_since(self.begun);
        let took = record.integration_latency_us.unwrap_or(0);
        let mut span = self.span(self.trace.client_span_id, Some(self.trace.span_id), SpanKind::Client, at, took);
        span.name.clone_from(&record.method);
        let status = record.integration_status;
        // For a client span, 4xx is an error too.
        let failed = status.is_none_or(|status| status >= 400);
        span.status = if failed { SpanStatus::Error } else { SpanStatus::Unset };
        let mut put = |key: &str, value: String| span.attributes.insert(key.to_owned(), value);
        put(keys::HTTP_METHOD, record.method.clone());
        if let Some(Integration::HttpProxy(proxy)) = self.facts.place.route().map(|route| &route.integration) {
            let scheme = if proxy.uri.is_https { "https" } else { "http" };
            let authority = &proxy.uri.authority;
            // The server and the pattern of the path: values may be personal, and stand in the record's own path.
            put(keys::URL_FULL, format!("{scheme}://{authority}{}", proxy.uri.template()));
            put(keys::SERVER_ADDRESS, authority.host().to_owned());
            let port = authority.port_u16().unwrap_or(if proxy.uri.is_https { 443 } else { 80 });
            put(keys::SERVER_PORT, port.to_string());
        }
        match status {
            Some(status) => {
                put(keys::HTTP_STATUS, status.to_string());
                if failed {
                    put(keys::ERROR_TYPE, status.to_string());
                }
            }
            None => drop(put(keys::ERROR_TYPE, record.outcome.to_string())),
        }
        Some(span)
    }

    fn span(&self, id: SpanId, parent: Option<SpanId>, kind: SpanKind, at: Duration, duration_us: u64) -> Span {
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
}
