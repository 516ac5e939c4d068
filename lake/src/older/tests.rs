//! Tables that an older version made, and what becomes of them.

use std::{path::Path as FilePath, sync::atomic::Ordering, time::Duration};

use arrow::{
    array::{Array, AsArray},
    compute::concat_batches,
    datatypes::Int64Type,
};
use chrono::Utc;
use delta_kernel_default_engine::{DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures::future::join_all;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    file::properties::WriterProperties,
};
use tempfile::{TempDir, tempdir};
use url::Url;
use weir_record::{AccessRecord, Outcome, otlp::AccessView};

use super::*;
use crate::{
    Append, CommitError, Lake, LakeTable, OpenError, ReadError, StoreConfig, TableSnapshot,
    delta::{Advance, Attempt, Change, DeltaLog, Kind},
    faulty::FaultyStore,
    file,
    ledger::{self, LedgerRow},
    maintain::{Maintenance, Policy, Step, Task},
    metrics::Cells,
    order::sorting_columns,
    requests,
    store::Store,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `requests` and `metrics` did not have before.
const OF_REQUESTS: [&str; 2] = ["trace_kept", "usage_plan"];
const OF_METRICS: [&str; 3] = ["missing_identity", "tls_failure", "authorizer_latency"];

/// Rows without some of their columns.
fn without(rows: &RecordBatch, lacking: &[&str]) -> RecordBatch {
    let schema = rows.schema();
    let kept = (0..rows.num_columns()).filter(|index| !lacking.contains(&schema.field(*index).name().as_str()));
    rows.project(&kept.collect::<Vec<_>>()).unwrap()
}

fn rows() -> RecordBatch {
    ledger::batch(&[LedgerRow { source: "a".into(), offered: 7, doubtful: 3, ..LedgerRow::default() }])
}

#[test]
fn counts_that_rows_lack_are_nothing_and_the_rest_is_as_it_was() {
    let conformed = Table::Ledger.conform(&without(&rows(), &["doubtful", "gaps"])).unwrap();
    assert_eq!(conformed.schema(), Table::Ledger.schema());
    let count = |name: &str| conformed.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((count("offered"), count("doubtful"), count("gaps")), (7, 0, 0));
}

#[test]
fn what_is_no_count_is_null() {
    let cells = RecordBatch::new_empty(Table::Metrics.schema());
    let conformed = Table::Metrics.conform(&without(&cells, &["latency", "ok"])).unwrap();
    assert_eq!(conformed.schema(), Table::Metrics.schema());
    let requests = crate::requests::batch(&[weir_record::AccessRecord::default()], "gateway-1", 0);
    let conformed = Table::Requests.conform(&without(&requests, &["trace_kept", "request_bytes"])).unwrap();
    for lacked in ["trace_kept", "request_bytes"] {
        assert_eq!(conformed.column_by_name(lacked).unwrap().null_count(), 1, "{lacked}");
    }
}

#[test]
fn the_order_of_the_columns_does_not_matter() {
    let rows = rows();
    let reversed = rows.project(&(0..rows.num_columns()).rev().collect::<Vec<_>>()).unwrap();
    assert_eq!(Table::Ledger.conform(&reversed).unwrap(), rows);
}

#[test]
fn rows_of_another_table_are_told() {
    assert!(matches!(Table::Spans.conform(&rows()), Err(UnfitRows::Unknown(column)) if column == "signal"));
    let error = Table::Ledger.conform(&without(&rows(), &["signal"])).unwrap_err();
    assert_eq!(error.to_string(), "they have no column \"signal\"");
}

fn record(time_us: i64) -> AccessRecord {
    AccessRecord {
        time_us,
        request_id: time_us.to_string(),
        route: format!("/{}", time_us % 2),
        outcome: if time_us % 3 == 0 { Outcome::MissingIdentity } else { Outcome::Throttled },
        latency_us: 5,
        trace_kept: Some(true),
        usage_plan: Some("gold".into()),
        ..AccessRecord::default()
    }
}

fn requests_at(times_us: impl IntoIterator<Item = i64>) -> RecordBatch {
    requests::batch(&times_us.into_iter().map(record).collect::<Vec<_>>(), "gateway-1", 0)
}

fn cells_at(times_us: impl IntoIterator<Item = i64>) -> RecordBatch {
    let mut cells = Cells::new();
    times_us.into_iter().for_each(|time_us| cells.add(&AccessView::from(&record(time_us))));
    cells.batch()
}

fn log_in(objects: Arc<dyn ObjectStore>, table: Table, url: Url) -> DeltaLog {
    let executor = TokioMultiThreadExecutor::new(tokio::runtime::Handle::current());
    let engine = DefaultEngineBuilder::new(objects).with_task_executor(Arc::new(executor)).build();
    DeltaLog::new(table, url, Arc::new(engine), PATIENCE)
}

/// Makes the table without some of its columns, and has a writer commit rows, of 1970-01-01, at position 1: what an older version
/// leaves behind, file without checksum included.
async fn make(objects: &Arc<dyn ObjectStore>, log: DeltaLog, rows: &RecordBatch, lacking: &[&str]) {
    let log = log.without(lacking);
    let (table, rows) = (log.table, without(rows, lacking));
    let state = log.create().await.unwrap().unwrap();
    let root = Path::from_url_path(log.url().path()).unwrap();
    let path = root.join("date=1970-01-01").join(format!("part-{}.zstd.parquet", uuid::Uuid::now_v7()));
    let properties = WriterProperties::builder().set_sorting_columns(Some(sorting_columns(table, &rows.schema())));
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build())).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    let write_state = log.write_state(&state).await.unwrap();
    let added = vec![file::tests::add_of(&write_state, &path, bytes.len() as u64, &rows)];
    objects.put(&path, bytes.into()).await.unwrap();
    let advance = Some(Advance { writer: "old".into(), after: None, to: 1 });
    let change = Change { kind: Kind::Append, added, removed: Arc::default(), advance, since: Utc::now() };
    assert!(matches!(log.commit(state, change).await.unwrap(), Attempt::Committed { .. }));
}

/// A lake whose `requests` and `metrics` an older version made: three requests.
async fn older_lake() -> TempDir {
    let directory = tempdir().unwrap();
    let config = StoreConfig::local(&directory);
    let store = Store::open(&config).await.unwrap();
    for (table, rows, lacking) in [
        (Table::Requests, requests_at([0, 2, 4]), &OF_REQUESTS[..]),
        (Table::Metrics, cells_at([0, 2, 4]), &OF_METRICS),
    ] {
        assert!(!store.prepare(&config, table).await.unwrap());
        let log = log_in(Arc::clone(&store.objects), table, store.directory(table.name()));
        make(&store.objects, log, &rows, lacking).await;
    }
    directory
}

async fn open(directory: impl AsRef<FilePath>) -> Arc<Lake> {
    Arc::new(Lake::open(&StoreConfig::local(directory)).await.unwrap())
}

/// Every row of a snapshot, each file's with the columns that it has, and then conformed.
async fn read(table: &LakeTable, snapshot: &TableSnapshot) -> RecordBatch {
    let mut batches = Vec::new();
    for file in snapshot.files().iter() {
        let bytes = table.store().get(&file.path).await.unwrap().bytes().await.unwrap();
        let found = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        let columns = found.schema().fields().iter();
        let ours = table.table().schema();
        let columns = columns.map(|column| Arc::clone(ours.fields().find(column.name()).unwrap().1));
        let options =
            ArrowReaderOptions::new().with_schema(Arc::new(arrow::datatypes::Schema::new(columns.collect::<Vec<_>>())));
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap().build().unwrap();
        batches.extend(reader.map(|batch| table.table().conform(&batch.unwrap()).unwrap()));
    }
    concat_batches(&table.table().schema(), &batches).unwrap()
}

/// The sum over the rows, null if all are.
fn sum(rows: &RecordBatch, column: &str) -> Option<i64> {
    arrow::compute::sum(rows.column_by_name(column).unwrap().as_primitive::<Int64Type>())
}

/// How many rows have a value in the column.
fn present(rows: &RecordBatch, column: &str) -> usize {
    rows.num_rows() - rows.column_by_name(column).unwrap().null_count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_older_version_is_left_as_it_is_until_rows_are_written_into_it() {
    let directory = older_lake().await;
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!((snapshot.version(), snapshot.position("old")), (1, Some(1)));
    assert_eq!(present(&read(table, &snapshot).await, "trace_kept"), 0);
    // A position that moves needs no column.
    assert_eq!(table.append(&[], "idle", 1).await.unwrap(), Append::Committed { version: 2 });
    assert!(table.log.lacks_columns(&table.newest()));

    // The first adds the columns, the others have them.
    assert_eq!(table.append(&[requests_at([6])], "new", 1).await.unwrap(), Append::Committed { version: 4 });
    assert_eq!(table.append(&[requests_at([8])], "new", 2).await.unwrap(), Append::Committed { version: 5 });
    for lake in [&lake, &open(&directory).await] {
        let table = lake.table(Table::Requests);
        let snapshot = table.snapshot().await.unwrap();
        assert!(!table.log.lacks_columns(&table.newest()));
        let positions = ["old", "idle", "new"].map(|writer| snapshot.position(writer));
        assert_eq!((snapshot.version(), positions), (5, [Some(1), Some(1), Some(2)]));
        let rows = read(table, &snapshot).await;
        assert_eq!((rows.num_rows(), present(&rows, "trace_kept"), present(&rows, "usage_plan")), (5, 2, 2));
        let verified = crate::verify::files(table).await.unwrap();
        assert_eq!((verified.files, verified.without_checksum, verified.difference), (3, 1, None));
    }
    let next = open(&directory).await;
    let outcome = next.table(Table::Requests).append(&[requests_at([10])], "new", 3).await.unwrap();
    assert_eq!(outcome, Append::Committed { version: 6 });
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_older_version_are_merged_with_new_ones() {
    let directory = older_lake().await;
    let lake = open(&directory).await;
    lake.table(Table::Requests).append(&[requests_at([1, 3])], "new", 1).await.unwrap();
    lake.table(Table::Metrics).append(&[cells_at([1, 3])], "new", 1).await.unwrap();
    let merge_all = Task { dry_run: false, all: true, vacuum: false };
    let maintenance = Maintenance::new(Arc::clone(&lake), Policy::with_memory(64 << 20));
    for table in [Table::Requests, Table::Metrics] {
        let steps = std::cell::RefCell::new(Vec::new());
        maintenance.table(table, merge_all, Utc::now(), |step| steps.borrow_mut().push(step.clone())).await.unwrap();
        let steps = steps.into_inner();
        assert!(matches!(steps[..], [Step::Merged { files: 2, into_files: 1, .. }]), "{steps:?}");
    }
    let requests = lake.table(Table::Requests);
    let rows = read(requests, &requests.snapshot().await.unwrap()).await;
    assert_eq!((rows.num_rows(), present(&rows, "trace_kept"), present(&rows, "usage_plan")), (5, 2, 2));
    let kept = rows.column_by_name("trace_kept").unwrap().as_boolean();
    let times = rows.column_by_name("request_id").unwrap().as_string::<i32>();
    let with_value = (0..5).filter(|row| kept.is_valid(*row)).map(|row| times.value(row).to_owned());
    assert_eq!(with_value.collect::<std::collections::BTreeSet<_>>(), ["1".to_owned(), "3".to_owned()].into());

    let metrics = lake.table(Table::Metrics);
    let rows = read(metrics, &metrics.snapshot().await.unwrap()).await;
    assert_eq!(
        (sum(&rows, "requests"), sum(&rows, "missing_identity"), sum(&rows, "throttled")),
        (Some(5), Some(1), Some(3))
    );
    for count in ["missing_identity", "tls_failure"] {
        assert_eq!(present(&rows, count), rows.num_rows(), "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_write_into_a_table_of_an_older_version_one_adds_the_columns() {
    let directory = older_lake().await;
    let lakes = join_all((0..4).map(|_| open(&directory))).await;
    let appending = lakes.iter().zip(0..).map(async |(lake, number)| {
        let rows = [requests_at([10 + number])];
        lake.table(Table::Requests).append(&rows, &number.to_string(), 1).await.unwrap()
    });
    for outcome in join_all(appending).await {
        assert!(matches!(outcome, Append::Committed { .. }), "{outcome:?}");
    }
    let snapshot = lakes[0].table(Table::Requests).snapshot().await.unwrap();
    assert_eq!(read(lakes[0].table(Table::Requests), &snapshot).await.num_rows(), 7);
    assert_eq!(snapshot.version(), 6, "one commit for each append, and one for the columns");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_once_when_the_answer_is_lost() {
    let store = Arc::new(FaultyStore::default());
    let log = || log_in(store.objects(), Table::Requests, Url::parse("memory:///requests/").unwrap());
    make(&store.objects(), log(), &requests_at([0]), &OF_REQUESTS).await;
    let table = LakeTable::open(log(), store.objects(), true).await.unwrap();
    store.answers_to_lose.store(1, Ordering::Relaxed);
    assert_eq!(table.append(&[requests_at([1])], "new", 1).await.unwrap(), Append::Committed { version: 3 });
    assert_eq!(read(&table, &table.snapshot().await.unwrap()).await.num_rows(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_newer_version_is_refused_and_a_running_station_notices() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Ledger);
    table.append(&[rows()], "w", 1).await.unwrap();
    let newer = log_in(lake.store(), Table::Ledger, table.url().clone()).with_column("later");
    let state = newer.open().await.unwrap();
    assert!(matches!(newer.commit(state, Change::widening()).await.unwrap(), Attempt::Committed { .. }));

    let error = table.append(&[rows()], "w", 2).await.unwrap_err();
    assert!(matches!(error, CommitError::Table(ReadError::Newer { .. })) && !error.is_retryable(), "{error}");
    let error = Lake::open(&StoreConfig::local(&directory)).await.unwrap_err();
    assert!(matches!(error, OpenError::Table(ReadError::Newer { .. })) && !error.is_retryable(), "{error}");
    let text = error.to_string();
    let version = concat!("Weir ", env!("CARGO_PKG_VERSION"), " does not know");
    assert!(text.contains("column \"later\"") && text.contains(version) && text.contains("newer version"), "{text}");
}
