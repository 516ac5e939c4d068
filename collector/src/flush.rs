//! The flush: commits what is pending to the tables, once to each, and lets the log forget it.
//!
//! Each commit carries the position of the last frame in it (I3). A commit that fails is tried again, for as long as
//! it takes; the rows are in the log and in memory meanwhile. Only when all tables have committed may the log delete
//! the frames (I2).

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weir_lake::{Append, CommitError, Lake, Table, Writer};
use weir_station::crash_point;

use crate::{Counters, Pending, intake::now_us, pending::Generation, wal::Position, writer::WriterHandle};

/// How often it is looked whether a flush is due.
const TICK: Duration = Duration::from_millis(50);

/// How often it is flushed at most because the log is large.
const LARGE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// When a flush is due.
#[derive(Clone, Copy, Debug)]
pub struct FlushPolicy {
    /// At the latest this long after the last one.
    pub interval: Duration,
    /// As soon as open rows take this much memory.
    pub bytes: usize,
    /// As soon as the log takes more than this on disk, its soft budget: so that it can let go before it is full.
    pub wal_bytes: u64,
}

impl FlushPolicy {
    /// Whether to flush now.
    #[must_use]
    pub fn is_due(&self, since_last: Duration, open_bytes: usize, wal_bytes: u64) -> bool {
        let is_log_large = wal_bytes > self.wal_bytes && since_last >= LARGE_LOG_INTERVAL;
        open_bytes > 0 && (since_last >= self.interval || open_bytes >= self.bytes || is_log_large)
    }
}

/// The pauses between tries of something that the store refuses: each up to twice as long as the one before, and none
/// of them exactly as long as another station's.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    pub(crate) const fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(Self::LONGEST);
        pause
    }
}

/// Commits generations, one after the other.
#[derive(Debug)]
pub struct Flusher {
    /// The tables.
    pub lake: Arc<Lake>,
    /// Where rows wait.
    pub pending: Arc<Pending>,
    /// Names this log in each commit.
    pub writer_id: String,
    /// The life that commits, when there was room to write down that it began.
    pub life: Arc<OnceLock<i64>>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Flusher {
    /// Flushes whenever it is due, and truncates the log after, until `shutdown`.
    ///
    /// # Errors
    /// When rows must be gathered anew: by the next start, which asks the tables how far they are.
    pub async fn run(
        &self,
        policy: FlushPolicy,
        log: WriterHandle,
        shutdown: CancellationToken,
    ) -> Result<(), CommitError> {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = sleep(TICK) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let wal_bytes = self.counters.wal_bytes.get();
            if !policy.is_due(last.elapsed(), self.pending.open_bytes(), wal_bytes) {
                continue;
            }
            if wal_bytes > policy.wal_bytes {
                tracing::warn!(wal_bytes, soft_budget = policy.wal_bytes, "the log is beyond its soft budget");
            }
            last = Instant::now();
            // A shutdown ends the waiting for a store that is away; the last flush tries once more.
            tokio::select! {
                flushed = self.flush() => flushed?,
                () = shutdown.cancelled() => return Ok(()),
            }
            log.truncate(self.pending.committed_by_all()).await;
        }
    }

    /// Commits all that is in memory; tries again until it is done. What stands in the log alone stays there.
    ///
    /// # Errors
    /// When rows must be gathered anew.
    pub async fn flush_all(&self) -> Result<(), CommitError> {
        while self.pending.seal().is_some() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Commits one generation; tries again until it is done.
    async fn flush(&self) -> Result<(), CommitError> {
        let mut pauses = Pauses::new();
        while let Err(error) = self.try_flush().await {
            if matches!(error, CommitError::Moved { .. }) {
                return Err(error);
            }
            self.counters.commit_retries.add(1);
            let (retryable, pause) = (error.is_retryable(), pauses.next());
            let pause_ms = pause.as_millis();
            tracing::warn!(%error, retryable, pause_ms, "commit failed; the rows are kept, trying again");
            sleep(pause).await;
        }
        Ok(())
    }

    /// Commits one generation, once: the one that an earlier flush left sealed, or else what is open. `false` when
    /// nothing is pending. Tables that had committed before an error are not committed again.
    ///
    /// # Errors
    /// When a table could not commit.
    pub async fn try_flush(&self) -> Result<bool, CommitError> {
        let Some(generation) = self.pending.seal() else { return Ok(false) };
        crash_point!("flush::sealed");
        let begun = Instant::now();
        for table in Table::ALL {
            self.commit(table, &generation).await?;
            crash_point!("flush::table_committed");
        }
        self.pending.release();
        self.counters.flushes.add(1);
        tracing::info!(
            records = generation.records(),
            position = generation.through().get(),
            elapsed_ms = begun.elapsed().as_millis(),
            "flushed"
        );
        crash_point!("flush::committed");
        Ok(true)
    }

    async fn commit(&self, table: Table, generation: &Generation) -> Result<(), CommitError> {
        let through = generation.through();
        let rows = generation.rows_to_commit(table, now_us());
        let number = |position: Position| i64::try_from(position.get()).unwrap_or(i64::MAX);
        let writer = Writer { id: self.writer_id.clone(), life: self.life.get().copied() };
        let (after, position) = (number(self.pending.committed_by(table)), number(through));
        match self.lake.table(table).append_after(&rows, writer, after, position).await? {
            Append::Committed { version } => tracing::debug!(table = table.name(), version, position, "committed"),
            Append::AlreadyCommitted => tracing::info!(table = table.name(), position, "had committed before"),
        }
        self.pending.committed(table, through);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_by_time_or_by_size_or_for_a_large_log_and_never_for_nothing() {
        let second = Duration::from_secs(1);
        let policy = FlushPolicy { interval: 60 * second, bytes: 100, wal_bytes: 1_000 };
        assert!(!policy.is_due(3600 * second, 0, 2_000));
        assert!(!policy.is_due(59 * second, 99, 1_000));
        assert!(policy.is_due(60 * second, 1, 0));
        assert!(policy.is_due(Duration::ZERO, 100, 0));
        assert!(policy.is_due(second, 1, 1_001));
        assert!(!policy.is_due(second / 2, 1, 1_001));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut pauses = Pauses::new();
        let taken: Vec<_> = std::iter::repeat_with(|| pauses.next()).take(20).collect();
        assert!(taken.iter().all(|pause| (Pauses::FIRST / 2..=Pauses::LONGEST).contains(pause)));
        assert!(taken[19] >= Pauses::LONGEST / 2 && taken[0] <= Pauses::FIRST);
    }
}
