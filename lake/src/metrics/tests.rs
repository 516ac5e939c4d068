//! What always holds of cells, for any records.

use arrow::{
    array::{Array, AsArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use proptest::prelude::*;
use weir_record::AccessRecord;

use super::*;

fn record() -> impl Strategy<Value = AccessRecord> {
    let outcome = proptest::sample::select(Outcome::ALL);
    let route = proptest::sample::select(vec!["", "/a", "/b/{id}"]);
    let status = proptest::option::of(0..=999u16);
    let phase = || proptest::option::of(any::<u64>());
    (-20_000_000..20_000_000i64, route, outcome, status, any::<u64>(), phase(), phase(), 0..1000u64).prop_map(
        |(time_us, route, outcome, status, latency_us, integration, authorizer, bytes)| AccessRecord {
            time_us,
            api: "shop".into(),
            route: route.into(),
            outcome,
            status,
            latency_us,
            integration_latency_us: integration,
            authorizer_latency_us: authorizer,
            request_bytes: bytes,
            response_bytes: 2 * bytes,
            ..AccessRecord::default()
        },
    )
}

fn records() -> impl Strategy<Value = Vec<AccessRecord>> {
    proptest::collection::vec(record(), 0..100)
}

fn cells(records: &[AccessRecord]) -> Cells {
    let mut cells = Cells::new();
    records.iter().for_each(|record| cells.add(&AccessView::from(record)));
    cells
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<u64> {
    let column = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
    column.values().iter().map(|number| u64::try_from(*number).unwrap()).collect()
}

/// Values in each sketch; 0 where there is none.
fn counts(batch: &RecordBatch, column: &str) -> Vec<u64> {
    let column = batch.column_by_name(column).unwrap().as_binary::<i32>();
    column.iter().map(|bytes| bytes.map_or(0, |bytes| Sketch::from_bytes(bytes).unwrap().count())).collect()
}

proptest! {
    #[test]
    fn a_cell_counts_the_records_of_its_key(records in records()) {
        let cells = cells(&records);
        for (key, cell) in cells.iter() {
            let of_key = records.iter().filter(|record| bucket_us(record.time_us) == key.bucket_us && record.route == key.route);
            prop_assert_eq!(cell.requests, of_key.count() as u64);
        }
        prop_assert_eq!(cells.iter().map(|(_, cell)| cell.requests).sum::<u64>(), records.len() as u64);
    }

    #[test]
    fn every_split_of_a_row_sums_to_its_requests(records in records()) {
        let batch = cells(&records).batch();
        let requests = numbers(&batch, "requests");
        let sum = |columns: &[&str]| {
            let columns: Vec<_> = columns.iter().map(|column| numbers(&batch, column)).collect();
            (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row]).sum()).collect::<Vec<u64>>()
        };
        let statuses = ["status_none", "status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_5xx"];
        prop_assert_eq!(&sum(&statuses), &requests);
        let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        prop_assert_eq!(&sum(&outcomes), &requests);
    }

    #[test]
    fn a_sketch_counts_as_many_as_its_cell(records in records()) {
        let batch = cells(&records).batch();
        prop_assert_eq!(counts(&batch, "latency"), numbers(&batch, "requests"));
        let with = |phase: fn(&AccessRecord) -> Option<u64>| records.iter().filter_map(phase).count() as u64;
        prop_assert_eq!(counts(&batch, "integration_latency").iter().sum::<u64>(), with(|record| record.integration_latency_us));
        prop_assert_eq!(counts(&batch, "authorizer_latency").iter().sum::<u64>(), with(|record| record.authorizer_latency_us));
    }

    #[test]
    fn merged_cells_are_the_cells_of_all_records(one in records(), other in records()) {
        let mut merged = cells(&one);
        merged.merge(cells(&other));
        prop_assert_eq!(merged.batch(), cells(&[one, other].concat()).batch());
    }

    #[test]
    fn the_estimated_memory_covers_keys_and_latencies(records in records()) {
        let cells = cells(&records);
        let needed = cells.iter().map(|(key, cell)| size_of::<(CellKey, Cell)>() + key.api.len() + key.route.len() + 4 * cell.latencies_us.len());
        prop_assert!(cells.heap_bytes() >= needed.sum());
    }

    #[test]
    fn a_bucket_holds_its_times(time_us in any::<i64>()) {
        let start = bucket_us(time_us);
        prop_assert!(start <= time_us && time_us.saturating_sub(start) < BUCKET_US);
        prop_assert!(start % BUCKET_US == 0 || start == i64::MIN);
    }
}

#[test]
fn rows_stand_in_the_order_of_their_keys() {
    let at = |time_us| AccessRecord { time_us, ..AccessRecord::default() };
    let batch = cells(&[at(15_000_000), at(-1), at(0)]).batch();
    let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[-10_000_000, 0, 10_000_000]);
}

#[test]
fn no_latencies_make_no_sketch() {
    let batch = cells(&[AccessRecord::default()]).batch();
    assert!(batch.column_by_name("integration_latency").unwrap().is_null(0));
    assert!(batch.column_by_name("latency").unwrap().is_valid(0));
}

#[test]
fn a_flood_of_routes_stays_bounded_and_is_counted_exactly() {
    const FLOOD: usize = 5 * MOST_CELLS;
    let mut cells = Cells::new();
    for number in 0..FLOOD {
        let (api, route) = (format!("api-{}", number / 3), format!("/{number}"));
        cells.add(&AccessView::from(&AccessRecord { api, route, latency_us: 7, ..AccessRecord::default() }));
    }
    assert!(cells.len() <= 2 * MOST_CELLS + 1, "{}", cells.len());
    assert_eq!(cells.iter().map(|(_, cell)| cell.requests).sum::<u64>(), FLOOD as u64);
    assert!(
        cells
            .get(&CellKey { seconds: CELL_SECONDS, api: "api-0".into(), route: "/0".into(), ..CellKey::default() })
            .is_some()
    );
    let rest = [OTHER; 4].map(str::to_owned);
    let [api, stage, route, method] = rest;
    assert!(cells.get(&CellKey { bucket_us: 0, seconds: 86_400, api, stage, route, method }).is_some());

    let mut merged = cells.clone();
    merged.merge(cells);
    assert!(merged.len() <= 2 * MOST_CELLS + 1, "{}", merged.len());
    assert_eq!(merged.iter().map(|(_, cell)| cell.requests).sum::<u64>(), 2 * FLOOD as u64);
}
