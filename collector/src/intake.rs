//! The intake: what every receiver does with a message, whatever protocol it came by.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::oneshot;
use weir_record::otlp::DecodeError;

use crate::{
    Counters, Message, Rejected, Signal,
    writer::{Answer, Submission, WriterHandle},
};

/// Takes messages; cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    writer: WriterHandle,
    counters: Arc<Counters>,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records in it that were rejected, and why: OTLP's partial success.
    pub rejected: Rejected,
}

/// A message that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no OTLP. Sending it again will not help.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A bound is reached; the sender should come again.
    #[error("the collector is full: {0}; try again later")]
    Full(&'static str),
    /// The collector is going down; the sender should come again.
    #[error("the collector is shutting down")]
    Closed,
}

impl Refusal {
    /// Whether sending the same message again can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Malformed(_))
    }
}

impl Intake {
    pub(crate) fn new(writer: WriterHandle, counters: Arc<Counters>) -> Self {
        Self { writer, counters }
    }

    /// Takes the protobuf of a message. When it returns `Ok`, the message is on disk.
    ///
    /// # Errors
    /// When the message is malformed, or the collector cannot take it now.
    pub async fn take(&self, signal: Signal, body: Bytes) -> Result<Accepted, Refusal> {
        self.counters.messages.add(1);
        let received_us = now_us();
        let message = Message::decode(signal, received_us, &body).inspect_err(|_| self.counters.malformed.add(1))?;
        let accepted = Accepted { rejected: message.rejected() };
        if message.parts.is_empty() {
            return Ok(accepted);
        }
        let (answer, answered) = oneshot::channel();
        if !self.writer.append(Submission { message, body, received_us, answer }).await {
            return Err(Refusal::Closed);
        }
        match answered.await {
            Ok(Answer::Taken) => Ok(accepted),
            Ok(Answer::Full) => Err(Refusal::Full("the write-ahead log has reached its budget")),
            Ok(Answer::NoSpace) => Err(Refusal::Full("the disk of the write-ahead log is full")),
            Err(_) => Err(Refusal::Closed),
        }
    }

    pub(crate) fn count_malformed(&self) {
        self.counters.messages.add(1);
        self.counters.malformed.add(1);
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
