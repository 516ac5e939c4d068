//! What stands around a simulated collector: senders that number their batches and send them again, a network that
//! repeats and reorders, and tables that refuse, or commit and do not say so.

use std::collections::HashSet;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use bytes::Bytes;
use fastrand::Rng;
use weir_lake::Table;
use weir_record::{AccessRecord, BatchStamp, Source, otlp};

use crate::{
    pending::Committed,
    wal::{Lives, Position},
};

const BEGIN_US: i64 = 1_700_000_000_000_000;

/// How far the machine's clock is set forward or back at once: an hour.
const JUMP_US: i64 = 3_600_000_000;

/// The machine's clock, which goes on, and is set forward and back by others.
#[derive(Debug)]
pub(super) struct Clock(i64);

impl Clock {
    pub(super) fn new() -> Self {
        Self(BEGIN_US)
    }

    /// Microseconds since the Unix epoch.
    pub(super) fn now_us(&self) -> i64 {
        self.0
    }

    pub(super) fn pass(&mut self, rng: &mut Rng) {
        self.0 += rng.i64(0..2_000_000);
        match rng.u8(0..100) {
            0 => self.0 += JUMP_US,
            1 => self.0 -= JUMP_US,
            _ => {}
        }
    }
}

/// Records of a batch.
pub(super) const RECORDS: u64 = 2;

const SENDERS: usize = 4;

/// Batches that a sender has under way at most.
const UNDER_WAY: usize = 12;

/// A batch: its sender, and its number.
pub(super) type Batch = (usize, u64);

/// Who sends, and what has been answered.
#[derive(Debug)]
pub(super) struct Senders {
    next: [u64; SENDERS],
    /// Sent, and not answered.
    under_way: Vec<Batch>,
    pub(super) answered: HashSet<Batch>,
}

impl Senders {
    pub(super) fn new() -> Self {
        Self { next: [1; SENDERS], under_way: Vec::new(), answered: HashSet::new() }
    }

    /// What the network brings next: a new batch, one that is sent again, or one that was answered long ago.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Batch {
        let sender = rng.usize(0..SENDERS);
        let number = self.next[sender];
        if rng.u8(0..20) == 0 && number > 1 {
            return (sender, rng.u64(1..number));
        }
        if self.under_way.len() >= UNDER_WAY * SENDERS || (!self.under_way.is_empty() && rng.bool()) {
            return self.under_way[rng.usize(0..self.under_way.len())];
        }
        self.next[sender] += 1;
        self.under_way.push((sender, number));
        (sender, number)
    }

    pub(super) fn answer(&mut self, batch: Batch) {
        self.answered.insert(batch);
        self.under_way.retain(|waiting| *waiting != batch);
    }

    /// Some batch that is not answered yet.
    pub(super) fn unanswered(&self) -> Option<Batch> {
        self.under_way.first().copied()
    }

    /// Records of all batches that were ever sent.
    pub(super) fn offered(&self) -> u64 {
        self.next.iter().map(|next| (next - 1) * RECORDS).sum()
    }
}

/// The bytes of a batch: always the same.
pub(super) fn body((sender, number): Batch) -> Bytes {
    let stamp =
        BatchStamp { sequence: number, offered: number * RECORDS, dropped: 0, doubtful: false, elsewhere: None };
    let source = Source { service: "s".into(), instance: format!("sender {sender}"), stamp: Some(stamp) };
    let records: Vec<_> = (0..RECORDS)
        .map(|record| AccessRecord { request_id: format!("{sender}-{number}-{record}"), ..Default::default() })
        .collect();
    otlp::encode_logs(&source, &records).into()
}

/// How far a log comes by a commit, and which life of it makes it.
#[derive(Debug)]
pub(super) struct Advance {
    pub(super) life: Option<i64>,
    pub(super) after: Position,
    pub(super) to: Position,
}

/// What the tables have.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) committed: Committed,
    /// Which life of the log each of them has that from.
    pub(super) lives: [Option<i64>; Table::ALL.len()],
    /// The ids of all requests.
    pub(super) requests: HashSet<String>,
    /// Requests that the metrics count.
    pub(super) counted: u64,
    /// What the ledger says was stored, and offered.
    pub(super) stored: u64,
    pub(super) offered: u64,
    pub(super) is_away: bool,
}

impl Tables {
    /// As the lake does: compares positions, then commits. `false` is an error, after which nothing is known.
    pub(super) fn append(&mut self, table: Table, rows: &[RecordBatch], by: &Advance, rng: &mut Rng) -> bool {
        let Advance { life, after, to } = *by;
        if self.is_away || rng.u8(0..20) == 0 {
            return false;
        }
        let committed = self.committed[table as usize];
        let is_ours = life.is_none_or(|life| self.lives[table as usize] == Some(life)) || after >= to;
        if committed < to || !is_ours {
            assert_eq!(committed, after, "the rows begin where the log is not");
            self.committed[table as usize] = to;
            self.lives[table as usize] = life.or(self.lives[table as usize]);
            self.take(table, rows);
        }
        // It was done, and the answer is lost.
        rng.u8(0..20) != 0
    }

    /// The log is taken for the one that they have it from.
    pub(super) fn assert_written_by(&self, lives: &Lives) {
        for (life, position) in self.lives.iter().zip(self.committed) {
            assert!(life.is_none_or(|life| lives.have_committed(life, position)), "{life:?} up to {position}");
        }
    }

    fn take(&mut self, table: Table, rows: &[RecordBatch]) {
        match table {
            Table::Requests => {
                for id in ids(rows) {
                    assert!(self.requests.insert(id.clone()), "{id} is committed twice");
                }
            }
            Table::Metrics => self.counted += sum(rows, "requests"),
            Table::Ledger => {
                self.stored += sum(rows, "stored");
                self.offered += sum(rows, "offered");
            }
            Table::Spans => {}
        }
    }
}

/// The ids of these rows of `requests`.
pub(super) fn ids(rows: &[RecordBatch]) -> Vec<String> {
    let columns = rows.iter().map(|rows| rows.column_by_name("request_id").unwrap().as_string::<i32>());
    columns.flat_map(|column| column.iter().map(|id| id.unwrap().to_owned())).collect()
}

/// The sum of a column.
pub(super) fn sum(rows: &[RecordBatch], column: &str) -> u64 {
    let columns = rows.iter().map(|rows| rows.column_by_name(column).unwrap().as_primitive::<Int64Type>());
    columns.flat_map(|column| column.values().to_vec()).sum::<i64>().try_into().unwrap()
}
