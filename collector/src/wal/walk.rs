//! A log that nobody writes: its frames, and a walk over all that it holds, intact or not, for a person with a broken
//! machine. Nothing is changed.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    Damage, Entry, Frame, Lives, Position, WalError,
    disk::{Disk, System},
    identity::Identity,
    lock::Access,
    replay::{Begun, Replay, Step, Through},
    segment::{self, Segment},
};

/// A log, open for reading while no process writes it.
#[derive(Debug)]
pub struct WalReader<D: Disk = System> {
    disk: D,
    directory: PathBuf,
    identity: Identity,
    segments: Vec<Segment>,
    _lock: D::Lock,
}

impl<D: Disk> WalReader<D> {
    pub(super) fn open_on(disk: D, directory: &Path) -> Result<Self, WalError> {
        let lock = disk.lock(directory, Access::Read)?;
        let (identity, segments) = (Identity::read(&disk, directory)?, segment::list(&disk, directory)?);
        segments.iter().try_for_each(|segment| segment.check_version(&disk))?;
        Ok(Self { disk, directory: directory.to_owned(), identity, segments, _lock: lock })
    }

    /// The name of the log: a UUID.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.identity.writer_id
    }

    /// Which processes have written the log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lives(&self) -> Result<Lives, WalError> {
        Lives::read(&self.disk, &self.directory)
    }

    /// As [`Wal::replay`](super::Wal::replay); it ends with the last intact frame.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn replay(&self, after: Position) -> Result<(Option<Bytes>, Replay<D>), WalError> {
        Replay::begin(&self.disk, self.identity.marker, &self.segments, after, Through::Intact)
    }

    /// Goes through all segments, oldest first, and on over damage. Ends early when `visit` returns an error, with that
    /// error.
    ///
    /// # Errors
    /// Those of `visit`; and when a file cannot be read.
    pub fn walk<E: From<WalError>>(&self, mut visit: impl FnMut(Walked<'_>) -> Result<(), E>) -> Result<(), E> {
        let begin = Position::default();
        let (_, mut replay) = Replay::of(&self.disk, self.identity.marker, &self.segments, begin, Through::Intact)?;
        while let Some(step) = replay.step()? {
            visit(match &step {
                Step::Begun(Begun { segment, note_bytes }) => Walked::Segment {
                    path: segment.path(),
                    first: segment.first(),
                    bytes: segment.length(),
                    note_bytes: *note_bytes,
                },
                Step::Entry(Entry::Frame(frame)) => Walked::Frame(frame),
                Step::Entry(Entry::Damaged(damage)) => Walked::Damaged(damage),
                Step::TornTail(damage) => Walked::TornTail(damage),
            })?;
        }
        Ok(())
    }
}

/// What the walk comes to.
#[derive(Debug)]
pub enum Walked<'a> {
    /// The head of a segment.
    Segment {
        /// The file.
        path: &'a Path,
        /// Position of its first frame.
        first: Position,
        /// Its size.
        bytes: u64,
        /// Size of the note at its head; none when the head is damaged.
        note_bytes: Option<u64>,
    },
    /// An intact frame.
    Frame(&'a Frame),
    /// Damage.
    Damaged(&'a Damage),
    /// What stands behind the last intact frame: a write that was interrupted, and that nobody was answered for.
    TornTail(&'a Damage),
}
