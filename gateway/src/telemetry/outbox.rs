//! The outbox: batches of one signal that are to be sent, oldest first. One may be in memory, all others are on disk.
//!
//! While the collector answers, a batch goes through memory alone. Without a spool there is only that one place, and
//! whoever fills batches waits for it: then records stay in their queue, which drops what it has no room for.

use std::sync::atomic::Ordering::Relaxed;

use super::spool::{Batch, Key, Spool};
use crate::{config::SpoolPolicy, stats::SignalStats};

/// Where batches wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The oldest batch, unless it is on disk.
    memory: Option<Batch>,
    spool: Option<Spool>,
    policy: SpoolPolicy,
    /// Records of batches that were found damaged, and not counted yet.
    damaged_records: u64,
}

/// What had to be dropped so that a batch could be kept, or could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Records.
    pub(crate) records: u64,
    /// Whether it was the batch itself.
    pub(crate) this: bool,
}

impl Outbox {
    /// An empty one, or with what the spool has.
    pub(crate) fn new(spool: Option<Spool>, policy: SpoolPolicy) -> Self {
        Self { memory: None, spool, policy, damaged_records: 0 }
    }

    /// Whether another batch may come: without a spool, only when the one before is sent.
    pub(crate) fn takes_more(&self) -> bool {
        self.memory.is_none()
    }

    /// Whether the oldest batch is in memory alone, and could be on disk.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.memory.is_some() && self.spool.is_some()
    }

    /// Records on disk.
    pub(crate) fn records_on_disk(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::records)
    }

    /// The oldest batch. What is damaged on disk is passed over.
    pub(crate) async fn first(&mut self) -> Option<Batch> {
        if let Some(batch) = &self.memory {
            return Some(batch.clone());
        }
        while let Some(key) = self.spool.as_ref().and_then(|spool| spool.oldest().cloned()) {
            match self.on_disk(move |spool| spool.read(&key)).await? {
                Ok(batch) => return Some(batch),
                Err(records) => self.damaged_records += records,
            }
        }
        None
    }

    /// Records that were found damaged since this was asked last.
    pub(crate) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged_records)
    }

    /// Whether the last batch is on disk, tells counts alone, and is not under way: then the next one may take its
    /// place.
    pub(crate) fn holds_tally(&self, last: &Key) -> bool {
        let newest = self.spool.as_ref().and_then(Spool::newest_tally);
        newest.is_some_and(|newest| newest == last && self.spool.as_ref().and_then(Spool::oldest) != Some(newest))
    }

    /// Keeps a batch without records on disk; it may go beyond the bound, by as little as it is. `false` without a
    /// spool.
    pub(crate) async fn keep_tally(&mut self, tally: Batch) -> bool {
        self.on_disk(move |spool| log_error(spool.keep(&tally))).await == Some(true)
    }

    /// Keeps a batch behind all others.
    pub(crate) async fn keep(&mut self, batch: Batch) -> Dropped {
        let waits = self.spool.as_ref().is_some_and(|spool| !spool.is_empty());
        if !waits && self.memory.is_none() {
            self.memory = Some(batch);
            return Dropped::default();
        }
        let policy = self.policy;
        let records = batch.records;
        let kept = self.on_disk(move |spool| keep_within(spool, &batch, policy)).await;
        kept.unwrap_or(Dropped { records, this: true })
    }

    /// Puts the batch that is in memory on disk, before all others of its instance. Where there is no room, it stays.
    pub(crate) async fn to_disk(&mut self) {
        let Some(batch) = self.memory.take() else { return };
        let copy = batch.clone();
        let kept = self.on_disk(move |spool| spool.has_room(&copy.body) && log_error(spool.keep(&copy))).await;
        if kept != Some(true) {
            self.memory = Some(batch);
        }
    }

    /// The collector has answered for this batch: lets it go. The records that it had.
    pub(crate) async fn done(&mut self, key: &Key) -> u64 {
        if let Some(batch) = self.memory.take_if(|batch| batch.key == *key) {
            return batch.records;
        }
        let key = key.clone();
        self.on_disk(move |spool| {
            spool.forget(&key).unwrap_or_else(|error| {
                // It will be sent again after a restart, and the collector knows its number.
                tracing::warn!(%error, "an acknowledged batch stays in the spool");
                0
            })
        })
        .await
        .unwrap_or_default()
    }

    /// Lets go of what is in memory; its records are lost.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.memory.take().map_or(0, |batch| batch.records)
    }

    /// Shows what is on disk.
    pub(crate) fn tell(&self, stats: &SignalStats) {
        if let Some(spool) = &self.spool {
            stats.spool_records.store(spool.records(), Relaxed);
            stats.spool_bytes.store(spool.bytes(), Relaxed);
        }
    }

    /// Works on the spool on a thread that may block. `None` without a spool.
    async fn on_disk<R: Send + 'static>(&mut self, work: impl FnOnce(&mut Spool) -> R + Send + 'static) -> Option<R> {
        let mut spool = self.spool.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut spool);
            (spool, result)
        });
        // It panics only if the work does; then there is no spool any more, and batches stay in memory.
        let (spool, result) = done.await.ok()?;
        self.spool = Some(spool);
        Some(result)
    }
}

/// Keeps a batch, and drops by the policy what has no room for it.
fn keep_within(spool: &mut Spool, batch: &Batch, policy: SpoolPolicy) -> Dropped {
    let mut dropped = Dropped::default();
    if policy == SpoolPolicy::DropOldest {
        // The very oldest may be under way; whether the collector takes it or not, it is counted once as dropped.
        while !spool.has_room(&batch.body)
            && let Some(oldest) = spool.oldest().cloned()
        {
            match spool.forget(&oldest) {
                Ok(records) => dropped.records += records,
                Err(error) => {
                    tracing::warn!(%error, "a batch cannot be dropped from the spool");
                    break;
                }
            }
        }
    }
    if spool.has_room(&batch.body) && log_error(spool.keep(batch)) {
        return dropped;
    }
    Dropped { records: dropped.records + batch.records, this: true }
}

fn log_error(kept: std::io::Result<()>) -> bool {
    if let Err(error) = &kept {
        tracing::error!(%error, "a batch cannot be kept in the spool");
    }
    kept.is_ok()
}
