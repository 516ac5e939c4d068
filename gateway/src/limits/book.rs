//! The book of quotas: all counters of the process, and the thread that keeps their reservations on disk.
//!
//! A request that finds a reservation never waits. When half a block is left the thread is asked for the next one; when
//! none is left, the request waits for the disk: as a rule once for each key at the start of a period and of the
//! process, and for each request of a small quota. All that wait are written for together.
//!
//! What always holds: while the disk works, a kill or a power cut gives no request back, and takes from each key at most
//! a block ([`Counter::demand`]), or as many as waited together. A clean stop takes nothing.
//! When the disk fails, or takes more than [`PATIENCE`], requests are served and counted in memory: that is logged and
//! counted, tried again each [`PAUSE`], and only what was used since the last write can be given back by a crash then.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Relaxed, SeqCst},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use weir_station::crash_point;

use super::{
    file::{CountsError, CountsFile, Entry},
    period::{Period, day_of},
    quota::{Count, Counter},
};

/// How long a request waits for the disk before it is counted in memory alone.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a disk that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// All counters of the process.
#[derive(Debug)]
pub(crate) struct QuotaBook {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// [`PATIENCE`].
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<Pages>,
    wishes: Mutex<Wishes>,
    wake: Condvar,
    failures: AtomicU64,
}

/// Each counter by plan, key and period.
#[derive(Debug, Default)]
struct Pages {
    counters: HashMap<(Arc<str>, Arc<str>, Period), Arc<Counter>>,
    /// What the file had of plans, keys and periods (by name) that no configuration of this process named yet.
    others: HashMap<(String, String, String), Entry>,
}

/// What the writer is asked for.
#[derive(Debug, Default)]
struct Wishes {
    /// Counters that want a block, each once, and their limits.
    counters: Vec<(Arc<Counter>, u64)>,
    is_closed: bool,
}

impl QuotaBook {
    /// Opens the book in a directory.
    ///
    /// # Errors
    /// When the file of counts cannot be used.
    pub(crate) fn open(directory: &Path) -> Result<Arc<Self>, CountsError> {
        let (file, entries) = CountsFile::open(directory)?;
        Self::begin(file, entries, PATIENCE)
            .map_err(|source| CountsError::System { path: directory.to_owned(), source })
    }

    fn begin(file: CountsFile, entries: Vec<Entry>, patience: Duration) -> io::Result<Arc<Self>> {
        let others = entries.into_iter().map(|entry| {
            let name = (entry.plan.clone(), entry.key.clone(), entry.period.clone());
            (name, entry)
        });
        let pages = Mutex::new(Pages { counters: HashMap::new(), others: others.collect() });
        let shared = Arc::new(Shared { pages, ..Shared::default() });
        let writer = Writer { shared: Arc::clone(&shared), file, begun: Instant::now(), is_failing: false };
        let thread = thread::Builder::new().name("weir-quotas".to_owned()).spawn(move || writer.run())?;
        Ok(Arc::new(Self { shared, writer: Mutex::new(Some(thread)), patience }))
    }

    /// The counter of a key in a plan. Days, weeks and months are counted apart.
    pub(crate) fn counter(&self, plan: &Arc<str>, key: &Arc<str>, period: Period) -> Arc<Counter> {
        let mut pages = lock(&self.shared.pages);
        let name = (Arc::clone(plan), Arc::clone(key), period);
        if let Some(counter) = pages.counters.get(&name) {
            return Arc::clone(counter);
        }
        let stored = pages.others.remove(&(plan.to_string(), key.to_string(), period.name().to_owned()));
        let stored = stored.map_or_else(Count::default, |entry| Count { start: entry.start, requests: entry.used });
        let counter = Arc::new(Counter::new(Arc::clone(plan), Arc::clone(key), period, stored));
        pages.counters.insert(name, Arc::clone(&counter));
        counter
    }

    /// Asks for the next block.
    pub(crate) fn want(&self, counter: &Arc<Counter>, limit: u64) {
        if !counter.is_wanted.swap(true, AcqRel) {
            lock(&self.shared.wishes).counters.push((Arc::clone(counter), limit));
            self.shared.wake.notify_one();
        }
    }

    /// Waits until a request can be counted; false when the disk does not come to it in time, or the book is closed.
    pub(crate) async fn wait(&self, counter: &Arc<Counter>, limit: u64) -> bool {
        if lock(&self.shared.wishes).is_closed {
            return false;
        }
        let _waits = Waits::begin(counter);
        let granted = counter.granted.notified();
        tokio::pin!(granted);
        granted.as_mut().enable();
        self.want(counter, limit);
        tokio::time::timeout(self.patience, granted).await.is_ok()
    }

    /// Writes that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Relaxed)
    }

    /// Ends the book: what is used is on disk, and nothing more. Requests must have ended before.
    pub(crate) fn close(&self) {
        lock(&self.shared.wishes).is_closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = lock(&self.writer).take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes quotas panicked");
        }
    }
}

impl Drop for QuotaBook {
    fn drop(&mut self) {
        self.close();
    }
}

/// Counts a request as waiting while it lives: its client may go.
struct Waits<'c>(&'c Counter);

impl<'c> Waits<'c> {
    fn begin(counter: &'c Counter) -> Self {
        counter.waiting.fetch_add(1, SeqCst);
        Self(counter)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    file: CountsFile,
    begun: Instant,
    /// The last write failed: the file needs to be written anew.
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        while let Some(wishes) = self.wishes() {
            let day = today();
            let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let demand = |(counter, limit): (Arc<Counter>, u64)| {
                // Whoever asks from now on asks anew; whoever asked before is reserved for.
                counter.is_wanted.swap(false, AcqRel);
                let count = counter.demand(limit, day, now_ms);
                (counter, count)
            };
            let grants: Vec<_> = wishes.into_iter().map(demand).collect();
            crash_point!("quotas::demanded");
            let written = self.write(&grants, day);
            self.tell(written);
            crash_point!("quotas::written");
            // On a disk that fails too: it is better to serve than to be exact.
            for (counter, count) in grants {
                counter.grant(count);
            }
        }
        let written = self.file.rewrite(&self.all(today(), Counter::last));
        self.tell(written);
    }

    /// What is wanted, once something is; none when the book is closed. While the disk fails it is asked without wishes
    /// too, now and then.
    fn wishes(&self) -> Option<Vec<(Arc<Counter>, u64)>> {
        let mut wishes = lock(&self.shared.wishes);
        while wishes.counters.is_empty() && !wishes.is_closed {
            if self.is_failing {
                let waited = self.shared.wake.wait_timeout(wishes, PAUSE).unwrap_or_else(PoisonError::into_inner);
                if waited.1.timed_out() {
                    return Some(Vec::new());
                }
                wishes = waited.0;
            } else {
                wishes = self.shared.wake.wait(wishes).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if wishes.is_closed { None } else { Some(std::mem::take(&mut wishes.counters)) }
    }

    fn write(&mut self, grants: &[(Arc<Counter>, Count)], day: u32) -> io::Result<()> {
        let granted = grants.iter().map(|(counter, count)| entry(counter, *count));
        if self.is_failing || self.file.is_long() {
            // What is about to be granted comes after what is, and holds.
            let mut all = self.all(day, Counter::reserved);
            all.extend(granted);
            self.file.rewrite(&all)
        } else {
            self.file.append(&granted.collect::<Vec<_>>())
        }
    }

    /// Every count that still means something.
    fn all(&self, day: u32, count: fn(&Counter) -> Count) -> Vec<Entry> {
        let mut pages = lock(&self.shared.pages);
        pages.others.retain(|_, entry| {
            let days = [Period::Day, Period::Week { offset: 0 }, Period::Month { offset: 0 }]
                .into_iter()
                .find(|period| period.name() == entry.period)
                .map_or(0, Period::most_days);
            entry.start.saturating_add(days) > day
        });
        let counters = pages.counters.values().filter(|counter| count(counter).requests > 0);
        let mut all: Vec<_> = counters.map(|counter| entry(counter, count(counter))).collect();
        all.extend(pages.others.values().cloned());
        all
    }

    fn tell(&mut self, written: io::Result<()>) {
        let was_failing = self.is_failing;
        self.is_failing = written.is_err();
        match written {
            Ok(()) if was_failing => tracing::info!("quotas are written again"),
            Ok(()) => {}
            Err(error) => {
                self.shared.failures.fetch_add(1, Relaxed);
                if !was_failing {
                    tracing::error!(%error, "quotas cannot be written: they are counted in memory, and a crash would give back what is used from now on");
                }
            }
        }
    }
}

fn entry(counter: &Counter, count: Count) -> Entry {
    Entry {
        plan: counter.plan.to_string(),
        key: counter.key.to_string(),
        period: counter.period.name().to_owned(),
        start: count.start,
        used: count.requests,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Today, by the system's clock.
fn today() -> u32 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    day_of(unix.as_secs())
}

#[cfg(test)]
mod tests;
