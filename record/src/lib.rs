//! What one request leaves behind.
//!
//! This crate is the contract between the gateway, which writes records, and everything that reads them: the
//! [`AccessRecord`] and its [`Span`]s, their form on the wire (OTLP logs and traces, [`otlp`]) and on a terminal (the
//! [access-log line](line)). It knows neither tokio nor Arrow, so that the lean gateway can depend on it.
//!
//! What always holds: whatever one side encodes, the other decodes to the same value; any valid OTLP decodes, and
//! what is not ours lands in `attributes`, so nothing a sender said is lost.

mod access;
mod ids;
pub mod keys;
pub mod line;
pub mod otlp;
mod outcome;
mod source;
mod span;

pub use access::AccessRecord;
pub use ids::{ParseIdError, SpanId, TraceId};
pub use outcome::{CacheStatus, Outcome, ThrottleScope, UnknownName};
pub use source::{Batch, BatchStamp, Source, Told};
pub use span::{Span, SpanKind, SpanStatus, SpanView};
