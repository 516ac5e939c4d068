//! Reads one segment: its note, then its frames, one at a time. Memory follows what is there, not what a length claims.
//!
//! What always holds: a frame is given only when its checksum holds and its position is later than the one before it.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Frame, Position, WalError,
    frame::{self, PREFIX_BYTES},
};

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next frame begins.
    offset: u64,
    /// The smallest position that it may have.
    next: Position,
    /// How many damaged frames were stepped over since the last intact one.
    stepped: u64,
    /// Where the damaged frame at `offset` ends, by its own account.
    claimed_end: Option<u64>,
}

impl FrameReader {
    pub(super) fn open(path: &Path, first: Position) -> Result<Self, WalError> {
        let file = File::open(path).map_err(|error| WalError::io("open", path, error))?;
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(Self { path: path.to_owned(), file, offset: 0, next: first, stepped: 0, claimed_end: None })
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The smallest position that the next frame may have.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    /// The next bytes of the segment's head.
    pub(super) fn head(&mut self, count: usize) -> Result<Bytes, WalError> {
        let bytes = self.take(count)?;
        if bytes.len() < count {
            return Err(self.damaged("the segment's head is cut short; move the file away to go on without it"));
        }
        self.offset += count as u64;
        Ok(bytes.into())
    }

    /// The next frame; `None` at the end of the file, and only there.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, WalError> {
        self.claimed_end = None;
        let prefix = self.take(PREFIX_BYTES)?;
        if prefix.is_empty() {
            return Ok(None);
        }
        let Ok(prefix) = <[u8; PREFIX_BYTES]>::try_from(prefix) else {
            return Err(self.damaged("a frame is cut short"));
        };
        let Some((length, checksum)) = frame::prefix(prefix) else {
            return Err(self.damaged("no frame has such a length"));
        };
        let end = self.offset + (PREFIX_BYTES + length) as u64;
        let bytes = self.take(length)?;
        if bytes.len() < length {
            return Err(self.damaged("a frame is cut short"));
        }
        self.claimed_end = Some(end);
        let Some(frame) = frame::decode(bytes, checksum) else {
            return Err(self.damaged("a frame does not match its checksum"));
        };
        if !self.is_in_order(frame.position) {
            return Err(self.damaged("a frame is not in order"));
        }
        self.offset = end;
        self.next = frame.position.next();
        self.stepped = 0;
        Ok(Some(frame))
    }

    /// After damage: goes on to where the damaged frame claims to end; `false` when that cannot be known.
    pub(super) fn step_over(&mut self) -> bool {
        let Some(end) = self.claimed_end.take() else { return false };
        self.offset = end;
        self.stepped += 1;
        true
    }

    /// After damage: whether no intact frame follows it, as when a write was interrupted.
    pub(super) fn is_torn_tail(&mut self) -> Result<bool, WalError> {
        while self.step_over() {
            match self.next_frame() {
                Ok(Some(_)) => return Ok(false),
                Ok(None) | Err(WalError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn damaged(&self, what: &'static str) -> WalError {
        WalError::Damaged { path: self.path.clone(), offset: self.offset, what }
    }

    /// Positions may be missing where damage was set aside. Behind a damaged length, though, may stand the inside of a
    /// body, where a sender could have put what looks like a frame: there only the very position will do.
    fn is_in_order(&self, position: Position) -> bool {
        if self.stepped == 0 {
            position >= self.next
        } else {
            position.get().checked_sub(self.next.get()) == Some(self.stepped)
        }
    }

    /// As many bytes, or as are left.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, WalError> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(count as u64).read_to_end(&mut bytes);
        read.map_err(|error| WalError::io("read", &self.path, error))?;
        Ok(bytes)
    }
}
