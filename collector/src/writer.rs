//! The writer of the write-ahead log: the one place where messages become durable, in one order (I1).
//!
//! A thread of its own takes whatever has arrived meanwhile, appends it, has it on disk with one fsync for all, makes
//! it pending, and only then lets the senders be answered. A resent message is answered after that fsync too: what it
//! repeats may be part of the same group.

use std::{sync::Arc, thread, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use weir_record::Source;
use weir_station::crash_point;

use crate::{
    Counters, Message, Pending, Signal,
    pending::Taken,
    sources::Sources,
    wal::{Disk, Position, Replay, System, Wal, WalError},
};

/// Messages that may wait for the writer. Beyond it a receiver waits, and with it its sender.
const QUEUE_MESSAGES: usize = 1_024;

/// Messages that one fsync makes durable at most.
const GROUP_MESSAGES: usize = 256;

/// How long a store that takes its time is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

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
    /// The disk is full; it was not taken.
    NoSpace,
}

pub(crate) enum Order<D: Disk = System> {
    Append(Submission),
    Truncate(Position),
    Replay { after: Position, answer: oneshot::Sender<Result<Reading<D>, WalError>> },
    SkipPast { committed: Position, done: oneshot::Sender<()> },
}

/// A reading of the log: the note before the first frame, and the frames.
pub type Reading<D = System> = (Option<Bytes>, Replay<D>);

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

    /// The frames after a position, as far as they are written now; what is written later joins them in memory.
    /// `None` when the writer has ended.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn replay(&self, after: Position) -> Result<Option<Reading>, WalError> {
        let (answer, reading) = oneshot::channel();
        let _ = self.0.send(Order::Replay { after, answer }).await;
        reading.await.ok().transpose()
    }

    /// Has all later frames stand after a position that tables name as committed. `false` when the writer has ended.
    pub async fn skip_past(&self, committed: Position) -> bool {
        let (done, skipped) = oneshot::channel();
        let _ = self.0.send(Order::SkipPast { committed, done }).await;
        skipped.await.is_ok()
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
    let writer = Writer::new(wal, sources, pending, counters, PATIENCE);
    thread::Builder::new().name("weir-wal".to_owned()).spawn(move || {
        let result = writer.run(orders);
        // Nobody waits for the end any more when the process is going down anyway.
        let _ = ended.send(result);
    })?;
    Ok((WriterHandle(sender), end))
}

/// What the thread does, order by order.
pub(crate) struct Writer<D: Disk = System> {
    wal: Wal<D>,
    sources: Sources,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
    /// How long senders wait when memory is full, before their messages stand in the log alone.
    patience: Duration,
}

/// A message of the group that is being made durable.
pub(crate) struct Member {
    /// Its frame; none when all of it is a repetition.
    position: Option<Position>,
    message: Message,
    answer: oneshot::Sender<Answer>,
}

impl<D: Disk> Writer<D> {
    pub(crate) fn new(
        wal: Wal<D>,
        sources: Sources,
        pending: Arc<Pending>,
        counters: Arc<Counters>,
        patience: Duration,
    ) -> Self {
        Self { wal, sources, pending, counters, patience }
    }

    fn run(mut self, mut orders: mpsc::Receiver<Order<D>>) -> Result<(), WalError> {
        while let Some(first) = orders.blocking_recv() {
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(order) = next.take() {
                match order {
                    Order::Append(submission) => self.append(submission, &mut group)?,
                    // Everything before it is settled first: the others see the log as all have been told it is.
                    other => {
                        self.settle(std::mem::take(&mut group))?;
                        self.carry_out(other)?;
                    }
                }
                if group.len() < GROUP_MESSAGES {
                    next = orders.try_recv().ok();
                }
            }
            self.settle(group)?;
            self.rotate_when_due()?;
            self.counters.wal_bytes.set(self.wal.bytes());
        }
        Ok(())
    }

    pub(crate) fn carry_out(&mut self, order: Order<D>) -> Result<(), WalError> {
        match order {
            Order::Append(_) => {}
            Order::Truncate(through) => {
                // The frames are committed: that they could not be deleted costs room, and the next call tries again.
                if let Err(error) = self.wal.truncate(through) {
                    tracing::warn!(%error, "committed frames stay in the log for now");
                }
            }
            Order::Replay { after, answer } => {
                let reading = self.wal.replay(after);
                if let Ok((_, frames)) = &reading {
                    self.pending.join_after(frames.through());
                }
                // Whoever asked may be shutting down.
                let _ = answer.send(reading);
            }
            Order::SkipPast { committed, done } => {
                self.wal.skip_past(committed, &self.sources.to_note())?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, submission: Submission, group: &mut Vec<Member>) -> Result<(), WalError> {
        let Submission { message, body, received_us, answer } = submission;
        let is_new = |part: &crate::Part| !self.sources.is_taken(message.signal, &part.source);
        let mut position = None;
        if message.parts.iter().any(is_new) {
            match self.wal.append(message.signal.frame_kind(), received_us, &body) {
                Ok(appended) => position = Some(appended),
                Err(WalError::Full { .. }) => {
                    refuse(answer, Answer::Full);
                    return Ok(());
                }
                Err(error) => {
                    self.refuse_group(std::mem::take(group), error)?;
                    refuse(answer, Answer::NoSpace);
                    return Ok(());
                }
            }
        }
        crash_point!("writer::appended");
        group.push(Member { position, message, answer });
        Ok(())
    }

    /// One fsync for the whole group; then its rows are pending, and its senders are answered.
    pub(crate) fn settle(&mut self, group: Vec<Member>) -> Result<(), WalError> {
        if group.iter().any(|member| member.position.is_some()) {
            if let Err(error) = self.wal.sync() {
                return self.refuse_group(group, error);
            }
            self.counters.syncs.add(1);
        }
        crash_point!("writer::synced");
        let mut answers = Vec::with_capacity(group.len());
        for Member { position, message, answer } in group {
            let taken = take(&mut self.sources, &message);
            self.count(&message, &taken);
            match position {
                Some(position) => {
                    self.pending.wait_for_room(self.patience);
                    self.pending.add(position, message, &taken);
                }
                None => self.pending.count_duplicate(&message),
            }
            answers.push(answer);
        }
        for answer in answers {
            // The receiver may have gone away with its sender; the sender will resend, and be told that it is taken.
            let _ = answer.send(Answer::Taken);
        }
        Ok(())
    }

    /// When the disk was full, the log has dropped the frames that it could not write, and goes on: their senders are
    /// told to come again. Any other error ends it, and with it the process.
    fn refuse_group(&self, group: Vec<Member>, error: WalError) -> Result<(), WalError> {
        if !error.is_retryable() {
            return Err(error);
        }
        tracing::warn!(%error, messages = group.len(), "messages are refused");
        for member in group {
            refuse(member.answer, Answer::NoSpace);
        }
        Ok(())
    }

    pub(crate) fn rotate_when_due(&mut self) -> Result<(), WalError> {
        if !self.wal.rotate_due() {
            return Ok(());
        }
        match self.wal.rotate(&self.sources.to_note()) {
            // The segment grows beyond its size until there is room for another.
            Err(error) if error.is_retryable() => tracing::warn!(%error, "the log goes on in the full segment"),
            rotated => return rotated,
        }
        Ok(())
    }

    fn count(&self, message: &Message, taken: &[Taken]) {
        for (part, taken) in message.parts.iter().zip(taken) {
            match taken {
                Taken::New(_) => {
                    self.counters.stored.add(part.received - part.rejected.total());
                    for (rejection, records) in part.rejected.iter() {
                        self.counters.rejected[rejection as usize].add(records);
                    }
                }
                Taken::Duplicate => self.counters.duplicate.add(part.received),
            }
        }
    }
}

fn refuse(answer: oneshot::Sender<Answer>, why: Answer) {
    // The receiver may have gone away with its sender.
    let _ = answer.send(why);
}

/// Decides for each part of a message whether it is new, and takes it if so. Replay decides by the same function.
pub(crate) fn take(sources: &mut Sources, message: &Message) -> Vec<Taken> {
    message.parts.iter().map(|part| take_one(sources, message.signal, &part.source)).collect()
}

/// Decides for the batch of one source.
pub(crate) fn take_one(sources: &mut Sources, signal: Signal, source: &Source) -> Taken {
    if sources.is_taken(signal, source) { Taken::Duplicate } else { Taken::New(sources.take(signal, source)) }
}
