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
//! | `writer-id` | a name for this log, made once |
//! | `00000000000000000042.wal` | the segment whose first frame is 42: a head with the note (`segment.rs`), then frames |
//! | `00000000000000000042.cut-1` | a tail that was cut from it |
//! | `00000000000000000042.damaged-1` | what it was before damage was taken out of it |
//!
//! | bytes of a frame | what (numbers little endian) |
//! |---|---|
//! | 0 to 4 | length of all that follows the checksum; a frame has at most [`MOST_FRAME_BYTES`] |
//! | 4 to 8 | CRC32C of all that follows |
//! | 8 to 16 | position |
//! | 16 | kind, the owner's |
//! | 17 to 25 | time of arrival, microseconds since the Unix epoch |
//! | 25 to … | body |
//!
//! What always holds: after [`Wal::sync`] returns, its frames survive the process and the machine; an error of an
//! fsync or a write ends the log, and is never tried again as if nothing had been (the pages may be gone); a torn or
//! damaged frame is never returned. Segments take at most the budget and one note (I7). A full disk is no failure: what
//! was not yet on it is forgotten, and its owner told so.
//!
//! What opening finds wrong is mended, logged and counted ([`Opened`]), and what it takes out is kept aside, beyond the
//! budget, until somebody deletes it. A tail behind which no intact frame stands is a write that was interrupted: it
//! is cut. Damage anywhere else takes the damaged frames out, whose positions stay missing, and leaves the others.
//! A damaged head cannot be mended, since nobody else has its note: opening says so, and which file it is.

mod durable;
mod error;
mod frame;
mod lock;
mod reader;
mod replay;
mod segment;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
pub use error::WalError;
pub use frame::{Frame, MOST_FRAME_BYTES, Position};
pub use lock::Holder;
use lock::Lock;
pub use replay::{Damage, Entry, Replay};

use segment::Segment;
pub use walk::Walked;
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
    /// Segments that damaged frames were taken out of.
    pub damaged_segments: usize,
    /// Frames that are missing in them, as far as the positions tell.
    pub lost_frames: u64,
}

/// A log, open for writing. Blocks: its owner runs it on a thread of its own.
#[derive(Debug)]
pub struct Wal {
    config: WalConfig,
    writer_id: String,
    /// Oldest first; the last one is written to. Never empty.
    segments: Vec<Segment>,
    file: File,
    /// Frames that are encoded and not yet handed to the system.
    buffer: Vec<u8>,
    next: Position,
    /// Length of the segment that is written to, and the next position, when all was on disk.
    synced: (u64, Position),
    failed: bool,
    _lock: Lock,
}

impl Wal {
    /// Opens the log in a directory, or begins one. Reads all of it, and mends what it finds wrong.
    ///
    /// # Errors
    /// When another process has it, a segment's head is damaged, or the files cannot be used.
    pub fn open(config: WalConfig) -> Result<(Self, Opened), WalError> {
        let directory = &config.directory;
        durable::create_directory(directory)?;
        let lock = Lock::exclusive(directory)?;
        durable::remove_unfinished(directory)?;
        let mut segments = segment::list(directory)?;
        let writer_id = writer_id(directory, segments.is_empty())?;
        if segments.is_empty() {
            segments.push(Segment::create(directory, Position::new(1), &[])?);
        }
        let mut opened = mend(&mut segments)?;
        let last = segments.last().expect("there is at least the one made above");
        let file = last.open_to_append()?;
        // A killed process may have written frames without syncing them. They are read now, and their batches count as
        // taken; so they must be on disk before anybody is told that.
        file.sync_all().map_err(|error| WalError::io("fsync", last.path(), error))?;
        durable::sync_directory(directory)?;
        opened.first = segments[0].first();
        opened.segments = segments.len();
        opened.bytes = segments.iter().map(Segment::length).sum();
        let next = opened.next;
        let synced = (last.length(), next);
        let wal =
            Self { config, writer_id, segments, file, buffer: Vec::new(), next, synced, failed: false, _lock: lock };
        Ok((wal, opened))
    }

    /// Opens the log in a directory for reading, while no process writes it.
    ///
    /// # Errors
    /// [`WalError::InUse`] when one does, [`WalError::Missing`] when there is no log; or when the files cannot be read.
    pub fn read(directory: &Path) -> Result<WalReader, WalError> {
        let lock = Lock::shared(directory)?;
        Ok(WalReader { writer_id: read_writer_id(directory)?, segments: segment::list(directory)?, _lock: lock })
    }

    /// The name of this log: a UUID.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.writer_id
    }

    /// Bytes that all segments take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::length).sum()
    }

    /// As [`Self::replay`], of the newest segment only.
    ///
    /// # Errors
    /// When the segment's head cannot be read.
    pub fn replay_newest(&self) -> Result<(Option<Bytes>, Replay), WalError> {
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
        let position = self.next;
        frame::encode(&mut self.buffer, position, kind, received_us, body);
        self.next = position.next();
        self.current().grow(frame_bytes);
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
        let synced = self.file.sync_data();
        self.fail_on(synced, "fsync")?;
        self.synced = (self.current().length(), self.next);
        Ok(self.next.previous())
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
        let begun = Segment::create(&self.config.directory, self.next, note)
            .and_then(|segment| Ok((segment.open_to_append()?, segment)))
            .map_err(WalError::or_no_space)
            .inspect_err(|error| self.failed = !error.is_retryable())?;
        crash_point!("wal::segment_created");
        // A segment without frames has its name from the same position: the new one stands in its place.
        self.segments.pop_if(|last| last.first() == begun.1.first());
        self.file = begun.0;
        self.synced = (begun.1.length(), self.next);
        self.segments.push(begun.1);
        Ok(())
    }

    /// Has all later frames stand after a position that tables name as committed, if they would not anyway: in a new
    /// segment with this note. So they are not taken for frames that were lost with a disk, or since a backup.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn skip_past(&mut self, committed: Position, note: &[u8]) -> Result<(), WalError> {
        if committed < self.next {
            return Ok(());
        }
        let (committed, next) = (committed.get(), self.next.get());
        tracing::error!(committed, next, "the tables have committed frames that the log does not have; it skips them");
        self.sync()?;
        self.next = Position::new(committed).next();
        self.rotate(note)
    }

    /// Deletes the segments whose frames all stand at or before a position. The one that is written to stays.
    ///
    /// # Errors
    /// When the system refuses. The log can go on; the next call tries again.
    pub fn truncate(&mut self, through: Position) -> Result<(), WalError> {
        self.check()?;
        let deletable = self.segments.iter().skip(1).take_while(|next| next.first() <= through.next()).count();
        if deletable > 0 {
            self.segments[..deletable].iter().try_for_each(Segment::delete)?;
            crash_point!("wal::segments_deleted");
            durable::sync_directory(&self.config.directory)?;
            self.segments.drain(..deletable);
        }
        Ok(())
    }

    /// The frames on disk, in order, and the note that stands before the first of them.
    ///
    /// They begin at the head of a segment: the newest one that still has every frame after `after`. So frames up to
    /// `after` may come first; its owner needs them to get from the note to what it knew at `after`.
    ///
    /// # Errors
    /// When the segment's head cannot be read.
    pub fn replay(&self, after: Position) -> Result<(Option<Bytes>, Replay), WalError> {
        Replay::begin(&self.segments, after, self.next.previous())
    }

    fn current(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log always has the segment that it writes to")
    }

    fn write(&mut self) -> Result<(), WalError> {
        let written = self.file.write_all(&self.buffer);
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
        let (length, next) = self.synced;
        let cut = self.file.set_len(length).and_then(|()| self.file.sync_data());
        self.fail_on(cut, "truncate")?;
        self.current().set_length(length);
        self.next = next;
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

/// A log, open for reading while no process writes it.
#[derive(Debug)]
pub struct WalReader {
    writer_id: String,
    segments: Vec<Segment>,
    _lock: Lock,
}

impl WalReader {
    /// The name of the log: a UUID.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.writer_id
    }

    /// As [`Wal::replay`]; a torn tail is the end. Other damage ends it with an error: [`Wal::open`] mends that.
    ///
    /// # Errors
    /// When the segment's head cannot be read.
    pub fn replay(&self, after: Position) -> Result<(Option<Bytes>, Replay), WalError> {
        Replay::begin(&self.segments, after, replay::UNBOUNDED)
    }
}

/// Takes out of the segments what is not intact, and keeps it aside.
fn mend(segments: &mut [Segment]) -> Result<Opened, WalError> {
    let mut opened = Opened::default();
    let newest = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter_mut().enumerate() {
        let first = segment.first();
        if first < opened.next {
            let (path, what) = (segment.path().to_owned(), "its frames stand in the segment before it too");
            return Err(WalError::Damaged { path, offset: 0, what });
        }
        let scan = segment.scan()?;
        let tail_bytes = scan.tail_bytes;
        // Before a segment was closed it was fsynced: only the newest can have been interrupted.
        if scan.has_hole() || (tail_bytes > 0 && index < newest) {
            let kept = segment.set_damage_aside(&scan)?;
            opened.damaged_segments += 1;
            let behind = if tail_bytes > 0 { 1 } else { 0 };
            opened.lost_frames += (scan.next.get() - first.get()).saturating_sub(scan.frames) + behind;
            tracing::error!(kept = %kept.display(), %first, next = %scan.next, "damaged frames are taken out of a segment");
        } else if tail_bytes > 0 {
            segment.cut_tail(&scan)?;
            opened.cut_bytes = tail_bytes;
            tracing::warn!(segment = %segment.path().display(), cut_bytes = tail_bytes, "cut an interrupted write");
        }
        opened.next = scan.next;
    }
    Ok(opened)
}

const WRITER_ID: &str = "writer-id";

/// The log's name; a new one for a new log. Frames without their name would be committed a second time.
fn writer_id(directory: &Path, is_new: bool) -> Result<String, WalError> {
    match read_writer_id(directory) {
        Err(WalError::Io { source, .. }) if is_new && source.kind() == io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().to_string();
            durable::write(&directory.join(WRITER_ID), |file| file.write_all(id.as_bytes()))?;
            Ok(id)
        }
        read => read,
    }
}

fn read_writer_id(directory: &Path) -> Result<String, WalError> {
    let path = directory.join(WRITER_ID);
    let text = fs::read_to_string(&path).map_err(|error| WalError::io("read", &path, error))?;
    match uuid::Uuid::try_parse(text.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(WalError::Damaged { path, offset: 0, what: "it holds no UUID" }),
    }
}
