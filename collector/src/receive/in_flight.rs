//! Memory of the messages that are under way, from their first byte until their senders are answered. Half of the bound is
//! for bodies that are being read, half for messages that are worked on.
//!
//! What always holds: a body holds what has come of it, at most half of its part for one sender; its first part waits
//! for room, further ones are refused when there is none: how long they take is their sender's affair. Work waits for
//! room in the order of arrival: what is worked on ends by itself. Nobody waits longer than [`PATIENCE`]. One that is
//! alone is let through whatever it takes: its own limits bound it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard},
    time::timeout,
};

use crate::{Refusal, refusal::Bound};

/// How long a message waits for room to be read, and then to be worked on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Work of this size goes on alone: rows can come to many times the bytes, and are known only then.
const LARGE_BYTES: usize = 4 << 20;

/// The bound, and what is held of it.
#[derive(Debug)]
pub(crate) struct InFlight {
    bodies: Part,
    work: Part,
    /// Whose turn it is to wait for room: a large message is not overtaken for ever by small ones.
    turn: Arc<Mutex<()>>,
}

/// A part of the bound, bytes.
#[derive(Debug, Default)]
struct Part {
    limit: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Part {
    fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), freed: Notify::new() }
    }
}

impl InFlight {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { bodies: Part::new(limit_bytes / 2), work: Part::new(limit_bytes / 2), turn: Arc::default() })
    }

    /// What is held now, bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bodies.held.load(Relaxed) + self.work.held.load(Relaxed)
    }

    /// For the body of one message of a sender, whose bodies hold `of_sender` together.
    pub(crate) fn body(self: &Arc<Self>, of_sender: &Arc<AtomicUsize>) -> BodyLease {
        BodyLease { all: Arc::clone(self), of_sender: Arc::clone(of_sender), bytes: 0 }
    }

    /// For the work on one message, when there is room for as much. While a large one is worked on, no other begins.
    ///
    /// # Errors
    /// When there is none in time.
    pub(crate) async fn work(self: &Arc<Self>, bytes: usize) -> Result<WorkLease, Refusal> {
        let mut lease = WorkLease { all: Arc::clone(self), bytes: 0, turn: None };
        let entered = timeout(PATIENCE, async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            loop {
                // Before the look: what is freed after it is not missed.
                let freed = self.work.freed.notified();
                if lease.hold_at_least(bytes).is_ok() {
                    return turn;
                }
                freed.await;
            }
        });
        let turn = entered.await.map_err(|_| Refusal::Full(Bound::InFlight))?;
        lease.turn = (bytes >= LARGE_BYTES).then_some(turn);
        Ok(lease)
    }
}

/// What the body of one message holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BodyLease {
    all: Arc<InFlight>,
    of_sender: Arc<AtomicUsize>,
    bytes: usize,
}

impl BodyLease {
    /// Holds this many bytes as soon as there is room for them.
    ///
    /// # Errors
    /// When there is none in time.
    pub(crate) async fn wait_for(&mut self, bytes: usize) -> Result<(), Refusal> {
        let all = Arc::clone(&self.all);
        let waited = timeout(PATIENCE, async {
            loop {
                // Before the look: what is freed after it is not missed.
                let freed = all.bodies.freed.notified();
                if self.hold(bytes).is_ok() {
                    return;
                }
                freed.await;
            }
        });
        waited.await.map_err(|_| Refusal::Full(Bound::InFlight))
    }

    /// Holds this many bytes from now on. An error leaves it as it was.
    ///
    /// # Errors
    /// When it is more than there is.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bodies = &self.all.bodies;
        let full = |_| Refusal::Full(Bound::InFlight);
        change(&self.of_sender, self.bytes, bytes, bodies.limit / 2).map_err(full)?;
        if let Err(refusal) = change(&bodies.held, self.bytes, bytes, bodies.limit).map_err(full) {
            exchange(&self.of_sender, bytes, self.bytes);
            return Err(refusal);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for BodyLease {
    fn drop(&mut self) {
        exchange(&self.of_sender, self.bytes, 0);
        exchange(&self.all.bodies.held, self.bytes, 0);
        self.all.bodies.freed.notify_waiters();
    }
}

/// What the work on one message holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct WorkLease {
    all: Arc<InFlight>,
    bytes: usize,
    turn: Option<OwnedMutexGuard<()>>,
}

impl WorkLease {
    /// Holds at least this many bytes from now on. An error leaves it as it was.
    ///
    /// # Errors
    /// When it is more than there is.
    pub(crate) fn hold_at_least(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.bytes {
            let work = &self.all.work;
            change(&work.held, self.bytes, bytes, work.limit).map_err(|_| Refusal::Full(Bound::InFlight))?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// The work is done: holds what it came to, however much that is, until the sender is answered.
    pub(crate) fn settle(&mut self, bytes: usize) {
        exchange(&self.all.work.held, self.bytes, bytes);
        if bytes < self.bytes {
            self.all.work.freed.notify_waiters();
        }
        self.bytes = bytes;
        self.turn = None;
    }
}

impl Drop for WorkLease {
    fn drop(&mut self) {
        self.settle(0);
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
    use std::pin::pin;

    use futures::poll;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn bodies_of_a_sender_have_half_and_one_that_is_alone_has_all() {
        let all = InFlight::new(200);
        let (one, other) = (Arc::default(), Arc::default());
        let (mut first, mut second, mut third) = (all.body(&one), all.body(&one), all.body(&other));
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

    #[tokio::test]
    async fn the_first_part_of_a_body_waits_for_room() {
        let all = InFlight::new(200);
        let sender = Arc::default();
        let (mut first, mut second) = (all.body(&sender), all.body(&sender));
        first.hold(40).unwrap();
        let mut waiting = pin!(second.wait_for(20));
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(all.held_bytes(), 20);
    }

    #[tokio::test]
    async fn work_waits_for_room_in_the_order_of_arrival() {
        let all = InFlight::new(200);
        let mut first = all.work(60).await.unwrap();
        let (mut large, mut small) = (pin!(all.work(100)), pin!(all.work(30)));
        // There is room for the second one, but it is the turn of the first.
        assert!(poll!(large.as_mut()).is_pending() && poll!(small.as_mut()).is_pending());
        first.settle(500);
        drop(first);
        let large = large.await.unwrap();
        assert_eq!(all.held_bytes(), 100);
        assert!(poll!(small.as_mut()).is_pending());
        drop(large);
        assert!(small.await.is_ok() && all.work(1_000).await.is_ok());
        assert_eq!(all.held_bytes(), 0);
    }

    #[tokio::test]
    async fn no_work_begins_while_a_large_one_goes_on() {
        let all = InFlight::new(4 * LARGE_BYTES);
        let mut large = all.work(LARGE_BYTES).await.unwrap();
        let mut other = pin!(all.work(1));
        assert!(poll!(other.as_mut()).is_pending());
        large.settle(LARGE_BYTES);
        assert!(other.await.is_ok());
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_what_each_holds(steps in vec((0..4_usize, 0..200_usize), 0..64)) {
            let all = InFlight::new(200);
            let senders = [Arc::default(), Arc::default()];
            let mut leases: Vec<_> = (0..4).map(|index| all.body(&senders[index % 2])).collect();
            let mut held = [0_usize; 4];
            for (index, bytes) in steps {
                if leases[index].hold(bytes).is_ok() {
                    held[index] = bytes;
                }
                prop_assert_eq!(all.held_bytes(), held.iter().sum::<usize>());
                prop_assert_eq!(senders[0].load(Relaxed), held[0] + held[2]);
            }
        }
    }
}
