//! The spans of an exchange whose trace is kept: the server's, and below it the authorizer's, the wait for a limit and
//! the call to the integration, by OpenTelemetry's conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use std::{borrow::Cow, time::Duration};

use weir_record::{Outcome, SpanId, SpanKind, SpanStatus, SpanView, keys};

use super::{Exchange, micros};
use crate::{integration::Integration, trace::new_span_id};

impl Exchange {
    /// All spans.
    pub(super) fn spans(&self) -> Vec<SpanView<'_>> {
        let mut spans = Vec::with_capacity(4);
        spans.push(self.server_span());
        let parent = Some(self.trace.span_id);
        for (name, part) in [("authorize", self.authorizer), ("wait for limits", self.limits_wait)] {
            if let Some((at, took)) = part {
                spans.push(self.span(name.into(), new_span_id(), parent, SpanKind::Internal, (at, micros(took))));
            }
        }
        spans.extend(self.client_span());
        spans
    }

    fn server_span(&self) -> SpanView<'_> {
        let record = &self.record;
        let failed = record.status.is_none_or(|status| status >= 500);
        let name = if record.route.is_empty() {
            Cow::Borrowed(&*record.method)
        } else {
            Cow::Owned([&*record.method, " ", &*record.route].concat())
        };
        let times = (Duration::ZERO, record.latency_us);
        let mut span = self.span(name, self.trace.span_id, self.trace.parent, SpanKind::Server, times);
        if failed {
            span.status = SpanStatus::Error;
            span.status_message = record.error_message.as_deref();
        }
        span.attributes = self.server_attributes();
        span
    }

    fn server_attributes(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let record = &self.record;
        let outcome = record.outcome.as_str();
        let texts = [
            (keys::REQUEST_ID, Some(&*record.request_id)),
            (keys::HTTP_METHOD, Some(&*record.method)),
            (keys::HTTP_ROUTE, Some(&*record.route)),
            (keys::URL_SCHEME, Some(self.scheme())),
            (keys::URL_PATH, Some(&*record.path)),
            (keys::SERVER_ADDRESS, record.domain.as_deref()),
            (keys::PROTOCOL_VERSION, record.protocol.as_deref()),
            (keys::OUTCOME, Some(outcome)),
            (keys::CLIENT_ADDRESS, record.client_address.as_deref()),
            (keys::USER_AGENT, record.user_agent.as_deref()),
            (keys::ERROR_TYPE, (record.outcome != Outcome::Ok).then_some(outcome)),
        ];
        let mut attributes = Vec::with_capacity(texts.len() + 1);
        let said = texts.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
        attributes.extend(said.map(|(key, value)| (key, Cow::Borrowed(value))));
        attributes.extend(record.status.map(|status| (keys::HTTP_STATUS, status.to_string().into())));
        attributes
    }

    fn client_span(&self) -> Option<SpanView<'_>> {
        let call = self.integration.as_ref()?;
        let record = &self.record;
        let at = call.begun.saturating_duration_since(self.begun);
        let times = (at, record.integration_latency_us.unwrap_or(0));
        let parent = Some(self.trace.span_id);
        let name = Cow::Borrowed(&*record.method);
        let mut span = self.span(name, self.trace.client_span_id, parent, SpanKind::Client, times);
        let status = record.integration_status;
        // For a client span, 4xx is an error too.
        let failed = status.is_none_or(|status| status >= 400);
        span.status = if failed { SpanStatus::Error } else { SpanStatus::Unset };
        let mut put = |key, value| span.attributes.push((key, value));
        put(keys::HTTP_METHOD, Cow::Borrowed(&*record.method));
        if let Some(Integration::HttpProxy(proxy)) = self.facts.place.route().map(|route| &route.integration) {
            let scheme = if proxy.uri.is_https { "https" } else { "http" };
            let authority = &proxy.uri.authority;
            // The server and the pattern of the path: values may be personal, and stand in the record's own path.
            put(keys::URL_FULL, format!("{scheme}://{authority}{}", proxy.uri.template()).into());
            put(keys::SERVER_ADDRESS, authority.host().into());
            let port = authority.port_u16().unwrap_or(if proxy.uri.is_https { 443 } else { 80 });
            put(keys::SERVER_PORT, port.to_string().into());
        }
        match status {
            Some(status) => {
                put(keys::HTTP_STATUS, status.to_string().into());
                if failed {
                    put(keys::ERROR_TYPE, status.to_string().into());
                }
            }
            None => put(keys::ERROR_TYPE, record.outcome.as_str().into()),
        }
        Some(span)
    }

    /// A span that began so much later than the exchange, and took so many microseconds.
    fn span<'a>(
        &'a self,
        name: Cow<'a, str>,
        id: SpanId,
        parent: Option<SpanId>,
        kind: SpanKind,
        (at, duration_us): (Duration, u64),
    ) -> SpanView<'a> {
        fn named(name: &str) -> Option<&str> {
            (!name.is_empty()).then_some(name)
        }
        SpanView {
            time_us: self.record.time_us.saturating_add_unsigned(micros(at)),
            duration_us,
            trace_id: self.trace.trace_id,
            span_id: id,
            parent_span_id: parent,
            trace_state: self.trace.state.as_deref(),
            name,
            kind,
            status: SpanStatus::Unset,
            status_message: None,
            api: named(&self.record.api),
            stage: named(&self.record.stage),
            attributes: Vec::new(),
        }
    }
}
