//! The writer of the write-ahead log: the one place where messages become durable, in one order (I1).
//!
//! A thread of its own takes whatever has arrived meanwhile, appends it, has it on disk with one fsync for all, makes
//! it pending, and only then lets the senders be answered. A resent message is answered after that fsync too: what it
//! repeats may be part of the same group.

use std::{sync::Arc, thread};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Counters, Message, Pending,
    pending::Taken,
    sources::Sources,
    wal::{Position, Wal, WalError},
};

/// Messages that may wait for the writer. Beyond it a receiver waits, and with it its sender.
const QUEUE_MESSAGES: usize = 1_024;

/// Messages that one fsync makes durable at most.
const GROUP_MESSAGES: usize = 256;

/// A message on its way into the log.
#[derive(Debug)]
pub struct Submission {
    /// The message, decoded.
    pub message: Message,
    /// The bytes as they came.
    pub body: Bytes,
    /// When it came, microseconds since the Unix epoch.
    pub received_us: i64,
    /// Is told what became of it.
    pub answer: oneshot::Sender<Answer>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is on disk and pending, or was before.
    Taken,
    /// The log has reached its budget; it was not taken.
    Full,
}

enum Order {
    Append(Submission),
    Truncate(Position),
}

/// Hands messages to the writer.
#[derive(Clone, Debug)]
pub struct WriterHandle(mpsc::Sender<Order>);

impl WriterHandle {
    /// Hands a message over; waits while the writer has too many. `false` when the writer has ended.
    pub async fn append(&self, submission: Submission) -> bool {
        self.0.send(Order::Append(submission)).await.is_ok()
    }

    /// Lets the writer delete what every table has committed.
    pub async fn truncate(&self, through: Position) {
        // When the writer has ended there is nothing to delete from; the next start does it.
        let _ = self.0.send(Order::Truncate(through)).await;
    }
}

/// Starts the writer. It ends when all handles are gone, or on the first error of the log: its result says which.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    wal: Wal,
    sources: Sources,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
) -> std::io::Result<(WriterHandle, oneshot::Receiver<Result<(), WalError>>)> {
    let (sender, orders) = mpsc::channel(QUEUE_MESSAGES);
    let (ended, end) = oneshot::channel();
    let writer = Writer { wal, sources, pending, counters };
    thread::Builder::new().name("weir-wal".to_owned()).spawn(move || {
        let result = writer.run(orders);
        // Nobody waits for the end any more when the process is going down anyway.
        let _ = ended.send(result);
    })?;
    Ok((WriterHandle(sender), end))
}

struct Writer {
    wal: Wal,
    sources: Sources,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
}

/// A message of the group that is being made durable.
struct Member {
    /// Its frame; none when all of it is a repetition.
    position: Option<Position>,
    message: Message,
    taken: Vec<Taken>,
    answer: oneshot::Sender<Answer>,
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), WalError> {
        while let Some(first) = orders.blocking_recv() {
            let mut group = Vec::new();
            self.carry_out(first, &mut group)?;
            while group.len() < GROUP_MESSAGES
                && let Ok(order) = orders.try_recv()
            {
                self.carry_out(order, &mut group)?;
            }
            self.settle(group)?;
            if self.wal.rotate_due() {
                self.wal.rotate(&self.sources.to_note())?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order, group: &mut Vec<Member>) -> Result<(), WalError> {
        match order {
            Order::Append(submission) => self.append(submission, group),
            Order::Truncate(through) => self.wal.truncate(through),
        }
    }

    fn append(&mut self, submission: Submission, group: &mut Vec<Member>) -> Result<(), WalError> {
        let Submission { message, body, received_us, answer } = submission;
        let is_new = |part: &crate::Part| !self.sources.is_taken(message.signal, &part.source);
        let position = if message.parts.iter().any(is_new) {
            match self.wal.append(message.signal.frame_kind(), received_us, &body) {
                Ok(position) => Some(position),
                Err(error) if error.is_retryable() => {
                    self.counters.refused.add(1);
                    // The receiver may have gone away with its sender.
                    let _ = answer.send(Answer::Full);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let taken = take(&mut self.sources, &message);
        group.push(Member { position, message, taken, answer });
        Ok(())
    }

    /// One fsync for the whole group; then its rows are pending, and its senders are answered.
    fn settle(&mut self, group: Vec<Member>) -> Result<(), WalError> {
        if group.iter().any(|member| member.position.is_some()) {
            self.wal.sync()?;
            self.counters.syncs.add(1);
        }
        let mut answers = Vec::with_capacity(group.len());
        for member in group {
            self.count(&member);
            match member.position {
                Some(position) => self.pending.add(position, member.message, &member.taken),
                None => self.pending.count_duplicate(&member.message),
            }
            answers.push(member.answer);
        }
        for answer in answers {
            // The receiver may have gone away with its sender; the sender will resend, and be told that it is taken.
            let _ = answer.send(Answer::Taken);
        }
        Ok(())
    }

    fn count(&self, member: &Member) {
        for (part, taken) in member.message.parts.iter().zip(&member.taken) {
            match taken {
                Taken::New(_) => {
                    self.counters.stored.add(part.received - part.rejected);
                    self.counters.rejected.add(part.rejected);
                }
                Taken::Duplicate => self.counters.duplicate.add(part.received),
            }
        }
    }
}

/// Decides for each part of a message whether it is new, and takes it if so. Replay decides by the same function.
pub(crate) fn take(sources: &mut Sources, message: &Message) -> Vec<Taken> {
    let decide = |part: &crate::Part| {
        if sources.is_taken(message.signal, &part.source) {
            Taken::Duplicate
        } else {
            Taken::New(sources.take(message.signal, &part.source))
        }
    };
    message.parts.iter().map(decide).collect()
}
