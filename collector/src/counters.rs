//! What the collector counts of itself; its admin address shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use weir_record::otlp::Rejection;

use crate::Reason;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of the collector's counters, since its start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that arrived.
    pub messages: Counter,
    /// Records and spans that were acknowledged, once each.
    pub stored: Counter,
    /// Records and spans that arrived again and were left out.
    pub duplicate: Counter,
    /// Records and spans that could not be taken, by their [`Rejection`].
    pub rejected: [Counter; Rejection::ALL.len()],
    /// Messages that were not taken, by their [`Reason`].
    pub refused: [Counter; Reason::ALL.len()],
    /// Fsyncs of the write-ahead log.
    pub syncs: Counter,
    /// Flushes that every table committed.
    pub flushes: Counter,
    /// Commits that had to be tried again.
    pub commit_retries: Counter,
    /// Bytes that the write-ahead log takes on disk.
    pub wal_bytes: Gauge,
}
