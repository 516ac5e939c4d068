//! What a query gets at any moment: each row once, none before its position, none forgotten (I9); or that it must wait.

use arrow::{array::AsArray, datatypes::Int64Type};
use proptest::prelude::*;
use weir_record::{AccessRecord, BatchStamp, Source, otlp};

use super::*;
use crate::{Signal, sources::Sources, writer::take};

const NOW: i64 = 1_700_000_000_000_000;

fn message(sequence: u64, records: usize) -> Message {
    let stamp = BatchStamp { sequence, offered: 0, dropped: 0, doubtful: false, elsewhere: None };
    let source = Source { service: "s".into(), instance: "i".into(), stamp: Some(stamp) };
    let records: Vec<_> = (0..records)
        .map(|index| AccessRecord { request_id: format!("{sequence}-{index}"), ..Default::default() })
        .collect();
    Message::decode(Signal::Logs, NOW, &otlp::encode_logs(&source, &records)).unwrap()
}

fn count(rows: &[(Table, Vec<RecordBatch>)]) -> usize {
    rows.iter().flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).sum()
}

fn at(position: u64) -> Position {
    Position::new(position)
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize),
    Read(usize),
    Seal,
    CommitNext,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..30usize).prop_map(Step::Add), 4 => (1..6usize).prop_map(Step::Read), 2 => Just(Step::Seal),
        6 => Just(Step::CommitNext), 1 => Just(Step::Restart)
    ];
    prop::collection::vec(step, 1..120)
}

/// A collector without its files: the log as a list of messages' sizes, tables as counts.
struct Model {
    pending: Pending,
    limit_bytes: usize,
    log: Vec<usize>,
    sources: Sources,
    /// Next frame of the reading that is under way, and its last.
    reading: Option<(u64, u64)>,
    read_sources: Sources,
    /// What each table has committed, and how many requests it counts.
    positions: Committed,
    counts: [u64; Table::ALL.len()],
    sealed: Option<Arc<Generation>>,
}

impl Model {
    fn new(limit_bytes: usize) -> Self {
        Self {
            pending: Pending::new("log", Committed::default(), limit_bytes),
            limit_bytes,
            log: Vec::new(),
            sources: Sources::default(),
            reading: None,
            read_sources: Sources::default(),
            positions: Committed::default(),
            counts: [0; Table::ALL.len()],
            sealed: None,
        }
    }

    fn message(&self, position: u64) -> Message {
        message(position, self.log[usize::try_from(position).unwrap() - 1])
    }

    fn add(&mut self, records: usize) {
        self.log.push(records);
        let position = self.log.len() as u64;
        let message = self.message(position);
        let taken = take(&mut self.sources, &message);
        self.pending.add(at(position), message, &taken);
    }

    /// What the backlog does: asks the writer for a reading of the log, and takes some of it while there is room.
    fn read(&mut self, frames: usize) {
        if self.pending.lock().lag.is_none() {
            return;
        }
        let (mut next, through) = self.reading.take().unwrap_or_else(|| {
            let (through, loaded) = (self.log.len() as u64, self.pending.loaded().get());
            self.pending.join_after(at(through));
            self.read_sources = Sources::default();
            for position in 1..=loaded {
                let message = self.message(position);
                take(&mut self.read_sources, &message);
            }
            (loaded + 1, through)
        });
        for _ in 0..frames {
            if next <= through && self.pending.has_room() {
                let message = self.message(next);
                let taken = take(&mut self.read_sources, &message);
                self.pending.replay(at(next), message, &taken, 0);
                next += 1;
            }
        }
        if next <= through {
            self.reading = Some((next, through));
        } else {
            // Otherwise there is more by now, and the next reading has it.
            let _ = self.pending.caught_up(at(through));
        }
    }

    fn seal(&mut self) {
        self.sealed = self.pending.seal();
    }

    /// Commits the sealed generation to the next table that lacks it; lets go of it after the last.
    fn commit_next(&mut self) {
        let Some(generation) = &self.sealed else { return };
        let through = generation.through();
        let Some(table) = Table::ALL.into_iter().find(|table| self.positions[*table as usize] < through) else {
            for table in Table::ALL {
                self.pending.committed(table, through);
            }
            self.sealed = None;
            return self.pending.release();
        };
        self.counts[table as usize] += counted(table, &generation.rows_to_commit(table, NOW));
        self.positions[table as usize] = through;
        self.pending.committed(table, through);
    }

    /// A process that ends and another one that begins: only log and tables are left.
    fn restart(&mut self) {
        self.pending = Pending::unknown("log", at(self.log.len() as u64), self.limit_bytes);
        self.pending.begin(self.positions);
        (self.sealed, self.reading) = (None, None);
    }

    /// What a query counts in each table, or `None` when it is told to wait.
    fn count(&self) -> Option<[u64; Table::ALL.len()]> {
        let asked = Table::ALL.map(|table| (table, self.positions[table as usize]));
        match self.pending.after(&asked, NOW) {
            Ok(pending) => {
                let mut counts = self.counts;
                for (table, rows) in pending {
                    counts[table as usize] += counted(table, &rows);
                }
                Some(counts)
            }
            Err(NotNow::Lags { .. }) => None,
            Err(gone @ NotNow::Gone { .. }) => panic!("{gone:?}"),
        }
    }

    fn expected(&self) -> [u64; Table::ALL.len()] {
        let total = self.log.iter().sum::<usize>() as u64;
        Table::ALL.map(|table| if table == Table::Spans { 0 } else { total })
    }
}

/// The requests that these rows of a table tell of.
fn counted(table: Table, rows: &[RecordBatch]) -> u64 {
    let sum = |column: &str| -> i64 {
        let columns = rows.iter().map(|rows| rows.column_by_name(column).unwrap().as_primitive::<Int64Type>());
        columns.flat_map(|column| column.values().to_vec()).sum()
    };
    match table {
        Table::Requests | Table::Spans => rows.iter().map(|rows| rows.num_rows() as u64).sum(),
        Table::Metrics => sum("requests").try_into().unwrap(),
        Table::Ledger => sum("stored").try_into().unwrap(),
    }
}

proptest! {
    #[test]
    fn every_table_gets_every_row_once_and_a_query_sees_it_or_is_told_to_wait(
        steps in steps(), limit_bytes in 10_000..400_000usize,
    ) {
        let mut model = Model::new(limit_bytes);
        let largest = message(1, 30).heap_bytes();
        for step in steps {
            match step {
                Step::Add(records) => model.add(records),
                Step::Read(frames) => model.read(frames),
                Step::Seal => model.seal(),
                Step::CommitNext => model.commit_next(),
                Step::Restart => model.restart(),
            }
            if let Some(counted) = model.count() {
                prop_assert_eq!(counted, model.expected());
            }
            // One message beyond the share of each, what is read and what joins, and a third for maps that have just grown.
            let (bytes, most) = (model.pending.bytes(), limit_bytes + limit_bytes / JOINING_SHARE + 3 * largest);
            prop_assert!(bytes <= most, "{bytes} bytes, not {most}; the largest message: {largest}");
        }
        // Once the store is there again, all is seen, and committed in the end.
        for round in 0.. {
            prop_assert!(round < 1_000, "it never catches up: {:?}", model.pending);
            model.read(100);
            model.seal();
            if model.count().is_some() && model.sealed.is_none() {
                break;
            }
            for _ in 0..=Table::ALL.len() {
                model.commit_next();
            }
        }
        prop_assert_eq!(model.counts, model.expected());
    }
}

#[test]
fn a_position_that_is_flushed_is_gone() {
    let pending = Pending::new("log", [at(5); 4], usize::MAX);
    let gone = pending.after(&[(Table::Requests, at(4)), (Table::Metrics, at(5))], NOW).unwrap_err();
    let committed = vec![(Table::Requests, at(5)), (Table::Metrics, at(5))];
    assert_eq!(gone, NotNow::Gone { committed });
}

#[test]
fn a_replayed_frame_goes_only_to_the_tables_that_lack_it() {
    let mut committed = [at(0); 4];
    committed[Table::Requests as usize] = at(1);
    let pending = Pending::new("log", committed, usize::MAX);
    let first = message(1, 3);
    let taken = take(&mut Sources::default(), &first);
    pending.add(at(1), first, &taken);
    let rows = |table, position| count(&pending.after(&[(table, at(position))], NOW).unwrap());
    assert_eq!((rows(Table::Requests, 1), rows(Table::Metrics, 0), rows(Table::Ledger, 0)), (0, 1, 1));
    assert!(pending.seal().is_some());
}

#[test]
fn a_resent_batch_adds_to_the_ledger_and_to_nothing_else() {
    let pending = Pending::new("log", Committed::default(), usize::MAX);
    let mut sources = Sources::default();
    let first = message(1, 3);
    let taken = take(&mut sources, &first);
    pending.add(at(1), first, &taken);
    pending.count_duplicate(&message(1, 3));
    let generation = pending.seal().unwrap();
    let ledger = &generation.rows(Table::Ledger, NOW)[0];
    let value = |name: &str| ledger.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((value("received"), value("stored"), value("duplicate")), (6, 3, 3));
    assert_eq!(generation.records(), 3);
}

#[test]
fn a_read_sees_one_moment_while_chunks_fill_up() {
    let pending = Pending::new("log", Committed::default(), usize::MAX);
    let mut sources = Sources::default();
    for frame in 1..=3 {
        let message = message(frame, 5_000);
        let taken = take(&mut sources, &message);
        pending.add(at(frame), message, &taken);
    }
    let rows = pending.after(&[(Table::Requests, at(0))], NOW).unwrap();
    assert_eq!(count(&rows), 15_000);
    assert_eq!(rows[0].1.len(), 2, "one full chunk, one that fills");
    let metrics = pending.seal().unwrap().rows_to_commit(Table::Metrics, NOW);
    assert_eq!(metrics[0].num_rows(), 1, "the cells of all chunks are merged");
}
