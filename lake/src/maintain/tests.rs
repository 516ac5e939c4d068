//! Maintenance on real tables: rows stay what they are, whoever else is at work.

use std::{cell::RefCell, path::Path as FilePath, sync::atomic::Ordering, time::Duration};

use arrow::{compute::concat_batches, datatypes::TimestampMicrosecondType};
use chrono::TimeDelta;
use delta_kernel_default_engine::{DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures::{StreamExt, TryStreamExt, future::join_all};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use proptest::prelude::*;
use tempfile::tempdir;
use url::Url;
use weir_record::{AccessRecord, otlp::AccessView};

use super::*;
use crate::{
    Append, StoreConfig,
    delta::{COMMITS_PER_CHECKPOINT, Change, DeltaLog, Kind},
    faulty::FaultyStore,
    file::DAY_US,
    metrics::Cells,
    order::Order,
    requests,
};

type RecordBatch = arrow::array::RecordBatch;

const MEMORY: u64 = 64 << 20;

async fn open(directory: impl AsRef<FilePath>) -> Arc<Lake> {
    Arc::new(Lake::open(&StoreConfig::local(directory)).await.unwrap())
}

fn maintenance(lake: &Arc<Lake>) -> Maintenance {
    Maintenance::new(Arc::clone(lake), Policy::with_memory(MEMORY))
}

fn record(time_us: i64) -> AccessRecord {
    let route = format!("/{}", time_us.rem_euclid(3));
    AccessRecord { time_us, route, request_id: time_us.to_string(), latency_us: 1_000, ..AccessRecord::default() }
}

fn rows(times_us: impl IntoIterator<Item = i64>) -> RecordBatch {
    requests::batch(&times_us.into_iter().map(record).collect::<Vec<_>>(), "gateway-1", 0)
}

fn cells(times_us: impl IntoIterator<Item = i64>) -> RecordBatch {
    let mut cells = Cells::new();
    times_us.into_iter().for_each(|time_us| cells.add(&AccessView::from(&record(time_us))));
    cells.batch()
}

async fn read(table: &LakeTable, snapshot: &TableSnapshot) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in snapshot.files().iter() {
        let bytes = table.store().get(&file.path).await.unwrap().bytes().await.unwrap();
        batches.extend(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().map(Result::unwrap));
    }
    batches
}

async fn times(table: &LakeTable) -> Vec<i64> {
    let snapshot = table.snapshot().await.unwrap();
    let column = |batch: &RecordBatch| {
        batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    let mut times: Vec<i64> = read(table, &snapshot).await.iter().flat_map(column).collect();
    times.sort_unstable();
    times
}

async fn objects(table: &LakeTable, prefix: &str) -> usize {
    let root = Path::from_url_path(table.url().path()).unwrap();
    let objects: Vec<_> = table.store().list(Some(&root)).try_collect().await.unwrap();
    objects.iter().filter(|object| object.location.filename().is_some_and(|name| name.starts_with(prefix))).count()
}

/// Does what is due at a time, and gives the steps.
async fn run(maintenance: &Maintenance, table: Table, task: Task, now: DateTime<Utc>) -> Vec<Step> {
    let steps = RefCell::new(Vec::new());
    maintenance.table(table, task, now, |step| steps.borrow_mut().push(step.clone())).await.unwrap();
    steps.into_inner()
}

const ALL: Task = Task { dry_run: false, all: true, vacuum: false };
const VACUUM: Task = Task { dry_run: false, all: false, vacuum: true };

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_with_the_same_rows_in_order_and_the_same_positions() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    for number in 0..9 {
        table.append(&[rows((0..50).map(|row| row * 9 + number))], "w", number).await.unwrap();
    }
    let before = table.snapshot().await.unwrap();
    let steps = run(&maintenance(&lake), Table::Requests, ALL, Utc::now()).await;
    assert!(
        matches!(steps[..], [Step::Merged { files: 9, into_files: 1, rows: 450, into_rows: 450, .. }]),
        "{steps:?}"
    );

    let after = table.snapshot().await.unwrap();
    assert_eq!((after.files().len(), after.files().total_rows(), after.position("w")), (1, Some(450), Some(8)));
    assert_eq!(times(table).await, (0..450).collect::<Vec<_>>());
    let batches = read(table, &after).await;
    let schema = Table::Requests.schema();
    let cast = |batch: &RecordBatch| {
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
    };
    let all = concat_batches(&schema, &batches.iter().map(cast).collect::<Vec<_>>()).unwrap();
    let keys = Order::of(Table::Requests).keys(&all).unwrap();
    assert!((1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row)));
    // Who reads the table as it was still finds its files.
    assert_eq!(read(table, &before).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 450);
    assert_eq!(run(&maintenance(&lake), Table::Requests, ALL, Utc::now()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_files_go_when_nobody_can_need_them_and_no_others() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    for number in 0..3 {
        table.append(&[rows([number])], "w", number).await.unwrap();
    }
    let date = table.snapshot().await.unwrap().files().iter().next().unwrap().path.clone();
    let beside = |name: &str| Path::from(format!("{}/{name}", date.as_ref().rsplit_once('/').unwrap().0));
    let orphan = beside(&format!("part-{}.zstd.parquet", Uuid::now_v7()));
    for path in [&orphan, &beside("part-of-somebody-else.parquet")] {
        table.store().put(path, "bytes".into()).await.unwrap();
    }
    let maintenance = maintenance(&lake);
    run(&maintenance, Table::Requests, ALL, Utc::now()).await;
    assert_eq!(run(&maintenance, Table::Requests, VACUUM, Utc::now()).await, []);
    assert_eq!(objects(table, "part-").await, 3 + 1 + 2);

    let dry = Task { dry_run: true, ..VACUUM };
    let soon = Utc::now() + TimeDelta::minutes(61);
    assert!(matches!(
        run(&maintenance, Table::Requests, dry, soon).await[..],
        [Step::Deleted { files: 3, dry_run: true, .. }]
    ));
    assert_eq!(objects(table, "part-").await, 3 + 1 + 2);
    assert!(matches!(run(&maintenance, Table::Requests, VACUUM, soon).await[..], [Step::Deleted { files: 3, .. }]));
    let later = Utc::now() + TimeDelta::hours(25);
    assert!(matches!(run(&maintenance, Table::Requests, VACUUM, later).await[..], [Step::Deleted { files: 1, .. }]));
    assert_eq!(objects(table, "part-").await, 1 + 1);
    assert_eq!(times(table).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_the_log_goes_and_who_knows_an_old_version_still_reads_on() {
    let directory = tempdir().unwrap();
    let (lake, idle) = (open(&directory).await, open(&directory).await);
    let table = lake.table(Table::Requests);
    let commits = 2 * i64::try_from(COMMITS_PER_CHECKPOINT).unwrap() + 5;
    for number in 0..commits {
        table.append(&[rows([number])], "w", number).await.unwrap();
    }
    let later = Utc::now() + TimeDelta::days(3);
    let entries = objects(table, "0000").await;
    let steps = run(&maintenance(&lake), Table::Requests, VACUUM, later).await;
    assert!(steps.iter().any(|step| matches!(step, Step::Deleted { log: 50.., .. })), "{steps:?}");
    assert!(objects(table, "0000").await < entries - 50);

    for reader in [&idle, &lake, &open(&directory).await] {
        let table = reader.table(Table::Requests);
        assert_eq!(table.position("w").await.unwrap(), Some(commits - 1));
        assert_eq!(times(table).await, (0..commits).collect::<Vec<_>>());
    }
    assert!(matches!(
        idle.table(Table::Requests).append(&[rows([commits])], "w", commits).await.unwrap(),
        Append::Committed { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_merge_the_same_files_one_does_while_rows_keep_coming() {
    let directory = tempdir().unwrap();
    let lakes = join_all((0..3).map(|_| open(&directory))).await;
    let table = lakes[0].table(Table::Requests);
    for round in 0..20_i64 {
        for number in 0..4 {
            table.append(&[rows([round * 10 + number])], "w", round * 10 + number).await.unwrap();
        }
        // All plan on one version, and then commit as it comes, an append among them.
        let jobs = join_all(lakes.iter().map(async |lake| {
            let snapshot = lake.table(Table::Requests).snapshot().await.unwrap();
            maintenance(lake).jobs(&snapshot, ALL, Utc::now()).remove(0)
        }))
        .await;
        let merging =
            lakes.iter().zip(&jobs).map(|(lake, job)| compact::compact(lake.table(Table::Requests), job, MEMORY));
        let late = [rows([round * 10 + 9])];
        let appending = table.append(&late, "v", round);
        let (merged, appended) = tokio::join!(join_all(merging), appending);
        appended.unwrap();
        assert_eq!(merged.into_iter().filter(|merged| merged.as_ref().unwrap().is_some()).count(), 1);
    }
    let expected: Vec<i64> = (0..20).flat_map(|round| [0, 1, 2, 3, 9].map(|number| round * 10 + number)).collect();
    assert_eq!(times(table).await, expected);
    let later = Utc::now() + TimeDelta::hours(2);
    run(&maintenance(&lakes[0]), Table::Requests, VACUUM, later).await;
    let live = table.snapshot().await.unwrap().files().len();
    assert_eq!(objects(table, "part-").await, live, "the losers deleted what they wrote");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_whose_commit_was_answered_with_an_error_is_recognised() {
    let store = Arc::new(FaultyStore::default());
    let executor = TokioMultiThreadExecutor::new(tokio::runtime::Handle::current());
    let engine = DefaultEngineBuilder::new(store.objects()).with_task_executor(Arc::new(executor)).build();
    let log = DeltaLog::new(
        Table::Requests,
        Url::parse("memory:///requests/").unwrap(),
        Arc::new(engine),
        Duration::from_secs(60),
    );
    let table = LakeTable::open(log, store.objects(), false).await.unwrap();
    for number in 0..3 {
        table.append(&[rows([number])], "w", number).await.unwrap();
    }
    let files: Vec<_> = table.snapshot().await.unwrap().files().iter().cloned().collect();
    store.answers_to_lose.store(1, Ordering::Relaxed);
    let merged = compact::compact(&table, &Job { date: 0, files, seconds: 0 }, MEMORY).await.unwrap();
    assert_eq!(merged.map(|merged| (merged.files, merged.rows)), Some((1, 3)));
    assert_eq!(times(&table).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_of_a_day_ago_become_minutes_and_of_a_month_ago_hours() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Metrics);
    for number in 0..6 {
        // A request of each route every ten seconds, for an hour.
        let rows = cells((0..360).map(|tens| tens * 10_000_000 + number));
        table.append(&[rows], "w", number).await.unwrap();
    }
    let at = |days| DateTime::from_timestamp_micros(days * DAY_US).unwrap();
    for (day, rows) in [(2, 60 * 3), (3, 60 * 3), (32, 3)] {
        run(&maintenance(&lake), Table::Metrics, Task::default(), at(day)).await;
        let snapshot = table.snapshot().await.unwrap();
        assert_eq!((snapshot.files().len(), snapshot.files().total_rows()), (1, Some(rows)), "day {day}");
        let requests = |batch: &RecordBatch| -> i64 {
            let column = batch.column_by_name("requests").unwrap();
            column.as_primitive::<arrow::datatypes::Int64Type>().values().iter().sum()
        };
        assert_eq!(read(table, &snapshot).await.iter().map(requests).sum::<i64>(), 6 * 360);
    }
    assert_eq!(run(&maintenance(&lake), Table::Metrics, ALL, at(33)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_dates_leave_and_the_table_tells_from_which_on_it_is_whole() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    table.append(&[rows((0..10).map(|day| day * DAY_US))], "w", 1).await.unwrap();
    let mut policy = Policy::with_memory(MEMORY);
    policy.retention[Table::Requests as usize] = Some(Duration::from_secs(3 * 86_400));
    let maintenance = Maintenance::new(Arc::clone(&lake), policy);
    let now = DateTime::from_timestamp_micros(10 * DAY_US + 1).unwrap();
    assert_eq!(table.snapshot().await.unwrap().first_date_kept(), None);
    let steps = run(&maintenance, Table::Requests, Task::default(), now).await;
    assert_eq!(steps, [Step::Retired { files: 7, rows: 7, before: 7, dry_run: false }]);
    assert_eq!(times(table).await, [7, 8, 9].map(|day| day * DAY_US));
    assert_eq!(table.snapshot().await.unwrap().first_date_kept(), Some(7));
    assert_eq!(table.snapshot().await.unwrap().positions().collect::<Vec<_>>(), [("w", 1)]);

    table.append(&[rows([2 * DAY_US, 9 * DAY_US + 1])], "w", 2).await.unwrap();
    run(&maintenance, Table::Requests, Task::default(), now).await;
    assert_eq!(times(table).await, [7 * DAY_US, 8 * DAY_US, 9 * DAY_US, 9 * DAY_US + 1]);
    assert_eq!(table.position("w").await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_program_is_left_as_it_is() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    for number in 0..3 {
        table.append(&[rows([number])], "w", number).await.unwrap();
    }
    // The same rows in a file that says nothing of an order.
    let first = table.snapshot().await.unwrap().files().iter().map(|file| file.path.clone()).min().unwrap();
    let theirs = Path::from(format!("{}/theirs.parquet", first.as_ref().rsplit_once('/').unwrap().0));
    let mut writer = ArrowWriter::try_new(Vec::new(), Table::Requests.schema(), None).unwrap();
    writer.write(&rows([0])).unwrap();
    let bytes = writer.into_inner().unwrap();
    let added =
        vec![crate::file::tests::add_of(&table.write_state().await.unwrap(), &theirs, bytes.len() as u64, &rows([0]))];
    table.store().put(&theirs, bytes.into()).await.unwrap();
    let removed = Arc::new([first].into());
    table.commit(&Change { kind: Kind::Rearrange, added, removed, advance: None, since: Utc::now() }).await.unwrap();

    let maintenance = maintenance(&lake);
    let steps = run(&maintenance, Table::Requests, ALL, Utc::now()).await;
    assert!(matches!(&steps[0], Step::SetAside { reason } if reason.contains("another program")), "{steps:?}");
    assert!(matches!(steps[1], Step::Merged { files: 2, into_files: 1, .. }), "{steps:?}");
    assert_eq!(run(&maintenance, Table::Requests, ALL, Utc::now()).await, []);
    assert_eq!(times(table).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_maintains_is_left_to_it_until_it_is_not_heard_of() {
    let directory = tempdir().unwrap();
    let lake = open(&directory).await;
    let table = lake.table(Table::Requests);
    for number in 0..3 {
        table.append(&[rows([number])], "w", number).await.unwrap();
    }
    let (store, path) =
        (lake.store(), Path::from_url_path(lake.root().path()).unwrap().join(LEASES).join("requests.json"));
    let long_ago = Utc::now() - TimeDelta::hours(1);
    assert_eq!(lease::take(store.as_ref(), &path, "other", Utc::now()).await.unwrap(), Ok(()));
    let steps = run(&maintenance(&lake), Table::Requests, ALL, Utc::now()).await;
    assert!(matches!(&steps[..], [Step::Busy { holder, .. }] if holder == "other"), "{steps:?}");

    assert_eq!(lease::take(store.as_ref(), &path, "other", long_ago).await.unwrap(), Ok(()));
    let steps = run(&maintenance(&lake), Table::Requests, ALL, Utc::now()).await;
    assert!(matches!(steps[..], [Step::Merged { .. }]), "{steps:?}");
    // It was given back.
    assert_eq!(lease::take(store.as_ref(), &path, "other", Utc::now()).await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_a_lease_where_puts_have_conditions_one_gets_it() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let path = Path::from("lease.json");
    for (round, now) in [Utc::now(), Utc::now() + TimeDelta::hours(1)].into_iter().enumerate() {
        let takers = (0..8).map(|taker| {
            let (store, path) = (Arc::clone(&store), path.clone());
            async move { lease::take(store.as_ref(), &path, &format!("{round}-{taker}"), now).await.unwrap() }
        });
        let taken: Vec<_> = futures::stream::iter(takers).buffer_unordered(8).collect().await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
    }
}

/// What may happen to a table.
#[derive(Clone, Copy, Debug)]
enum Event {
    Append { day: i64 },
    Merge,
    Plan { day: i64 },
    Vacuum,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..4_i64).prop_map(|day| Event::Append { day }),
        1 => Just(Event::Merge),
        1 => (0..6_i64).prop_map(|day| Event::Plan { day }),
        1 => Just(Event::Vacuum),
    ];
    proptest::collection::vec(event, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_is_merged_and_deleted_the_rows_stay(events in events()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempdir().unwrap();
            let lake = open(&directory).await;
            let (table, maintenance) = (lake.table(Table::Requests), maintenance(&lake));
            let mut expected = Vec::new();
            for (number, event) in (0..).zip(events) {
                match event {
                    Event::Append { day } => {
                        let times: Vec<i64> = (0..20).map(|row| day * DAY_US + number * 100 + row).collect();
                        table.append(&[rows(times.clone())], "w", number).await.unwrap();
                        expected.extend(times);
                    }
                    Event::Merge => drop(run(&maintenance, Table::Requests, ALL, Utc::now()).await),
                    Event::Plan { day } => {
                        let now = DateTime::from_timestamp_micros(day * DAY_US).unwrap();
                        run(&maintenance, Table::Requests, Task::default(), now).await;
                    }
                    Event::Vacuum => drop(run(&maintenance, Table::Requests, VACUUM, Utc::now() + TimeDelta::days(3)).await),
                }
                expected.sort_unstable();
                assert_eq!(times(table).await, expected);
            }
        });
    }
}
