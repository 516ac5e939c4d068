//! A span of a kept trace: OpenTelemetry's data model, <https://opentelemetry.io/docs/specs/otel/trace/api/#span>.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{SpanId, TraceId};

/// One span. The columns of the table `spans`, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Start, microseconds since the Unix epoch, UTC. (OTLP's nanoseconds are cut.)
    pub time_us: i64,
    /// End minus start; 0 when a sender's clock ran backwards.
    pub duration_us: u64,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it; none for a root.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`, as received.
    pub trace_state: Option<String>,
    /// Name: `{method} {route}` for a server span.
    pub name: String,
    /// Role in the trace.
    pub kind: SpanKind,
    /// Whether it failed.
    pub status: SpanStatus,
    /// What went wrong, in words.
    pub status_message: Option<String>,
    /// `service.name` of the process that made it.
    pub service: String,
    /// Name of the API, where the span is a gateway's.
    pub api: Option<String>,
    /// Stage of the API, where the span is a gateway's.
    pub stage: Option<String>,
    /// Whatever else the sender said.
    pub attributes: BTreeMap<String, String>,
    /// Events, as a JSON array of `{time_us, name, attributes}`.
    pub events: Option<String>,
    /// Links to other spans, as a JSON array of `{trace_id, span_id, attributes}`.
    pub links: Option<String>,
}

/// A span on its way out of the process that made it: what stands elsewhere already is borrowed from there. The fields
/// are those of [`Span`].
#[expect(missing_docs, reason = "the fields of Span, which says what they mean")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanView<'a> {
    pub time_us: i64,
    pub duration_us: u64,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    pub trace_state: Option<&'a str>,
    pub name: Cow<'a, str>,
    pub kind: SpanKind,
    pub status: SpanStatus,
    pub status_message: Option<&'a str>,
    pub api: Option<&'a str>,
    pub stage: Option<&'a str>,
    /// Each key once.
    pub attributes: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> From<&'a Span> for SpanView<'a> {
    fn from(span: &'a Span) -> Self {
        let attributes = span.attributes.iter().map(|(key, value)| (key.as_str(), Cow::Borrowed(value.as_str())));
        Self {
            time_us: span.time_us,
            duration_us: span.duration_us,
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            trace_state: span.trace_state.as_deref(),
            name: Cow::Borrowed(&span.name),
            kind: span.kind,
            status: span.status,
            status_message: span.status_message.as_deref(),
            api: span.api.as_deref(),
            stage: span.stage.as_deref(),
            attributes: attributes.collect(),
        }
    }
}

/// Role of a span in its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// The sender did not say.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// The answering side of a request.
    Server,
    /// The asking side of a request.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

impl SpanKind {
    /// The name in the table: OpenTelemetry's, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// Whether a span failed. A server span that answered 4xx did not: OpenTelemetry leaves it unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanStatus {
    /// Not said.
    #[default]
    Unset,
    /// Said to be fine.
    Ok,
    /// Failed.
    Error,
}

impl SpanStatus {
    /// The name in the table: OpenTelemetry's, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}
