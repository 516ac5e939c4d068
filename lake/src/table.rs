//! A table of the lake: rows are appended exactly once, and read as of a version.
//!
//! What always holds: rows and the position up to which their writer's log is thereby committed stand in one commit; a
//! commit at or below a writer's position adds nothing (I3); the state that is known only ever moves forward.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::array::RecordBatch;
use delta_kernel::{KernelError, transaction::WriteState};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use url::Url;
use weir_station::crash_point;

use crate::{
    LiveFiles, Table, TableSnapshot,
    delta::{Attempt, COMMITS_PER_CHECKPOINT, DeltaLog, State},
    file::{self, DataFile},
};

/// Attempts to commit before the caller is told. Each conflict means that another commit went through.
const MOST_ATTEMPTS: u32 = 40;

/// Failures of the store before the caller is told. The store's client has tried each request several times by then.
const MOST_FAILURES: u32 = 3;

/// The first pause between attempts is up to this long; each further one up to twice as long as the one before, as
/// far as the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// The rows are in the table.
    Committed {
        /// The version that has them.
        version: u64,
    },
    /// The writer had committed this position before, be it by an attempt whose answer was lost: nothing was added.
    AlreadyCommitted,
}

/// Why rows are not known to be in the table. Appending them again, at the same position, is always safe.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The rows are not rows of this table.
    #[error("rows cannot be written to the table {}: {reason}", .table.name())]
    Rows {
        /// The table.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// A data file could not be stored; nothing was committed.
    #[error("cannot store a file of the table {}: {source}", .table.name())]
    Store {
        /// The table.
        table: Table,
        /// What the store said.
        source: object_store::Error,
    },
    /// The last of many attempts failed.
    #[error("no commit to the table {} in {attempts} attempts: {reason}", .table.name())]
    Attempts {
        /// The table.
        table: Table,
        /// How often it was tried.
        attempts: u32,
        /// What became of the last attempt.
        reason: String,
    },
    /// The table is not ours any more.
    #[error(transparent)]
    Table(ReadError),
}

impl CommitError {
    /// Whether the same append may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Attempts { .. } => true,
            Self::Table(error) => error.is_retryable(),
            Self::Rows { .. } => false,
        }
    }
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log cannot be read, or the store does not answer.
    #[error("cannot read the log of the table {}: {}", .table.name(), .source.without_backtrace())]
    Log {
        /// The table.
        table: Table,
        /// What the kernel said.
        source: Box<KernelError>,
    },
    /// The log names files in a way that is not understood.
    #[error("cannot read the files of the table {}: {reason}", .table.name())]
    Files {
        /// The table.
        table: Table,
        /// What is wrong.
        reason: String,
    },
    /// The table has other columns than ours.
    #[error("the table {url} is not Weir's table {}: {difference}; name another location, or move the table away", .table.name())]
    Schema {
        /// The table.
        table: Table,
        /// Where it is.
        url: Url,
        /// The first difference.
        difference: String,
    },
    /// Another writer switched on a feature of Delta that changes how the files are to be read.
    #[error("the table {url} needs the Delta feature {feature}, which another writer switched on; Weir cannot read it")]
    Feature {
        /// The table.
        table: Table,
        /// Where it is.
        url: Url,
        /// Name of the feature.
        feature: String,
    },
}

impl ReadError {
    /// Whether the same read may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Log { .. })
    }
}

/// A table of the lake. All methods may be called from many tasks at once.
pub struct LakeTable {
    log: DeltaLog,
    store: Arc<dyn ObjectStore>,
    write_state: Arc<WriteState>,
    /// The newest state that is known.
    newest: Mutex<State>,
    /// The newest snapshot whose files were listed; held while they are, so that they are listed once.
    listed: tokio::sync::Mutex<Option<TableSnapshot>>,
}

impl std::fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeTable").field("url", &self.log.url().as_str()).finish_non_exhaustive()
    }
}

impl LakeTable {
    /// Opens the table; creates it when there is none. Of two that create it at once, one does and both open it.
    pub(crate) async fn open(log: DeltaLog, store: Arc<dyn ObjectStore>, exists: bool) -> Result<Self, ReadError> {
        let state = if exists {
            log.open().await?
        } else {
            match log.create().await {
                Ok(Some(state)) => state,
                Ok(None) => log.open().await?,
                // Another may have created it before we asked the kernel to.
                Err(failed) => log.open().await.map_err(|_| failed)?,
            }
        };
        let write_state = log.write_state(&state).await?;
        Ok(Self { log, store, write_state, newest: Mutex::new(state), listed: tokio::sync::Mutex::new(None) })
    }

    /// Which table this is.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.log.table
    }

    /// The store that its files are in.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where it is: `file:///directory/requests/`.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.log.url()
    }

    /// Appends rows and, in the same commit, the position up to which the writer's log is thereby committed.
    ///
    /// Exactly once: when the writer's position in the table is at or past `position`, nothing is added. Without rows
    /// the position still moves. `rows` have the columns of [`Table::schema`].
    ///
    /// # Errors
    /// When the rows are not known to be committed; they may be, and appending them again with the same position is
    /// safe.
    pub async fn append(&self, rows: &[RecordBatch], writer: &str, position: i64) -> Result<Append, CommitError> {
        if self.newest().position(writer).is_some_and(|committed| committed >= position) {
            return Ok(Append::AlreadyCommitted);
        }
        let files = self.store_files(self.encode(rows).await?).await?;
        crash_point!("lake::files_stored");
        self.commit(&files, writer, position).await
    }

    /// How far a writer has committed, now. `None` when it never has.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn position(&self, writer: &str) -> Result<Option<i64>, ReadError> {
        Ok(self.refresh().await?.position(writer))
    }

    /// The table as it is now. Costs one list request, and what is new.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn snapshot(&self) -> Result<TableSnapshot, ReadError> {
        self.refresh().await?;
        self.cached_snapshot().await
    }

    /// The table as it was when it was last looked at. Costs no list request.
    ///
    /// # Errors
    /// When the files of a version that was not listed before cannot be.
    pub async fn cached_snapshot(&self) -> Result<TableSnapshot, ReadError> {
        let mut listed = self.listed.lock().await;
        let state = self.newest();
        if let Some(snapshot) = listed.as_ref().filter(|snapshot| snapshot.version() == state.version()) {
            return Ok(snapshot.clone());
        }
        let log = self.log.live_files(&state).await?;
        let files = LiveFiles::read(self.table(), self.url(), &log)?;
        Ok(listed.insert(TableSnapshot::new(self.table(), state, Arc::new(files))).clone())
    }

    fn newest(&self) -> State {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a state for the newest, unless a newer one is known.
    fn adopt(&self, state: State) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if state.version() >= newest.version() {
            *newest = state;
        }
    }

    async fn refresh(&self) -> Result<State, ReadError> {
        let state = self.log.refresh(self.newest()).await?;
        self.adopt(state.clone());
        Ok(state)
    }

    async fn encode(&self, rows: &[RecordBatch]) -> Result<Vec<DataFile>, CommitError> {
        let (table, state, rows) = (self.table(), Arc::clone(&self.write_state), rows.to_vec());
        let wrong = |reason: String| CommitError::Rows { table, reason };
        tokio::task::spawn_blocking(move || file::encode(table, &state, &rows))
            .await
            .map_err(|stopped| wrong(stopped.to_string()))?
            .map_err(|error| wrong(error.to_string()))
    }

    /// Puts the files into the store: path and `add` action of each.
    async fn store_files(&self, files: Vec<DataFile>) -> Result<Vec<(Path, RecordBatch)>, CommitError> {
        let mut stored = Vec::with_capacity(files.len());
        for file in files {
            let put = self.store.put(&file.path, file.bytes.into()).await;
            // Also the one whose put failed: it may have come through.
            stored.push((file.path, file.add));
            if let Err(source) = put {
                self.delete(stored.iter().map(|(path, _)| path)).await;
                return Err(CommitError::Store { table: self.table(), source });
            }
        }
        Ok(stored)
    }

    async fn commit(&self, files: &[(Path, RecordBatch)], writer: &str, position: i64) -> Result<Append, CommitError> {
        let (mut attempts, mut failures, mut reason) = (0, 0, String::new());
        while attempts < MOST_ATTEMPTS && failures < MOST_FAILURES {
            let state = self.newest();
            if state.position(writer).is_some_and(|committed| committed >= position) {
                self.delete_orphans(files).await;
                return Ok(Append::AlreadyCommitted);
            }
            let adds = files.iter().map(|(_, add)| add.clone()).collect();
            match self.log.commit(state, adds, writer, position).await {
                Ok(Attempt::Committed { state, commits_since_checkpoint }) => {
                    crash_point!("lake::committed");
                    let version = state.version();
                    self.adopt(state.clone());
                    if commits_since_checkpoint >= COMMITS_PER_CHECKPOINT {
                        self.checkpoint(state).await;
                    }
                    return Ok(Append::Committed { version });
                }
                Ok(Attempt::Conflicted) => "another commit was faster".clone_into(&mut reason),
                // The commit may have come through: the position tells.
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

    /// Deletes files of ours whose rows were committed otherwise. They may be live: an attempt whose answer was lost
    /// may have been the one that committed.
    async fn delete_orphans(&self, files: &[(Path, RecordBatch)]) {
        if files.is_empty() {
            return;
        }
        match self.snapshot().await {
            Ok(snapshot) => {
                let is_live = |path: &Path| snapshot.files().iter().any(|file| file.path == *path);
                self.delete(files.iter().map(|(path, _)| path).filter(|path| !is_live(path))).await;
            }
            Err(error) => tracing::warn!(table = self.table().name(), %error, "orphaned files stay in the store"),
        }
    }

    async fn delete(&self, paths: impl Iterator<Item = &Path>) {
        for path in paths {
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%path, %error, "an orphaned file stays in the store"),
            }
        }
    }
}

/// A random pause, so that writers who met do not meet again.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    longest.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
