//! What a query gets at any moment: each row once, none before its position, none forgotten (I9).

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
    Seal,
    Commit,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..30usize).prop_map(Step::Add), 1 => Just(Step::Seal), 1 => Just(Step::Commit), 1 => Just(Step::Release)
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn committed_and_pending_are_always_all_rows_once(steps in steps()) {
        let pending = Pending::new(Committed::default());
        let mut sources = Sources::default();
        let (mut frames, mut in_table, mut total) = (0, 0, 0);
        let mut table_position = at(0);
        let mut sealed: Option<Arc<Generation>> = None;
        for step in steps {
            match step {
                Step::Add(records) => {
                    frames += 1;
                    total += records;
                    let message = message(frames, records);
                    let taken = take(&mut sources, &message);
                    pending.add(at(frames), message, &taken);
                }
                Step::Seal => sealed = pending.seal(),
                Step::Commit => if let Some(generation) = &sealed && generation.through() > table_position {
                    in_table += generation.rows_to_commit(Table::Requests, NOW).iter().map(RecordBatch::num_rows).sum::<usize>();
                    table_position = generation.through();
                    for table in Table::ALL {
                        pending.committed(table, table_position);
                    }
                },
                Step::Release => if let Some(generation) = sealed.take_if(|generation| generation.through() <= table_position) {
                    drop(generation);
                    pending.release();
                },
            }
            let rows = pending.after(&[(Table::Requests, table_position)], NOW).unwrap();
            prop_assert_eq!(in_table + count(&rows), total);
        }
    }
}

#[test]
fn a_position_that_is_flushed_is_gone() {
    let pending = Pending::new([at(5); 4]);
    let gone = pending.after(&[(Table::Requests, at(4)), (Table::Metrics, at(5))], NOW).unwrap_err();
    assert_eq!(gone.committed, [(Table::Requests, at(5)), (Table::Metrics, at(5))]);
}

#[test]
fn a_replayed_frame_goes_only_to_the_tables_that_lack_it() {
    let mut committed = [at(0); 4];
    committed[Table::Requests as usize] = at(1);
    let pending = Pending::new(committed);
    let first = message(1, 3);
    let taken = take(&mut Sources::default(), &first);
    pending.add(at(1), first, &taken);
    let rows = |table, position| count(&pending.after(&[(table, at(position))], NOW).unwrap());
    assert_eq!((rows(Table::Requests, 1), rows(Table::Metrics, 0), rows(Table::Ledger, 0)), (0, 1, 1));
    assert!(pending.seal().is_some());
}

#[test]
fn a_resent_batch_adds_to_the_ledger_and_to_nothing_else() {
    let pending = Pending::new(Committed::default());
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
    let pending = Pending::new(Committed::default());
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
