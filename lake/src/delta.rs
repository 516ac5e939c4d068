//! The Delta log of one table: every call to `delta_kernel` stands here, and nothing of it leaves the crate.
//!
//! The kernel reads and writes the log (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md>); what it leaves to
//! its user is done around it: the check that the table is ours, the position of every writer, the retry
//! ([`table`](crate::table)). Its calls block and need a multi-threaded runtime, so each runs on a blocking thread.
//!
//! What always holds: a [`State`] is of a table with our columns, at most without some that an older version did not
//! have, and with no feature that would change how its files are to be read.

mod change;
mod columns;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
pub(crate) use change::{Advance, Attempt, Change, Kind};
use columns::{Mismatch, lacking, mismatch};
use delta_kernel::{
    EngineData, KernelError, KernelResult, Snapshot, SnapshotRef,
    actions::{LOG_REMOVE_SCHEMA, LOG_TXN_SCHEMA},
    committer::FileSystemCommitter,
    crc::SetTransactionState,
    engine::{arrow_conversion::TryIntoKernel, arrow_data::ArrowEngineData},
    engine_data::FilteredEngineData,
    scan::{PartitionValuesOptions, StatsOptions},
    schema::StructType,
    snapshot::IncrementalReplay,
    table_features::ColumnMappingMode,
    transaction::{
        CommitResult, UpdateTableOperation, UpdateTableTransactionBuilder, WriteState, create_table::create_table,
        data_layout::DataLayout,
    },
};
use delta_kernel_default_engine::{DefaultEngine, executor::tokio::TokioMultiThreadExecutor};
use object_store::path::Path;
use tokio::sync::Semaphore;
use url::Url;

use crate::{PARTITION_COLUMN, ReadError, Table, damage, snapshot::key_of_life, store::reason_of_kernel};

/// How the kernel reaches the store.
pub(crate) type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// Who writes, as the log's commits name it.
const ENGINE_INFO: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// After this many commits the log is summed up in a checkpoint, so that opening the table stays quick.
pub(crate) const COMMITS_PER_CHECKPOINT: u64 = 50;

/// Calls of the kernel for one table that may be under way at once: as many threads a store that hangs can hold.
const CALLS_AT_ONCE: usize = 16;

/// A table at one version.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) snapshot: SnapshotRef,
    /// Committed position of each writer.
    pub(crate) positions: Arc<HashMap<String, i64>>,
}

impl State {
    pub(crate) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    pub(crate) fn position(&self, writer: &str) -> Option<i64> {
        self.positions.get(writer).copied()
    }

    /// The life of a writer that has committed last, if it said which.
    pub(crate) fn life(&self, writer: &str) -> Option<i64> {
        self.positions.get(&key_of_life(writer)).copied()
    }
}

/// The log of a table.
#[derive(Clone)]
pub(crate) struct DeltaLog {
    pub(crate) table: Table,
    url: Url,
    engine: Arc<Engine>,
    columns: Arc<StructType>,
    /// The longest that one call of the kernel, or one request for a file, is waited for.
    pub(crate) deadline: Duration,
    calls: Arc<Semaphore>,
}

impl DeltaLog {
    pub(crate) fn new(table: Table, url: Url, engine: Arc<Engine>, deadline: Duration) -> Self {
        let columns: StructType =
            table.full_schema().as_ref().try_into_kernel().expect("every column is of a type that Delta knows");
        let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
        Self { table, url, engine, columns: Arc::new(columns), deadline, calls }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Creates the table. `None` when another was faster.
    pub(crate) async fn create(&self) -> Result<Option<State>, ReadError> {
        let properties = [
            ("delta.dataSkippingStatsColumns", self.table.statistics_columns().join(",")),
            ("delta.checkpointInterval", COMMITS_PER_CHECKPOINT.to_string()),
            // How long checkpoints name removed files; maintenance has deleted them by then.
            ("delta.deletedFileRetentionDuration", "interval 1 days".to_owned()),
        ];
        self.blocking(move |log| {
            let transaction = create_table(log.url.as_str(), Arc::clone(&log.columns), ENGINE_INFO, false)
                .with_table_properties(properties)
                .with_data_layout(DataLayout::partitioned([PARTITION_COLUMN]))
                .build(log.engine.as_ref(), Box::new(FileSystemCommitter::new()))?;
            let snapshot = match transaction.commit(log.engine.as_ref())? {
                CommitResult::Committed(committed) => committed.post_commit_snapshot().map(Arc::clone),
                CommitResult::Conflicted(_) => return Ok(None),
                CommitResult::Retryable(failed) => return Err(failed.error),
            };
            let snapshot = match snapshot {
                Some(snapshot) => snapshot,
                None => log.load()?,
            };
            Ok(Some(log.state(log.with_checksum(snapshot))?))
        })
        .await?
        .map_or(Ok(None), |state| self.check(state).map(Some))
    }

    /// The table as it is now.
    pub(crate) async fn open(&self) -> Result<State, ReadError> {
        let state = self.blocking(|log| log.state(log.load()?)).await?;
        self.check(state)
    }

    /// The table as it is now, read from what is known already: one list request when nothing is new.
    pub(crate) async fn refresh(&self, known: State) -> Result<State, ReadError> {
        let state = self.blocking(move |log| {
            let snapshot = Snapshot::builder_from(Arc::clone(&known.snapshot))
                .with_incremental_crc_replay(IncrementalReplay::Unlimited)
                .build(log.engine.as_ref())?;
            if snapshot.version() == known.version() { Ok(known) } else { log.state(snapshot) }
        });
        self.check(state.await?)
    }

    /// Whether a table, which an older version made, lacks columns of ours.
    pub(crate) fn lacks_columns(&self, state: &State) -> bool {
        !lacking(&self.columns, &state.snapshot.schema()).is_empty()
    }

    /// What is needed to write data files: the same for every version of a table that has all columns.
    pub(crate) async fn write_state(&self, state: &State) -> Result<Arc<WriteState>, ReadError> {
        let snapshot = Arc::clone(&state.snapshot);
        self.blocking(move |log| {
            snapshot
                .update_table(UpdateTableOperation::Write, ENGINE_INFO, true)
                .build(log.engine.as_ref(), Box::new(FileSystemCommitter::new()))?
                .write_state()
        })
        .await
    }

    /// Tries once to commit a change on top of a state.
    ///
    /// # Errors
    /// An error leaves open whether the commit took place.
    pub(crate) async fn commit(&self, on: State, change: Change) -> Result<Attempt, ReadError> {
        self.blocking(move |log| {
            let engine = log.engine.as_ref();
            let (operation, is_data_change) = match change.kind {
                Kind::Append => (UpdateTableOperation::Write, true),
                Kind::Rearrange => (UpdateTableOperation::Optimize, false),
                Kind::Remove => (UpdateTableOperation::Delete, true),
                Kind::Widen => (UpdateTableOperation::AlterTable, false),
            };
            let mut builder = Arc::clone(&on.snapshot).update_table(operation, ENGINE_INFO, is_data_change);
            for (key, number) in change.advance.iter().flat_map(Advance::transactions) {
                builder = builder.with_transaction_id(key, number);
            }
            if change.kind == Kind::Append && !change.added.is_empty() {
                builder = builder.with_blind_append();
            }
            if change.kind == Kind::Widen {
                let lacking = lacking(&log.columns, &on.snapshot.schema());
                if lacking.is_empty() {
                    return Ok(Attempt::Gone);
                }
                // They go behind the others, whatever their place among ours: readers go by the names.
                builder = lacking.into_iter().fold(builder, UpdateTableTransactionBuilder::add_column);
            }
            let mut transaction = builder.build(engine, Box::new(FileSystemCommitter::new()))?;
            if !change.removed.is_empty() {
                // The kernel does not look: two that replace the same files would both succeed, and double their rows.
                let Some(live) = log.select(&on.snapshot, &change.removed)? else { return Ok(Attempt::Gone) };
                live.into_iter().for_each(|rows| transaction.remove_files(rows));
            }
            for file in change.added {
                transaction.add_files(Box::new(ArrowEngineData::new(file)));
            }
            let committed = match transaction.commit(engine)? {
                CommitResult::Committed(committed) => committed,
                CommitResult::Conflicted(_) => return Ok(Attempt::Conflicted),
                CommitResult::Retryable(failed) => return Err(failed.error),
            };
            let commits_since_checkpoint = committed.post_commit_stats().commits_since_checkpoint;
            let state = match committed.post_commit_snapshot() {
                Some(snapshot) => {
                    let mut positions = HashMap::clone(&on.positions);
                    positions.extend(change.advance.iter().flat_map(Advance::transactions));
                    State { snapshot: Arc::clone(snapshot), positions: Arc::new(positions) }
                }
                None => log.state(log.load()?)?,
            };
            Ok(Attempt::Committed { state, commits_since_checkpoint })
        })
        .await
    }

    /// Sums the log up: a checkpoint, and a checksum file, which tells every writer's position without a search.
    pub(crate) async fn checkpoint(&self, state: State) -> Result<State, ReadError> {
        self.blocking(move |log| {
            let (_, snapshot) = state.snapshot.checkpoint(log.engine.as_ref(), None)?;
            Ok(State { snapshot: log.with_checksum(snapshot), positions: state.positions })
        })
        .await
    }

    /// The rows of the log that name the live files, with their statistics as columns.
    pub(crate) async fn live_files(&self, state: &State) -> Result<Vec<RecordBatch>, ReadError> {
        let snapshot = Arc::clone(&state.snapshot);
        self.blocking(move |log| {
            let scan = snapshot
                .scan_builder()
                .with_stats(StatsOptions::all_struct())
                .with_partition_values(PartitionValuesOptions::with_struct())
                .without_row_transforms()
                .build()?;
            scan.scan_metadata(log.engine.as_ref())?
                .map(|rows| record_batch(rows?.scan_files.apply_selection_vector()?))
                .collect()
        })
        .await
    }

    /// The files that were removed, as far as the log still tells, and when: milliseconds since the Unix epoch.
    pub(crate) async fn tombstones(&self, state: &State) -> Result<HashMap<Path, i64>, ReadError> {
        let snapshot = Arc::clone(&state.snapshot);
        self.blocking(move |log| {
            let mut found = HashMap::new();
            for actions in snapshot.log_segment().read_actions(log.engine.as_ref(), Arc::clone(&LOG_REMOVE_SCHEMA))? {
                log.removals(&record_batch(actions?.actions)?, &mut found)?;
            }
            Ok(found)
        })
        .await
    }

    /// The log's rows of these files, to be removed; `None` unless all of them are live.
    fn select(&self, snapshot: &SnapshotRef, paths: &HashSet<Path>) -> KernelResult<Option<Vec<FilteredEngineData>>> {
        let scan = Arc::clone(snapshot).scan_builder().build()?;
        let (mut rows, mut found) = (Vec::new(), 0);
        for files in scan.scan_metadata(self.engine.as_ref())? {
            let (data, mut selected) = files?.scan_files.into_parts();
            let data = record_batch(data)?;
            selected.resize(data.num_rows(), true);
            let named = texts(data.column_by_name("path"))?;
            for (row, selected) in selected.iter_mut().enumerate() {
                *selected = *selected && named.is_valid(row) && paths.contains(&self.object(named.value(row))?);
                found += usize::from(*selected);
            }
            rows.push(FilteredEngineData::try_new(Box::new(ArrowEngineData::new(data)), selected)?);
        }
        Ok((found == paths.len()).then_some(rows))
    }

    fn removals(&self, actions: &RecordBatch, found: &mut HashMap<Path, i64>) -> KernelResult<()> {
        let removals = actions.column_by_name("remove").and_then(|column| column.as_struct_opt());
        let removals = removals.ok_or_else(|| KernelError::generic("the log's actions have no remove"))?;
        let paths = texts(removals.column_by_name("path"))?;
        let times = removals.column_by_name("deletionTimestamp");
        let times = times.and_then(|column| column.as_primitive_opt::<Int64Type>());
        for row in (0..removals.len()).filter(|row| removals.is_valid(*row) && paths.is_valid(*row)) {
            // Without a time it counts as removed before all others.
            let removed_ms = times.filter(|times| times.is_valid(row)).map_or(0, |times| times.value(row));
            found.insert(self.object(paths.value(row))?, removed_ms);
        }
        Ok(())
    }

    /// Where a file is in the store, of which the log has the URL, relative to the table.
    fn object(&self, path: &str) -> KernelResult<Path> {
        let url = self.url.join(path).map_err(KernelError::from)?;
        Path::from_url_path(url.path()).map_err(KernelError::generic_err)
    }

    /// Calls the kernel on a thread of its own, for as long as the deadline allows. A call that is given up goes on, and
    /// what it does takes effect; it counts among the calls that are under way until it ends.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> KernelResult<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let log = self.clone();
        let failed = |reason| ReadError::Log { table: self.table, reason };
        let call = async {
            let place = Arc::clone(&self.calls).acquire_owned().await.map_err(|closed| closed.to_string())?;
            let call = tokio::task::spawn_blocking(move || {
                let outcome = work(&log);
                drop(place);
                outcome
            });
            call.await.map_err(|stopped| stopped.to_string())?.map_err(|error| reason_of_kernel(&error))
        };
        match tokio::time::timeout(self.deadline, call).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {} s", self.deadline.as_secs_f32()))),
        }
    }

    fn load(&self) -> KernelResult<SnapshotRef> {
        let snapshot = Snapshot::builder_for(self.url.as_str())
            .with_incremental_crc_replay(IncrementalReplay::Unlimited)
            .build(self.engine.as_ref())
            .map_err(|error| damage::named(&self.engine, &self.url, error))?;
        // The kernel takes it for a commit that changes nothing; nobody writes such a one.
        match snapshot.log_segment().listed.ascending_commit_files.iter().find(|file| file.location.size == 0) {
            Some(empty) => Err(KernelError::generic(format!("{} is damaged: it is empty", empty.filename))),
            None => Ok(snapshot),
        }
    }

    fn state(&self, snapshot: SnapshotRef) -> KernelResult<State> {
        let positions = Arc::new(self.positions(&snapshot)?);
        Ok(State { snapshot, positions })
    }

    /// Every writer's position: from the checksum if the snapshot has one, else by a search through the log.
    fn positions(&self, snapshot: &Snapshot) -> KernelResult<HashMap<String, i64>> {
        if let Some(checksum) = snapshot.crc_at_version()
            && let SetTransactionState::Complete(transactions) = &checksum.set_transaction_state
        {
            return Ok(transactions.iter().map(|(writer, txn)| (writer.clone(), txn.version())).collect());
        }
        let mut positions = HashMap::new();
        for actions in snapshot.log_segment().read_actions(self.engine.as_ref(), Arc::clone(&LOG_TXN_SCHEMA))? {
            // Newest first: what is found first holds.
            for (writer, position) in transactions(&record_batch(actions?.actions)?)? {
                positions.entry(writer).or_insert(position);
            }
        }
        Ok(positions)
    }

    /// Writes the checksum file; without it the log is searched, so that a failure is no more than logged.
    fn with_checksum(&self, snapshot: SnapshotRef) -> SnapshotRef {
        match snapshot.write_checksum(self.engine.as_ref()) {
            Ok((_, snapshot)) => snapshot,
            Err(error) => {
                tracing::debug!(table = self.table.name(), error = reason_of_kernel(&error), "no checksum was written");
                snapshot
            }
        }
    }

    /// Refuses a table that is not ours, or that others have changed.
    fn check(&self, state: State) -> Result<State, ReadError> {
        let configuration = state.snapshot.table_configuration();
        let mapped =
            state.snapshot.table_properties().column_mapping_mode.is_some_and(|mode| mode != ColumnMappingMode::None);
        let features = configuration.protocol().reader_features().into_iter().flatten();
        let feature = features.map(ToString::to_string).next().or_else(|| mapped.then(|| "columnMapping".to_owned()));
        if let Some(feature) = feature {
            return Err(ReadError::Feature { table: self.table, url: self.url.clone(), feature });
        }
        let partitions = configuration.logical_partition_columns();
        let (table, url) = (self.table, self.url.clone());
        let foreign = |difference| Err(ReadError::Schema { table, url: url.clone(), difference });
        match mismatch(table, &self.columns, &state.snapshot.schema()) {
            Some(Mismatch::Foreign(difference)) => foreign(difference),
            _ if partitions != [PARTITION_COLUMN] => foreign(format!("it is partitioned by {partitions:?}")),
            Some(Mismatch::Newer(column)) => Err(ReadError::Newer { table, url, column }),
            None => Ok(state),
        }
    }
}

fn record_batch(data: Box<dyn EngineData>) -> KernelResult<RecordBatch> {
    Ok((*ArrowEngineData::try_from_engine_data(data)?).into())
}

/// A text column of the log's rows.
fn texts(column: Option<&ArrayRef>) -> KernelResult<&StringArray> {
    column.and_then(|column| column.as_string_opt()).ok_or_else(|| KernelError::generic("the log's files have no path"))
}

/// Writer and position of each row that has them.
fn transactions(actions: &RecordBatch) -> KernelResult<Vec<(String, i64)>> {
    let malformed = || KernelError::generic("the log's txn actions have no appId and version");
    let txn = actions.column_by_name("txn").and_then(|column| column.as_struct_opt()).ok_or_else(malformed)?;
    let writers = txn.column_by_name("appId").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(malformed)?;
    let positions = txn
        .column_by_name("version")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(malformed)?;
    let rows = writers.iter().zip(positions).enumerate().filter(|(row, _)| txn.is_valid(*row));
    Ok(rows.filter_map(|(_, (writer, position))| Some((writer?.to_owned(), position?))).collect())
}
