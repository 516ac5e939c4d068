//! Sums and sketches stay what they were, however cells are cut and added up.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_record::{AccessRecord, Outcome, otlp::AccessView};

use super::*;
use crate::metrics::Cells;

fn records() -> impl Strategy<Value = Vec<AccessRecord>> {
    let outcome = proptest::sample::select(Outcome::ALL);
    let route = proptest::sample::select(vec!["/a", "/b"]);
    let record = (-7_200_000_000..7_200_000_000_i64, route, outcome, 1..5_000_000_u64, proptest::option::of(1..9_u64));
    let record = record.prop_map(|(time_us, route, outcome, latency_us, integration_latency_us)| AccessRecord {
        time_us,
        route: route.into(),
        outcome,
        status: Some(200),
        latency_us,
        integration_latency_us,
        request_bytes: 3,
        ..AccessRecord::default()
    });
    proptest::collection::vec(record, 1..200)
}

/// One batch of cells for each part of the records, as flushes make them.
fn batches(records: &[AccessRecord], parts: usize) -> Vec<RecordBatch> {
    let batch = |part: &[AccessRecord]| {
        let mut cells = Cells::new();
        part.iter().for_each(|record| cells.add(&AccessView::from(record)));
        cells.batch()
    };
    records.chunks(records.len().div_ceil(parts)).map(batch).collect()
}

/// Rows of all batches in the table's order, as a merge gives them.
fn in_order(batches: &[RecordBatch]) -> RecordBatch {
    let all = concat_batches(&Table::Metrics.schema(), batches).unwrap();
    let keys = crate::order::Order::of(Table::Metrics).keys(&all).unwrap();
    let mut rows: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap()).collect();
    rows.sort_by(|one, other| keys.row(*one as usize).cmp(&keys.row(*other as usize)));
    arrow::compute::take_record_batch(&all, &UInt32Array::from(rows)).unwrap()
}

type Totals = BTreeMap<(String, i64), (Vec<i64>, Vec<Sketch>)>;

/// For each route and time of this length: the sums of all counts, and the sketches merged.
fn totals(cells: &[RecordBatch], seconds: i64) -> Totals {
    let mut totals = Totals::new();
    for cells in cells {
        let routes = cells.column_by_name("route").unwrap().as_string::<i32>();
        let times = cells.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        for row in 0..cells.num_rows() {
            let time = times.value(row).div_euclid(seconds * 1_000_000);
            let (sums, sketches) = totals.entry((routes.value(row).to_owned(), time)).or_default();
            let (mut count, mut sketch) = (0, 0);
            for column in cells.columns() {
                if let Some(column) = column.as_primitive_opt::<Int64Type>() {
                    sums.resize(sums.len().max(count + 1), 0);
                    sums[count] += column.value(row);
                    count += 1;
                }
                if let Some(column) = column.as_binary_opt::<i32>() {
                    sketches.resize_with(sketches.len().max(sketch + 1), Sketch::new);
                    if column.is_valid(row) {
                        sketches[sketch].merge_bytes(column.value(row)).unwrap();
                    }
                    sketch += 1;
                }
            }
        }
    }
    totals
}

proptest! {
    #[test]
    fn sums_and_sketches_are_what_they_were(records in records(), parts in 1..5_usize, seconds in prop_oneof![Just(10_u32), Just(60), Just(3600)], at_once in 1..50_usize) {
        let before = batches(&records, parts);
        let cut: Vec<RecordBatch> = before.iter().map(|cells| coarser(cells, seconds).unwrap()).collect();
        let sorted = in_order(&cut);
        let (mut adder, mut after) = (Adder::default(), Vec::new());
        for start in (0..sorted.num_rows()).step_by(at_once) {
            after.push(adder.add(sorted.slice(start, at_once.min(sorted.num_rows() - start))).unwrap());
        }
        after.extend(adder.finish());
        prop_assert_eq!(totals(&before, i64::from(seconds)), totals(&after, i64::from(seconds)));

        let rows: usize = after.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows, totals(&after, i64::from(seconds)).len(), "one row for each key");
        let covers = |cells: &RecordBatch| {
            cells.column_by_name("seconds").unwrap().as_primitive::<Int32Type>().values().iter().all(|covered| *covered == seconds.cast_signed())
        };
        prop_assert!(after.iter().all(covers));
    }

    #[test]
    fn cutting_times_keeps_the_order(records in records(), seconds in prop_oneof![Just(60_u32), Just(3600)]) {
        let sorted = in_order(&batches(&records, 3));
        let keys = crate::order::Order::of(Table::Metrics).keys(&coarser(&sorted, seconds).unwrap()).unwrap();
        prop_assert!((1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row)));
    }
}
