//! Which batches were already taken from whom, so that a resent batch is counted once (I3).
//!
//! A pure decision: the same batches in the same order give the same answers, in service and when the log is replayed.
//! The state travels at the head of each log segment ([`Sources::to_note`]), so it outlives the frames it came from.
//!
//! What always holds: a number that was taken is never taken again; memory is bounded by [`MOST_SOURCES`] sources with
//! [`MOST_AHEAD`] numbers each. A source that numbers beyond the bound has its missing numbers given up: they are
//! counted as gaps, and refused if they come after all. A source that is not heard of for longest is forgotten first.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use weir_record::{BatchStamp, Source};

use crate::Signal;

/// Sources that are remembered, per signal and instance.
pub const MOST_SOURCES: usize = 10_000;

/// Numbers that are remembered beyond the first missing one.
pub const MOST_AHEAD: usize = 1_024;

/// What taking a batch adds to the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Records newly offered to the source.
    pub offered: u64,
    /// Records newly dropped by the source.
    pub dropped: u64,
    /// Batch numbers given up.
    pub gaps: u64,
}

/// The memory of what was taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    known: HashMap<(Signal, String), Taken>,
    /// Counts batches; tells which source was heard of last.
    clock: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    /// Every number up to this one was taken or given up.
    through: u64,
    /// Numbers taken beyond.
    ahead: BTreeSet<u64>,
    offered: u64,
    dropped: u64,
    heard: u64,
}

impl Sources {
    /// Whether this batch was taken before.
    #[must_use]
    pub fn is_taken(&self, signal: Signal, source: &Source) -> bool {
        let Some(stamp) = source.stamp else { return false };
        self.known
            .get(&(signal, source.instance.clone()))
            .is_some_and(|taken| stamp.sequence <= taken.through || taken.ahead.contains(&stamp.sequence))
    }

    /// Takes a batch that was not taken before.
    pub fn take(&mut self, signal: Signal, source: &Source) -> Growth {
        let Some(stamp) = source.stamp else { return Growth::default() };
        self.clock += 1;
        let clock = self.clock;
        let taken = self.known.entry((signal, source.instance.clone())).or_default();
        taken.heard = clock;
        let growth = taken.take(stamp);
        self.forget_the_oldest();
        growth
    }

    fn forget_the_oldest(&mut self) {
        if self.known.len() <= MOST_SOURCES {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, taken)| taken.heard).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.known.remove(&key);
        }
    }

    /// The state as the bytes that stand at the head of a log segment.
    #[must_use]
    pub fn to_note(&self) -> Vec<u8> {
        let sources = self.known.iter().map(|((signal, instance), taken)| {
            json!({
                "signal": signal.frame_kind(), "instance": instance, "through": taken.through, "ahead": taken.ahead,
                "offered": taken.offered, "dropped": taken.dropped, "heard": taken.heard,
            })
        });
        json!({ "clock": self.clock, "sources": sources.collect::<Vec<_>>() }).to_string().into_bytes()
    }

    /// The state that a log segment begins with; an empty note is the beginning of all.
    ///
    /// Returns `None` when the bytes are no note.
    #[must_use]
    pub fn from_note(note: &[u8]) -> Option<Self> {
        if note.is_empty() {
            return Some(Self::default());
        }
        let note: Value = serde_json::from_slice(note).ok()?;
        let mut known = HashMap::new();
        for source in note["sources"].as_array()? {
            let signal = Signal::from_frame_kind(u8::try_from(source["signal"].as_u64()?).ok()?)?;
            let taken = Taken {
                through: source["through"].as_u64()?,
                ahead: source["ahead"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?,
                offered: source["offered"].as_u64()?,
                dropped: source["dropped"].as_u64()?,
                heard: source["heard"].as_u64()?,
            };
            known.insert((signal, source["instance"].as_str()?.to_owned()), taken);
        }
        Some(Self { known, clock: note["clock"].as_u64()? })
    }
}

impl Taken {
    fn take(&mut self, stamp: BatchStamp) -> Growth {
        let mut growth = Growth {
            offered: stamp.offered.saturating_sub(self.offered),
            dropped: stamp.dropped.saturating_sub(self.dropped),
            gaps: 0,
        };
        self.offered = self.offered.max(stamp.offered);
        self.dropped = self.dropped.max(stamp.dropped);
        self.ahead.insert(stamp.sequence);
        self.close_up();
        while self.ahead.len() > MOST_AHEAD
            && let Some(&first) = self.ahead.first()
        {
            growth.gaps += first - self.through - 1;
            self.through = first - 1;
            self.close_up();
        }
        growth
    }

    /// Moves the numbers that follow `through` without a gap into it.
    fn close_up(&mut self) {
        while let Some(&first) = self.ahead.first()
            && first <= self.through.saturating_add(1)
        {
            self.ahead.pop_first();
            self.through = self.through.max(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(instance: &str, sequence: u64) -> Source {
        let stamp = BatchStamp { sequence, offered: sequence * 10, dropped: sequence, doubtful: false };
        Source { service: "s".into(), instance: instance.into(), stamp: Some(stamp) }
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once_in_any_order_and_across_restarts(
            numbers in prop::collection::vec((0..3u8, 1..60u64), 1..200), restart_every in 1..50usize,
        ) {
            let mut sources = Sources::default();
            let mut oracle = BTreeSet::new();
            for (index, (name, number)) in numbers.into_iter().enumerate() {
                let source = source(&name.to_string(), number);
                let is_new = oracle.insert((name, number));
                prop_assert_eq!(sources.is_taken(Signal::Logs, &source), !is_new);
                if is_new {
                    sources.take(Signal::Logs, &source);
                }
                if index % restart_every == 0 {
                    sources = Sources::from_note(&sources.to_note()).unwrap();
                }
            }
        }

        #[test]
        fn counters_grow_to_what_the_source_said_last(mut numbers in prop::collection::vec(1..40u64, 1..40)) {
            numbers.sort_unstable();
            numbers.dedup();
            let mut sources = Sources::default();
            let mut sum = Growth::default();
            for number in &numbers {
                let growth = sources.take(Signal::Traces, &source("a", *number));
                sum.offered += growth.offered;
                sum.dropped += growth.dropped;
            }
            let last = numbers.last().unwrap();
            prop_assert_eq!((sum.offered, sum.dropped), (last * 10, *last));
        }

        #[test]
        fn no_bytes_stop_the_reader_of_notes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Sources::from_note(&bytes);
        }
    }

    #[test]
    fn signals_and_instances_are_numbered_apart_and_the_anonymous_are_never_known() {
        let mut sources = Sources::default();
        sources.take(Signal::Logs, &source("a", 1));
        assert!(!sources.is_taken(Signal::Traces, &source("a", 1)));
        assert!(!sources.is_taken(Signal::Logs, &source("b", 1)));
        let anonymous = Source { stamp: None, ..source("a", 1) };
        assert!(!sources.is_taken(Signal::Logs, &anonymous));
    }

    #[test]
    fn numbers_missing_for_too_long_are_given_up_and_counted() {
        let mut sources = Sources::default();
        let mut gaps = 0;
        for number in (1..).step_by(2).skip(1).take(MOST_AHEAD + 1) {
            gaps += sources.take(Signal::Logs, &source("a", number)).gaps;
        }
        assert_eq!(gaps, 2, "1 and 2 were given up to keep {MOST_AHEAD} numbers");
        assert!(sources.is_taken(Signal::Logs, &source("a", 2)));
        assert!(!sources.is_taken(Signal::Logs, &source("a", 4)));
    }

    #[test]
    fn the_source_not_heard_of_for_longest_is_forgotten_first() {
        let mut sources = Sources::default();
        for index in 0..=MOST_SOURCES {
            sources.take(Signal::Logs, &source(&index.to_string(), 1));
        }
        assert_eq!(sources.known.len(), MOST_SOURCES);
        assert!(!sources.is_taken(Signal::Logs, &source("0", 1)));
        assert!(sources.is_taken(Signal::Logs, &source("1", 1)));
    }
}
