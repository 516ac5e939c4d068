//! The replay: from what the log holds back to what was pending, and to the memory of which batches were taken.

use bytes::Bytes;
use weir_lake::{Lake, ReadError, Table};

use crate::{
    Message, Pending, Signal,
    pending::Committed,
    sources::Sources,
    wal::{Frame, Position, WalError},
    writer::take,
};

/// A log that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A table cannot say what it has committed.
    #[error(transparent)]
    Table(#[from] ReadError),
    /// Too much is uncommitted to be held in memory for reading alone.
    #[error(
        "the log holds more uncommitted rows than fit into {limit_bytes} bytes of memory; start the collector, which commits them"
    )]
    TooMuch {
        /// The limit, bytes.
        limit_bytes: usize,
    },
}

/// What each table has committed of the log with this writer id.
///
/// # Errors
/// When a table cannot be read.
pub async fn committed(lake: &Lake, writer_id: &str) -> Result<Committed, ReadError> {
    let mut committed = Committed::default();
    for table in Table::ALL {
        let position = lake.table(table).position(writer_id).await?.unwrap_or(0);
        committed[table as usize] = Position::new(u64::try_from(position).unwrap_or(0));
    }
    Ok(committed)
}

/// Rebuilds the state, frame by frame, from the head of a segment on.
#[derive(Debug)]
pub struct Replayer<'a> {
    sources: Sources,
    pending: &'a Pending,
    after: Position,
    frames: u64,
}

impl<'a> Replayer<'a> {
    /// Begins with the note at the segment's head. Frames up to `after` only tell what was taken; later ones are
    /// pending too.
    #[must_use]
    pub fn new(note: Option<&Bytes>, after: Position, pending: &'a Pending) -> Self {
        let sources = note.map_or_else(|| Some(Sources::default()), |note| Sources::from_note(note));
        let sources = sources.unwrap_or_else(|| {
            tracing::error!(
                "the note at the log's head is unreadable: batches resent from before may be counted twice"
            );
            Sources::default()
        });
        Self { sources, pending, after, frames: 0 }
    }

    /// Takes the next frame.
    pub fn replay(&mut self, frame: &Frame) {
        let position = frame.position.get();
        let Some(signal) = Signal::from_frame_kind(frame.kind) else {
            tracing::error!(position, kind = frame.kind, "a frame of an unknown kind is left out");
            return;
        };
        let message = match Message::decode(signal, frame.received_us, &frame.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(position, %error, "a frame that no longer decodes is left out");
                return;
            }
        };
        let taken = take(&mut self.sources, &message);
        if frame.position > self.after {
            self.frames += 1;
            self.pending.add(frame.position, message, &taken);
        }
    }

    /// Ends: the memory of what was taken, and how many frames are pending again.
    #[must_use]
    pub fn finish(self) -> (Sources, u64) {
        (self.sources, self.frames)
    }
}
