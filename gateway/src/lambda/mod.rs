//! AWS Lambda functions behind the gateway: what they are called ([`name`]), the events that they get ([`event`]), the
//! calls to them ([`invoke`]), and what their answers mean ([`response`]).
//!
//! A function is reached over Lambda's Invoke API, which local runtimes speak too: the runtime interface emulator, AWS
//! SAM, LocalStack.

pub(crate) mod event;
pub(crate) mod invoke;
pub(crate) mod name;
pub(crate) mod response;
pub(crate) mod text;

pub(crate) use event::{Invocation, Shape};
pub(crate) use invoke::{Function, InvokeError};

/// The largest event, and the largest answer, of a call that waits for its answer, bytes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const MOST_PAYLOAD_BYTES: usize = 6 << 20;
