//! The rows of one flush: what came in between two seals.
//!
//! Rows are kept as they arrived, message by message, in chunks. A chunk that is full is never changed again, so its
//! columns are joined and its cells folded once, however many queries read them before the flush does.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{array::RecordBatch, compute::concat_batches};
use weir_lake::{
    Table,
    ledger::{self, LedgerRow},
    metrics::Cells,
};

use super::Taken;
use crate::{Message, Signal, message::source_name, wal::Position};

/// Records after which a chunk is full.
const CHUNK_RECORDS: u64 = 8_192;

/// How the ledger names the log itself, on rows about frames that were damaged.
const WAL_SERVICE: &str = "weir-collector";
const WAL_SIGNAL: &str = "wal";

/// The account of each source: instance, service, signal.
type Ledger = BTreeMap<(String, String, &'static str), LedgerRow>;

/// The rows of all tables between two positions of the log.
#[derive(Clone, Debug)]
pub struct Generation {
    through: Position,
    full: Vec<Arc<Chunk>>,
    filling: Chunk,
    ledger: Ledger,
    frames: u64,
    records: u64,
    bytes: usize,
}

/// Rows that came one after the other.
#[derive(Debug, Default)]
struct Chunk {
    rows: Mutex<Rows>,
    records: u64,
    cells: Cells,
}

/// Batches are kept as they came until a query reads them, and joined to one from then on: never both, so that rows take
/// their memory once.
#[derive(Clone, Debug, Default)]
struct Rows {
    requests: Vec<RecordBatch>,
    spans: Vec<RecordBatch>,
    /// The cells as rows, once somebody has asked.
    metrics: Option<RecordBatch>,
}

impl Generation {
    /// An empty generation whose first frame will be the one after this position.
    pub(super) fn after(position: Position) -> Self {
        Self {
            through: position,
            full: Vec::new(),
            filling: Chunk::default(),
            ledger: BTreeMap::new(),
            frames: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// Position of the last frame in it.
    #[must_use]
    pub fn through(&self) -> Position {
        self.through
    }

    /// Memory that its rows take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Access records in it.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether there is nothing in it to commit. What was counted of resent messages waits for the next frame: without
    /// one there is no new position for a commit to bear.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn add(
        &mut self,
        position: Position,
        wanted: [bool; Table::ALL.len()],
        message: Message,
        taken: &[Taken],
    ) {
        self.through = self.through.max(position);
        self.frames += 1;
        self.bytes += message.heap_bytes();
        let wants = |table: Table| wanted[table as usize];
        for (part, taken) in message.parts.into_iter().zip(taken) {
            if wants(Table::Ledger) {
                let row = row_of(&mut self.ledger, message.signal, &part.source);
                row.received += part.received;
                match taken {
                    Taken::New(growth) => {
                        row.offered += growth.offered;
                        row.dropped += growth.dropped;
                        row.gaps += growth.gaps;
                        row.rejected += part.rejected.total();
                        let stored = part.received - part.rejected.total();
                        row.stored += stored;
                        if part.source.stamp.is_some_and(|stamp| stamp.doubtful) {
                            row.doubtful += stored;
                        }
                    }
                    Taken::Duplicate => row.duplicate += part.received,
                }
            }
            if matches!(taken, Taken::Duplicate) {
                continue;
            }
            let rows = part.rows.num_rows() as u64;
            match message.signal {
                Signal::Logs if wants(Table::Requests) => {
                    self.records += rows;
                    self.filling.rows_mut().requests.push(part.rows);
                }
                Signal::Traces if wants(Table::Spans) => self.filling.rows_mut().spans.push(part.rows),
                Signal::Logs | Signal::Traces => {}
            }
            if wants(Table::Metrics) {
                self.filling.cells.merge(part.cells);
            }
            self.filling.records += rows;
        }
        if self.filling.records >= CHUNK_RECORDS {
            self.full.push(Arc::new(std::mem::take(&mut self.filling)));
        }
    }

    /// Adds the rows of the generation that follows this one.
    pub(super) fn absorb(&mut self, next: Self) {
        self.through = self.through.max(next.through);
        self.frames += next.frames;
        self.records += next.records;
        self.bytes += next.bytes;
        if self.filling.records > 0 {
            self.full.push(Arc::new(std::mem::take(&mut self.filling)));
        }
        self.full.extend(next.full);
        self.filling = next.filling;
        for (key, row) in next.ledger {
            match self.ledger.entry(key) {
                Entry::Occupied(mut known) => known.get_mut().add(&row),
                Entry::Vacant(new) => drop(new.insert(row)),
            }
        }
    }

    /// Counts frames of the log that were damaged. Their number is what the positions around them say.
    pub(super) fn count_damaged(&mut self, writer_id: &str, frames: u64) {
        let key = (writer_id.to_owned(), WAL_SERVICE.to_owned(), WAL_SIGNAL);
        let row = self.ledger.entry(key).or_insert_with(|| LedgerRow {
            source: writer_id.to_owned(),
            service: WAL_SERVICE.to_owned(),
            signal: WAL_SIGNAL.to_owned(),
            ..Default::default()
        });
        row.damaged_frames += frames;
    }

    pub(super) fn count_duplicate(&mut self, message: &Message) {
        for part in &message.parts {
            let row = row_of(&mut self.ledger, message.signal, &part.source);
            row.received += part.received;
            row.duplicate += part.received;
        }
    }

    /// The generation as it is now, to be read while it grows. Full chunks are shared, not copied.
    pub(super) fn freeze(&self) -> Self {
        self.clone()
    }

    /// The rows of one table; none without rows. `now_us` is the time that the ledger's rows bear.
    #[must_use]
    pub fn rows(&self, table: Table, now_us: i64) -> Vec<RecordBatch> {
        if table == Table::Ledger {
            let rows: Vec<_> = self.ledger.values().map(|row| LedgerRow { time_us: now_us, ..row.clone() }).collect();
            return if rows.is_empty() { Vec::new() } else { vec![ledger::batch(&rows)] };
        }
        self.chunks().map(|chunk| chunk.joined(table)).filter(|rows| rows.num_rows() > 0).collect()
    }

    /// The rows to commit: as [`Self::rows`], but in the batches that there are, and with the cells of all chunks merged, so
    /// that a key has one row.
    #[must_use]
    pub fn rows_to_commit(&self, table: Table, now_us: i64) -> Vec<RecordBatch> {
        match table {
            Table::Requests => self.chunks().flat_map(|chunk| chunk.rows().requests.clone()).collect(),
            Table::Spans => self.chunks().flat_map(|chunk| chunk.rows().spans.clone()).collect(),
            Table::Metrics => {
                let mut cells = Cells::new();
                self.chunks().for_each(|chunk| cells.merge(chunk.cells.clone()));
                if cells.is_empty() { Vec::new() } else { vec![cells.batch()] }
            }
            Table::Ledger => self.rows(table, now_us),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.full.iter().map(Arc::as_ref).chain(std::iter::once(&self.filling))
    }
}

fn row_of<'a>(ledger: &'a mut Ledger, signal: Signal, source: &weir_record::Source) -> &'a mut LedgerRow {
    let name = source_name(source);
    ledger.entry((name.to_owned(), source.service.clone(), signal.name())).or_insert_with(|| LedgerRow {
        source: name.to_owned(),
        service: source.service.clone(),
        signal: signal.name().to_owned(),
        ..Default::default()
    })
}

impl Chunk {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_mut(&mut self) -> &mut Rows {
        self.rows.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows of a table in one batch.
    fn joined(&self, table: Table) -> RecordBatch {
        let mut rows = self.rows();
        let batches = match table {
            Table::Requests => &mut rows.requests,
            Table::Spans => &mut rows.spans,
            Table::Metrics => return rows.metrics.get_or_insert_with(|| self.cells.batch()).clone(),
            Table::Ledger => return RecordBatch::new_empty(table.schema()),
        };
        if batches.len() != 1 {
            *batches = vec![join(table, batches)];
        }
        batches[0].clone()
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self { rows: Mutex::new(self.rows().clone()), records: self.records, cells: self.cells.clone() }
    }
}

fn join(table: Table, batches: &[RecordBatch]) -> RecordBatch {
    let schema = table.schema();
    concat_batches(&schema, batches).expect("all rows of a table are built with the table's schema")
}
