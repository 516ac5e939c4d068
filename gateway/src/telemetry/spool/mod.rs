//! The spool: batches on disk that the collector has not acknowledged yet.
//!
//! A lane is the spool of one instance and one signal: a directory `INSTANCE.logs` or `INSTANCE.traces` with segments
//! `00000001.spool`, …, and the file `state`, which its process holds a lock on. A lane whose lock is free is one that
//! a process left behind; the next gateway on the directory adopts it and sends it under its own instance id.
//!
//! What always holds: batches leave in the order in which they came; a batch stays until it is done with; the lanes of
//! one spool take no more bytes than their budget; what is done with, and what of it is lost, is noted in one write; a
//! lane whose source has nothing to send is not there.
//!
//! What survives: a batch that was appended survives the end of the process; it survives a power cut once it is synced,
//! which is within [`SYNC_INTERVAL`] of its append, and when its segment is full. A torn tail is cut, and a damaged
//! segment is set aside from the damage on; the counters on the batches tell how many records that lost.

pub mod fuzzing;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

pub(crate) use segment::Entry;
use segment::{Next, Reader, Writer};
pub(crate) use state::State;
use weir_station::crash_point;

/// A batch is on disk at most so much later than it was appended.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// A segment is full at this size, or at an eighth of the budget.
const SEGMENT_BYTES: u64 = 4 << 20;

const SEGMENT: &str = "spool";
const STATE: &str = "state";

/// Where a gateway's lanes are, and what they may take together.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    most_bytes: u64,
    used_bytes: AtomicU64,
}

/// What became of an append.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// The batch is in the lane.
    Done,
    /// It would go beyond the budget.
    Full,
}

/// The batch that a lane has to send next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The batch; none when the lane has no more.
    pub(crate) entry: Option<Entry>,
    /// Records that damage has taken from the lane since the batch before.
    pub(crate) lost: u64,
}

impl Spool {
    /// The spool in a directory. It is made and tried, so that an operator hears of a wrong one now, and not when it is
    /// needed; the gateway serves without it.
    pub(crate) fn open(directory: PathBuf, most_bytes: u64) -> Arc<Self> {
        let tried = directory.join(format!("tried-{}", std::process::id()));
        let usable =
            fs::create_dir_all(&directory).and_then(|()| File::create(&tried)).and_then(|_| fs::remove_file(&tried));
        if let Err(error) = usable {
            tracing::error!(
                %error,
                directory = %directory.display(),
                "the spool directory cannot be used: name one that this user may write to, or \"off\"; \
                 without it records are dropped while no collector takes them"
            );
        }
        Arc::new(Self { directory, most_bytes, used_bytes: AtomicU64::new(0) })
    }

    /// Bytes that its lanes take.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed)
    }

    /// Makes the lane of a running source.
    pub(crate) fn create(self: &Arc<Self>, instance: &str, signal: &str, state: State) -> io::Result<Lane> {
        let directory = self.directory.join(format!("{instance}.{signal}"));
        fs::create_dir_all(&directory)?;
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(directory.join(STATE))?;
        lock.try_lock()?;
        state.write(&lock)?;
        Ok(Lane::new(Arc::clone(self), directory, instance, lock, state))
    }

    /// The lanes of a signal that other processes left behind, oldest first.
    pub(crate) fn adopt(self: &Arc<Self>, signal: &str) -> io::Result<Vec<Lane>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut directories = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        directories.retain(|path| path.extension().is_some_and(|extension| extension == signal));
        // Instance ids are UUIDs of version 7: they sort by time.
        directories.sort();
        let mut lanes = Vec::new();
        for directory in directories {
            match Lane::adopt(Arc::clone(self), directory.clone()) {
                Ok(lane) => lanes.extend(lane),
                // One directory that cannot be read keeps nobody from the others.
                Err(error) => tracing::error!(%error, directory = %directory.display(), "a spool cannot be read"),
            }
        }
        Ok(lanes)
    }
}

/// The spool of one instance and one signal.
#[derive(Debug)]
pub(crate) struct Lane {
    spool: Arc<Spool>,
    directory: PathBuf,
    instance: String,
    /// The state's file; locked while this lives.
    lock: File,
    state: State,
    segments: VecDeque<Segment>,
    writer: Option<Writer>,
    /// Reads the first segment.
    reader: Option<Reader>,
    /// The batch that was read last and is not done with.
    head: Option<Entry>,
    synced: Instant,
    is_synced: bool,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// `numbered` of its last batch; not known of an adopted one.
    numbered: u64,
    sequence: u64,
}

impl Lane {
    fn new(spool: Arc<Spool>, directory: PathBuf, instance: &str, lock: File, state: State) -> Self {
        Self {
            spool,
            directory,
            instance: instance.to_owned(),
            lock,
            state,
            segments: VecDeque::new(),
            writer: None,
            reader: None,
            head: None,
            synced: Instant::now(),
            is_synced: true,
        }
    }

    fn adopt(spool: Arc<Spool>, directory: PathBuf) -> io::Result<Option<Self>> {
        let Some(instance) = directory.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else {
            return Ok(None);
        };
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(STATE))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let state = State::read(&lock)?;
        let is_state_known = state.is_some();
        let mut lane = Self::new(spool, directory, &instance, lock, state.unwrap_or_default());
        let mut segments = Vec::new();
        for entry in fs::read_dir(&lane.directory)? {
            let entry = entry?;
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            // Other files are somebody else's.
            if let Some(number) = number.filter(|number| path == lane.path(*number)) {
                segments.push(Segment { number, bytes: entry.metadata()?.len(), numbered: 0, sequence: 0 });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        lane.spool.used_bytes.fetch_add(segments.iter().map(|segment| segment.bytes).sum(), Relaxed);
        lane.segments = segments.into();
        if !is_state_known {
            lane.begin_at_the_first_batch()?;
        }
        if lane.state.in_hand > 0 {
            lane.number_the_last_batch()?;
        }
        Ok(Some(lane))
    }

    /// A process that is killed between an append and its note leaves a batch that the state does not know. What is told
    /// of a batch in hand is told before the others are read, and must not take their records for lost.
    fn number_the_last_batch(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.back() else { return Ok(()) };
        if let Some(mut reader) = Reader::open(&self.path(last.number), &self.instance)? {
            while let Next::Entry(entry) = reader.next()? {
                self.state.number(&entry);
            }
        }
        Ok(())
    }

    /// Without a state, all that stands in the lane counts as not done.
    fn begin_at_the_first_batch(&mut self) -> io::Result<()> {
        for segment in &self.segments {
            if let Some(mut reader) = Reader::open(&self.path(segment.number), &self.instance)?
                && let Next::Entry(first) = reader.next()?
            {
                self.state.finish(first.sequence.saturating_sub(1), first.numbered.saturating_sub(first.records));
                self.state.number(&first);
                break;
            }
        }
        Ok(())
    }

    /// Whose batches these are.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether no batch is on disk.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Appends a batch at the end.
    ///
    /// # Errors
    /// When the system refuses; the lane is as before.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<Append> {
        let segment_bytes = SEGMENT_BYTES.min(self.spool.most_bytes / 8);
        if self.writer.as_ref().is_some_and(|writer| writer.bytes() >= segment_bytes) {
            self.sync()?;
            self.writer = None;
        }
        if self.spool.used_bytes() + entry.encoded_bytes() > self.spool.most_bytes {
            return Ok(Append::Full);
        }
        if self.writer.is_none() {
            self.begin_segment()?;
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("a lane without a segment"));
        };
        if let Err(error) = writer.append(entry) {
            // Its end may not be what we believe: the next batch goes to a new segment.
            self.writer = None;
            return Err(error);
        }
        crash_point!("spool::appended");
        self.spool.used_bytes.fetch_add(entry.encoded_bytes(), Relaxed);
        segment.bytes += entry.encoded_bytes();
        (segment.numbered, segment.sequence) = (entry.numbered, entry.sequence);
        self.state.number(entry);
        self.is_synced = false;
        self.state.write(&self.lock)?;
        Ok(Append::Done)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.segments.back().map_or(1, |last| last.number.saturating_add(1));
        let path = self.path(number);
        let created = Writer::create(&path, &self.instance)
            .and_then(|writer| File::open(&self.directory)?.sync_all().map(|()| writer));
        let writer = created.inspect_err(|_| drop(fs::remove_file(&path)))?;
        let bytes = writer.bytes();
        self.spool.used_bytes.fetch_add(bytes, Relaxed);
        self.segments.push_back(Segment {
            number,
            bytes,
            numbered: self.state.numbered,
            sequence: self.state.sequence,
        });
        self.writer = Some(writer);
        Ok(())
    }

    /// Syncs when it is time.
    pub(crate) fn sync_when_due(&mut self, now: Instant) -> io::Result<()> {
        if !self.is_synced && now.saturating_duration_since(self.synced) >= SYNC_INTERVAL {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Has on disk all that was appended.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(writer) = &self.writer {
            writer.sync()?;
            crash_point!("spool::synced");
        }
        self.is_synced = true;
        self.synced = Instant::now();
        Ok(())
    }

    /// The batch to send next: the same one until it is done with.
    ///
    /// # Errors
    /// When the system refuses; it may be asked again.
    pub(crate) fn head(&mut self) -> io::Result<Head> {
        if let Some(entry) = &self.head {
            return Ok(Head { entry: Some(entry.clone()), lost: 0 });
        }
        while let Some(first) = self.segments.front() {
            let path = self.path(first.number);
            if self.reader.is_none() {
                self.reader = Reader::open(&path, &self.instance)?;
            }
            let next = self.reader.as_mut().map_or(Ok(Next::Damaged), Reader::next)?;
            match next {
                Next::Entry(entry) if entry.sequence <= self.state.done_sequence => {}
                Next::Entry(entry) => {
                    let lost = self.lose_before(entry.numbered.saturating_sub(entry.records));
                    self.state.number(&entry);
                    self.head = Some(entry.clone());
                    return Ok(Head { entry: Some(entry), lost });
                }
                Next::End => self.remove_first(&path)?,
                Next::Damaged => {
                    tracing::error!(segment = %path.display(), "a segment of the spool is damaged; what follows in it is set aside");
                    fs::rename(&path, path.with_extension("damaged"))?;
                    self.forget_first();
                }
            }
        }
        let lost = self.lose_before(self.state.numbered);
        self.state.finish(self.state.sequence, self.state.numbered);
        Ok(Head { entry: None, lost })
    }

    /// Counts as lost what is not done with before a batch that is there; gives how many records that was. The next
    /// write of the state notes both at once.
    fn lose_before(&mut self, numbered: u64) -> u64 {
        let lost = numbered.saturating_sub(self.state.done_numbered);
        self.state.done_numbered += lost;
        self.state.lose(lost);
        lost
    }

    /// Notes which collectors may have taken the head, before it is sent to one more.
    pub(crate) fn note_sent_to(&mut self, collectors: &[String]) -> io::Result<()> {
        if self.state.sent_to == collectors {
            return Ok(());
        }
        self.state.sent_to = collectors.to_vec();
        self.state.write(&self.lock)
    }

    /// Notes what its source has counted: what was dropped beside the lane, and what waits in memory.
    pub(crate) fn note_counts(&mut self, offered: u64, dropped: u64, dropped_numbered: u64) -> io::Result<()> {
        self.state.offered = self.state.offered.max(offered);
        self.state.dropped = self.state.dropped.max(dropped);
        self.state.dropped_numbered = self.state.dropped_numbered.max(dropped_numbered);
        self.state.write(&self.lock)
    }

    /// Notes that a batch, the newest one, is under way and not in the lane: it is in the sender's hands alone.
    pub(crate) fn note_in_hand(&mut self, entry: &Entry) -> io::Result<()> {
        self.state.number(entry);
        self.state.finish(entry.sequence, entry.numbered);
        self.state.take_in_hand(entry);
        self.state.write(&self.lock)
    }

    /// The batch under way, which is the head or in the sender's hands, is done with; so many of its records are lost.
    pub(crate) fn settle(&mut self, lost: u64) -> io::Result<()> {
        if let Some(entry) = self.head.take() {
            crash_point!("spool::sent");
            self.state.finish(entry.sequence, entry.numbered);
        } else {
            self.state.in_hand = 0;
        }
        self.state.sent_to.clear();
        self.state.lose(lost);
        self.state.write(&self.lock)
    }

    /// Drops the oldest segment that is full; gives the records lost by it, or none when there is no such segment.
    ///
    /// The head, which may be under way, is not among the lost: it is in the sender's hands alone from now on.
    ///
    /// # Errors
    /// When the system refuses; the lane is as before.
    pub(crate) fn drop_oldest(&mut self) -> io::Result<Option<u64>> {
        if self.segments.len() < 2 {
            return Ok(None);
        }
        let Some(first) = self.segments.front() else { return Ok(None) };
        let (path, mut state) = (self.path(first.number), self.state.clone());
        let mut before = state.done_numbered;
        if let Some(head) = &self.head {
            before = head.numbered;
            state.take_in_hand(head);
        }
        let lost = first.numbered.saturating_sub(before);
        state.finish(first.sequence, first.numbered);
        state.lose(lost);
        // Noted before it is done: a process that is killed between the two leaves batches that are done with.
        state.write(&self.lock)?;
        if let Err(error) = self.remove_first(&path) {
            self.state.write(&self.lock)?;
            return Err(error);
        }
        (self.state, self.head) = (state, None);
        Ok(Some(lost))
    }

    fn remove_first(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        crash_point!("spool::deleted");
        self.forget_first();
        Ok(())
    }

    fn forget_first(&mut self) {
        self.reader = None;
        if let Some(first) = self.segments.pop_front() {
            self.spool.used_bytes.fetch_sub(first.bytes, Relaxed);
        }
        if self.segments.is_empty() {
            self.writer = None;
        }
    }

    /// Removes an empty lane. What was set aside stays.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        while let Some(first) = self.segments.front() {
            let path = self.path(first.number);
            self.remove_first(&path)?;
        }
        fs::remove_file(self.directory.join(STATE))?;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:08}.{SEGMENT}"))
    }
}
