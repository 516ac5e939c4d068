//! What a query gets at any moment: each row once, none before its position, none forgotten (I9); or that it must wait.

use proptest::prelude::*;
use weir_record::{AccessRecord, BatchStamp, Source, otlp};

use super::*;
use crate::{Signal, sources::Sources, writer::take};

const NOW: i64 = 1_700_000_000_000_000;

fn message(sequence: u64, records: usize) -> Message {
    let stamp = BatchStamp { sequence, offered: 0, dropped: 0, doubtful: false };
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
    Commit,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..30usize).prop_map(Step::Add), 2 => (1..6usize).prop_map(Step::Read), 1 => Just(Step::Seal),
        1 => Just(Step::Commit), 1 => Just(Step::Release)
    ];
    prop::collection::vec(step, 1..80)
}

/// A collector without its files: the log as a list of messages' sizes, one table.
struct Model {
    pending: Pending,
    log: Vec<usize>,
    sources: Sources,
    /// Next frame of the reading that is under way, and its last.
    reading: Option<(u64, u64)>,
    read_sources: Sources,
    table_position: Position,
    in_table: usize,
    sealed: Option<Arc<Generation>>,
}

impl Model {
    fn new(limit_bytes: usize) -> Self {
        Self {
            pending: Pending::new("log", Committed::default(), limit_bytes),
            log: Vec::new(),
            sources: Sources::default(),
            reading: None,
            read_sources: Sources::default(),
            table_position: at(0),
            in_table: 0,
            sealed: None,
        }
    }

    fn add(&mut self, records: usize) {
        self.log.push(records);
        let position = self.log.len() as u64;
        let message = message(position, records);
        let taken = take(&mut self.sources, &message);
        self.pending.add(at(position), message, &taken);
    }

    /// What the backlog does: asks the writer for a reading of the log, and takes some of it while there is room.
    fn read(&mut self, frames: usize) {
        if self.pending.lag_frames() == 0 {
            return;
        }
        let (mut next, through) = self.reading.take().unwrap_or_else(|| {
            let through = self.log.len() as u64;
            self.pending.join_after(at(through));
            (self.pending.loaded().get() + 1, through)
        });
        for _ in 0..frames {
            if next <= through && self.pending.has_room() {
                let message = message(next, self.log[usize::try_from(next).unwrap() - 1]);
                let taken = take(&mut self.read_sources, &message);
                self.pending.replay(at(next), message, &taken, 0);
                next += 1;
            }
        }
        if next <= through {
            self.reading = Some((next, through));
        } else if self.pending.caught_up(at(through)) {
            self.read_sources = Sources::from_note(&self.sources.to_note()).unwrap();
        }
    }

    fn seal(&mut self) {
        self.sealed = self.pending.seal();
    }

    fn commit(&mut self) {
        if let Some(generation) = self.sealed.as_ref().filter(|sealed| sealed.through() > self.table_position) {
            let rows = generation.rows_to_commit(Table::Requests, NOW);
            self.in_table += rows.iter().map(RecordBatch::num_rows).sum::<usize>();
            self.table_position = generation.through();
            for table in Table::ALL {
                self.pending.committed(table, self.table_position);
            }
        }
    }

    fn release(&mut self) {
        if self.sealed.take_if(|sealed| sealed.through() <= self.table_position).is_some() {
            self.pending.release();
        }
    }

    /// All rows that a query gets, or `None` when it is told to wait.
    fn count(&self) -> Option<usize> {
        match self.pending.after(&[(Table::Requests, self.table_position)], NOW) {
            Ok(rows) => Some(self.in_table + count(&rows)),
            Err(NotNow::Lags { loaded, newest }) => {
                assert!(loaded < newest || self.reading.is_some() || self.log.is_empty());
                None
            }
            Err(gone @ NotNow::Gone { .. }) => panic!("{gone:?}"),
        }
    }
}

proptest! {
    #[test]
    fn a_query_gets_all_rows_once_or_is_told_to_wait(steps in steps(), limit_bytes in 10_000..400_000usize) {
        let mut model = Model::new(limit_bytes);
        let largest = message(1, 30).heap_bytes();
        for step in steps {
            match step {
                Step::Add(records) => model.add(records),
                Step::Read(frames) => model.read(frames),
                Step::Seal => model.seal(),
                Step::Commit => model.commit(),
                Step::Release => model.release(),
            }
            if let Some(counted) = model.count() {
                prop_assert_eq!(counted, model.log.iter().sum::<usize>());
            }
            prop_assert!(model.pending.bytes() <= limit_bytes + limit_bytes / JOINING_SHARE + 2 * largest);
        }
        // Once the store is there again, all is seen, and committed in the end.
        for round in 0.. {
            prop_assert!(round < 1_000, "it never catches up: {:?}", model.pending);
            if model.count().is_some() && model.pending.seal().is_none() {
                break;
            }
            model.seal();
            model.commit();
            model.release();
            model.read(100);
        }
        prop_assert_eq!(model.in_table, model.log.iter().sum::<usize>());
        prop_assert_eq!(model.table_position, at(model.log.len() as u64));
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
    let value = |name: &str| {
        use arrow::{array::AsArray, datatypes::Int64Type};
        ledger.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0)
    };
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
