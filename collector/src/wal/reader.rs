//! Reads one segment: its note, then its frames, one at a time. Memory follows what is there, not what a length claims.
//!
//! What always holds: a frame is given only when it begins with the log's marker, its checksum holds, and its position is
//! the very next one; after damage, one that the damaged bytes leave room for. Damage never ends the reading: it goes on
//! at the next intact frame.

use std::path::PathBuf;

use bytes::Bytes;

use super::{
    Frame, Position, WalError,
    disk::{Disk, DiskFile},
    frame::{self, HEAD_BYTES, Marker},
    segment::{self, Head, Segment},
};

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 1 << 18;

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct FrameReader<F> {
    path: PathBuf,
    file: F,
    marker: Marker,
    /// Where the reading ends.
    end: u64,
    /// Where the next frame begins.
    offset: u64,
    /// The position that it should have.
    next: Position,
    /// The first position that belongs to another segment.
    limit: Position,
    /// The intact frame that was found behind the damage told last.
    found: Option<Found>,
    /// Bytes of the file, and where they begin in it.
    window: (u64, Vec<u8>),
}

/// What stands in a segment.
#[derive(Debug)]
pub(super) enum Read {
    Frame(Frame),
    Damaged(Gap),
}

/// Bytes that are no frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) what: &'static str,
    /// Position of the last intact frame before.
    pub(super) after: Position,
    /// Position of the first intact frame behind; none when none follows in this segment.
    pub(super) next: Option<Position>,
}

#[derive(Debug)]
struct Found {
    frame: Frame,
    end: u64,
}

impl<F: DiskFile> FrameReader<F> {
    /// Opens a segment whose positions end before `limit`, and gives what its head says: none when it is damaged, which
    /// the reading tells too.
    pub(super) fn open<D: Disk<File = F>>(
        disk: &D,
        marker: Marker,
        segment: &Segment,
        limit: Position,
    ) -> Result<(Option<Head>, Self), WalError> {
        let path = segment.path().to_owned();
        let file = disk.open_to_read(&path).map_err(|error| WalError::io("open", &path, error))?;
        let (end, next, window) = (segment.length(), segment.first(), (0, Vec::new()));
        let mut reader = Self { path, file, marker, end, offset: 0, next, limit, found: None, window };
        let head = reader.head()?;
        Ok((head, reader))
    }

    /// Where the next frame begins, or would.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The position that the next frame should have.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    /// What stands where the reading is; `None` at the end.
    pub(super) fn read(&mut self) -> Result<Option<Read>, WalError> {
        if let Some(found) = self.found.take() {
            return Ok(Some(Read::Frame(self.accept(found))));
        }
        if self.offset >= self.end {
            return Ok(None);
        }
        Ok(Some(match self.frame_at(self.offset, 0)? {
            Ok(found) => Read::Frame(self.accept(found)),
            Err(what) => Read::Damaged(self.step_over(what)?),
        }))
    }

    fn head(&mut self) -> Result<Option<Head>, WalError> {
        let fixed = self.bytes(0, segment::HEAD_BYTES)?.to_vec();
        let Some(note_bytes) = segment::note_bytes(&fixed) else { return Ok(None) };
        if (segment::HEAD_BYTES + note_bytes) as u64 > self.end {
            return Ok(None);
        }
        let note = Bytes::copy_from_slice(self.bytes(segment::HEAD_BYTES as u64, note_bytes)?);
        let head = Head::decode(&fixed, note).filter(|head| head.first == self.next);
        if head.is_some() {
            self.offset = (segment::HEAD_BYTES + note_bytes) as u64;
        }
        Ok(head)
    }

    fn accept(&mut self, found: Found) -> Frame {
        self.offset = found.end;
        self.next = found.frame.position.next();
        found.frame
    }

    /// The frame at this offset, or what is wrong there. As many positions as `most_missing` may be left out before it.
    fn frame_at(&mut self, offset: u64, most_missing: u64) -> Result<Result<Found, &'static str>, WalError> {
        let marker = self.marker;
        let last = self.next.get().saturating_add(most_missing).min(self.limit.previous().get());
        let expected = self.next..=Position::new(last);
        let size = match frame::size(self.bytes(offset, HEAD_BYTES)?, marker) {
            Ok(size) => size,
            Err(what) => return Ok(Err(what)),
        };
        let end = offset + size as u64;
        if end > self.end {
            return Ok(Err("a frame is cut short"));
        }
        Ok(match frame::decode(self.bytes(offset, size)?) {
            None => Err("a frame does not match its checksum"),
            Some(frame) if expected.contains(&frame.position) => Ok(Found { frame, end }),
            Some(_) => Err("a frame is not in order"),
        })
    }

    /// Looks for the next intact frame.
    fn step_over(&mut self, what: &'static str) -> Result<Gap, WalError> {
        let (begin, after) = (self.offset, self.next.previous());
        let mut from = begin + 1;
        while let Some(offset) = self.find_marker(from)? {
            // No frame is smaller than its head: more positions than fit there cannot have been lost.
            if let Ok(found) = self.frame_at(offset, (offset - begin) / HEAD_BYTES as u64)? {
                let next = Some(found.frame.position);
                self.found = Some(found);
                return Ok(Gap { offset: begin, bytes: offset - begin, what, after, next });
            }
            from = offset + 1;
        }
        self.offset = self.end;
        Ok(Gap { offset: begin, bytes: self.end - begin, what, after, next: None })
    }

    fn find_marker(&mut self, mut from: u64) -> Result<Option<u64>, WalError> {
        let marker = self.marker.bytes();
        loop {
            let bytes = self.bytes(from, WINDOW_BYTES)?;
            if let Some(place) = bytes.windows(marker.len()).position(|window| window == marker) {
                return Ok(Some(from + place as u64));
            }
            if bytes.len() < WINDOW_BYTES {
                return Ok(None);
            }
            from += (WINDOW_BYTES - marker.len() + 1) as u64;
        }
    }

    /// As many bytes from this offset on, or as there are.
    fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8], WalError> {
        let count = usize::try_from(self.end.saturating_sub(offset)).map_or(count, |left| left.min(count));
        let (begin, window) = &mut self.window;
        let is_there = offset >= *begin && offset + count as u64 <= *begin + window.len() as u64;
        if !is_there {
            *begin = offset;
            // One large frame does not keep its memory.
            window.clear();
            window.shrink_to(2 * WINDOW_BYTES);
            window.resize(count.max(WINDOW_BYTES), 0);
            let read = self.file.read_at(window, offset).map_err(|error| WalError::io("read", &self.path, error))?;
            window.truncate(read);
        }
        let place = usize::try_from(offset - *begin).expect("a window is as large as memory has room for");
        Ok(&window[place..window.len().min(place + count)])
    }
}
