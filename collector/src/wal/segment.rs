//! A segment: a file that begins with a head and holds frames.
//!
//! | offset | bytes | what (numbers little endian) |
//! |---|---|---|
//! | 0 | 8 | `WEIRWAL1` |
//! | 8 | 8 | position of the first frame |
//! | 16 | 4 | length of the note |
//! | 20 | 4 | CRC32C of bytes 8 to 20 and of the note |
//! | 24 | … | note, then frames |
//!
//! A segment appears whole, head and all, or not at all: it is written under another name, fsynced, and renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Position, WalError,
    frame::{self, PREFIX_BYTES},
};

const MAGIC: &[u8; 8] = b"WEIRWAL1";
const HEAD_BYTES: usize = 24;
const EXTENSION: &str = "wal";

/// The largest note, bytes.
const MOST_NOTE_BYTES: usize = 1 << 30;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    path: PathBuf,
    first: Position,
    length: u64,
}

/// Where the intact frames of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes up to there.
    pub(super) length: u64,
    /// The position that the next frame will have.
    pub(super) next: Position,
}

/// The segments in a directory, oldest first.
pub(super) fn list(directory: &Path) -> Result<Vec<Segment>, WalError> {
    let failed = |error| WalError::io("list", directory, error);
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(EXTENSION)) = (number, path.extension().and_then(|end| end.to_str())) {
            let length = entry.metadata().map_err(failed)?.len();
            segments.push(Segment { path, first: Position::new(number), length });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

impl Segment {
    /// Begins a segment, durably.
    pub(super) fn create(directory: &Path, first: Position, note: &[u8]) -> Result<Self, WalError> {
        let path = directory.join(format!("{:020}.{EXTENSION}", first.get()));
        let length = u32::try_from(note.len()).map_err(|_| WalError::TooLarge { bytes: note.len() as u64 })?;
        let mut head = Vec::with_capacity(HEAD_BYTES + note.len());
        head.extend_from_slice(MAGIC);
        head.extend(first.get().to_le_bytes());
        head.extend(length.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), note);
        head.extend(checksum.to_le_bytes());
        head.extend_from_slice(note);
        write_durably(directory, &path, &head)?;
        Ok(Self { path, first, length: head.len() as u64 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Position of its first frame, whether it has one yet or not.
    pub(super) fn first(&self) -> Position {
        self.first
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        self.length += bytes;
    }

    pub(super) fn open_to_append(&self) -> Result<File, WalError> {
        OpenOptions::new().append(true).open(&self.path).map_err(|error| WalError::io("open", &self.path, error))
    }

    pub(super) fn delete(self) -> Result<(), WalError> {
        fs::remove_file(&self.path).map_err(|error| WalError::io("delete", &self.path, error))
    }

    /// Opens it to read its frames; gives its note too.
    pub(super) fn read(&self) -> Result<(Bytes, FrameReader), WalError> {
        let file = File::open(&self.path).map_err(|error| WalError::io("open", &self.path, error))?;
        let mut reader = FrameReader {
            path: self.path.clone(),
            file: BufReader::with_capacity(1 << 18, file),
            offset: 0,
            next: self.first,
        };
        let head: [u8; HEAD_BYTES] = reader.exactly(HEAD_BYTES)?.try_into().expect("as many as were asked for");
        let (magic, first, length, checksum) = (&head[..8], &head[8..16], &head[16..20], &head[20..]);
        let length = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        if magic != MAGIC || first != self.first.get().to_le_bytes() || length > MOST_NOTE_BYTES {
            return Err(reader.damaged("the segment's head is not one of this log"));
        }
        let note = reader.exactly(length)?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[8..20]), &note).to_le_bytes() != checksum {
            return Err(reader.damaged("the segment's head does not match its checksum"));
        }
        Ok((note.into(), reader))
    }

    /// Reads all frames to find where the intact ones end.
    pub(super) fn find_end(&self) -> Result<End, WalError> {
        let (_, mut frames) = self.read()?;
        loop {
            let end = End { length: frames.offset, next: frames.next };
            match frames.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) | Err(WalError::Damaged { .. }) => return Ok(end),
                Err(error) => return Err(error),
            }
        }
    }

    /// Cuts what stands beyond a length, and keeps it aside; gives the number of bytes.
    pub(super) fn cut(&mut self, length: u64) -> Result<u64, WalError> {
        let failed = |error| WalError::io("cut", &self.path, error);
        let cut_bytes = self.length - length;
        if cut_bytes > 0 {
            let bytes = fs::read(&self.path).map_err(failed)?;
            let start = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            let directory = self.path.parent().unwrap_or(Path::new("."));
            write_durably(directory, &self.path.with_extension("cut"), &bytes[start..])?;
            let file = OpenOptions::new().write(true).open(&self.path).map_err(failed)?;
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed)?;
            self.length = length;
        }
        Ok(cut_bytes)
    }
}

/// Reads the frames of one segment, one at a time.
#[derive(Debug)]
pub(super) struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    next: Position,
}

impl FrameReader {
    /// The next frame; `None` at the end of the file, and only there.
    pub(super) fn next_frame(&mut self) -> Result<Option<super::Frame>, WalError> {
        let mut prefix = [0; PREFIX_BYTES];
        let mut filled = 0;
        while filled < PREFIX_BYTES {
            match self.file.read(&mut prefix[filled..]).map_err(|error| WalError::io("read", &self.path, error))? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.damaged("a frame is cut short")),
                count => filled += count,
            }
        }
        let Some((length, checksum)) = frame::prefix(prefix) else {
            return Err(self.damaged("no frame has such a length"));
        };
        let bytes = self.take(length)?;
        let Some(frame) = frame::decode(bytes, checksum) else {
            return Err(self.damaged("a frame does not match its checksum"));
        };
        if frame.position != self.next {
            return Err(self.damaged("a frame is not the next one"));
        }
        self.offset += (PREFIX_BYTES + length) as u64;
        self.next = self.next.next();
        Ok(Some(frame))
    }

    /// The next bytes, which the head promised.
    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, WalError> {
        let bytes = self.take(count)?;
        self.offset += count as u64;
        Ok(bytes)
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, WalError> {
        // Memory follows what is there, not what a damaged length says.
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(count as u64).read_to_end(&mut bytes);
        read.map_err(|error| WalError::io("read", &self.path, error))?;
        if bytes.len() < count {
            return Err(self.damaged("it is cut short"));
        }
        Ok(bytes)
    }

    fn damaged(&self, what: &'static str) -> WalError {
        WalError::Damaged { path: self.path.clone(), offset: self.offset, what }
    }
}

/// Writes a whole file so that after a crash it is there as a whole or not at all.
pub(super) fn write_durably(directory: &Path, path: &Path, content: &[u8]) -> Result<(), WalError> {
    let unfinished = path.with_extension("unfinished");
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    });
    written.map_err(|error| WalError::io("write", path, error))?;
    sync_directory(directory)
}

/// Has the names in a directory on disk.
pub(super) fn sync_directory(directory: &Path) -> Result<(), WalError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| WalError::io("fsync", directory, error))
}
