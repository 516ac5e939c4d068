//! A segment: a file that begins with a head and holds frames.
//!
//! | offset | bytes | what (numbers little endian) |
//! |---|---|---|
//! | 0 | 8 | `WEIRWAL2`; the last digit is the version |
//! | 8 | 8 | position of the first frame |
//! | 16 | 8 | position of the last frame that was written before it; 0 without one |
//! | 24 | 4 | length of the note |
//! | 28 | 4 | CRC32C of bytes 8 to 28 and of the note |
//! | 32 | … | note, then frames, whose positions follow one another |
//!
//! A version whose heads are others has another digit, and its checksum covers the digit too: of a head with another digit whose
//! checksum holds without it, the digit is what is damaged.
//!
//! A segment appears whole, head and all, or not at all: it is written under another name, fsynced, and renamed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;

use super::{
    Position, WalError,
    disk::{Disk, DiskFile},
    durable,
    error::{NEW_VERSION, OLD_VERSION},
};

/// Bytes of the head before the note.
pub(super) const HEAD_BYTES: usize = 32;

const MAGIC: &[u8; 8] = b"WEIRWAL2";
/// The magic of every version, without its digit.
const FAMILY: &[u8; 7] = b"WEIRWAL";
const EXTENSION: &str = "wal";

/// The largest note, bytes.
const MOST_NOTE_BYTES: usize = 1 << 30;

/// A file of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    path: PathBuf,
    first: Position,
    length: u64,
    /// Whether somebody met damage in it. All copies know.
    damaged: Arc<AtomicBool>,
}

/// What the head of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Position of the first frame in it.
    pub(super) first: Position,
    /// Position of the last frame before it.
    pub(super) previous: Position,
    /// The owner's note.
    pub(super) note: Bytes,
}

impl Head {
    fn encode(&self) -> Result<Vec<u8>, WalError> {
        let too_large = WalError::TooLarge { bytes: self.note.len() as u64 };
        let length =
            u32::try_from(self.note.len()).ok().filter(|_| self.note.len() <= MOST_NOTE_BYTES).ok_or(too_large)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.note.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend(self.first.get().to_le_bytes());
        bytes.extend(self.previous.get().to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(&bytes, &self.note).to_le_bytes());
        bytes.extend_from_slice(&self.note);
        Ok(bytes)
    }

    /// The head with these first bytes and this note; none when they are not what the checksum says.
    pub(super) fn decode(fixed: &[u8], note: Bytes) -> Option<Self> {
        let (said, stored) = fixed.split_at_checked(28)?;
        if stored != checksum(said, &note).to_le_bytes() {
            return None;
        }
        let (first, rest) = said.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (previous, _) = rest.split_first_chunk()?;
        let position = |bytes: &[u8; 8]| Position::new(u64::from_le_bytes(*bytes));
        Some(Self { first: position(first), previous: position(previous), note })
    }
}

/// The length of the note, by a head's first bytes; none when they are none, or no note is so long.
pub(super) fn note_bytes(fixed: &[u8]) -> Option<usize> {
    let (length, _) = fixed.strip_prefix(MAGIC)?.get(16..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*length) as usize).filter(|length| *length <= MOST_NOTE_BYTES)
}

fn checksum(said: &[u8], note: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&said[MAGIC.len()..]), note)
}

/// The segments in a directory, oldest first.
pub(super) fn list<D: Disk>(disk: &D, directory: &Path) -> Result<Vec<Segment>, WalError> {
    let listed = disk.list(directory).map_err(|error| WalError::io("list", directory, error))?;
    let mut segments = Vec::new();
    for (path, length) in listed {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(EXTENSION)) = (number, path.extension().and_then(|end| end.to_str())) {
            segments.push(Segment::new(path, Position::new(number), length));
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

impl Segment {
    fn new(path: PathBuf, first: Position, length: u64) -> Self {
        Self { path, first, length, damaged: Arc::default() }
    }

    /// Begins a segment, durably. It takes the place of another one without frames, which is kept aside if damaged.
    pub(super) fn create<D: Disk>(
        disk: &D,
        directory: &Path,
        head: &Head,
        replaced: Option<&Self>,
    ) -> Result<Self, WalError> {
        let path = directory.join(format!("{:020}.{EXTENSION}", head.first.get()));
        let bytes = head.encode()?;
        let damaged = replaced.filter(|replaced| replaced.damaged.load(Relaxed));
        durable::write_after(disk, &path, &bytes, || damaged.map_or(Ok(()), |damaged| damaged.set_aside(disk)))?;
        Ok(Self::new(path, head.first, bytes.len() as u64))
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

    /// Notes that somebody met damage in it.
    pub(super) fn mark_damaged(&self) {
        self.damaged.store(true, Relaxed);
    }

    pub(super) fn open_to_append<D: Disk>(&self, disk: &D) -> Result<D::File, WalError> {
        disk.open_to_append(&self.path).map_err(|error| WalError::io("open", &self.path, error))
    }

    /// Makes sure that this version wrote it, unless its first bytes are damaged.
    pub(super) fn check_version<D: Disk>(&self, disk: &D) -> Result<(), WalError> {
        let failed = |error| WalError::io("read", &self.path, error);
        let mut fixed = [0; HEAD_BYTES];
        let file = disk.open_to_read(&self.path).map_err(failed)?;
        file.read_at(&mut fixed, 0).map_err(failed)?;
        let what = match fixed.strip_prefix(FAMILY).and_then(|rest| rest.first()) {
            Some(b'1') => OLD_VERSION,
            Some(b'3'..=b'9') => NEW_VERSION,
            _ => return Ok(()),
        };
        fixed[..MAGIC.len()].copy_from_slice(MAGIC);
        if what == NEW_VERSION
            && let Some(note_bytes) = note_bytes(&fixed)
        {
            let there = usize::try_from(self.length).unwrap_or(usize::MAX).saturating_sub(HEAD_BYTES);
            let mut note = vec![0; note_bytes.min(there)];
            file.read_at(&mut note, HEAD_BYTES as u64).map_err(failed)?;
            if Head::decode(&fixed, note.into()).is_some() {
                return Ok(());
            }
        }
        Err(WalError::OtherVersion { path: self.path.clone(), what })
    }

    /// Deletes the file, if it is still there. One in which damage was met is kept aside instead.
    pub(super) fn delete<D: Disk>(&self, disk: &D) -> Result<(), WalError> {
        if self.damaged.load(Relaxed) {
            return self.set_aside(disk);
        }
        match disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WalError::io("delete", &self.path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Gives the file a name under which nobody reads it; no bytes are copied, so a full disk is no hindrance.
    fn set_aside<D: Disk>(&self, disk: &D) -> Result<(), WalError> {
        let aside = durable::name_aside(disk, &self.path, "damaged")?;
        match disk.rename(&self.path, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WalError::io("rename", &self.path, error));
            }
            Err(_) => {}
            Ok(()) => tracing::warn!(kept = %aside.display(), "a damaged segment is kept until somebody deletes it"),
        }
        Ok(())
    }

    /// Cuts what stands behind this offset, durably. Keeps a copy of it when there is room for one.
    pub(super) fn cut<D: Disk>(&mut self, disk: &D, offset: u64) -> Result<(), WalError> {
        match self.copy_tail(disk, offset) {
            Ok(()) => {}
            Err(WalError::NoSpace { path }) => tracing::warn!(copy = %path.display(), "no space to keep what is cut"),
            Err(error) => return Err(error),
        }
        let mut file = self.open_to_append(disk)?;
        let cut = file.truncate(offset).and_then(|()| file.sync());
        cut.map_err(|error| WalError::io("cut", &self.path, error))?;
        self.length = offset;
        Ok(())
    }

    fn copy_tail<D: Disk>(&self, disk: &D, offset: u64) -> Result<(), WalError> {
        let mut tail =
            vec![0; usize::try_from(self.length - offset).unwrap_or(usize::MAX).min(super::MOST_FRAME_BYTES)];
        let read = disk.open_to_read(&self.path).and_then(|file| file.read_at(&mut tail, offset));
        tail.truncate(read.map_err(|error| WalError::io("read", &self.path, error))?);
        let aside = durable::name_aside(disk, &self.path, "cut")?;
        durable::write(disk, &aside, &tail).map_err(WalError::or_no_space)
    }
}
