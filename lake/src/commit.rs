//! One change of a table, committed: tried again when others were faster and when the store's answer was lost, until it
//! is known what became of it.
//!
//! What always holds: an error means that the outcome is unknown. Before each further try the log is read anew, and the
//! writer's position, or the files that the change removes, tell whether an earlier try came through.
//!
//! A try that was given up at its deadline may still come through, at any time. It then makes the one version that it was
//! made for, if that is free: the next try either was for the same version, and one of the two conflicts; or it was for a
//! later one, and then the version of the first is taken. So a late success counts once, and is found like any other.
//! It may also be that of a process that is gone, and whose successor has gathered the same rows and more: the writer says
//! where it must have been, and its rows are not committed when it is elsewhere.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use object_store::{ObjectStoreExt, path::Path};
use weir_station::crash_point;

use crate::{
    CommitError, LakeTable,
    delta::{Attempt, COMMITS_PER_CHECKPOINT, Change, State},
    store::{reason, within},
};

/// Attempts to commit before the caller is told. Each conflict means that another commit went through.
const MOST_ATTEMPTS: u32 = 40;

/// Failures of the store before the caller is told. The store's client has tried each request several times by then.
const MOST_FAILURES: u32 = 3;

/// The first pause between attempts is up to this long; each further one up to twice as long as the one before, as
/// far as the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Files that were stored longer ago than this are not committed any more: half of the time after which maintenance
/// takes them for orphans. A process may have been stopped in between.
const OLDEST_FILES: TimeDelta = TimeDelta::hours(12);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It is made.
    Now { version: u64 },
    /// Its writer had come so far before, be it by an attempt whose answer was lost.
    Before,
    /// It can be made no longer, or is made by an attempt whose answer was lost: files that it removes are not live.
    Never,
}

impl LakeTable {
    /// Commits a change.
    ///
    /// # Errors
    /// When it is not known to be committed. It may be; the same change again is safe.
    pub(crate) async fn commit(&self, change: &Change) -> Result<Committed, CommitError> {
        let (mut attempts, mut failures, mut reason) = (0, 0, String::new());
        while attempts < MOST_ATTEMPTS && failures < MOST_FAILURES {
            let state = self.newest();
            if let Some(advance) = &change.advance {
                if advance.is_made(&state) {
                    return Ok(Committed::Before);
                }
                let found = state.position(&advance.writer.id).unwrap_or(0);
                if let Some(after) = advance.after.filter(|after| *after != found) {
                    return Err(CommitError::Moved { table: self.table(), after, found });
                }
            }
            if Utc::now() - change.since > OLDEST_FILES {
                "its files are too old to be sure that they are still there".clone_into(&mut reason);
                break;
            }
            match self.log.commit(state, change.clone()).await {
                Ok(Attempt::Committed { state, commits_since_checkpoint }) => {
                    crash_point!("lake::committed");
                    let version = state.version();
                    self.adopt(state.clone());
                    if commits_since_checkpoint >= COMMITS_PER_CHECKPOINT {
                        self.checkpoint(state).await;
                    }
                    return Ok(Committed::Now { version });
                }
                Ok(Attempt::Gone) => return Ok(Committed::Never),
                Ok(Attempt::Conflicted) => "another commit was faster".clone_into(&mut reason),
                // The commit may have come through: the next look at the log tells.
                Err(error) => (failures, reason) = (failures + 1, error.to_string()),
            }
            tokio::time::sleep(pause(attempts)).await;
            attempts += 1;
            match self.refresh().await {
                Ok(_) => {}
                Err(error) if error.is_retryable() => (failures, reason) = (failures + 1, error.to_string()),
                Err(error) => return Err(CommitError::Table(error)),
            }
        }
        Err(CommitError::Attempts { table: self.table(), attempts, reason })
    }

    /// Sums the log up. The commit stands without it, so that a failure is no more than logged.
    async fn checkpoint(&self, state: State) {
        let version = state.version();
        match self.log.checkpoint(state).await {
            Ok(state) => self.adopt(state),
            Err(error) => tracing::warn!(table = self.table().name(), version, %error, "no checkpoint was written"),
        }
    }

    /// Deletes files of ours that no commit of ours made live, as far as it knows: an attempt whose answer was lost may
    /// have done it.
    pub(crate) async fn delete_unless_live(&self, files: impl IntoIterator<Item = Path>) {
        let files: Vec<Path> = files.into_iter().collect();
        if files.is_empty() {
            return;
        }
        match self.snapshot().await {
            Ok(snapshot) => {
                let is_live = |path: &Path| snapshot.files().iter().any(|file| file.path == *path);
                self.delete(files.iter().filter(|path| !is_live(path))).await;
            }
            Err(error) => tracing::warn!(table = self.table().name(), %error, "orphaned files stay in the store"),
        }
    }

    /// Deletes files that are not live; what cannot be deleted now is left to maintenance.
    pub(crate) async fn delete(&self, paths: impl Iterator<Item = &Path>) {
        for path in paths {
            match within(self.log.deadline, self.store().delete(path)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%path, error = reason(&error), "an orphaned file stays in the store"),
            }
        }
    }
}

/// A random pause, so that writers who met do not meet again.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    longest.mul_f64(fastrand::f64())
}
