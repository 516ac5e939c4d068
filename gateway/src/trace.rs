//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>) and AWS X-Ray's header ([`xray`]) in and out.
//!
//! Where both come, W3C's is followed, and X-Ray's root goes on beside it. Both are written, with the call to the
//! integration as the parent: whichever of them a server behind the gateway follows, its spans hang on one that exists.

pub(crate) mod xray;

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_record::{SpanId, TraceId};
use xray::XRay;

/// `traceparent`.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to.
#[derive(Clone, Debug)]
pub(crate) struct TraceContext {
    /// The trace: the caller's, or a new one.
    pub trace_id: TraceId,
    /// The caller's span.
    pub parent: Option<SpanId>,
    /// The gateway's server span.
    pub span_id: SpanId,
    /// The span of the call to the integration.
    pub client_span_id: SpanId,
    /// Whether the caller records this trace; `None` when there is no caller.
    pub parent_sampled: Option<bool>,
    /// `tracestate`, as received.
    pub state: Option<String>,
    /// X-Ray's header, as received.
    xray: Option<Box<XRay>>,
}

impl TraceContext {
    /// Takes up the caller's trace, or begins one. A malformed `traceparent` begins one, as the specification asks.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let span_id = new_span_id();
        let client_span_id = new_span_id();
        let parent = single(headers, &TRACEPARENT).and_then(parse);
        let xray = XRay::read(headers).map(Box::new);
        let Some((trace_id, parent, sampled)) = parent else {
            return Self {
                trace_id: xray.as_ref().map_or_else(new_trace_id, |xray| xray.root),
                parent: xray.as_ref().and_then(|xray| xray.parent),
                span_id,
                client_span_id,
                parent_sampled: xray.as_ref().and_then(|xray| xray.sampled),
                state: None,
                xray,
            };
        };
        let states: Vec<_> = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let state = (!states.is_empty()).then(|| states.join(","));
        Self { trace_id, parent: Some(parent), span_id, client_span_id, parent_sampled: Some(sampled), state, xray }
    }

    /// The trace that X-Ray's header named, when it is another than ours.
    pub(crate) fn other_trace(&self) -> Option<TraceId> {
        self.xray.as_ref().map(|xray| xray.root).filter(|root| *root != self.trace_id)
    }

    /// Whether the trace is kept whatever becomes of the request: the caller's decision, or else by chance.
    pub(crate) fn is_sampled(&self, ratio: f64) -> bool {
        self.parent_sampled.unwrap_or_else(|| {
            // By the trace's own random bits, so that everyone who asks decides alike (OpenTelemetry's TraceIdRatioBased).
            let [.., a, b, c, d, e, f, g] = *self.trace_id.as_bytes();
            let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
            #[expect(clippy::cast_precision_loss, reason = "56 bits against a ratio: the last bits do not matter")]
            let share = random as f64 / (1_u64 << 56) as f64;
            share < ratio
        })
    }

    /// Writes the context for the integration, whose caller is the client span.
    pub(crate) fn write(&self, headers: &mut HeaderMap, sampled: bool) {
        let mut value = *b"00-................................-................-00";
        value[3..35].copy_from_slice(&self.trace_id.digits());
        value[36..52].copy_from_slice(&self.client_span_id.digits());
        value[54] += u8::from(sampled);
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(TRACEPARENT, value);
        }
        if self.state.is_none() {
            headers.remove(TRACESTATE);
        }
        xray::write(headers, self.trace_id, self.xray.as_deref(), self.client_span_id, sampled);
    }
}

/// The value of a header that must not stand twice.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// `00-{trace}-{parent}-{flags}`; a later version may have more after it.
fn parse(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.len() == 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex(version) || version == "ff" || !is_hex(flags) || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace.parse().ok()?, parent.parse().ok()?, flags & 1 == 1))
}

fn new_trace_id() -> TraceId {
    // X-Ray takes only ids that begin with the time, seconds since 1970.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    loop {
        let id = u128::from(seconds) << 96 | fastrand::u128(..) >> 32;
        if let Some(id) = TraceId::from_slice(&id.to_be_bytes()) {
            return id;
        }
    }
}

/// A new span id.
pub(crate) fn new_span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::from_slice(&fastrand::u64(..).to_be_bytes()) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_callers_trace_goes_on_with_the_client_span_as_its_parent() {
        let context = TraceContext::read(&headers(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1")]));
        assert_eq!(context.parent_sampled, Some(true));
        assert!(context.is_sampled(0.0));
        assert_eq!(context.state.as_deref(), Some("a=1"));
        let mut out = HeaderMap::new();
        context.write(&mut out, true);
        let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", context.client_span_id);
        assert_eq!(out[TRACEPARENT], expected);
    }

    #[test]
    fn a_malformed_parent_begins_a_new_trace_and_its_state_is_not_passed_on() {
        for text in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-", "ff-"),
            &format!("{PARENT}-x"),
            &PARENT.replace('4', "0").replace(|c: char| c.is_ascii_hexdigit(), "0"),
        ] {
            let mut map = headers(&[(TRACEPARENT, text), (TRACESTATE, "a=1")]);
            let context = TraceContext::read(&map);
            assert_eq!((context.parent, context.parent_sampled), (None, None), "{text:?} was taken");
            context.write(&mut map, false);
            assert!(!map.contains_key(TRACESTATE));
        }
        assert!(TraceContext::read(&headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)])).parent.is_none());
        assert!(TraceContext::read(&headers(&[(TRACEPARENT, &format!("01{}-more", &PARENT[2..]))])).parent.is_some());
    }

    #[test]
    fn the_trace_of_x_ray_goes_on_where_there_is_no_other() {
        let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let context = TraceContext::read(&headers(&[(xray::TRACE_HEADER, xray)]));
        assert_eq!(context.trace_id.to_string(), "5759e988bd862e3fe1be46a994272793");
        assert_eq!(
            (context.parent.unwrap().to_string().as_str(), context.parent_sampled),
            ("53995c3f42cd8ad8", Some(true))
        );
        assert_eq!(context.other_trace(), None);
        let both = TraceContext::read(&headers(&[(xray::TRACE_HEADER, xray), (TRACEPARENT, PARENT)]));
        assert_eq!(both.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(both.other_trace(), Some(context.trace_id));
        let mut out = HeaderMap::new();
        both.write(&mut out, false);
        let span = both.client_span_id;
        assert_eq!(out[TRACEPARENT], format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-00"));
        assert_eq!(
            out[xray::TRACE_HEADER],
            format!("Root=1-5759e988-bd862e3fe1be46a994272793;Parent={span};Sampled=0")
        );
    }

    #[test]
    fn new_traces_are_sampled_at_the_ratio() {
        let sampled = (0..10_000).filter(|_| TraceContext::read(&HeaderMap::new()).is_sampled(0.25)).count();
        assert!((2_200..2_800).contains(&sampled), "{sampled} of 10,000");
    }
}
