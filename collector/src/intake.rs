//! The intake: what every receiver does with a message, whatever protocol it came by.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Message, Refusal, Rejected, Signal,
    receive::WorkLease,
    refusal::Bound,
    writer::{Answer, Submission, WriterHandle},
};

/// Takes messages; cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    writer: WriterHandle,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records in it, rejected ones included.
    pub records: usize,
    /// Records in it that were rejected, and why: OTLP's partial success.
    pub rejected: Rejected,
}

impl Intake {
    pub(crate) fn new(writer: WriterHandle) -> Self {
        Self { writer }
    }

    /// Takes the protobuf of a message. When it returns `Ok`, the message is on disk.
    ///
    /// # Errors
    /// When the message is malformed, or the collector cannot take it now.
    pub(crate) async fn take(&self, signal: Signal, body: Bytes, work: &mut WorkLease) -> Result<Accepted, Refusal> {
        let received_us = now_us();
        let message = Message::decode(signal, received_us, &body)?;
        work.settle(body.len() + message.heap_bytes());
        let records = message.parts.iter().map(|part| part.received).sum::<u64>();
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        let accepted = Accepted { records, rejected: message.rejected() };
        if message.parts.is_empty() {
            return Ok(accepted);
        }
        let (answer, answered) = oneshot::channel();
        if !self.writer.append(Submission { message, body, received_us, answer }).await {
            return Err(Refusal::Closed);
        }
        match answered.await {
            Ok(Answer::Taken) => Ok(accepted),
            Ok(Answer::Full) => Err(Refusal::Full(Bound::WalBudget)),
            Ok(Answer::NoSpace) => Err(Refusal::Full(Bound::Disk)),
            Err(_) => Err(Refusal::Closed),
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
