//! The frames of a log from the head of some segment on, one at a time: memory does not grow with the log.

use std::{path::PathBuf, vec};

use bytes::Bytes;

use super::{Frame, Position, WalError, reader::FrameReader, segment::Segment};

/// What stands in the log.
#[derive(Debug)]
pub enum Entry {
    /// An intact frame.
    Frame(Frame),
    /// Where frames are damaged; what can be read after them follows.
    Damaged(Damage),
}

/// Damaged bytes of a segment.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The file.
    pub segment: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Position of the last intact frame before.
    pub after: Position,
}

/// Where a reading of a log ends that nobody writes: at the end of what can be read.
pub(super) const UNBOUNDED: Position = Position::new(u64::MAX);

/// Yields frames in order; ends with the first error. Reads by handles of its own, so the log may go on meanwhile.
#[derive(Debug)]
pub struct Replay {
    /// The segment that is being read, unless an error ended the reading.
    frames: Option<FrameReader>,
    segments: vec::IntoIter<Segment>,
    through: Position,
}

impl Replay {
    pub(super) fn begin(
        segments: &[Segment],
        after: Position,
        through: Position,
    ) -> Result<(Option<Bytes>, Self), WalError> {
        let begin = segments.iter().rposition(|segment| segment.first() <= after.next()).unwrap_or(0);
        let mut segments = Vec::from(&segments[begin..]).into_iter();
        let Some(first) = segments.next() else { return Ok((None, Self { frames: None, segments, through })) };
        let (note, frames) = first.read()?;
        Ok((Some(note), Self { frames: Some(frames), segments, through }))
    }

    /// The last frame that was on disk when the reading began; it ends there.
    #[must_use]
    pub fn through(&self) -> Position {
        self.through
    }

    fn advance(&mut self) -> Result<Option<Entry>, WalError> {
        while let Some(frames) = &mut self.frames {
            match frames.next_frame() {
                Ok(Some(frame)) if frame.position > self.through => return Ok(None),
                Ok(Some(frame)) => return Ok(Some(Entry::Frame(frame))),
                Ok(None) => {}
                Err(error @ WalError::Damaged { .. }) if self.through == UNBOUNDED => {
                    // Nobody was answered for a torn tail.
                    if self.segments.len() > 0 || !frames.is_torn_tail()? {
                        return Err(error);
                    }
                }
                Err(WalError::Damaged { path, offset, .. }) => {
                    // It was intact when the log was opened. What follows is read, if it can be found.
                    let after = frames.next().previous();
                    if after >= self.through {
                        // A frame that is being written.
                        return Ok(None);
                    }
                    tracing::error!(segment = %path.display(), offset, %after, "the log was damaged while it was in use");
                    if !frames.step_over() {
                        self.frames =
                            self.segments.next().map(|segment| segment.read()).transpose()?.map(|read| read.1);
                    }
                    return Ok(Some(Entry::Damaged(Damage { segment: path, offset, after })));
                }
                Err(error) => return Err(error),
            }
            self.frames = match self.segments.next() {
                Some(segment) => Some(segment.read()?.1),
                None => None,
            };
        }
        Ok(None)
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_)) | None) {
            self.frames = None;
        }
        next
    }
}
