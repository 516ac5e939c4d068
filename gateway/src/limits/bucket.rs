//! A token bucket in one word, exact on all cores at once.
//!
//! Kept as the generic cell rate algorithm: instead of tokens it keeps the time at which the bucket would be full
//! again (ITU-T I.371, virtual scheduling). A request moves that time one interval on; it may pass as long as the time
//! does not lie further ahead than the burst allows. The same decisions as counting tokens, with one compare-and-swap.
//!
//! What always holds, on any number of threads: in no span of time `t` do more than `burst + rate · t` takes keep their
//! token; a take is refused only while the tokens are taken. A token is worth a whole number of nanoseconds, so a rate
//! is kept to half a nanosecond a token.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// A limit: how fast tokens come, and how many can be saved up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Tokens a second.
    pub rate: f64,
    /// Size of the bucket: requests that may pass at once.
    pub burst: u32,
}

/// A bucket of tokens; full at first.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: Limit,
    /// Nanoseconds in which one token comes.
    interval_ns: u64,
    /// Nanoseconds in which a whole burst comes.
    burst_ns: u64,
    /// When the bucket would be full, nanoseconds on the caller's clock.
    full_at_ns: AtomicU64,
}

/// A token that was taken, so that it can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The time of the take.
    taken_ns: u64,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Tokens that can be taken at once.
    pub tokens: u32,
    /// Nanoseconds until the bucket is full.
    pub full_in_ns: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(limit: Limit) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast saturates, which is meant"
        )]
        let interval_ns = ((1e9 / limit.rate.max(1e-9)).round() as u64).max(1);
        let burst_ns = interval_ns.saturating_mul(limit.burst.into());
        Self { limit, interval_ns, burst_ns, full_at_ns: AtomicU64::new(0) }
    }

    /// The limit that it keeps.
    pub(crate) fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether there is a token; takes none. `now_ns` is a clock that never runs backwards.
    ///
    /// # Errors
    /// The nanoseconds until there is one.
    pub(crate) fn look(&self, now_ns: u64) -> Result<(), u64> {
        self.after(self.full_at_ns.load(Acquire), now_ns).map(|_| ())
    }

    /// Takes a token, if there is one. `now_ns` is a clock that never runs backwards; a thread that comes late with
    /// its time is only treated more strictly.
    ///
    /// # Errors
    /// The nanoseconds until there is one.
    pub(crate) fn try_take(&self, now_ns: u64) -> Result<Token, u64> {
        let mut full_at = self.full_at_ns.load(Acquire);
        loop {
            let next = self.after(full_at, now_ns)?;
            match self.full_at_ns.compare_exchange_weak(full_at, next, AcqRel, Acquire) {
                Ok(_) => return Ok(Token { taken_ns: now_ns }),
                Err(other) => full_at = other,
            }
        }
    }

    /// Gives back a token that was taken in vain: another limit refused the request. `now_ns` reads the clock anew.
    ///
    /// What was in hand for `t` nanoseconds comes back but for `t` nanoseconds' worth: without the take, the bucket may
    /// have been full for as long, with no room for what came. So never more can be taken than without the take, and
    /// no less than if the token had been kept. (The proof, for any number of tokens in hand at once: let the excess be
    /// how much later this bucket is full than one that never saw the refused requests. It shrinks by at most a
    /// nanosecond in a nanosecond, while the other is full; so does each token's worth. A take adds the same to both,
    /// giving back takes the same from both: the excess is never below the sum of what is still to be given back.)
    pub(crate) fn give_back(&self, token: Token, now_ns: impl Fn() -> u64) {
        let mut full_at = self.full_at_ns.load(Acquire);
        loop {
            // The clock is read after the word: whoever changed it before did so with an earlier time.
            let worth_ns = self.interval_ns.saturating_sub(now_ns().saturating_sub(token.taken_ns));
            let next = full_at.saturating_sub(worth_ns);
            match self.full_at_ns.compare_exchange_weak(full_at, next, AcqRel, Acquire) {
                Ok(_) => return,
                Err(other) => full_at = other,
            }
        }
    }

    /// How full it is.
    pub(crate) fn level(&self, now_ns: u64) -> Level {
        let full_in_ns = self.full_at_ns.load(Acquire).saturating_sub(now_ns);
        let tokens = self.burst_ns.saturating_sub(full_in_ns) / self.interval_ns;
        Level { tokens: u32::try_from(tokens).unwrap_or(u32::MAX), full_in_ns }
    }

    /// Nanoseconds in which an empty bucket fills.
    pub(crate) fn window_ns(&self) -> u64 {
        self.burst_ns
    }

    /// When the bucket would be full after one more token was taken, or how long until that may be.
    fn after(&self, full_at_ns: u64, now_ns: u64) -> Result<u64, u64> {
        let next = full_at_ns.max(now_ns).saturating_add(self.interval_ns);
        let ahead = next - now_ns;
        if ahead > self.burst_ns { Err(ahead - self.burst_ns) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A rate that divides the second, so that the model's counting is exact; and the interval.
    fn exact(rate: u32, burst: u32) -> (Limit, u64) {
        let interval_ns = 1_000_000_000 / u64::from(rate);
        (Limit { rate: 1e9 / f64::from(u32::try_from(interval_ns).unwrap()), burst }, interval_ns)
    }

    proptest! {
        #[test]
        fn it_decides_as_counting_tokens_does(
            rate in 1..1_000u32, burst in 1..50u32, gaps in prop::collection::vec(0..20_000_000u64, 1..200),
        ) {
            let (limit, interval_ns) = exact(rate, burst);
            let bucket = TokenBucket::new(limit);
            let full = u64::from(burst) * interval_ns;
            let (mut now, mut saved) = (1_000_000_000, full);
            for gap in gaps {
                now += gap;
                saved = full.min(saved + gap);
                let passes = saved >= interval_ns;
                prop_assert_eq!(bucket.look(now), if passes { Ok(()) } else { Err(interval_ns - saved) });
                let level = Level { tokens: u32::try_from(saved / interval_ns).unwrap(), full_in_ns: full - saved };
                prop_assert_eq!(bucket.level(now), level);
                let taken = bucket.try_take(now);
                prop_assert_eq!(taken.map(|_| ()), if passes { Ok(()) } else { Err(interval_ns - saved) });
                if passes {
                    saved -= interval_ns;
                }
            }
        }

        /// Two models: what a bucket has left is between what it would have had without the tokens that were given back
        /// and what it would have had if they had been kept.
        #[test]
        fn a_token_given_back_never_makes_more_than_never_taking_it(
            rate in 1..1_000u32, burst in 1..20u32,
            steps in prop::collection::vec((0..3_000_000u64, any::<bool>(), 0..4usize), 1..100),
        ) {
            let (limit, interval_ns) = exact(rate, burst);
            let (bucket, without) = (TokenBucket::new(limit), TokenBucket::new(limit));
            let (mut now, mut kept_full_at) = (1_000_000_000, 0);
            let mut in_hand: Vec<(usize, Token)> = Vec::new();
            for (index, (gap, passes, held_for)) in steps.into_iter().enumerate() {
                now += gap;
                if let Ok(token) = bucket.try_take(now) {
                    kept_full_at = now.max(kept_full_at) + interval_ns;
                    if passes {
                        prop_assert!(without.try_take(now).is_ok(), "a request passed that no token was there for");
                    } else {
                        in_hand.push((index + held_for, token));
                    }
                }
                for (_, token) in in_hand.extract_if(.., |(until, _)| *until <= index) {
                    bucket.give_back(token, || now);
                }
                let full_in_ns = bucket.level(now).full_in_ns;
                prop_assert!(full_in_ns >= without.level(now).full_in_ns);
                prop_assert!(full_in_ns <= kept_full_at.saturating_sub(now));
            }
        }

        /// A token that is given back at once, before anybody else comes, leaves no trace.
        #[test]
        fn a_token_given_back_at_once_was_never_taken(
            rate in 1..1_000u32, burst in 1..20u32, gaps in prop::collection::vec((0..5_000_000u64, any::<bool>()), 1..100),
        ) {
            let (limit, _) = exact(rate, burst);
            let (bucket, model) = (TokenBucket::new(limit), TokenBucket::new(limit));
            let mut now = 1_000_000_000;
            for (gap, passes) in gaps {
                now += gap;
                let taken = bucket.try_take(now);
                prop_assert_eq!(taken.map(|_| ()), model.look(now));
                match taken {
                    Ok(_) if passes => drop(model.try_take(now)),
                    Ok(token) => bucket.give_back(token, || now),
                    Err(_) => {}
                }
                prop_assert_eq!(bucket.level(now), model.level(now));
            }
        }
    }

    #[test]
    fn as_many_pass_as_the_burst_allows_whatever_the_number_of_threads() {
        let bucket = TokenBucket::new(Limit { rate: 1.0, burst: 1_000 });
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..2_000).filter(|_| bucket.try_take(5_000_000_000).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1_000);
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let bucket = TokenBucket::new(Limit { rate: 1.0, burst: 1 });
        let token = bucket.try_take(7).unwrap();
        assert!(bucket.try_take(7).is_err());
        bucket.give_back(token, || 7);
        assert!(bucket.try_take(7).is_ok());
    }

    #[test]
    fn a_token_that_has_come_again_by_itself_is_not_given_back_too() {
        let bucket = TokenBucket::new(Limit { rate: 1.0, burst: 2 });
        let token = bucket.try_take(0).unwrap();
        let later = 5_000_000_000;
        assert!(bucket.try_take(later).is_ok());
        bucket.give_back(token, || later);
        assert!(bucket.try_take(later).is_ok());
        assert!(bucket.try_take(later).is_err(), "three at once from a bucket of two");
    }

    #[test]
    fn the_slowest_and_the_fastest_rates_neither_overflow_nor_stop() {
        let slow = TokenBucket::new(Limit { rate: f64::MIN_POSITIVE, burst: u32::MAX });
        assert!(slow.try_take(u64::MAX / 2).is_ok());
        let fast = TokenBucket::new(Limit { rate: f64::MAX, burst: 1 });
        assert!(fast.try_take(1).is_ok());
        assert_eq!(fast.try_take(1), Err(1));
        assert!(fast.try_take(2).is_ok());
    }
}
