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
//! | `00000000000000000042.wal` | the segment whose first frame is 42 |
//! | `00000000000000000042.cut` | a tail that was cut from that segment |
//!
//! What always holds: after [`Wal::sync`] returns, its frames survive the process and the machine; an error of an
//! fsync or a write ends the log, and is never tried again as if nothing had been (the pages may be gone); a torn or
//! damaged frame is never returned. On a damaged frame in an older segment [`Replay`] stops with an error that says
//! where; nothing is skipped in silence.

mod error;
mod frame;
mod lock;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
pub use error::WalError;
pub use frame::{Frame, MOST_FRAME_BYTES, Position};
use lock::Lock;
pub use replay::Replay;
use segment::Segment;

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
    /// Segments there are.
    pub segments: usize,
    /// Bytes in all of them.
    pub bytes: u64,
    /// Position of the next frame.
    pub next: Position,
    /// Bytes cut from the end: a frame that was being written when the process ended, and that nobody was answered for.
    pub cut_bytes: u64,
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
    failed: bool,
    _lock: Lock,
}

impl Wal {
    /// Opens the log in a directory, or begins one. A torn tail is cut, and kept aside.
    ///
    /// # Errors
    /// When another process has it, or the files cannot be used.
    pub fn open(config: WalConfig) -> Result<(Self, Opened), WalError> {
        let directory = &config.directory;
        fs::create_dir_all(directory).map_err(|error| WalError::io("create", directory, error))?;
        let lock = Lock::exclusive(directory)?;
        let writer_id = writer_id(directory)?;
        let mut segments = segment::list(directory)?;
        if segments.is_empty() {
            segments.push(Segment::create(directory, Position::new(1), &[])?);
        }
        let last = segments.last_mut().expect("there is at least the one made above");
        let end = last.find_end()?;
        let cut_bytes = last.cut(end.length)?;
        if cut_bytes > 0 {
            tracing::warn!(segment = %last.path().display(), cut_bytes, "cut a torn tail that nobody was answered for");
        }
        let file = last.open_to_append()?;
        let opened = Opened {
            segments: segments.len(),
            bytes: segments.iter().map(Segment::length).sum(),
            next: end.next,
            cut_bytes,
        };
        let wal =
            Self { config, writer_id, segments, file, buffer: Vec::new(), next: end.next, failed: false, _lock: lock };
        Ok((wal, opened))
    }

    /// Opens the log in a directory for reading, while no process writes it.
    ///
    /// # Errors
    /// [`WalError::InUse`] when one does; or when the files cannot be read.
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

    /// Adds a frame. It is durable only after the next [`Self::sync`].
    ///
    /// # Errors
    /// [`WalError::Full`] when the budget does not allow it; the log is as before. Otherwise the log has failed.
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
    /// When the system says that it is not. The log has failed then: every later call says so too.
    pub fn sync(&mut self) -> Result<Position, WalError> {
        self.check()?;
        self.write()?;
        let synced = self.file.sync_data();
        self.fail_on(synced, "fsync")?;
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
            .inspect_err(|_| self.failed = true)?;
        self.file = begun.0;
        self.segments.push(begun.1);
        Ok(())
    }

    /// Deletes the segments whose frames all stand at or before a position. The one that is written to stays.
    ///
    /// # Errors
    /// When the system refuses. The log can go on; the segments are deleted at the next call.
    pub fn truncate(&mut self, through: Position) -> Result<(), WalError> {
        let deletable = self.segments.iter().skip(1).take_while(|next| next.first() <= through.next()).count();
        for segment in self.segments.drain(..deletable) {
            segment.delete()?;
        }
        if deletable > 0 {
            segment::sync_directory(&self.config.directory)?;
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
        Replay::begin(&self.segments, after)
    }

    fn current(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log always has the segment that it writes to")
    }

    fn write(&mut self) -> Result<(), WalError> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        self.fail_on(written, "write")
    }

    fn fail_on(&mut self, result: std::io::Result<()>, action: &'static str) -> Result<(), WalError> {
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

    /// As [`Wal::replay`]; a torn tail is the end.
    ///
    /// # Errors
    /// When the segment's head cannot be read.
    pub fn replay(&self, after: Position) -> Result<(Option<Bytes>, Replay), WalError> {
        Replay::begin(&self.segments, after)
    }
}

const WRITER_ID: &str = "writer-id";

fn writer_id(directory: &Path) -> Result<String, WalError> {
    if directory.join(WRITER_ID).exists() {
        return read_writer_id(directory);
    }
    let id = uuid::Uuid::new_v4().to_string();
    segment::write_durably(directory, &directory.join(WRITER_ID), id.as_bytes())?;
    Ok(id)
}

fn read_writer_id(directory: &Path) -> Result<String, WalError> {
    let path = directory.join(WRITER_ID);
    let text = fs::read_to_string(&path).map_err(|error| WalError::io("read", &path, error))?;
    match uuid::Uuid::try_parse(text.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(WalError::Damaged { path, offset: 0, what: "it holds no UUID" }),
    }
}
