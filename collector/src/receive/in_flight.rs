//! Memory of the messages that are under way, from their first byte until their senders are answered: one bound for all of
//! them, half of it for each sender.
//!
//! What always holds: a message holds what it takes before it takes it, and what it is told is too much it does not
//! take. A message that is alone, of its sender and of all, is let through whatever it takes: its own limits bound it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{Refusal, refusal::Bound};

/// The bound, and what is held of it.
#[derive(Debug)]
pub(crate) struct InFlight {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
}

impl InFlight {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, held_bytes: AtomicUsize::new(0) })
    }

    /// What is held now, bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Relaxed)
    }

    /// For one message of a sender, whose messages hold `of_sender` together.
    pub(crate) fn lease(self: &Arc<Self>, of_sender: &Arc<AtomicUsize>) -> Lease {
        Lease { all: Arc::clone(self), of_sender: Arc::clone(of_sender), bytes: 0 }
    }
}

/// What one message holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    all: Arc<InFlight>,
    of_sender: Arc<AtomicUsize>,
    bytes: usize,
}

impl Lease {
    /// Holds this many bytes from now on. An error leaves it as it was.
    ///
    /// # Errors
    /// When it is more than there is.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit_bytes = self.all.limit_bytes;
        let share = change(&self.of_sender, self.bytes, bytes, limit_bytes / 2);
        if share.is_err() || change(&self.all.held_bytes, self.bytes, bytes, limit_bytes).is_err() {
            if share.is_ok() {
                exchange(&self.of_sender, bytes, self.bytes);
            }
            return Err(Refusal::Full(Bound::InFlight));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Makes room for work on a body of this size that may take some times as much, as far as can be foreseen.
    ///
    /// # Errors
    /// When it is more than there is.
    pub(crate) fn hold_for_work(&mut self, body_bytes: usize, times: usize) -> Result<(), Refusal> {
        self.hold(body_bytes + body_bytes.saturating_mul(times).min(self.all.limit_bytes / 4))
    }

    /// Holds what is there already, however much it came to.
    pub(crate) fn hold_anyway(&mut self, bytes: usize) {
        exchange(&self.of_sender, self.bytes, bytes);
        exchange(&self.all.held_bytes, self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hold_anyway(0);
    }
}

/// Puts `to` in the place of `from`, unless that grows the sum beyond a limit that others have part in.
fn change(sum: &AtomicUsize, from: usize, to: usize, limit: usize) -> Result<usize, usize> {
    sum.fetch_update(Relaxed, Relaxed, |held| {
        let next = held - from + to;
        (to <= from || next <= limit || held == from).then_some(next)
    })
}

fn exchange(sum: &AtomicUsize, from: usize, to: usize) {
    if to >= from {
        sum.fetch_add(to - from, Relaxed);
    } else {
        sum.fetch_sub(from - to, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_sender_has_half_and_a_message_that_is_alone_has_all() {
        let all = InFlight::new(100);
        let (one, other) = (Arc::default(), Arc::default());
        let (mut first, mut second, mut third) = (all.lease(&one), all.lease(&one), all.lease(&other));
        first.hold(40).unwrap();
        assert!(second.hold(11).is_err());
        second.hold(10).unwrap();
        third.hold(50).unwrap();
        assert!(third.hold(51).is_err());
        drop((first, second));
        third.hold(500).unwrap();
        assert_eq!((all.held_bytes(), one.load(Relaxed), other.load(Relaxed)), (500, 0, 500));
        drop(third);
        assert_eq!((all.held_bytes(), other.load(Relaxed)), (0, 0));
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_what_each_holds(steps in vec((0..4_usize, 0..200_usize, any::<bool>()), 0..64)) {
            let all = InFlight::new(100);
            let senders = [Arc::default(), Arc::default()];
            let mut leases: Vec<_> = (0..4).map(|index| all.lease(&senders[index % 2])).collect();
            let mut held = [0_usize; 4];
            for (index, bytes, anyway) in steps {
                if anyway {
                    leases[index].hold_anyway(bytes);
                    held[index] = bytes;
                } else if leases[index].hold(bytes).is_ok() {
                    held[index] = bytes;
                }
                prop_assert_eq!(all.held_bytes(), held.iter().sum::<usize>());
                prop_assert_eq!(senders[0].load(Relaxed), held[0] + held[2]);
            }
        }
    }
}
