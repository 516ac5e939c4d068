//! The write-ahead log: frames of bytes on disk, in order, before anybody is answered (I1).
//!
//! The log knows nothing of records. A frame has a [`Position`]: 1, 2, 3 … over the life of the directory. Frames stand
//! in segments; a full segment is closed and a new one begun ([`Wal::rotate`]), and segments that nobody needs any more
//! are deleted whole ([`Wal::truncate`]). Each segment begins with a note of its owner, so that what the owner knew at
//! that point outlives the deleted frames it knew it from.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | the lock of the one process that may write; its pid as text |
//! | `writer-id` | a name for this log and the marker of its frames, made once (`identity.rs`) |
//! | `lives` | which processes have written it (`lives.rs`) |
//! | `00000000000000000042.wal` | the segment whose first frame is 42: a head with the note (`segment.rs`), then frames |
//! | `00000000000000000042.cut-1` | a tail that was cut from it, the first 64 MiB of it |
//! | `00000000000000000042.damaged-1` | the segment, damaged, when nobody needs it any more |
//!
//! | bytes of a frame | what (numbers little endian) |
//! |---|---|
//! | 0 to 8 | the log's marker: random, and known to nobody else |
//! | 8 to 12 | CRC32C of all that follows |
//! | 12 to 16 | length of all that follows; a frame has at most [`MOST_FRAME_BYTES`] |
//! | 16 to 24 | position |
//! | 24 | kind, the owner's |
//! | 25 to 33 | time of arrival, microseconds since the Unix epoch |
//! | 33 to … | body |
//!
//! What always holds: after [`Wal::sync`] returns, its frames survive the process and the machine; an error of an
//! fsync or a write ends the log, and is never tried again as if nothing had been (the pages may be gone); a torn or
//! damaged frame is never returned, nor one that a sender wrote into a body. Segments take at most the budget and one
//! note (I7). A full disk is no failure: what was not yet on it is forgotten, and its owner told so.
//!
//! Opening reads the newest segment alone. A tail of it behind which no intact frame stands is a write that was
//! interrupted: it is cut. Any other damage stays where it is. Whoever reads a segment is told of its damage, how many
//! frames it took, and goes on behind it ([`Damage`]); a damaged head takes only the note. A segment in which damage was
//! met is not deleted when its time has come, but kept aside, beyond the budget, until somebody deletes it.

mod disk;
mod durable;
mod error;
mod frame;
mod identity;
mod lives;
mod lock;
mod reader;
mod replay;
mod segment;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
pub use disk::{Disk, DiskFile, System};
pub use error::WalError;
pub use frame::{Frame, MOST_FRAME_BYTES, Position};
use identity::Identity;
pub use lives::Lives;
pub use lock::{Access, Holder, Lock};
use reader::{FrameReader, Read};
use replay::Through;
pub use replay::{Damage, Entry, Replay};
use segment::{Head, Segment};
pub use walk::{WalReader, Walked};
use weir_station::crash_point;

/// Encoded frames are handed to the system when they are this many bytes, and at each sync.
const BUFFER_BYTES: usize = 4 << 20;

/// Where a log is, and its bounds.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Its directory; made when it is not there.
    pub directory: PathBuf,
    /// A segment of this size or more is full.
    pub segment_bytes: u64,
    /// The most that all segments may take.
    pub budget_bytes: u64,
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Position of the first frame of the oldest segment.
    pub first: Position,
    /// Position of the next frame.
    pub next: Position,
    /// Segments there are.
    pub segments: usize,
    /// Bytes in all of them.
    pub bytes: u64,
    /// Bytes cut from the end: frames that were being written when the process ended, and that nobody was answered for.
    pub cut_bytes: u64,
    /// Places of the newest segment that are damaged. Of the older ones nothing is known until they are read.
    pub damaged_places: usize,
}

/// A log, open for writing. Blocks: its owner runs it on a thread of its own.
#[derive(Debug)]
pub struct Wal<D: Disk = System> {
    disk: D,
    config: WalConfig,
    identity: Identity,
    /// Oldest first; the last one is written to. Never empty.
    segments: Vec<Segment>,
    file: D::File,
    /// Frames that are encoded and not yet handed to the system.
    buffer: Vec<u8>,
    end: End,
    /// Where the log ended when all was on disk.
    synced: End,
    failed: bool,
    _lock: D::Lock,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Length of the segment that is written to.
    length: u64,
    /// The last frame; 0 when there was none, or when it is not known.
    last: Position,
    /// The next one: positions may have been skipped between the two.
    next: Position,
}

impl Wal {
    /// Opens the log in a directory, or begins one. Reads the newest segment, and cuts from it what an interrupted write
    /// left.
    ///
    /// # Errors
    /// When another process has it, another version of Weir wrote it, or the files cannot be used.
    pub fn open(config: WalConfig) -> Result<(Self, Opened), WalError> {
        Self::open_on(System, config)
    }

    /// Opens the log in a directory for reading, while no process writes it.
    ///
    /// # Errors
    /// [`WalError::InUse`] when one does, [`WalError::Missing`] when there is no log; or when the files cannot be read.
    pub fn read(directory: &Path) -> Result<WalReader, WalError> {
        WalReader::open_on(System, directory)
    }
}

impl<D: Disk> Wal<D> {
    /// As [`Wal::open`], on this disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: D, config: WalConfig) -> Result<(Self, Opened), WalError> {
        let directory = &config.directory;
        disk.create_directory(directory).map_err(|error| WalError::io("create", directory, error))?;
        let lock = disk.lock(directory, Access::Write)?;
        durable::remove_unfinished(&disk, directory)?;
        let mut segments = segment::list(&disk, directory)?;
        let identity = Identity::open(&disk, directory, segments.is_empty())?;
        segments.iter().try_for_each(|segment| segment.check_version(&disk))?;
        let mut newest = match segments.pop() {
            Some(newest) => newest,
            None => {
                let head = Head { first: Position::new(1), previous: Position::default(), note: Bytes::new() };
                Segment::create(&disk, directory, &head, None)?
            }
        };
        let (end, mut opened) = recover(&disk, &identity, &mut newest)?;
        let mut file = newest.open_to_append(&disk)?;
        // A killed process may have written frames without syncing them. They are read now, and their batches count as
        // taken; so they must be on disk before anybody is told that.
        file.sync().map_err(|error| WalError::io("fsync", newest.path(), error))?;
        durable::sync_directory(&disk, directory)?;
        segments.push(newest);
        opened.first = segments[0].first();
        opened.next = end.next;
        opened.segments = segments.len();
        opened.bytes = segments.iter().map(Segment::length).sum();
        let (synced, buffer) = (end, Vec::new());
        let wal = Self { disk, config, identity, segments, file, buffer, end, synced, failed: false, _lock: lock };
        Ok((wal, opened))
    }

    /// The name of this log: a UUID.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.identity.writer_id
    }

    /// Which processes have written the log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lives(&self) -> Result<Lives, WalError> {
        Lives::read(&self.disk, &self.config.directory)
    }

    /// Begins another life, durably: a random number, for its commits. `in_tables` are the lives that tables name.
    ///
    /// # Errors
    /// As [`Self::sync`]: after [`WalError::NoSpace`] the log can go on, as the life that began last.
    pub fn begin_life(&self, mut lives: Lives, in_tables: &[i64]) -> Result<i64, WalError> {
        let number = self.disk.uuid().as_u64_pair().1.cast_signed();
        lives.begin(number, self.end.next, in_tables);
        lives.write(&self.disk, &self.config.directory).map(|()| number)
    }

    /// Bytes that all segments take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::length).sum()
    }

    /// As [`Self::replay`], of the newest segment only; of those from the last intact note on, if it has none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn replay_newest(&self) -> Result<(Option<Bytes>, Replay<D>), WalError> {
        self.replay(self.segments.last().map_or(Position::default(), Segment::first))
    }

    /// Adds a frame. It is durable only after the next [`Self::sync`].
    ///
    /// # Errors
    /// [`WalError::Full`] when the budget does not allow it; the log is as before. [`WalError::NoSpace`] as
    /// [`Self::sync`]. Otherwise the log has failed.
    pub fn append(&mut self, kind: u8, received_us: i64, body: &[u8]) -> Result<Position, WalError> {
        self.check()?;
        let frame_bytes = frame::encoded_bytes(body);
        if frame_bytes > MOST_FRAME_BYTES as u64 {
            return Err(WalError::TooLarge { bytes: frame_bytes });
        }
        if self.bytes() + frame_bytes > self.config.budget_bytes {
            return Err(WalError::Full { budget_bytes: self.config.budget_bytes });
        }
        let position = self.end.next;
        frame::encode(&mut self.buffer, self.identity.marker, position, kind, received_us, body);
        self.set_end(End { length: self.end.length + frame_bytes, last: position, next: position.next() });
        if self.buffer.len() >= BUFFER_BYTES {
            self.write()?;
        }
        Ok(position)
    }

    /// Has everything that was appended on disk; gives the position of the last frame.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] when the disk is full: the log is as it was after the last sync, and can go on when there is
    /// room. Anything else that the system says means that the log has failed: every later call says so too.
    pub fn sync(&mut self) -> Result<Position, WalError> {
        self.check()?;
        self.write()?;
        crash_point!("wal::written");
        let synced = self.file.sync();
        self.fail_on(synced, "fsync")?;
        self.synced = self.end;
        Ok(self.end.next.previous())
    }

    /// Whether the segment that is written to is full.
    #[must_use]
    pub fn rotate_due(&self) -> bool {
        self.segments.last().is_some_and(|segment| segment.length() >= self.config.segment_bytes)
    }

    /// Closes the segment that is written to, and begins another one with this note.
    ///
    /// # Errors
    /// When the system refuses; the log has failed then.
    pub fn rotate(&mut self, note: &[u8]) -> Result<(), WalError> {
        self.sync()?;
        self.begin_segment(self.end.next, note)
    }

    fn begin_segment(&mut self, next: Position, note: &[u8]) -> Result<(), WalError> {
        let last = self.end.last;
        let head = Head { first: next, previous: last, note: Bytes::copy_from_slice(note) };
        // A segment without frames has its name from the same position: the new one stands in its place.
        let replaced = self.segments.last().filter(|segment| segment.first() == next);
        let (file, begun) = Segment::create(&self.disk, &self.config.directory, &head, replaced)
            .and_then(|segment| Ok((segment.open_to_append(&self.disk)?, segment)))
            .map_err(WalError::or_no_space)
            .inspect_err(|error| self.failed = !error.is_retryable())?;
        crash_point!("wal::segment_created");
        self.segments.pop_if(|segment| segment.first() == next);
        self.file = file;
        self.end = End { length: begun.length(), last, next };
        self.synced = self.end;
        self.segments.push(begun);
        Ok(())
    }

    /// Has all later frames stand after a position that tables name as committed, if they would not anyway: in a new
    /// segment with this note. So they are not taken for frames that were lost with a disk, or since a backup.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn skip_past(&mut self, committed: Position, note: &[u8]) -> Result<(), WalError> {
        if committed < self.end.next {
            return Ok(());
        }
        let (committed, next) = (committed.get(), self.end.next.get());
        tracing::error!(committed, next, "the tables have committed frames that the log does not have; it skips them");
        self.sync()?;
        self.begin_segment(Position::new(committed).next(), note)
    }

    /// Deletes the segments whose frames all stand at or before a position; those in which damage was met are kept aside.
    /// The one that is written to stays.
    ///
    /// # Errors
    /// When the system refuses. The log can go on; the next call tries again.
    pub fn truncate(&mut self, through: Position) -> Result<(), WalError> {
        self.check()?;
        let deletable = self.segments.iter().skip(1).take_while(|next| next.first() <= through.next()).count();
        if deletable > 0 {
            self.segments[..deletable].iter().try_for_each(|segment| segment.delete(&self.disk))?;
            crash_point!("wal::segments_deleted");
            durable::sync_directory(&self.disk, &self.config.directory)?;
            self.segments.drain(..deletable);
        }
        Ok(())
    }

    /// The frames on disk, in order, and the note that stands before the first of them.
    ///
    /// They begin at the head of a segment: the newest one with an intact head that still has every frame after `after`. So
    /// frames up to `after` may come first; its owner needs them to get from the note to what it knew at `after`. There is
    /// no note when no such head is intact. The reading ends with the last frame that is on disk now; meanwhile the log
    /// may go on, and frames up to `after` may be deleted.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn replay(&self, after: Position) -> Result<(Option<Bytes>, Replay<D>), WalError> {
        let mut segments = self.segments.clone();
        if let Some(newest) = segments.last_mut() {
            newest.set_length(self.synced.length);
        }
        let through = Through::Synced(self.synced.next.previous());
        Replay::begin(&self.disk, self.identity.marker, &segments, after, through)
    }

    fn current(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log always has the segment that it writes to")
    }

    fn set_end(&mut self, end: End) {
        self.end = end;
        self.current().set_length(end.length);
    }

    fn write(&mut self) -> Result<(), WalError> {
        let written = self.file.append(&self.buffer);
        self.buffer.clear();
        // One large frame does not keep its memory.
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        match written.map_err(|error| WalError::io("write", self.current().path(), error).or_no_space()) {
            Err(no_space @ WalError::NoSpace { .. }) => self.take_back(no_space),
            written => written.inspect_err(|_| self.failed = true),
        }
    }

    /// The disk is full: forgets what was appended since the last sync, whose senders nobody has answered.
    fn take_back(&mut self, why: WalError) -> Result<(), WalError> {
        let cut = self.file.truncate(self.synced.length).and_then(|()| self.file.sync());
        self.fail_on(cut, "truncate")?;
        self.set_end(self.synced);
        Err(why)
    }

    fn fail_on(&mut self, result: io::Result<()>, action: &'static str) -> Result<(), WalError> {
        result.map_err(|error| {
            self.failed = true;
            WalError::io(action, self.current().path(), error)
        })
    }

    fn check(&self) -> Result<(), WalError> {
        if self.failed { Err(WalError::Failed) } else { Ok(()) }
    }
}

/// Finds where the newest segment ends, and cuts what an interrupted write left there.
fn recover<D: Disk>(disk: &D, identity: &Identity, newest: &mut Segment) -> Result<(End, Opened), WalError> {
    let mut opened = Opened::default();
    let (head, mut frames) = FrameReader::open(disk, identity.marker, newest, Position::LAST)?;
    let mut tail = None;
    loop {
        match frames.read()? {
            Some(Read::Frame(_)) => {}
            // With neither a head nor a frame there is nothing to cut it from.
            Some(Read::Damaged(gap)) if gap.next.is_none() && gap.offset > 0 => tail = Some(gap),
            Some(Read::Damaged(_)) => {
                newest.mark_damaged();
                opened.damaged_places += 1;
            }
            None => break,
        }
    }
    if let Some(tail) = tail {
        newest.cut(disk, tail.offset)?;
        opened.cut_bytes = tail.bytes;
        tracing::warn!(segment = %newest.path().display(), cut_bytes = tail.bytes, "cut an interrupted write");
    }
    let next = frames.next();
    let last = if next > newest.first() { next.previous() } else { head.map(|head| head.previous).unwrap_or_default() };
    Ok((End { length: newest.length(), last, next }, opened))
}
