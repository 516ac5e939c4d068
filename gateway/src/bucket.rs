//! A token bucket in one word, exact on all cores at once.
//!
//! Kept as the generic cell rate algorithm: instead of tokens it keeps the time at which the bucket would be full
//! again (ITU-T I.371, virtual scheduling). A request moves that time one interval on; it may pass as long as the time
//! does not lie further ahead than the burst allows. The same decisions as counting tokens, with one compare-and-swap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Nanoseconds in which one token comes.
    interval_ns: u64,
    /// Nanoseconds in which a whole burst comes.
    burst_ns: u64,
    /// When the bucket would be full, nanoseconds on the caller's clock.
    full_at_ns: AtomicU64,
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
        let interval_ns = (1e9 / limit.rate.max(1e-9)).round() as u64;
        let burst_ns = interval_ns.saturating_mul(limit.burst.into());
        Self { interval_ns: interval_ns.max(1), burst_ns, full_at_ns: AtomicU64::new(0) }
    }

    /// Takes a token, if there is one. `now_ns` is a clock that never runs backwards.
    ///
    /// # Errors
    /// The nanoseconds until there is one.
    pub(crate) fn try_take(&self, now_ns: u64) -> Result<(), u64> {
        let mut full_at = self.full_at_ns.load(Relaxed);
        loop {
            let next = full_at.max(now_ns).saturating_add(self.interval_ns);
            let ahead = next - now_ns;
            if ahead > self.burst_ns {
                return Err(ahead - self.burst_ns);
            }
            match self.full_at_ns.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Gives back a token that was taken in vain: another limit refused the request.
    pub(crate) fn give_back(&self) {
        self.full_at_ns.fetch_sub(self.interval_ns, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_decides_as_counting_tokens_does(
            rate in 1..1_000u32, burst in 1..50u32, gaps in prop::collection::vec(0..20_000_000u64, 1..200),
        ) {
            // A rate that divides the second, so that the model's counting is exact.
            let interval_ns = 1_000_000_000 / u64::from(rate);
            let bucket = TokenBucket::new(Limit { rate: 1e9 / f64::from(u32::try_from(interval_ns).unwrap()), burst });
            let full = u64::from(burst) * interval_ns;
            let (mut now, mut saved) = (1_000_000_000, full);
            for gap in gaps {
                now += gap;
                saved = full.min(saved + gap);
                let passes = saved >= interval_ns;
                if passes {
                    saved -= interval_ns;
                }
                prop_assert_eq!(bucket.try_take(now), if passes { Ok(()) } else { Err(interval_ns - saved) });
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
        assert_eq!(bucket.try_take(7), Ok(()));
        assert!(bucket.try_take(7).is_err());
        bucket.give_back();
        assert_eq!(bucket.try_take(7), Ok(()));
    }
}
