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
        lane.settle(0).unwrap();
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
                    lane.settle(0).unwrap();
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
    fn every_record_is_sent_or_counted_wherever_its_processes_are_killed(steps in prop::collection::vec(0..8u8, 1..80)) {
        let directory = TempDir::new().unwrap();
        let mut lane = lane(&directory, 1_000, 1..=1);
        let (mut appended, mut sent, mut is_own) = (1, 0, true);
        for step in steps {
            // As its sender has it: a batch is under way at nearly all times.
            let is_in_hand = is_own && lane.state().in_hand > 0;
            let is_under_way = is_in_hand || lane.head().unwrap().entry.is_some();
            match step {
                // No batch follows in the lane of a process that is gone.
                0..=3 if is_own => match lane.append(&entry(appended + 1)).unwrap() {
                    Append::Done => appended += 1,
                    Append::Full => drop(lane.drop_oldest().unwrap()),
                },
                4 | 5 if is_under_way => {
                    lane.settle(0).unwrap();
                    sent += 1;
                }
                6 if is_under_way => lane.settle(10).unwrap(),
                7 => {
                    drop(lane);
                    lane = adopt(&directory);
                    is_own = false;
                }
                _ => {}
            }
        }
        sent += drain(&mut lane).0.len() as u64;
        let State { dropped, in_hand, .. } = *lane.state();
        prop_assert_eq!(10 * sent + dropped + in_hand + lane.state().in_memory(), 10 * appended);
    }

    #[test]
    fn damage_anywhere_stops_nobody_and_every_record_is_sent_or_counted(at in 0..360usize, bit in 0..8u8) {
        let directory = TempDir::new().unwrap();
        drop(lane(&directory, 1 << 20, 1..=5));
        let mut bytes = fs::read(only_segment(&directory)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        fs::write(only_segment(&directory), bytes).unwrap();
        let mut lane = adopt(&directory);
        let before = if lane.head().unwrap().entry.is_some() { 1 } else { 0 };
        (0..before).for_each(|_| lane.settle(0).unwrap());
        // Killed again before all was told.
        drop(lane);
        let mut lane = adopt(&directory);
        let (sequences, _) = drain(&mut lane);
        let lost = lane.state().dropped;
        prop_assert_eq!((sequences.len() as u64 + before) * 10 + lost, 50);
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
fn what_is_dropped_or_refused_is_counted_in_the_same_write_as_its_end() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut refused = lane(&one, 720, 1..=9);
    refused.head().unwrap();
    refused.settle(10).unwrap();
    drop(refused);
    assert_eq!(adopt(&one).state().dropped, 10);
    let mut full = lane(&other, 720, 1..=9);
    let lost = full.drop_oldest().unwrap().unwrap();
    drop(full);
    assert_eq!(adopt(&other).state().dropped, lost);
}

#[test]
fn a_batch_that_was_appended_and_not_noted_is_not_counted_as_lost_from_memory() {
    let directory = TempDir::new().unwrap();
    let mut killed = lane(&directory, 720, 1..=9);
    killed.head().unwrap();
    killed.drop_oldest().unwrap();
    killed.note_counts(100, 0, 0).unwrap();
    let state = directory.path().join("a.logs/state");
    let before = fs::read(&state).unwrap();
    killed.append(&entry(10)).unwrap();
    drop(killed);
    fs::write(&state, before).unwrap();
    let adopted = adopt(&directory);
    assert_eq!((adopted.state().in_hand, adopted.state().in_memory()), (10, 0));
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
