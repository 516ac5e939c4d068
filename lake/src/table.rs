//! A table of the lake: rows are appended exactly once, and read as of a version.
//!
//! What always holds: rows and the position up to which their writer's log is thereby committed stand in one commit; a
//! commit at or below a writer's position adds nothing (I3); the state that is known only ever moves forward.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::array::RecordBatch;
use chrono::Utc;
use delta_kernel::transaction::WriteState;
use object_store::{ObjectStore, path::Path};
use tokio::sync::OnceCell;
use url::Url;
use weir_station::{background::Background, crash_point};

use crate::{
    LiveFiles, Table, TableSnapshot,
    commit::Committed,
    delta::{Advance, Change, DeltaLog, Kind, State},
    file::{self, DataFile},
    store::{reason, upload},
};

/// Who appends: a log, and which of its lives. Two that write under one name, each with a copy of the log, are two lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Names the log.
    pub id: String,
    /// A random number of one process that writes it; without it, all are taken for one.
    pub life: Option<i64>,
}

impl From<&str> for Writer {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), life: None }
    }
}

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
    #[error("cannot store a file of the table {}: {reason}", .table.name())]
    Store {
        /// The table.
        table: Table,
        /// What the store said, on one line.
        reason: String,
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
    /// The writer's position is not where the rows begin: an earlier attempt of its, perhaps of a process that is gone,
    /// came through late, and then some of the rows may be in the table; or somebody else writes under its name.
    #[error(
        "the table {} has committed this log up to {found}, not {after}: an earlier commit came through late, or another \
         collector writes with a copy of this log; the next start tells which. Every acknowledged message is in the log",
        .table.name()
    )]
    Moved {
        /// The table.
        table: Table,
        /// Where the rows begin.
        after: i64,
        /// Where the writer is.
        found: i64,
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
            Self::Rows { .. } | Self::Moved { .. } => false,
        }
    }
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log cannot be read, or the store does not answer.
    #[error("cannot read the log of the table {}: {reason}", .table.name())]
    Log {
        /// The table.
        table: Table,
        /// What the store or the kernel said, on one line.
        reason: String,
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
    /// The table has a column that we do not know, beside all of ours.
    #[error(
        "the table {url} has the column {column:?}, which Weir {} does not know: a newer version of Weir has written \
         there, or another program; use that version, or name another location",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The table.
        table: Table,
        /// Where it is.
        url: Url,
        /// The first column that is not known.
        column: String,
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
    pub(crate) log: DeltaLog,
    store: Arc<dyn ObjectStore>,
    /// What is needed to write files, once the table has all columns.
    write_state: OnceCell<Arc<WriteState>>,
    /// The newest state that is known.
    newest: Mutex<State>,
    /// Where rows become files.
    background: Background,
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
        let background = Background::new(&format!("weir-{}", log.table.name()));
        let (newest, listed) = (Mutex::new(state), tokio::sync::Mutex::new(None));
        Ok(Self { log, store, write_state: OnceCell::new(), newest, background, listed })
    }

    /// What is needed to write files. The first to write into a table that an older version made adds the columns that it
    /// lacks; whoever only reads leaves it as it is.
    pub(crate) async fn write_state(&self) -> Result<Arc<WriteState>, CommitError> {
        let prepared = self.write_state.get_or_try_init(async || {
            if self.log.lacks_columns(&self.newest())
                && let Committed::Now { version } = self.commit(&Change::widening()).await?
            {
                let table = self.table().name();
                tracing::info!(table, version, "the table of an older version has got the columns of this one");
            }
            self.log.write_state(&self.newest()).await.map_err(CommitError::Table)
        });
        prepared.await.cloned()
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
    /// the position still moves. `rows` have the columns of [`Table::schema`]. A writer whose rows are all that came since
    /// its last position says so by [`Self::append_after`].
    ///
    /// # Errors
    /// When the rows are not known to be committed; they may be, and appending them again with the same position is
    /// safe.
    pub async fn append(&self, rows: &[RecordBatch], writer: &str, position: i64) -> Result<Append, CommitError> {
        self.append_to(rows, Advance { writer: writer.into(), after: None, to: position }).await
    }

    /// Appends the rows that a writer's log has after one position (0: from its beginning) and up to another. Nothing is
    /// added when the table has the writer elsewhere: then another commit of its has some of these rows, or another life of
    /// the writer has been at work.
    ///
    /// # Errors
    /// As [`Self::append`], and [`CommitError::Moved`] when the writer is elsewhere.
    pub async fn append_after(
        &self,
        rows: &[RecordBatch],
        writer: impl Into<Writer>,
        after: i64,
        position: i64,
    ) -> Result<Append, CommitError> {
        self.append_to(rows, Advance { writer: writer.into(), after: Some(after), to: position }).await
    }

    async fn append_to(&self, rows: &[RecordBatch], advance: Advance) -> Result<Append, CommitError> {
        if advance.is_made(&self.newest()) {
            return Ok(Append::AlreadyCommitted);
        }
        let since = Utc::now();
        let files = self.store_files(self.encode(rows).await?).await?;
        crash_point!("lake::files_stored");
        let change = Change {
            kind: Kind::Append,
            added: files.iter().map(|(_, add)| add.clone()).collect(),
            removed: Arc::default(),
            advance: Some(advance),
            since,
        };
        let outcome = match self.commit(&change).await {
            Ok(Committed::Now { version }) => return Ok(Append::Committed { version }),
            Ok(Committed::Before | Committed::Never) => Ok(Append::AlreadyCommitted),
            Err(moved @ CommitError::Moved { .. }) => Err(moved),
            Err(unknown) => return Err(unknown),
        };
        self.delete_unless_live(files.into_iter().map(|(path, _)| path)).await;
        outcome
    }

    /// How far a writer has committed, now. `None` when it never has.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn position(&self, writer: &str) -> Result<Option<i64>, ReadError> {
        Ok(self.refresh().await?.position(writer))
    }

    /// The same, and which life of the writer has committed last, if it said so.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn position_and_life(&self, writer: &str) -> Result<(Option<i64>, Option<i64>), ReadError> {
        let state = self.refresh().await?;
        Ok((state.position(writer), state.life(writer)))
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

    /// The files that were removed, as far as the log still tells, and when: milliseconds since the Unix epoch.
    pub(crate) async fn tombstones(&self, snapshot: &TableSnapshot) -> Result<HashMap<Path, i64>, ReadError> {
        self.log.tombstones(snapshot.state()).await
    }

    pub(crate) fn newest(&self) -> State {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a state for the newest, unless a newer one is known.
    pub(crate) fn adopt(&self, state: State) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if state.version() >= newest.version() {
            *newest = state;
        }
    }

    pub(crate) async fn refresh(&self) -> Result<State, ReadError> {
        let state = self.log.refresh(self.newest()).await?;
        self.adopt(state.clone());
        Ok(state)
    }

    async fn encode(&self, rows: &[RecordBatch]) -> Result<Vec<DataFile>, CommitError> {
        if rows.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(Vec::new());
        }
        let (table, state, rows) = (self.table(), self.write_state().await?, rows.to_vec());
        let wrong = |reason: String| CommitError::Rows { table, reason };
        self.background
            .run(move || file::encode(table, &state, &rows))
            .await
            .map_err(|stopped| wrong(stopped.to_string()))?
            .map_err(|error| wrong(error.to_string()))
    }

    /// Puts the files into the store: path and `add` action of each.
    async fn store_files(&self, files: Vec<DataFile>) -> Result<Vec<(Path, RecordBatch)>, CommitError> {
        let mut stored = Vec::with_capacity(files.len());
        for file in files {
            let put = upload(self.store.as_ref(), &file.path, file.bytes.into(), self.log.deadline).await;
            // Also the one whose put failed: it may have come through.
            stored.push((file.path, file.add));
            if let Err(error) = put {
                self.delete(stored.iter().map(|(path, _)| path)).await;
                return Err(CommitError::Store { table: self.table(), reason: reason(&error) });
            }
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests;
