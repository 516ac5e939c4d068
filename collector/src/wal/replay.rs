//! The frames of a log from the head of some segment on, one at a time: memory does not grow with the log.
//!
//! What always holds: entries come in order; a reading that ends without an error has told of every position up to its
//! end: as a frame, or as lost.

use std::{fmt, io, path::PathBuf, vec};

use bytes::Bytes;

use super::{
    Frame, Position, WalError,
    disk::{Disk, System},
    frame::{HEAD_BYTES, Marker},
    reader::{FrameReader, Gap, Read},
    segment::{Head, Segment},
};

/// What stands in the log.
#[derive(Debug)]
pub enum Entry {
    /// An intact frame.
    Frame(Frame),
    /// Where frames are damaged; what can be read after them follows.
    Damaged(Damage),
}

/// Damaged bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub segment: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many bytes; none when the file is shorter than it was.
    pub bytes: u64,
    /// What is wrong at the first of them.
    pub what: &'static str,
    /// Position of the last intact frame before.
    pub after: Position,
    /// Position of the first frame behind that can be intact, unless the log ends here.
    pub next: Option<Position>,
    /// Frames that are lost: what the positions tell. At most as many as the bytes had room for, where the positions
    /// around it need not follow one another.
    pub lost_frames: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, bytes, what, after, lost_frames, .. } = self;
        let segment = segment.display();
        write!(
            f,
            "{segment} is damaged at byte {offset}: {what} ({bytes} bytes, {lost_frames} messages lost after {after})"
        )
    }
}

/// Yields frames in order; ends with the first error. Reads by handles of its own, so the log may go on meanwhile.
#[derive(Debug)]
pub struct Replay<D: Disk = System> {
    disk: D,
    marker: Marker,
    /// The segment that is being read, unless an error ended the reading.
    reading: Option<Reading<D>>,
    segments: vec::IntoIter<Segment>,
    after: Position,
    through: Through,
    /// The segment that was opened last, until that is told.
    begun: Option<Begun>,
}

/// What a reading comes to, step by step.
#[derive(Debug)]
pub(super) enum Step {
    Begun(Begun),
    Entry(Entry),
    /// Behind the last intact frame of a log that nobody writes: a write that was interrupted.
    TornTail(Damage),
}

/// A segment whose reading begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) segment: Segment,
    /// Size of its note; none when its head is damaged.
    pub(super) note_bytes: Option<u64>,
}

/// Where a reading ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Through {
    /// After this frame, which was on disk when the reading began.
    Synced(Position),
    /// After the last intact frame, of a log that nobody writes: behind it is a write that was interrupted.
    Intact,
}

#[derive(Debug)]
struct Reading<D: Disk> {
    segment: Segment,
    frames: FrameReader<D::File>,
}

impl<D: Disk> Replay<D> {
    /// Begins at the newest segment whose head is intact, and that has every frame after `after`; at the oldest one, and
    /// without a note, when there is none. The lengths of the segments say how far each of them is read.
    pub(super) fn begin(
        disk: &D,
        marker: Marker,
        segments: &[Segment],
        after: Position,
        through: Through,
    ) -> Result<(Option<Bytes>, Self), WalError> {
        let newest = segments.iter().rposition(|segment| segment.first() <= after.next()).unwrap_or(0);
        for begin in (0..=newest).rev() {
            let (note, replay) = Self::of(disk, marker, segments.get(begin..).unwrap_or_default(), after, through)?;
            if note.is_some() || begin == 0 {
                return Ok((note, replay));
            }
        }
        Self::of(disk, marker, &[], after, through)
    }

    /// Reads these segments, all of them.
    pub(super) fn of(
        disk: &D,
        marker: Marker,
        segments: &[Segment],
        after: Position,
        through: Through,
    ) -> Result<(Option<Bytes>, Self), WalError> {
        let mut segments = Vec::from(segments).into_iter();
        let first = segments.next();
        let mut replay = Self { disk: disk.clone(), marker, reading: None, segments, after, through, begun: None };
        let head = first.map(|first| replay.open_existing(first)).transpose()?.flatten();
        Ok((head.map(|head| head.note), replay))
    }

    /// The last frame that was on disk when the reading began; it ends there. Of a log that nobody writes it is not known.
    #[must_use]
    pub fn through(&self) -> Position {
        match self.through {
            Through::Synced(position) => position,
            Through::Intact => Position::LAST,
        }
    }

    pub(super) fn step(&mut self) -> Result<Option<Step>, WalError> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(Step::Begun(begun)));
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        match reading.frames.read()? {
            Some(Read::Frame(frame)) => Ok(Some(Step::Entry(Entry::Frame(frame)))),
            Some(Read::Damaged(gap)) if gap.next.is_some() => {
                Ok(Some(Step::Entry(Entry::Damaged(reading.damage(gap, gap.next)))))
            }
            Some(Read::Damaged(gap)) => self.next_segment(Some(gap)),
            None => self.next_segment(None),
        }
    }

    /// Goes on to the next segment. Tells what was missing at the end of this one, behind its last intact frame.
    fn next_segment(&mut self, gap: Option<Gap>) -> Result<Option<Step>, WalError> {
        let Some(ended) = self.reading.take() else { return Ok(None) };
        let last = ended.frames.next().previous();
        // The last frame that was written, when that is known; and the one that can come next.
        let (written, next) = match (self.segments.next(), self.through) {
            (Some(segment), _) => (self.open(segment)?, self.reading.as_ref().map(|reading| reading.segment.first())),
            // A segment that was just begun has no frame yet.
            (None, Through::Synced(through)) => (Some(through.max(ended.segment.first().previous())), None),
            (None, Through::Intact) => {
                return Ok(gap.map(|gap| Step::TornTail(ended.damage(gap, None))));
            }
        };
        if gap.is_none() && written.is_none_or(|written| written <= last) {
            return self.step();
        }
        let (offset, what) = (ended.frames.offset(), "frames are missing at its end");
        let gap = gap.unwrap_or(Gap { offset, bytes: 0, what, after: last, next: None });
        let mut damage = ended.damage(gap, written.map(|written| written.max(last).next()).or(next));
        if written.is_none() {
            // The next segment need not follow on this one.
            damage.lost_frames = damage.lost_frames.min(gap.bytes.div_ceil(HEAD_BYTES as u64));
        }
        Ok(Some(Step::Entry(Entry::Damaged(damage))))
    }

    /// Opens a segment to be read next; gives the last frame that was written before it, if its head says.
    fn open(&mut self, segment: Segment) -> Result<Option<Position>, WalError> {
        match self.open_existing(segment) {
            Ok(head) => Ok(head.map(|head| head.previous)),
            // It was deleted meanwhile, which is allowed up to `after`.
            Err(WalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && self.may_skip() => {
                self.segments.next().map_or(Ok(None), |later| self.open(later)).map(|_| None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether all frames before the next segment are ones that may have been deleted.
    fn may_skip(&self) -> bool {
        self.segments.as_slice().first().is_some_and(|later| later.first() <= self.after.next())
    }

    fn open_existing(&mut self, segment: Segment) -> Result<Option<Head>, WalError> {
        let limit = self.segments.as_slice().first().map_or(Position::LAST, Segment::first);
        let (head, frames) = FrameReader::open(&self.disk, self.marker, &segment, limit)?;
        let note_bytes = head.as_ref().map(|head| head.note.len() as u64);
        self.begun = Some(Begun { segment: segment.clone(), note_bytes });
        self.reading = Some(Reading { segment, frames });
        Ok(head)
    }
}

impl<D: Disk> Reading<D> {
    fn damage(&self, gap: Gap, next: Option<Position>) -> Damage {
        self.segment.mark_damaged();
        let Gap { offset, bytes, what, after, .. } = gap;
        let lost_frames = next.map_or(1, |next| next.get().saturating_sub(after.get() + 1));
        Damage { segment: self.segment.path().to_owned(), offset, bytes, what, after, next, lost_frames }
    }
}

impl<D: Disk> Iterator for Replay<D> {
    type Item = Result<Entry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            return match self.step() {
                Ok(Some(Step::Entry(entry))) => Some(Ok(entry)),
                Ok(Some(Step::Begun(_))) => continue,
                Ok(Some(Step::TornTail(_)) | None) => None,
                Err(error) => {
                    self.reading = None;
                    Some(Err(error))
                }
            };
        }
    }
}
