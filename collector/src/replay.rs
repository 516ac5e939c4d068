//! The replay: from what the log holds back to rows, and to the memory of which batches were taken.

use weir_lake::{Lake, ReadError, Table};
use weir_record::otlp;

use crate::{
    Message, Pending, Signal,
    pending::Committed,
    sources::Sources,
    wal::{Damage, Entry, Frame, Lives, Position, WalError},
    writer::{self, take},
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
    /// The tables bear what another log of the same name has committed.
    #[error(
        "the table {} has committed up to {position} under this log's name, and not from this log: another collector has \
         written with a copy of it. Let one of the two go on alone. What only this log holds, `weir wal export` writes out, to \
         be sent again. If this is a backup that was brought back and no other goes on, delete the file `lives` in it",
        .table.name()
    )]
    Copied {
        /// The table.
        table: Table,
        /// What it has committed.
        position: Position,
    },
    /// Too much is uncommitted to be held in memory for reading alone.
    #[error(
        "the log holds more uncommitted rows than fit into {limit_bytes} bytes of memory; start the collector, which commits them"
    )]
    TooMuch {
        /// The limit, bytes.
        limit_bytes: usize,
    },
    /// The thread that read ended before its time.
    #[error("reading the log stopped: {0}")]
    Stopped(String),
}

impl ReplayError {
    #[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
    pub(crate) fn stopped(error: tokio::task::JoinError) -> Self {
        Self::Stopped(error.to_string())
    }
}

/// What each table has committed of the log with this writer id, and which lives of it have.
///
/// # Errors
/// When a table cannot be read; [`ReplayError::Copied`] when it is not this log that they have it from.
pub async fn committed(lake: &Lake, writer_id: &str, lives: &Lives) -> Result<(Committed, Vec<i64>), ReplayError> {
    let (mut committed, mut in_tables) = (Committed::default(), Vec::new());
    for table in Table::ALL {
        let (position, life) = lake.table(table).position_and_life(writer_id).await?;
        let position = Position::new(position.and_then(|position| u64::try_from(position).ok()).unwrap_or(0));
        if life.is_some_and(|life| !lives.have_committed(life, position)) {
            return Err(ReplayError::Copied { table, position });
        }
        committed[table as usize] = position;
        in_tables.extend(life);
    }
    Ok((committed, in_tables))
}

/// The memory of which batches were taken, as it was at the end of these frames.
///
/// # Errors
/// When they cannot be read.
pub fn sources(
    note: Option<&[u8]>,
    frames: impl Iterator<Item = Result<Entry, WalError>>,
) -> Result<Sources, WalError> {
    let mut sources = from_note(note);
    for entry in frames {
        if let Entry::Frame(frame) = entry? {
            take_sources(&mut sources, &frame);
        }
    }
    Ok(sources)
}

/// Rebuilds rows, frame by frame, from the head of a segment on.
#[derive(Debug)]
pub struct Replayer {
    sources: Sources,
    after: Position,
    position: Position,
    frames: u64,
    /// Frames that were damaged since the last intact one.
    damaged_frames: u64,
}

impl Replayer {
    /// Begins with the note at the segment's head. Frames up to `after` only tell what was taken; later ones become
    /// pending too.
    #[must_use]
    pub fn new(note: Option<&[u8]>, after: Position) -> Self {
        Self { sources: from_note(note), after, position: Position::default(), frames: 0, damaged_frames: 0 }
    }

    /// Takes the next entry of the log. What was taken already is left out: a new reading begins at the head of a
    /// segment again.
    pub fn replay(&mut self, entry: Entry, pending: &Pending) {
        match entry {
            Entry::Frame(frame) if frame.position <= self.position => {}
            Entry::Frame(frame) => {
                self.position = frame.position;
                if frame.position <= self.after {
                    take_sources(&mut self.sources, &frame);
                } else {
                    self.load(&frame, pending);
                }
            }
            Entry::Damaged(damage) => self.count(&damage),
        }
    }

    /// Counts the frames that damage took, but for those that were counted or committed before.
    fn count(&mut self, damage: &Damage) {
        let known = self.position().max(damage.after);
        let beyond = damage.next.map_or(damage.lost_frames, |next| next.get().saturating_sub(known.get() + 1));
        let lost_frames = damage.lost_frames.min(beyond);
        if lost_frames > 0 {
            let Damage { segment, offset, bytes, what, after, .. } = damage;
            tracing::error!(segment = %segment.display(), offset, bytes, what, %after, lost_frames, "the log is damaged");
            self.damaged_frames += lost_frames;
            self.position = damage.next.map_or(self.position, |next| next.previous());
        }
    }

    /// Ends the reading: counts what was damaged behind the last frame.
    pub fn end(self, pending: &Pending) {
        if self.damaged_frames > 0 {
            pending.count_damaged(self.damaged_frames);
        }
    }

    fn load(&mut self, frame: &Frame, pending: &Pending) {
        let position = frame.position.get();
        let Some(signal) = Signal::from_frame_kind(frame.kind) else {
            tracing::error!(position, kind = frame.kind, "a frame of an unknown kind is left out");
            self.damaged_frames += 1;
            return;
        };
        let message = match Message::decode(signal, frame.received_us, &frame.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(position, %error, "a frame that no longer decodes is left out");
                self.damaged_frames += 1;
                return;
            }
        };
        let taken = take(&mut self.sources, &message);
        self.frames += 1;
        pending.replay(frame.position, message, &taken, std::mem::take(&mut self.damaged_frames));
    }

    /// Position of the last frame that was taken.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.max(self.after)
    }

    /// Frames that became pending.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }
}

fn from_note(note: Option<&[u8]>) -> Sources {
    note.and_then(Sources::from_note).unwrap_or_else(|| {
        tracing::error!(
            "the note at the head of a log segment is unreadable: batches resent from before it may be counted twice"
        );
        Sources::default()
    })
}

fn take_sources(sources: &mut Sources, frame: &Frame) {
    let (Some(signal), Ok(batches)) = (Signal::from_frame_kind(frame.kind), otlp::sources(&frame.body)) else {
        return;
    };
    for source in &batches {
        writer::take_one(sources, signal, source);
    }
}
