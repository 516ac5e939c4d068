//! How many statements run, who waits, and how statements ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How many statements may wait for each that may run.
const WAITING_PER_RUNNING: usize = 4;

/// How long a statement waits before it is refused.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The gate that every statement passes.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    concurrency: usize,
    patience: Duration,
    waiting: AtomicUsize,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// All places are taken, and as many wait as may.
#[derive(Debug)]
pub(super) struct Busy;

impl Gate {
    /// A gate that lets so many in at once, and others wait as long as `patience`.
    pub(super) fn new(concurrency: usize, patience: Duration) -> Self {
        let places = Arc::new(Semaphore::new(concurrency));
        Self { places, concurrency, patience, waiting: AtomicUsize::new(0), counts: Mutex::default() }
    }

    /// Waits for a place, which lasts until the permit is dropped.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, self.concurrency * WAITING_PER_RUNNING)?;
        match timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Busy),
        }
    }

    /// Notes how a statement ended.
    pub(super) fn count(&self, outcome: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn running(&self) -> u64 {
        (self.concurrency - self.places.available_permits().min(self.concurrency)) as u64
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) as u64
    }
}

/// One who waits; counted until he is let in, refused, or gone.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Result<Self, Busy> {
        let next = |count: usize| (count < most).then_some(count + 1);
        match waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(Self(waiting)),
            Err(_) => Err(Busy),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_waits_and_is_refused_when_too_many_do() {
        let gate = Arc::new(Gate::new(1, PATIENCE));
        let running = gate.enter().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING_PER_RUNNING {
            let gate = Arc::clone(&gate);
            waiting.spawn(async move { gate.enter().await.is_ok() });
        }
        while gate.waiting() < WAITING_PER_RUNNING as u64 {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter().await.is_err());
        drop(running);
        assert!(waiting.join_all().await.into_iter().all(|entered| entered));
        assert_eq!((gate.running(), gate.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn patience_ends() {
        let gate = Gate::new(1, Duration::ZERO);
        let _running = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_err());
        assert_eq!(gate.waiting(), 0);
    }
}
