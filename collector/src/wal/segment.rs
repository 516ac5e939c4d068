//! A segment: a file that begins with a head and holds frames.
//!
//! | offset | bytes | what (numbers little endian) |
//! |---|---|---|
//! | 0 | 8 | `WEIRWAL1`; the last digit is the version |
//! | 8 | 8 | position of the first frame |
//! | 16 | 4 | length of the note |
//! | 20 | 4 | CRC32C of bytes 8 to 20 and of the note |
//! | 24 | … | note, then frames |
//!
//! A segment appears whole, head and all, or not at all: it is written under another name, fsynced, and renamed.
//! Mended, it appears the same way; what it was before is kept aside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    iter,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Position, WalError, durable, reader::FrameReader};

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

/// What reading all of a segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// The bytes of the head and of the intact frames.
    intact: Vec<Range<u64>>,
    /// How many intact frames there are.
    pub(super) frames: u64,
    /// The position after the last intact frame.
    pub(super) next: Position,
    /// Bytes after the last intact frame.
    pub(super) tail_bytes: u64,
}

impl Scan {
    /// Whether damage stands before an intact frame: an interrupted write does not do that.
    pub(super) fn has_hole(&self) -> bool {
        self.intact.len() > 1
    }

    fn intact_bytes(&self) -> u64 {
        self.intact.iter().map(|range| range.end - range.start).sum()
    }
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
        let too_large = WalError::TooLarge { bytes: note.len() as u64 };
        let length = u32::try_from(note.len()).ok().filter(|_| note.len() <= MOST_NOTE_BYTES).ok_or(too_large)?;
        let mut head = Vec::with_capacity(HEAD_BYTES + note.len());
        head.extend_from_slice(MAGIC);
        head.extend(first.get().to_le_bytes());
        head.extend(length.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), note);
        head.extend(checksum.to_le_bytes());
        head.extend_from_slice(note);
        durable::write(&path, |file| file.write_all(&head))?;
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

    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        self.length += bytes;
    }

    pub(super) fn open_to_append(&self) -> Result<File, WalError> {
        OpenOptions::new().append(true).open(&self.path).map_err(|error| WalError::io("open", &self.path, error))
    }

    /// Deletes the file, if it is still there.
    pub(super) fn delete(&self) -> Result<(), WalError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WalError::io("delete", &self.path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Opens it to read its frames; gives its note too.
    pub(super) fn read(&self) -> Result<(Bytes, FrameReader), WalError> {
        let mut reader = FrameReader::open(&self.path, self.first)?;
        let head = reader.head(HEAD_BYTES)?;
        let (magic, first, length, checksum) = (&head[..8], &head[8..16], &head[16..20], &head[20..]);
        if magic != MAGIC {
            return Err(reader.damaged("it is no segment of this version; move the file away to go on without it"));
        }
        let length = length.try_into().map_or(usize::MAX, |length| u32::from_le_bytes(length) as usize);
        if first != self.first.get().to_le_bytes() || length > MOST_NOTE_BYTES {
            return Err(reader.damaged("the segment's head is wrong; move the file away to go on without it"));
        }
        let note = reader.head(length)?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[8..20]), &note).to_le_bytes() != checksum {
            return Err(reader.damaged("the segment's head is wrong; move the file away to go on without it"));
        }
        Ok((note, reader))
    }

    /// Reads all of it to find what is intact.
    pub(super) fn scan(&self) -> Result<Scan, WalError> {
        let (_, mut frames) = self.read()?;
        let mut intact: Vec<_> = iter::once(0..frames.offset()).collect();
        let mut count = 0;
        loop {
            let begin = frames.offset();
            match frames.next_frame() {
                Ok(Some(_)) => {
                    count += 1;
                    match intact.last_mut() {
                        Some(range) if range.end == begin => range.end = frames.offset(),
                        _ => intact.push(begin..frames.offset()),
                    }
                }
                Ok(None) => break,
                Err(WalError::Damaged { .. }) if frames.step_over() => {}
                Err(WalError::Damaged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let end = intact.last().map_or(0, |range| range.end);
        Ok(Scan { intact, frames: count, next: frames.next(), tail_bytes: self.length.saturating_sub(end) })
    }

    /// Cuts the tail, and keeps it aside.
    pub(super) fn cut_tail(&mut self, scan: &Scan) -> Result<(), WalError> {
        let length = self.length - scan.tail_bytes;
        let failed = |error| WalError::io("cut", &self.path, error);
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(failed)?;
        durable::write(&durable::name_aside(&self.path, "cut"), |aside| {
            copy(&mut file, &(length..self.length), aside)
        })?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(failed)?;
        self.length = length;
        Ok(())
    }

    /// Keeps the segment aside as it is, and leaves what is intact of it in its place; gives the name of the former.
    pub(super) fn set_damage_aside(&mut self, scan: &Scan) -> Result<PathBuf, WalError> {
        let aside = durable::name_aside(&self.path, "damaged");
        let mut whole = File::open(&self.path).map_err(|error| WalError::io("open", &self.path, error))?;
        durable::write(&aside, |file| copy(&mut whole, &(0..self.length), file))?;
        durable::write(&self.path, |file| scan.intact.iter().try_for_each(|range| copy(&mut whole, range, file)))?;
        self.length = scan.intact_bytes();
        Ok(aside)
    }
}

fn copy(from: &mut File, range: &Range<u64>, to: &mut File) -> io::Result<()> {
    from.seek(SeekFrom::Start(range.start))?;
    let count = range.end - range.start;
    if io::copy(&mut from.take(count), to)? < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
