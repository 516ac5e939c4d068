//! Appending exactly once, on directories and on stores that fail.

use std::{collections::BTreeSet, path::Path as FilePath, sync::atomic::Ordering, time::Duration};

use arrow::{array::AsArray, compute::concat_batches, datatypes::TimestampMicrosecondType};
use delta_kernel_default_engine::{DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures::{TryStreamExt, future::join_all};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::{TempDir, tempdir};
use tokio::sync::Semaphore;
use weir_record::AccessRecord;

use super::*;
use crate::{Lake, OpenError, StoreConfig, delta::COMMITS_PER_CHECKPOINT, faulty::FaultyStore, requests};

const DAY_US: i64 = 86_400_000_000;

async fn open(directory: impl AsRef<FilePath>) -> Lake {
    Lake::open(&StoreConfig::local(directory)).await.unwrap()
}

/// A table on a store in memory.
async fn table_in(store: &Arc<FaultyStore>) -> LakeTable {
    let executor = TokioMultiThreadExecutor::new(tokio::runtime::Handle::current());
    let engine = DefaultEngineBuilder::new(store.objects()).with_task_executor(Arc::new(executor)).build();
    let log = DeltaLog::new(Table::Requests, Url::parse("memory:///requests/").unwrap(), Arc::new(engine), PATIENCE);
    LakeTable::open(log, store.objects(), false).await.unwrap()
}

fn rows(times_us: impl IntoIterator<Item = i64>) -> RecordBatch {
    let record = |time_us: i64| AccessRecord { time_us, request_id: time_us.to_string(), ..AccessRecord::default() };
    requests::batch(&times_us.into_iter().map(record).collect::<Vec<_>>(), "gateway-1", 0)
}

/// Every row of a snapshot, read by the Parquet reader.
async fn read(table: &LakeTable, snapshot: &TableSnapshot) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in snapshot.files().iter() {
        let bytes = table.store.get(&file.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches
}

async fn times(table: &LakeTable) -> Vec<i64> {
    let snapshot = table.snapshot().await.unwrap();
    let batches = read(table, &snapshot).await;
    let times = |batch: &RecordBatch| {
        batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    let mut times: Vec<i64> = batches.iter().flat_map(times).collect();
    times.sort_unstable();
    times
}

async fn parquet_objects(table: &LakeTable) -> usize {
    let objects: Vec<_> =
        table.store.list(Some(&Path::from_url_path(table.url().path()).unwrap())).try_collect().await.unwrap();
    objects.iter().filter(|object| object.location.filename().is_some_and(|name| name.starts_with("part-"))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_read_back_as_they_were_appended() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    assert_eq!(table.append(&[rows([3]), rows([1, 2])], "w", 1).await.unwrap(), Append::Committed { version: 1 });
    let snapshot = table.snapshot().await.unwrap();
    let batches = read(table, &snapshot).await;
    let schema = batches[0].schema();
    let names = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&schema), names(&Table::Requests.schema()));
    let read = concat_batches(&schema, &batches).unwrap();
    for (read, written) in read.columns().iter().zip(rows([1, 2, 3]).columns()) {
        assert_eq!(&arrow::compute::cast(read, written.data_type()).unwrap(), written);
    }
    assert_eq!(snapshot.files().total_rows(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_position_adds_nothing() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    table.append(&[rows([1])], "w", 5).await.unwrap();
    for position in [5, 4, 0] {
        assert_eq!(table.append(&[rows([2])], "w", position).await.unwrap(), Append::AlreadyCommitted);
    }
    assert!(matches!(table.append(&[rows([3])], "other", 5).await.unwrap(), Append::Committed { .. }));
    assert_eq!(times(table).await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_missed_a_commit_adds_nothing_and_cleans_up() {
    let directory = tempdir().unwrap();
    let (lake, zombie) = (open(&directory).await, open(&directory).await);
    lake.table(Table::Requests).append(&[rows([1])], "w", 1).await.unwrap();
    // Its state is of version 0: it finds out only by the conflict.
    let outcome = zombie.table(Table::Requests).append(&[rows([1])], "w", 1).await.unwrap();
    assert_eq!(outcome, Append::AlreadyCommitted);
    assert_eq!(times(lake.table(Table::Requests)).await, [1]);
    assert_eq!(parquet_objects(lake.table(Table::Requests)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_not_repeated() {
    let store = Arc::new(FaultyStore::default());
    let table = table_in(&store).await;
    store.answers_to_lose.store(1, Ordering::Relaxed);
    assert_eq!(table.append(&[rows([1])], "w", 1).await.unwrap(), Append::AlreadyCommitted);
    assert_eq!(times(&table).await, [1]);
    assert_eq!(table.append(&[rows([2])], "w", 2).await.unwrap(), Append::Committed { version: 2 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_is_reported_and_the_next_append_finds_the_commit() {
    let store = Arc::new(FaultyStore::default());
    let table = table_in(&store).await;
    store.answers_to_lose.store(1, Ordering::Relaxed);
    store.lists_to_fail.store(usize::MAX, Ordering::Relaxed);
    let error = table.append(&[rows([1])], "w", 1).await.unwrap_err();
    assert!(matches!(error, CommitError::Attempts { .. }) && error.is_retryable(), "{error}");
    store.lists_to_fail.store(0, Ordering::Relaxed);
    assert_eq!(table.append(&[rows([1])], "w", 1).await.unwrap(), Append::AlreadyCommitted);
    assert_eq!((times(&table).await, parquet_objects(&table).await), (vec![1], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_stored_commits_nothing() {
    let store = Arc::new(FaultyStore::default());
    let table = table_in(&store).await;
    store.puts_to_fail.store(1, Ordering::Relaxed);
    let error = table.append(&[rows([1])], "w", 1).await.unwrap_err();
    assert!(matches!(error, CommitError::Store { .. }) && error.is_retryable(), "{error}");
    assert_eq!(table.position("w").await.unwrap(), None);
    assert!(matches!(table.append(&[rows([1])], "w", 1).await.unwrap(), Append::Committed { .. }));
    assert_eq!((times(&table).await, parquet_objects(&table).await), (vec![1], 1));
}

/// What answers does so within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// After this a store that holds a put is given up. One that does not answers from memory.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_given_up_and_comes_through_later_counts_once() {
    let store = Arc::new(FaultyStore::default());
    let mut table = table_in(&store).await;
    table.log.deadline = SOON;
    store.commits_to_hold.store(usize::MAX, Ordering::Relaxed);
    let error = table.append(&[rows([1])], "w", 1).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("no answer within"), "{error}");
    store.commits_to_hold.store(0, Ordering::Relaxed);
    store.release(Semaphore::MAX_PERMITS);
    table.log.deadline = PATIENCE;
    // Either one of those that were given up has come through by now, or this one does, or they race.
    table.append(&[rows([1])], "w", 1).await.unwrap();
    table.append(&[rows([2])], "w", 2).await.unwrap();
    assert_eq!(times(&table).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_given_up_loses_against_the_next_try() {
    let store = Arc::new(FaultyStore::default());
    let mut table = table_in(&store).await;
    table.log.deadline = SOON;
    store.commits_to_hold.store(1, Ordering::Relaxed);
    // The second try is for the same version.
    assert_eq!(table.append(&[rows([1])], "w", 1).await.unwrap(), Append::Committed { version: 1 });
    table.log.deadline = PATIENCE;
    store.release(1);
    assert_eq!(table.append(&[rows([2])], "w", 2).await.unwrap(), Append::Committed { version: 2 });
    assert_eq!((times(&table).await, parquet_objects(&table).await), (vec![1, 2], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_begin_where_the_writer_is_not_are_not_added() {
    let directory = tempdir().unwrap();
    let (lake, successor) = (open(&directory).await, open(&directory).await);
    let table = lake.table(Table::Requests);
    table.append_after(&[rows([1])], "w", 0, 1).await.unwrap();
    let successor = successor.table(Table::Requests);
    assert_eq!(successor.position("w").await.unwrap(), Some(1));
    // A commit of the process before comes through only now, when its successor has read those rows from the log too.
    table.append_after(&[rows([2])], "w", 1, 2).await.unwrap();
    let error = successor.append_after(&[rows([2, 3])], "w", 1, 3).await.unwrap_err();
    assert!(matches!(error, CommitError::Moved { after: 1, found: 2, .. }) && !error.is_retryable(), "{error}");
    assert_eq!((times(table).await, parquet_objects(table).await), (vec![1, 2], 2));
    successor.append_after(&[rows([3])], "w", 2, 3).await.unwrap();
    assert_eq!(times(table).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_life_of_a_writer_has_committed_is_not_taken_for_its_own() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    let writer = |life| Writer { id: "w".to_owned(), life: Some(life) };
    table.append_after(&[rows([1, 2])], writer(7), 0, 5).await.unwrap();
    // The answer was lost.
    assert_eq!(table.append_after(&[rows([1, 2])], writer(7), 0, 5).await.unwrap(), Append::AlreadyCommitted);
    // One that began with a copy has other rows up to the same position, to a lower one, and to a higher one.
    for position in [4, 5, 6] {
        let error = table.append_after(&[rows([3])], writer(8), 0, position).await.unwrap_err();
        assert!(matches!(error, CommitError::Moved { after: 0, found: 5, .. }), "{error}");
    }
    // One that began after it knows what was there; some of its rows, for other tables, end before that.
    assert_eq!(table.append_after(&[], writer(8), 5, 4).await.unwrap(), Append::AlreadyCommitted);
    assert_eq!(table.position_and_life("w").await.unwrap(), (Some(5), Some(7)));
    table.append_after(&[rows([3])], writer(8), 5, 6).await.unwrap();
    assert_eq!(table.position_and_life("w").await.unwrap(), (Some(6), Some(8)));
    let error = table.append_after(&[rows([4])], writer(7), 5, 6).await.unwrap_err();
    assert!(matches!(error, CommitError::Moved { after: 5, found: 6, .. }), "{error}");
    assert_eq!((times(table).await, parquet_objects(table).await), (vec![1, 2, 3], 2));
    assert_eq!(table.snapshot().await.unwrap().positions().collect::<Vec<_>>(), [("w", 6)]);
    // It is the same for whoever reads the log from its beginning.
    assert_eq!(open(&directory).await.table(Table::Requests).position_and_life("w").await.unwrap(), (Some(6), Some(8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_who_race_lose_nothing() {
    let directory = tempdir().unwrap();
    let lakes = [open(&directory).await, open(&directory).await];
    let writer = async |writer: usize| {
        for position in 1..=10 {
            let time_us = i64::try_from(writer).unwrap() * 100 + position;
            let table = lakes[writer].table(Table::Requests);
            let outcome = table.append(&[rows([time_us])], &writer.to_string(), position).await.unwrap();
            assert!(matches!(outcome, Append::Committed { .. }), "{outcome:?}");
        }
    };
    join_all([writer(0), writer(1)]).await;
    assert_eq!(times(lakes[0].table(Table::Requests)).await, (1..=10).chain(101..=110).collect::<Vec<_>>());
    assert_eq!(lakes[1].table(Table::Requests).position("0").await.unwrap(), Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn lakes_opened_at_once_create_each_table_once() {
    let directory = tempdir().unwrap();
    let lakes = join_all((0..4).map(|_| open(&directory))).await;
    for lake in &lakes {
        for table in Table::ALL {
            assert_eq!(lake.table(table).snapshot().await.unwrap().version(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_table_knows_every_position_before_and_after_a_checkpoint() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Ledger);
    table.append(&[], "early", 7).await.unwrap();
    let commits = i64::try_from(COMMITS_PER_CHECKPOINT).unwrap() + 2;
    for position in 1..=commits {
        if position == 5 {
            assert_eq!(open(&directory).await.table(Table::Ledger).position("early").await.unwrap(), Some(7));
        }
        table.append(&[], "w", position).await.unwrap();
    }
    assert!(directory.path().join("ledger/_delta_log/_last_checkpoint").exists());
    let snapshot = open(&directory).await.table(Table::Ledger).snapshot().await.unwrap();
    let positions: BTreeSet<_> = snapshot.positions().collect();
    assert_eq!(positions, BTreeSet::from([("early", 7), ("w", commits)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_found_without_checksums() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    for (writer, position) in [("a", 1), ("b", 1), ("a", 2)] {
        lake.table(Table::Ledger).append(&[], writer, position).await.unwrap();
    }
    for entry in std::fs::read_dir(directory.path().join("ledger/_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "crc") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let snapshot = open(&directory).await.table(Table::Ledger).snapshot().await.unwrap();
    assert_eq!((snapshot.position("a"), snapshot.position("b"), snapshot.position("c")), (Some(2), Some(1), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_rows_moves_the_position() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Spans);
    assert_eq!(table.append(&[], "w", 3).await.unwrap(), Append::Committed { version: 1 });
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!((snapshot.position("w"), snapshot.files().len()), (Some(3), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_date_has_its_own_partition() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    table.append(&[rows([DAY_US, -1, 0]), rows([DAY_US - 1, i64::MAX])], "w", 1).await.unwrap();
    let snapshot = table.snapshot().await.unwrap();
    let mut partitions: Vec<_> = snapshot.files().iter().map(|file| (file.date.unwrap(), file.rows.unwrap())).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [(-1, 1), (0, 2), (1, 1), (2_932_896, 1)]);
    for date in ["1969-12-31", "1970-01-01", "1970-01-02", "9999-12-31"] {
        assert!(directory.path().join("requests").join(format!("date={date}")).is_dir(), "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_outside_its_files_statistics() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    table.append(&[rows([1_001_001, 1_999_999])], "w", 1).await.unwrap();
    let snapshot = table.snapshot().await.unwrap();
    let time =
        |values: Option<&arrow::array::ArrayRef>| values.unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert!(time(snapshot.files().smallest_values("time")) <= 1_001_001);
    assert!(time(snapshot.files().largest_values("time")) >= 1_999_999);
    assert_eq!(snapshot.files().largest_values("api").unwrap().as_string::<i32>().value(0), "");
    assert!(snapshot.files().largest_values("date").is_some() && snapshot.files().largest_values("path").is_none());
    assert_eq!(snapshot.files().row_counts().value(0), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_snapshot_is_of_what_was_last_seen() {
    let directory = tempdir().unwrap();
    let (lake, other) = (open(&directory).await, open(&directory).await);
    other.table(Table::Requests).append(&[rows([1])], "w", 1).await.unwrap();
    let table = lake.table(Table::Requests);
    assert_eq!(table.cached_snapshot().await.unwrap().version(), 0);
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!((snapshot.version(), snapshot.position("w")), (1, Some(1)));
    assert_eq!(table.cached_snapshot().await.unwrap().version(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_table_are_refused() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let error = lake.table(Table::Spans).append(&[rows([1])], "w", 1).await.unwrap_err();
    assert!(matches!(error, CommitError::Rows { .. }) && !error.is_retryable(), "{error}");
}

async fn refusal(directory: &TempDir) -> ReadError {
    match Lake::open(&StoreConfig::local(directory)).await.unwrap_err() {
        OpenError::Table(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_refused() {
    let directory = tempdir().unwrap();
    drop(open(&directory).await);
    std::fs::remove_dir_all(directory.path().join("spans")).unwrap();
    std::fs::rename(directory.path().join("ledger"), directory.path().join("spans")).unwrap();
    let error = refusal(&directory).await;
    assert!(matches!(error, ReadError::Schema { table: Table::Spans, .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("\"duration_us\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_needs_a_feature_of_another_writer_is_refused() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    std::fs::write(directory.path().join("spans/_delta_log/00000000000000000001.json"), protocol).unwrap();
    let error = lake.table(Table::Spans).snapshot().await.unwrap_err();
    assert!(matches!(error, ReadError::Feature { .. }), "{error}");
    let error = lake.table(Table::Spans).append(&[], "w", 1).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(refusal(&directory).await.to_string().contains("deletionVectors"));
}
