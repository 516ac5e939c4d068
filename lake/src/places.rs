//! Rows that came in any order, in the order of their table ([`Table::order`]): by numbers in place of texts, so that sorting
//! compares a few words and follows no pointers.
//!
//! What always holds: the order is that of the keys of [`Order`](crate::order::Order), within each UTC date; rows of one key
//! stay in the order in which they came.

use std::collections::HashMap;

use ahash::RandomState;
use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::TimestampMicrosecondType,
};

use crate::{Table, file::day};

/// The most texts in the order of a table.
const MOST_TEXTS: usize = 4;

/// Where a row belongs, and where it stands now. The fields compare in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) day: i32,
    /// The rank of the row's texts and its time, in the table's order of the two.
    key: [u64; 2],
    batch: u32,
    row: u32,
}

impl Place {
    /// Batch and row.
    pub(crate) const fn stands_at(&self) -> (usize, usize) {
        (self.batch as usize, self.row as usize)
    }
}

/// The places of all rows, in order; `None` when a row has no time.
pub(crate) fn places_in_order(table: Table, batches: &[RecordBatch]) -> Option<Vec<Place>> {
    let time_first = table.order().first() == Some(&"time");
    let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut known = Known::default();
    for (batch, rows) in (0_u32..).zip(batches) {
        let times: &TimestampMicrosecondArray = rows.column_by_name("time")?.as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return None;
        }
        let texts: Vec<&StringArray> = order_texts(table, rows);
        places.extend((0_u32..).zip(times.values()).map(|(row, time_us)| {
            let mut said = [None; MOST_TEXTS];
            for (text, column) in said.iter_mut().zip(&texts) {
                *text = column.is_valid(row as usize).then(|| column.value(row as usize));
            }
            // Numbers without a sign in the order of those with one.
            let time = time_us.cast_unsigned() ^ (1 << 63);
            Place { day: day(*time_us), key: [known.number(said), time], batch, row }
        }));
    }
    let ranks = known.ranks();
    for place in &mut places {
        let [number, time] = place.key;
        let rank = ranks[number as usize];
        place.key = if time_first { [time, rank] } else { [rank, time] };
    }
    places.sort_unstable();
    Some(places)
}

/// The columns of text in the table's order.
fn order_texts(table: Table, rows: &RecordBatch) -> Vec<&StringArray> {
    let texts = table.order().iter().filter_map(|name| rows.column_by_name(name)?.as_string_opt::<i32>());
    texts.collect()
}

type Texts<'a> = [Option<&'a str>; MOST_TEXTS];

/// The texts that were met, each with a number.
#[derive(Default)]
struct Known<'a> {
    numbers: HashMap<Texts<'a>, u64, RandomState>,
    last: Option<(Texts<'a>, u64)>,
}

impl<'a> Known<'a> {
    fn number(&mut self, texts: Texts<'a>) -> u64 {
        if let Some((last, number)) = self.last
            && last == texts
        {
            return number;
        }
        let next = self.numbers.len() as u64;
        let number = *self.numbers.entry(texts).or_insert(next);
        self.last = Some((texts, number));
        number
    }

    /// The rank of each number: the place of its texts among all, in the order of their bytes, none before any.
    fn ranks(self) -> Vec<u64> {
        let mut texts: Vec<(Texts<'a>, u64)> = self.numbers.into_iter().collect();
        texts.sort_unstable();
        let mut ranks = vec![0; texts.len()];
        for (rank, (_, number)) in (0_u64..).zip(texts) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use weir_record::AccessRecord;

    use super::*;
    use crate::{ledger, metrics::Cells, order::Order, requests};

    fn records() -> impl Strategy<Value = Vec<Vec<AccessRecord>>> {
        let text = || prop_oneof![Just(""), Just("a"), Just("ab"), Just("b\u{e9}")];
        let record = (text(), text(), text(), -2..3_i64).prop_map(|(api, stage, route, days)| AccessRecord {
            time_us: days * 40_000_000_000,
            api: api.to_owned(),
            stage: stage.to_owned(),
            route: route.to_owned(),
            ..AccessRecord::default()
        });
        vec(vec(record, 0..20), 0..5)
    }

    /// The rows as the keys of [`Order`] have them, within each date.
    fn by_keys(table: Table, batches: &[RecordBatch]) -> Vec<(i32, (usize, usize))> {
        let order = Order::of(table);
        let keys: Vec<_> = batches.iter().map(|batch| order.keys(batch).unwrap()).collect();
        let mut rows = Vec::new();
        for (batch, (rows_of, keys)) in batches.iter().zip(&keys).enumerate() {
            let times = rows_of.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
            rows.extend(keys.iter().enumerate().map(|(row, key)| (day(times.value(row)), key, (batch, row))));
        }
        rows.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        rows.into_iter().map(|(day, _, stands_at)| (day, stands_at)).collect()
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_keys(records in records()) {
            let mut tables = vec![(Table::Requests, Vec::new()), (Table::Metrics, Vec::new()), (Table::Ledger, Vec::new())];
            for records in records {
                tables[0].1.push(requests::batch(&records, "gateway", 0));
                let mut cells = Cells::new();
                records.iter().for_each(|record| cells.add(&record.into()));
                tables[1].1.push(cells.batch());
                let row = |record: AccessRecord| ledger::LedgerRow {
                    time_us: record.time_us,
                    source: record.api,
                    signal: record.route,
                    ..Default::default()
                };
                tables[2].1.push(ledger::batch(&records.into_iter().map(row).collect::<Vec<_>>()));
            }
            for (table, batches) in tables {
                let places = places_in_order(table, &batches).unwrap();
                let places: Vec<_> = places.iter().map(|place| (place.day, place.stands_at())).collect();
                prop_assert_eq!(places, by_keys(table, &batches));
            }
        }
    }
}
