//! The frames of a log from the head of some segment on, one at a time: memory does not grow with the log.

use std::vec;

use bytes::Bytes;

use super::{Frame, Position, WalError, reader::FrameReader, segment::Segment};

/// Yields frames in order; ends with the first error. Reads by handles of its own, so the log may go on meanwhile.
#[derive(Debug)]
pub struct Replay {
    /// The segment that is being read, unless an error ended the reading.
    frames: Option<FrameReader>,
    segments: vec::IntoIter<Segment>,
}

impl Replay {
    pub(super) fn begin(segments: &[Segment], after: Position) -> Result<(Option<Bytes>, Self), WalError> {
        let begin = segments.iter().rposition(|segment| segment.first() <= after.next()).unwrap_or(0);
        let mut segments = Vec::from(&segments[begin..]).into_iter();
        let Some(first) = segments.next() else { return Ok((None, Self { frames: None, segments })) };
        let (note, frames) = first.read()?;
        Ok((Some(note), Self { frames: Some(frames), segments }))
    }

    fn advance(&mut self) -> Result<Option<Frame>, WalError> {
        while let Some(frames) = &mut self.frames {
            match frames.next_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error @ WalError::Damaged { .. }) => {
                    // Nobody was answered for a torn tail.
                    if self.segments.len() > 0 || !frames.is_torn_tail()? {
                        return Err(error);
                    }
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
    type Item = Result<Frame, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.frames = None;
        }
        next
    }
}
