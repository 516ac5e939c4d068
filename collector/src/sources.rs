//! Which batches were already taken from whom, so that a resent batch is counted once (I3).
//!
//! A pure decision: the same batches in the same order give the same answers, in service and when the log is replayed.
//! The state travels at the head of each log segment ([`Sources::to_note`]), so it outlives the frames it came from.
//!
//! What always holds: a number that was taken is never taken again while its source is remembered; memory is bounded.
//!
//! | a source that … | |
//! |---|---|
//! | sends out of order | has up to [`MOST_AHEAD`] numbers remembered beyond the first missing one |
//! | leaves numbers out for longer | has them given up: counted as gaps, and refused if they come after all |
//! | starts anew | is another source: its instance is another one |
//! | is not heard of for longest | is forgotten when there are more than [`MOST_SOURCES`]; it would be taken for a new one |
//! | told another collector in between | is counted from there: those numbers and counts are the other's |
//! | counts backwards | adds nothing until it is beyond its highest count |
//! | says what cannot be | is no source with identity: a number or a count beyond [`LARGEST_COUNT`], or a name longer than [`LONGEST_INSTANCE`]; its batches are taken at least once |
//!
//! All of it takes at most some 10 MiB: [`MOST_SOURCES`] names and [`MOST_AHEAD_IN_ALL`] numbers.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use weir_record::{BatchStamp, Source, Told};

use crate::Signal;

/// Sources that are remembered, per signal and instance.
pub const MOST_SOURCES: usize = 10_000;

/// Numbers that are remembered beyond the first missing one, of each source.
pub const MOST_AHEAD: usize = 1_024;

/// Numbers that are remembered beyond missing ones, of all sources. A source that goes beyond it gives its own up.
pub const MOST_AHEAD_IN_ALL: usize = 65_536;

/// The largest number or count that is believed: at a million records a second it is reached after nine years.
pub const LARGEST_COUNT: u64 = 1 << 48;

/// The longest name of an instance, bytes.
pub const LONGEST_INSTANCE: usize = 256;

/// When there are too many sources, as many are forgotten at once: looking for the oldest costs a look at all.
const FORGOTTEN_AT_ONCE: usize = MOST_SOURCES / 20;

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
    /// Numbers in all of `known`'s `ahead`.
    ahead: usize,
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
        let Some(stamp) = stamp(source) else { return false };
        self.known
            .get(&(signal, source.instance.clone()))
            .is_some_and(|taken| stamp.sequence <= taken.through || taken.ahead.contains(&stamp.sequence))
    }

    /// Takes a batch that was not taken before.
    pub fn take(&mut self, signal: Signal, source: &Source) -> Growth {
        let Some(stamp) = stamp(source) else { return Growth::default() };
        self.clock += 1;
        let clock = self.clock;
        let taken = self.known.entry((signal, source.instance.clone())).or_default();
        taken.heard = clock;
        let before = taken.ahead.len();
        // What this source has ahead already may stay; what all have may not grow.
        let most = MOST_AHEAD.min(before + MOST_AHEAD_IN_ALL.saturating_sub(self.ahead));
        let growth = taken.take(stamp, most);
        self.ahead = self.ahead + taken.ahead.len() - before;
        if self.known.len() > MOST_SOURCES {
            self.forget_the_oldest();
        }
        growth
    }

    fn forget_the_oldest(&mut self) {
        let mut heard: Vec<_> = self.known.values().map(|taken| taken.heard).collect();
        let (_, &mut last_forgotten, _) = heard.select_nth_unstable(FORGOTTEN_AT_ONCE);
        self.known.retain(|_, taken| taken.heard > last_forgotten);
        self.ahead = self.known.values().map(|taken| taken.ahead.len()).sum();
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
        let ahead = known.values().map(|taken: &Taken| taken.ahead.len()).sum();
        Some(Self { known, clock: note["clock"].as_u64()?, ahead })
    }
}

/// The stamp of a source that can be believed.
fn stamp(source: &Source) -> Option<BatchStamp> {
    let stamp = source.stamp?;
    let Told { sequence, offered, dropped } = stamp.elsewhere.unwrap_or_default();
    let counts = [stamp.sequence, stamp.offered, stamp.dropped, offered, dropped];
    let believed = counts.iter().all(|count| *count <= LARGEST_COUNT) && sequence <= stamp.sequence;
    (believed && source.instance.len() <= LONGEST_INSTANCE).then_some(stamp)
}

impl Taken {
    fn take(&mut self, stamp: BatchStamp, most_ahead: usize) -> Growth {
        if let Some(told) = stamp.elsewhere {
            // The numbers up to there are another collector's, and so are their counts.
            self.offered = self.offered.max(told.offered);
            self.dropped = self.dropped.max(told.dropped);
            self.through = self.through.max(told.sequence.min(stamp.sequence.saturating_sub(1)));
        }
        let mut growth = Growth {
            offered: stamp.offered.saturating_sub(self.offered),
            dropped: stamp.dropped.saturating_sub(self.dropped),
            gaps: 0,
        };
        self.offered = self.offered.max(stamp.offered);
        self.dropped = self.dropped.max(stamp.dropped);
        self.ahead.insert(stamp.sequence);
        self.close_up();
        while self.ahead.len() > most_ahead
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
        let stamp =
            BatchStamp { sequence, offered: sequence * 10, dropped: sequence, doubtful: false, elsewhere: None };
        Source { service: "s".into(), instance: instance.into(), stamp: Some(stamp) }
    }

    #[test]
    fn a_source_that_goes_from_collector_to_collector_is_counted_once_in_all() {
        // Ten batches, each to one of two collectors; which one gets the number tells the rest.
        for choice in 0..1_u32 << 10 {
            let mut collectors = [Sources::default(), Sources::default()];
            let (mut growth, mut last) = (Growth::default(), None);
            for sequence in 1..=10 {
                let which = usize::from(choice >> (sequence - 1) & 1 == 1);
                let mut batch = source("a", sequence);
                if let (Some((other, told)), Some(stamp)) = (last, &mut batch.stamp) {
                    stamp.elsewhere = (other != which).then_some(told);
                }
                assert!(!collectors[which].is_taken(Signal::Logs, &batch));
                let grown = collectors[which].take(Signal::Logs, &batch);
                assert!(collectors[which].is_taken(Signal::Logs, &batch));
                growth.offered += grown.offered;
                growth.dropped += grown.dropped;
                growth.gaps += grown.gaps;
                last = Some((which, Told { sequence, offered: sequence * 10, dropped: sequence }));
            }
            assert_eq!(growth, Growth { offered: 100, dropped: 10, gaps: 0 });
            assert!(collectors.iter().flat_map(|sources| sources.known.values()).all(|taken| taken.ahead.is_empty()));
        }
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
        assert_eq!(sources.known.len(), MOST_SOURCES - FORGOTTEN_AT_ONCE);
        let oldest = FORGOTTEN_AT_ONCE.to_string();
        assert!(!sources.is_taken(Signal::Logs, &source(&oldest, 1)));
        assert!(sources.is_taken(Signal::Logs, &source(&(FORGOTTEN_AT_ONCE + 1).to_string(), 1)));
    }

    #[test]
    fn all_sources_together_have_a_bound_of_numbers_too() {
        let mut sources = Sources::default();
        for index in 0..MOST_AHEAD_IN_ALL / MOST_AHEAD + 8 {
            for number in 2..=u64::try_from(MOST_AHEAD).unwrap() + 1 {
                sources.take(Signal::Logs, &source(&index.to_string(), 2 * number));
            }
        }
        assert_eq!(sources.ahead, MOST_AHEAD_IN_ALL);
        let counted: usize = sources.known.values().map(|taken| taken.ahead.len()).sum();
        assert_eq!(counted, sources.ahead);
        assert_eq!(Sources::from_note(&sources.to_note()).unwrap(), sources);
    }

    #[test]
    fn a_source_that_says_what_cannot_be_has_no_identity() {
        let mut sources = Sources::default();
        let lies = [source("a", LARGEST_COUNT + 1), source(&"a".repeat(LONGEST_INSTANCE + 1), 1)];
        for lie in lies {
            assert_eq!(sources.take(Signal::Logs, &lie), Growth::default());
            assert!(!sources.is_taken(Signal::Logs, &lie));
        }
        assert_eq!(sources, Sources::default());
    }
}
