//! Maintenance: small files merged, old cells made coarser, old rows and unused files removed.
//!
//! It is work beside the data's way: nothing waits for it, and truth does not rest on it. What always holds: it may run
//! anywhere, twice at once, and be killed at any point, and the tables' rows are what they would be without it, but for
//! rows older than their retention; it takes a stated memory at most.
//!
//! | step | what | how |
//! |---|---|---|
//! | [`retention`] | rows older than asked for | whole dates leave by one commit |
//! | [`plan`], [`compact`] | small files, fine cells | sorted files merge into larger ones, exchanged in one commit |
//! | [`vacuum`] | unused files, the log's past | deleted when nobody can need them |

mod cells;
mod compact;
mod input;
mod lease;
mod merge;
mod plan;
mod policy;
mod report;
mod retention;
mod vacuum;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, AsArray},
    datatypes::Int32Type,
};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weir_station::background::{Background, Stopped};

use compact::Merged;
use input::InputError;
use lease::Lease;
use plan::{Candidate, Job};
pub use policy::Policy;
pub use report::Step;

use crate::{CommitError, Lake, LakeTable, ReadError, Table, TableSnapshot};

/// Where the leases are, below the root of the tables.
const LEASES: &str = "_maintenance";

/// Why maintenance of a table stopped. What was done stays done, and the rest will be due again.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// The table cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store did not do what it was asked to.
    #[error("the store failed: {0}")]
    Store(#[from] object_store::Error),
    /// A file of the table cannot be read; it stays as it is.
    #[error("a file cannot be merged: {reason}")]
    Input {
        /// Where it is, and why.
        reason: String,
        /// Where it is.
        path: Path,
        /// Whether it may be readable later.
        is_retryable: bool,
    },
    /// The work was cut off.
    #[error("it was cut off: {0}")]
    Stopped(#[from] Stopped),
}

impl From<InputError> for MaintainError {
    fn from(error: InputError) -> Self {
        Self::Input { reason: error.to_string(), is_retryable: error.reason.is_retryable(), path: error.path }
    }
}

/// What to do in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Tell what would be done, and do nothing.
    pub dry_run: bool,
    /// Merge whatever is small, also where more is still to come.
    pub all: bool,
    /// Look for unused files and old entries of the log too.
    pub vacuum: bool,
}

/// Keeps the tables of a lake. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Maintenance {
    lake: Arc<Lake>,
    policy: Arc<Policy>,
    /// Names this process.
    holder: Arc<str>,
    /// Where files are merged.
    background: Arc<Background>,
    /// Files that cannot be merged, and that were spoken of.
    set_aside: Arc<Mutex<HashSet<Path>>>,
}

impl Maintenance {
    /// Maintenance by this policy.
    #[must_use]
    pub fn new(lake: Arc<Lake>, policy: Policy) -> Self {
        let holder = format!("{}-{}", std::process::id(), Uuid::new_v4());
        let background = Arc::new(Background::new("weir-maintain"));
        Self { lake, policy: Arc::new(policy), holder: holder.into(), background, set_aside: Arc::default() }
    }

    /// Does what is due, again and again until `shutdown`. Work under way is cut off then; it leaves nothing but unused
    /// files, which a later run removes.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut vacuumed: Option<Instant> = None;
        loop {
            let pause = self.policy.interval.mul_f64(0.75 + fastrand::f64() / 2.0);
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
            let vacuum = vacuumed.is_none_or(|last| last.elapsed() >= self.policy.vacuum_interval);
            let task = Task { vacuum, ..Task::default() };
            for table in Table::ALL {
                let step = |step: &Step| tracing::info!(table = table.name(), "{step}");
                tokio::select! {
                    done = self.table(table, task, Utc::now(), step) => if let Err(error) = done {
                        tracing::warn!(table = table.name(), %error, "maintenance stopped; it will be tried again");
                    },
                    () = shutdown.cancelled() => return,
                }
            }
            if vacuum {
                vacuumed = Some(Instant::now());
            }
        }
    }

    /// Does what is due for a table, and tells each step.
    ///
    /// # Errors
    /// When a step failed. Those before are done.
    pub async fn table(
        &self,
        table: Table,
        task: Task,
        now: DateTime<Utc>,
        tell: impl Fn(&Step),
    ) -> Result<(), MaintainError> {
        let path = Path::from_url_path(self.lake.root().path()).map_err(object_store::Error::from)?;
        let path = path.join(LEASES).join(format!("{}.json", table.name()));
        let due = self.is_due(table, task, now).await?;
        if task.dry_run || !due {
            return if due { self.work(table, task, now, &tell).await } else { Ok(()) };
        }
        let store = self.lake.store();
        if let Err(Lease { holder, until }) = lease::take(store.as_ref(), &path, &self.holder, Utc::now()).await? {
            tell(&Step::Busy { holder, until });
            return Ok(());
        }
        let renewing = async {
            loop {
                sleep(lease::RENEW_EVERY).await;
                if let Err(error) = lease::take(store.as_ref(), &path, &self.holder, Utc::now()).await {
                    tracing::debug!(%path, %error, "the lease was not renewed");
                }
            }
        };
        let done = tokio::select! {
            done = self.work(table, task, now, &tell) => done,
            () = renewing => Ok(()),
        };
        lease::give_back(store.as_ref(), &path, &self.holder, Utc::now()).await;
        done
    }

    /// Whether there is anything to do, by what is known without asking the store for more than a list.
    async fn is_due(&self, table: Table, task: Task, now: DateTime<Utc>) -> Result<bool, MaintainError> {
        let snapshot = self.lake.table(table).snapshot().await?;
        let expired = self.policy.retention[table as usize].is_some_and(|kept| {
            !retention::files_before(retention::first_date_kept(kept, now), snapshot.files().iter().cloned()).is_empty()
        });
        Ok(task.vacuum || expired || !self.jobs(&snapshot, task, now).is_empty())
    }

    async fn work(
        &self,
        table: Table,
        task: Task,
        now: DateTime<Utc>,
        tell: &impl Fn(&Step),
    ) -> Result<(), MaintainError> {
        let of = self.lake.table(table);
        if let Some(kept) = self.policy.retention[table as usize] {
            self.retire(of, kept, task, now, tell).await?;
        }
        self.merge(table, task, now, tell).await?;
        if task.vacuum {
            let (files, log) = (vacuum::files(of, &self.policy, now).await?, vacuum::log(of, &self.policy, now).await?);
            if !task.dry_run {
                files.delete(of).await?;
                log.delete(of).await?;
            }
            if !files.paths.is_empty() || !log.paths.is_empty() {
                let (files, log, bytes) = (files.paths.len(), log.paths.len(), files.bytes + log.bytes);
                tell(&Step::Deleted { files, log, bytes, dry_run: task.dry_run });
            }
        }
        Ok(())
    }

    async fn retire(
        &self,
        table: &LakeTable,
        kept: Duration,
        task: Task,
        now: DateTime<Utc>,
        tell: &impl Fn(&Step),
    ) -> Result<(), MaintainError> {
        let first_date = retention::first_date_kept(kept, now);
        let removed = if task.dry_run {
            Some(retention::files_before(first_date, table.snapshot().await?.files().iter().cloned()))
        } else {
            retention::remove_before(table, first_date).await?
        };
        if let Some(files) = removed.filter(|files| !files.is_empty()) {
            let rows = files.iter().filter_map(|file| file.rows).sum();
            tell(&Step::Retired { files: files.len(), rows, before: first_date, dry_run: task.dry_run });
        }
        Ok(())
    }

    /// Merges until nothing is due.
    async fn merge(
        &self,
        table: Table,
        task: Task,
        now: DateTime<Utc>,
        tell: &impl Fn(&Step),
    ) -> Result<(), MaintainError> {
        loop {
            let snapshot = self.lake.table(table).snapshot().await?;
            let jobs = self.jobs(&snapshot, task, now);
            if jobs.is_empty() {
                return Ok(());
            }
            for job in jobs {
                let begun = Instant::now();
                let merged =
                    if task.dry_run { Some(Merged::default()) } else { self.compact(table, &job, tell).await? };
                if let Some(merged) = merged {
                    tell(&Step::merged(&job, merged, begun.elapsed(), task.dry_run));
                }
            }
            if task.dry_run {
                return Ok(());
            }
        }
    }

    /// One merge, in the background, where it holds up nobody. A file that cannot be merged is set aside.
    async fn compact(&self, table: Table, job: &Job, tell: &impl Fn(&Step)) -> Result<Option<Merged>, MaintainError> {
        let (lake, job, target_bytes) = (Arc::clone(&self.lake), job.clone(), self.policy.target_bytes);
        let merge = async move { compact::compact(lake.table(table), &job, target_bytes).await };
        match self.background.drive(merge).await? {
            Err(MaintainError::Input { reason, path, is_retryable: false }) => {
                tell(&Step::SetAside { reason });
                self.set_aside.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                Ok(None)
            }
            done => done,
        }
    }

    fn jobs(&self, snapshot: &TableSnapshot, task: Task, now: DateTime<Utc>) -> Vec<Job> {
        let set_aside = self.set_aside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut candidates = candidates(snapshot);
        candidates.retain(|candidate| !set_aside.contains(&candidate.file.path));
        plan::plan(snapshot.table(), &candidates, &self.policy, now, task.all)
    }
}

fn candidates(snapshot: &TableSnapshot) -> Vec<Candidate> {
    let files = snapshot.files();
    let seconds = files.smallest_values("seconds").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let covered = |file: usize| {
        let seconds = seconds.filter(|seconds| seconds.is_valid(file))?;
        u32::try_from(seconds.value(file)).ok()
    };
    let of = |(row, file): (usize, &crate::LiveFile)| Candidate { file: file.clone(), seconds: covered(row) };
    files.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests;
