//! The count of one key's requests in one usage plan, in the present period; and how much of it is already on disk.
//!
//! A request is counted only below what the file of counts says already ([`super::book`]): the file runs ahead of the
//! count by a block of requests. So what a crash loses is the rest of a block, and never does it give requests back.
//!
//! What always holds: in one period no more requests are counted than the limit, on any number of threads; a count
//! without a reservation happens only when it is waived, which [`super::book`] does when the disk fails.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
};

use tokio::sync::Notify;

use super::period::Period;

/// How many requests a key may make in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in each period.
    pub limit: u64,
    /// The period.
    pub period: Period,
}

/// A key that asks for its next block within this time gets twice as much, milliseconds.
const SOON_MS: u64 = 1_000;

/// The largest block.
const MOST: u64 = 1_000;

/// Bits of a word that hold the count; above them is the day on which the period began.
const COUNT_BITS: u32 = 44;

/// The largest limit: more than can be counted in any period.
pub(crate) const LARGEST_LIMIT: u64 = (1 << COUNT_BITS) - 1;

/// A count in the period that began on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// The day on which the period began.
    pub start: u32,
    /// Requests.
    pub requests: u64,
}

impl Count {
    fn pack(self) -> u64 {
        u64::from(self.start) << COUNT_BITS | self.requests.min(LARGEST_LIMIT)
    }

    fn unpack(word: u64) -> Self {
        let start = (word >> COUNT_BITS) as u32;
        Self { start, requests: word & LARGEST_LIMIT }
    }
}

/// The count of one key in one plan; shared by all configurations that have the two.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Name of the plan.
    pub plan: Arc<str>,
    /// Id of the key.
    pub key: Arc<str>,
    /// The periods that it counts in.
    pub period: Period,
    /// [`Count`]: requests.
    used: AtomicU64,
    /// [`Count`]: requests that are on disk as used.
    reserved: AtomicU64,
    /// Requests in the last block.
    block: AtomicU64,
    /// When the last block was granted, milliseconds on the book's clock.
    granted_ms: AtomicU64,
    /// Whether the book has been asked for a block.
    pub(super) is_wanted: AtomicBool,
    /// Requests that wait for a block.
    pub(super) waiting: AtomicU64,
    /// Tells these that there is one.
    pub(super) granted: Notify,
}

/// A request that the quota lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// The period that it was counted in.
    start: u32,
    /// Whether it is time for the next block.
    pub is_low: bool,
}

/// A request that the quota does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The quota is used up until this day begins.
    UsedUp {
        /// The first day of the next period.
        until: u32,
    },
    /// It would have to be counted beyond what is on disk.
    NoReservation,
}

impl Counter {
    /// A count that goes on from what was read from disk.
    pub(crate) fn new(plan: Arc<str>, key: Arc<str>, period: Period, stored: Count) -> Self {
        Self {
            plan,
            key,
            period,
            used: AtomicU64::new(stored.pack()),
            reserved: AtomicU64::new(stored.pack()),
            block: AtomicU64::new(0),
            granted_ms: AtomicU64::new(0),
            is_wanted: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            granted: Notify::new(),
        }
    }

    /// The count on a day. A period that has not begun by the clock goes on when it is the next one: the clock was set
    /// back a little, across its beginning. One further away came of a wrong clock, and counts for nothing.
    fn on(&self, word: u64, day: u32) -> Count {
        let (stored, span) = (Count::unpack(word), self.period.span(day));
        if stored.start == span.start || stored.start == span.end {
            stored
        } else {
            Count { start: span.start, requests: 0 }
        }
    }

    /// Requests in the present period.
    pub(crate) fn used(&self, day: u32) -> Count {
        self.on(self.used.load(Acquire), day)
    }

    /// What is on disk as used.
    pub(crate) fn reserved(&self) -> Count {
        Count::unpack(self.reserved.load(Acquire))
    }

    /// Whether the quota is used up; counts nothing.
    ///
    /// # Errors
    /// The day until which it is.
    pub(crate) fn look(&self, limit: u64, day: u32) -> Result<(), u32> {
        let count = self.used(day);
        if count.requests < limit { Ok(()) } else { Err(self.period.span(count.start).end) }
    }

    /// Counts a request; one that `waives` the reservation is counted without.
    ///
    /// # Errors
    /// When it may not pass, or not yet.
    pub(crate) fn try_use(&self, limit: u64, day: u32, waives: bool) -> Result<Used, Denied> {
        let mut word = self.used.load(Acquire);
        loop {
            let count = self.on(word, day);
            if count.requests >= limit {
                return Err(Denied::UsedUp { until: self.period.span(count.start).end });
            }
            let reserved = self.reserved();
            let left = if reserved.start == count.start { reserved.requests.saturating_sub(count.requests) } else { 0 };
            if left == 0 && !waives {
                return Err(Denied::NoReservation);
            }
            let next = Count { requests: count.requests + 1, ..count };
            match self.used.compare_exchange_weak(word, next.pack(), AcqRel, Acquire) {
                Ok(_) => {
                    let is_low = left <= self.block.load(Relaxed) / 2 && reserved.requests < limit;
                    return Ok(Used { start: count.start, is_low });
                }
                Err(other) => word = other,
            }
        }
    }

    /// Takes back a request that was counted in vain: a rate limit refused it. In another period there is nothing to
    /// take back.
    pub(crate) fn give_back(&self, used: Used) {
        let mut word = self.used.load(Acquire);
        loop {
            let count = Count::unpack(word);
            if count.start != used.start || count.requests == 0 {
                return;
            }
            let next = Count { requests: count.requests - 1, ..count };
            match self.used.compare_exchange_weak(word, next.pack(), AcqRel, Acquire) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// What should be on disk as used next: a block more than is used, or as many as wait, if that is more, up to the
    /// limit. A block is a thousandth of the limit; asked for again within a second it doubles, up to a hundredth and
    /// [`MOST`]. So a quota below 200 is kept a request at a time.
    pub(super) fn demand(&self, limit: u64, day: u32, now_ms: u64) -> Count {
        let (least, most) = ((limit / 1_000).clamp(1, MOST), (limit / 100).clamp(1, MOST));
        let is_soon = now_ms.saturating_sub(self.granted_ms.load(Relaxed)) < SOON_MS;
        let last = self.block.load(Relaxed);
        let block = if is_soon { (last * 2).clamp(least, most) } else { least };
        self.block.store(block, Relaxed);
        self.granted_ms.store(now_ms, Relaxed);
        let (used, reserved) = (self.used(day), self.reserved());
        let ahead = block.max(self.waiting.load(SeqCst));
        let wanted = used.requests.saturating_add(ahead).min(limit).max(used.requests);
        let kept = if reserved.start == used.start { reserved.requests } else { 0 };
        Count { start: used.start, requests: wanted.max(kept) }
    }

    /// Lets requests be counted up to what is on disk.
    pub(super) fn grant(&self, count: Count) {
        self.reserved.store(count.pack(), Release);
        self.granted.notify_waiters();
    }

    /// What is used in the last period that a request came in: what is on disk after a clean stop.
    pub(super) fn last(&self) -> Count {
        Count::unpack(self.used.load(Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(period: Period) -> Counter {
        Counter::new("basic".into(), "k1".into(), period, Count::default())
    }

    fn granted(counter: &Counter, limit: u64, day: u32) {
        counter.grant(counter.demand(limit, day, 1_000_000));
    }

    #[test]
    fn no_request_is_counted_beyond_the_limit_nor_beyond_what_is_on_disk() {
        let counter = counter(Period::Day);
        assert_eq!(counter.try_use(3, 10, false), Err(Denied::NoReservation));
        for used in 1..=3 {
            granted(&counter, 3, 10);
            assert!(counter.try_use(3, 10, false).is_ok());
            assert_eq!(counter.used(10), Count { start: 10, requests: used });
            assert_eq!(counter.reserved().requests, used, "a small quota is reserved a request at a time");
        }
        assert_eq!(counter.try_use(3, 10, false), Err(Denied::UsedUp { until: 11 }));
        assert_eq!(counter.look(3, 10), Err(11));
        assert_eq!(counter.look(4, 10), Ok(()), "a limit that was raised applies at once");
        assert_eq!(counter.look(3, 11), Ok(()), "the next day is new");
    }

    #[test]
    fn a_reservation_of_one_period_is_none_in_the_next() {
        let counter = counter(Period::Week { offset: 0 });
        granted(&counter, 100_000, 20_000);
        assert!(counter.try_use(100_000, 20_000, false).is_ok());
        assert_eq!(counter.try_use(100_000, 20_007, false), Err(Denied::NoReservation));
    }

    #[test]
    fn a_clock_set_back_across_the_beginning_of_a_period_gives_nothing_back() {
        let counter = counter(Period::Day);
        assert!(counter.try_use(1, 10, true).is_ok());
        assert!(counter.try_use(1, 11, true).is_ok());
        assert_eq!(counter.try_use(1, 10, true), Err(Denied::UsedUp { until: 12 }));
        assert_eq!(
            counter.used(2),
            Count { start: 2, requests: 0 },
            "a clock that was wrong by days counts for nothing"
        );
    }

    #[test]
    fn what_is_counted_in_vain_is_taken_back_in_its_own_period() {
        let counter = counter(Period::Day);
        let used = counter.try_use(5, 10, true).unwrap();
        counter.give_back(used);
        assert_eq!(counter.used(10).requests, 0);
        let used = counter.try_use(5, 10, true).unwrap();
        assert!(counter.try_use(5, 11, true).is_ok());
        counter.give_back(used);
        assert_eq!(counter.used(11).requests, 1);
    }

    #[test]
    fn blocks_grow_with_haste_and_stay_a_hundredth_of_the_limit() {
        let counter = counter(Period::Day);
        let mut blocks = Vec::new();
        for step in 0..6 {
            let count = counter.demand(20_000, 10, 5_000 + step);
            blocks.push(count.requests - counter.used(10).requests);
            counter.grant(Count { start: 10, requests: 0 });
        }
        assert_eq!(blocks, [20, 40, 80, 160, 200, 200]);
        assert_eq!(counter.demand(20_000, 10, 9_000).requests, 20);
        for (limit, block) in [(1, 1), (199, 1), (1_000, 1), (50_000, 50), (u64::from(u32::MAX), 1_000)] {
            assert_eq!(self::counter(Period::Day).demand(limit, 10, 9_000).requests, block, "{limit}");
        }
    }

    #[test]
    fn requests_that_wait_are_reserved_for_together() {
        let counter = counter(Period::Day);
        counter.waiting.store(7, SeqCst);
        assert_eq!(counter.demand(100, 10, 9_000).requests, 7);
        assert_eq!(counter.demand(5, 10, 9_000).requests, 5, "but never beyond the limit");
    }

    #[test]
    fn as_many_pass_as_the_limit_allows_whatever_the_number_of_threads() {
        let counter = counter(Period::Month { offset: 0 });
        let passed: usize = std::thread::scope(|scope| {
            let use_up = || (0..1_000).filter(|_| counter.try_use(1_500, 20_000, true).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(use_up)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1_500);
    }
}
