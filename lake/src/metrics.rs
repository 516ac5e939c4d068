//! Metrics cells: the traffic of one route in ten seconds, added up, until it becomes a row of the table `metrics`.
//! When it is older, maintenance adds such rows up to minutes and hours.
//!
//! [`Cells`] takes access records one by one and keeps latencies as they are: a cell of few requests is then far
//! smaller than a sketch, and adding is a push. [`Cells::batch`] folds them into sketches.
//!
//! What always holds: the sum over the cells of a key is the count of its records (I4), and a cell's latency sketch
//! counts as many latencies as the cell has requests (I5). Cells only add: several rows may bear one key.
//!
//! Cells are bounded, however many routes senders make up (I7): beyond [`MOST_CELLS`] a new key is counted under the
//! route and method [`OTHER`]. What stands there is exact too, so the sums over all keys are the requests in any case.

use std::collections::HashMap;

use ahash::RandomState;
use arrow::array::{ArrayRef, RecordBatch};
use weir_record::{Outcome, otlp::AccessView};

use crate::{
    HIGHEST_LATENCY_US, LOWEST_LATENCY_US, Sketch, Table,
    column::{batch as rows, bigints, ints, optional_binaries, texts, times},
};

/// Length of the time that a new cell covers, seconds.
pub const CELL_SECONDS: u32 = 10;

/// The same in microseconds.
pub const BUCKET_US: i64 = CELL_SECONDS as i64 * 1_000_000;

/// Start of the bucket that a time belongs to, microseconds since the Unix epoch; also right before it.
#[must_use]
pub const fn bucket_us(time_us: i64) -> i64 {
    time_us.saturating_sub(time_us.rem_euclid(BUCKET_US))
}

/// Cells that are kept apart. Beyond them a new route and method count as [`OTHER`]; beyond twice as many, a new API and
/// stage too, and the whole day is one cell.
pub const MOST_CELLS: usize = 10_000;

/// What a key says of routes, methods, APIs and stages that are not kept apart.
pub const OTHER: &str = "__other__";

const DAY_SECONDS: u32 = 86_400;
const DAY_US: i64 = DAY_SECONDS as i64 * 1_000_000;

/// What a cell is a cell of. The order of the fields is the order of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// Start of the time that the cell covers, microseconds since the Unix epoch.
    pub bucket_us: i64,
    /// Length of that time: [`CELL_SECONDS`], or a day.
    pub seconds: u32,
    /// Name of the API.
    pub api: String,
    /// Stage of the API.
    pub stage: String,
    /// Route template.
    pub route: String,
    /// HTTP method.
    pub method: String,
}

impl CellKey {
    /// Takes the values of a record and keeps the memory of the old ones.
    fn become_key_of(&mut self, record: &AccessView<'_>) {
        (self.bucket_us, self.seconds) = (bucket_us(record.time_us), CELL_SECONDS);
        for (text, said) in [
            (&mut self.api, &record.api),
            (&mut self.stage, &record.stage),
            (&mut self.route, &record.route),
            (&mut self.method, &record.method),
        ] {
            text.clear();
            text.push_str(said);
        }
    }

    /// The key under which the rest of its API and stage is counted.
    fn become_other(&mut self) {
        for text in [&mut self.route, &mut self.method] {
            OTHER.clone_into(text);
        }
    }

    /// The key under which the rest of its day is counted.
    fn become_other_of_day(&mut self) {
        (self.bucket_us, self.seconds) =
            (self.bucket_us.saturating_sub(self.bucket_us.rem_euclid(DAY_US)), DAY_SECONDS);
        for text in [&mut self.api, &mut self.stage] {
            OTHER.clone_into(text);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.api.capacity() + self.stage.capacity() + self.route.capacity() + self.method.capacity()
    }
}

/// Entries of [`Cell::statuses`].
const STATUS_CLASSES: usize = 6;

/// What is counted of the requests of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Requests, whatever became of them.
    pub requests: u64,
    /// Requests by the first digit of their status; index 0: by none, or one that is not between 100 and 599.
    pub statuses: [u64; STATUS_CLASSES],
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Bytes of request bodies.
    pub request_bytes: u64,
    /// Bytes of response bodies.
    pub response_bytes: u64,
    /// Latency of each request, microseconds, within a sketch's bounds.
    pub latencies_us: Vec<u32>,
    /// Integration latency of each request that had one.
    pub integration_latencies_us: Vec<u32>,
    /// Authorizer latency of each request that had one.
    pub authorizer_latencies_us: Vec<u32>,
}

impl Cell {
    fn add(&mut self, record: &AccessView<'_>) {
        self.requests += 1;
        self.statuses[status_class(record.status)] += 1;
        self.outcomes[record.outcome as usize] += 1;
        self.request_bytes = self.request_bytes.saturating_add(record.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(record.response_bytes);
        self.latencies_us.push(bounded(record.latency_us));
        self.integration_latencies_us.extend(record.integration_latency_us.map(bounded));
        self.authorizer_latencies_us.extend(record.authorizer_latency_us.map(bounded));
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.statuses.iter_mut().zip(other.statuses).for_each(|(sum, count)| *sum += count);
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, count)| *sum += count);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.latencies_us.extend_from_slice(&other.latencies_us);
        self.integration_latencies_us.extend_from_slice(&other.integration_latencies_us);
        self.authorizer_latencies_us.extend_from_slice(&other.authorizer_latencies_us);
    }

    fn heap_bytes(&self) -> usize {
        let latencies = [&self.latencies_us, &self.integration_latencies_us, &self.authorizer_latencies_us];
        latencies.iter().map(|values| values.capacity() * size_of::<u32>()).sum()
    }
}

fn status_class(status: Option<u16>) -> usize {
    status.map(|status| usize::from(status / 100)).filter(|class| *class < STATUS_CLASSES).unwrap_or(0)
}

/// A latency within a sketch's bounds, which fit 32 bits.
fn bounded(latency_us: u64) -> u32 {
    u32::try_from(latency_us.clamp(LOWEST_LATENCY_US, HIGHEST_LATENCY_US)).expect("an hour of microseconds fits")
}

/// Cells under construction.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    cells: HashMap<CellKey, Cell, RandomState>,
    /// Key of the record at hand: looked up without allocating, copied only for a new cell.
    key: CellKey,
    /// Memory of keys and latencies.
    heap_bytes: usize,
}

impl Cells {
    /// No cells.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record to its cell.
    pub fn add(&mut self, record: &AccessView<'_>) {
        self.key.become_key_of(record);
        self.change(|cell| cell.add(record));
    }

    /// Adds the cells of another.
    pub fn merge(&mut self, other: Self) {
        for (key, cell) in other.cells {
            self.key = key;
            self.change(|mine| mine.merge(&cell));
        }
    }

    /// Changes the cell of the key at hand, or of the one that stands for it when there are too many.
    fn change(&mut self, change: impl FnOnce(&mut Cell)) {
        if self.cells.len() >= MOST_CELLS && !self.cells.contains_key(&self.key) {
            self.key.become_other();
            if self.cells.len() >= 2 * MOST_CELLS && !self.cells.contains_key(&self.key) {
                self.key.become_other_of_day();
            }
        }
        if let Some(cell) = self.cells.get_mut(&self.key) {
            let before = cell.heap_bytes();
            change(cell);
            self.heap_bytes += cell.heap_bytes() - before;
        } else {
            let (key, mut cell) = (self.key.clone(), Cell::default());
            change(&mut cell);
            self.heap_bytes += key.heap_bytes() + cell.heap_bytes();
            self.cells.insert(key, cell);
        }
    }

    /// The cell of a key.
    #[must_use]
    pub fn get(&self, key: &CellKey) -> Option<&Cell> {
        self.cells.get(key)
    }

    /// Every cell, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&CellKey, &Cell)> {
        self.cells.iter()
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Estimate of the memory that the cells take, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.heap_bytes + self.cells.capacity() * (size_of::<(CellKey, Cell)>() + 1)
    }

    /// One row for each cell, in the order of the keys, the latencies folded into sketches.
    #[must_use]
    pub fn batch(&self) -> RecordBatch {
        let mut sorted: Vec<(&CellKey, &Cell)> = self.cells.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let keys = || sorted.iter().map(|(key, _)| *key);
        let cells = || sorted.iter().map(|(_, cell)| *cell);
        let mut columns = vec![
            times(keys().map(|key| key.bucket_us)),
            ints(keys().map(|key| key.seconds)),
            texts(keys().map(|key| key.api.as_str())),
            texts(keys().map(|key| key.stage.as_str())),
            texts(keys().map(|key| key.route.as_str())),
            texts(keys().map(|key| key.method.as_str())),
            bigints(cells().map(|cell| cell.requests)),
        ];
        columns.extend([1, 2, 3, 4, 5, 0].map(|class| bigints(cells().map(|cell| cell.statuses[class]))));
        columns.extend((0..Outcome::ALL.len()).map(|outcome| bigints(cells().map(|cell| cell.outcomes[outcome]))));
        columns.push(bigints(cells().map(|cell| cell.request_bytes)));
        columns.push(bigints(cells().map(|cell| cell.response_bytes)));
        let mut scratch = Sketch::new();
        columns.push(sketches(&mut scratch, cells().map(|cell| &cell.latencies_us)));
        columns.push(sketches(&mut scratch, cells().map(|cell| &cell.integration_latencies_us)));
        columns.push(sketches(&mut scratch, cells().map(|cell| &cell.authorizer_latencies_us)));
        rows(Table::Metrics, columns)
    }
}

/// A column of encoded sketches; null where there are no latencies.
fn sketches<'a>(scratch: &mut Sketch, latencies: impl Iterator<Item = &'a Vec<u32>>) -> ArrayRef {
    optional_binaries(latencies.map(|latencies| {
        scratch.clear();
        latencies.iter().for_each(|latency_us| scratch.record(u64::from(*latency_us)));
        (!latencies.is_empty()).then(|| scratch.to_bytes())
    }))
}

#[cfg(test)]
mod tests;
