//! What a spool keeps, through every way of ending.

use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn entry(sequence: u64) -> Entry {
    let body = Bytes::from(format!("batch {sequence}").repeat(3));
    Entry { sequence, records: 10, offered: sequence * 10, dropped: 0, numbered: sequence * 10, body }
}

fn lane(directory: &TempDir, most_bytes: u64, entries: std::ops::RangeInclusive<u64>) -> Lane {
    let spool = Spool::open(directory.path().to_owned(), most_bytes);
    let mut lane = spool.create("a", "logs", State::default()).unwrap();
    for sequence in entries {
        assert_eq!(lane.append(&entry(sequence)).unwrap(), Append::Done);
    }
    lane
}

fn adopt(directory: &TempDir) -> Lane {
    Spool::open(directory.path().to_owned(), 1 << 20).adopt("logs").unwrap().pop().unwrap()
}

/// All batches by number, and the records lost between them.
fn drain(lane: &mut Lane) -> (Vec<u64>, u64) {
    let (mut sequences, mut lost) = (Vec::new(), 0);
    loop {
        let head = lane.head().unwrap();
        lost += head.lost;
        let Some(found) = head.entry else { return (sequences, lost) };
        assert_eq!(found, entry(found.sequence));
        sequences.push(found.sequence);
        lane.finish_head().unwrap();
    }
}

fn only_segment(directory: &TempDir) -> PathBuf {
    directory.path().join("a.logs/00000001.spool")
}

proptest! {
    #[test]
    fn batches_leave_in_order_once_across_any_restarts(steps in prop::collection::vec(0..4u8, 1..60)) {
        let directory = TempDir::new().unwrap();
        let mut lane = lane(&directory, 1_000, 1..=1);
        let (mut appended, mut sent) = (1, 0);
        for step in steps {
            match step {
                0 | 1 => if lane.append(&entry(appended + 1)).unwrap() == Append::Done {
                    appended += 1;
                },
                2 => if let Some(head) = lane.head().unwrap().entry {
                    sent += 1;
                    prop_assert_eq!(head, entry(sent));
                    lane.finish_head().unwrap();
                },
                _ => {
                    drop(lane);
                    let spool = Spool::open(directory.path().to_owned(), 1_000);
                    lane = spool.adopt("logs").unwrap().pop().unwrap();
                }
            }
            prop_assert!(lane.spool.used_bytes() <= 1_100);
        }
        prop_assert_eq!(drain(&mut lane), ((sent + 1..=appended).collect(), 0));
        prop_assert_eq!(lane.spool.used_bytes(), 0);
        lane.remove().unwrap();
        prop_assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_anywhere_stops_nobody_and_every_record_is_sent_or_counted(at in 0..360usize, bit in 0..8u8) {
        let directory = TempDir::new().unwrap();
        drop(lane(&directory, 1 << 20, 1..=5));
        let mut bytes = fs::read(only_segment(&directory)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        fs::write(only_segment(&directory), bytes).unwrap();
        let (sequences, lost) = drain(&mut adopt(&directory));
        prop_assert_eq!(sequences.len() as u64 * 10 + lost, 50);
        prop_assert!(lost > 0);
    }

    #[test]
    fn a_torn_tail_is_cut_and_its_records_counted(cut in 1..400usize) {
        let directory = TempDir::new().unwrap();
        drop(lane(&directory, 1 << 20, 1..=5));
        let bytes = fs::read(only_segment(&directory)).unwrap();
        fs::write(only_segment(&directory), &bytes[..bytes.len() - cut % bytes.len()]).unwrap();
        let (sequences, lost) = drain(&mut adopt(&directory));
        prop_assert_eq!(sequences.len() as u64 * 10 + lost, 50);
    }
}

#[test]
fn a_lane_that_a_living_process_has_is_left_to_it() {
    let directory = TempDir::new().unwrap();
    let lane = lane(&directory, 1 << 20, 1..=1);
    let other = Spool::open(directory.path().to_owned(), 1 << 20);
    assert!(other.adopt("logs").unwrap().is_empty());
    drop(lane);
    assert!(other.adopt("traces").unwrap().is_empty());
    assert_eq!(other.adopt("logs").unwrap().len(), 1);
}

#[test]
fn at_the_bound_a_batch_is_not_taken_or_the_oldest_segment_goes() {
    let directory = TempDir::new().unwrap();
    let mut lane = lane(&directory, 720, 1..=9);
    assert_eq!(lane.append(&entry(10)).unwrap(), Append::Full);
    assert_eq!(lane.head().unwrap().entry, Some(entry(1)));
    // A segment holds two batches; the first of them is in the sender's hands.
    let lost = lane.drop_oldest().unwrap().unwrap();
    assert_eq!(lane.append(&entry(10)).unwrap(), Append::Done);
    let (sequences, damaged) = drain(&mut lane);
    assert_eq!((lost + 10 * (1 + sequences.len() as u64), damaged), (100, 0));
    assert_eq!(sequences.last(), Some(&10));
}

#[test]
fn without_its_state_a_lane_is_sent_from_its_first_batch() {
    let directory = TempDir::new().unwrap();
    let mut first = lane(&directory, 1 << 20, 3..=5);
    first.head().unwrap();
    first.note_sent_to(&["b".to_owned()]).unwrap();
    drop(first);
    assert_eq!(adopt(&directory).state().sent_to, ["b"]);
    fs::write(directory.path().join("a.logs/state"), "torn").unwrap();
    assert_eq!(drain(&mut adopt(&directory)), (vec![3, 4, 5], 0));
}
