//! How many connections there may be, and which gives way at the bound.
//!
//! All threads count together. At the bound a new connection takes the place of one of its own thread that is idle: of
//! those on which nothing was ever answered the oldest, or else of all the one that has been idle for longest. When none is idle,
//! the new one is closed. So connections that do nothing keep nobody out, and one that works is never closed for another.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    rc::{Rc, Weak},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    counts::Closing,
    wire::{Order, Wire},
};

/// Idle connections that one look at all of a thread's finds: at the bound, every so many-th arrival costs such a look.
const FOUND_AT_ONCE: usize = 64;

/// How many connections there are, in all threads.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    /// 0 for any number.
    most_of_address: u32,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

impl Admission {
    /// None is open.
    pub(crate) fn new(most: usize, most_of_address: u32) -> Self {
        Self { most, most_of_address, open: AtomicUsize::new(0), by_address: Mutex::default() }
    }

    /// Takes a connection in, from this address if it is to be counted, on a thread with these.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>, thread: &mut Wires) -> Result<Ticket, Closing> {
        let address = address.filter(|_| self.most_of_address > 0);
        if let Some(address) = address {
            let mut all = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let own = all.entry(address).or_insert(0);
            if *own >= self.most_of_address {
                return Err(Closing::Address);
            }
            *own += 1;
        }
        // Counted from here on, so that the address is let go again whatever comes.
        let ticket = Ticket { admission: Arc::clone(self), address, wire: Rc::default(), is_counted: false };
        if self.open.fetch_add(1, Relaxed) < self.most {
            return Ok(ticket.counted(thread));
        }
        match thread.longest_idle() {
            Some(other) => {
                // From here on its place is the new one's.
                self.open.fetch_sub(1, Relaxed);
                other.gave_way.set(true);
                other.order(Order::End(Closing::Displaced));
                Ok(ticket.counted(thread))
            }
            None => {
                self.open.fetch_sub(1, Relaxed);
                Err(Closing::Full)
            }
        }
    }
}

/// The right of a connection to be there.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    /// The connection.
    pub wire: Rc<Wire>,
    is_counted: bool,
}

impl Ticket {
    fn counted(mut self, thread: &mut Wires) -> Self {
        self.is_counted = true;
        thread.add(&self.wire);
        self
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_counted && !self.wire.gave_way.get() {
            self.admission.open.fetch_sub(1, Relaxed);
        }
        if let Some(address) = self.address {
            let mut all = self.admission.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(own) = all.get_mut(&address) {
                *own -= 1;
                if *own == 0 {
                    all.remove(&address);
                }
            }
        }
    }
}

/// A thread's connections.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    all: Vec<Weak<Wire>>,
    /// Those on which nothing was answered yet, in the order in which they came, and some that have ended.
    strangers: VecDeque<Weak<Wire>>,
    /// Found idle at the last look, the first to give way first, with how long it had been so.
    found: VecDeque<(u32, Weak<Wire>)>,
}

impl Wires {
    fn add(&mut self, wire: &Rc<Wire>) {
        self.all.push(Rc::downgrade(wire));
        self.strangers.push_back(Rc::downgrade(wire));
    }

    /// Each one that is open; forgets the others.
    pub(crate) fn each(&mut self, mut act: impl FnMut(&Wire)) {
        self.all.retain(|wire| wire.upgrade().map(|wire| act(&wire)).is_some());
        self.strangers.retain(|wire| wire.upgrade().is_some_and(|wire| !wire.is_proven.get()));
    }

    /// Of those that are idle, the one that shall give way.
    fn longest_idle(&mut self) -> Option<Rc<Wire>> {
        self.take_stranger().or_else(|| self.take_found()).or_else(|| {
            self.look();
            self.take_found()
        })
    }

    fn take_stranger(&mut self) -> Option<Rc<Wire>> {
        for _ in 0..self.strangers.len().min(FOUND_AT_ONCE) {
            let Some(wire) = self.strangers.pop_front()?.upgrade() else { continue };
            if wire.is_proven.get() || wire.gave_way.get() {
                continue;
            }
            if wire.is_idle() {
                return Some(wire);
            }
            self.strangers.push_back(Rc::downgrade(&wire));
        }
        None
    }

    fn take_found(&mut self) -> Option<Rc<Wire>> {
        while let Some((ticks, wire)) = self.found.pop_front() {
            // It may have worked since.
            let wire = wire.upgrade().filter(|wire| wire.idle_ticks().is_some_and(|now| now >= ticks));
            if let Some(wire) = wire.filter(|wire| !wire.gave_way.get()) {
                return Some(wire);
            }
        }
        None
    }

    fn look(&mut self) {
        let mut idle = Vec::new();
        for wire in self.all.iter().filter_map(Weak::upgrade) {
            if let (Some(ticks), false) = (wire.idle_ticks(), wire.gave_way.get()) {
                idle.push((ticks, Rc::downgrade(&wire)));
            }
        }
        // Those that came first stand first: the order is kept where nothing else tells them apart.
        idle.sort_by_key(|(ticks, _)| std::cmp::Reverse(*ticks));
        idle.truncate(FOUND_AT_ONCE);
        self.found = idle.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn admission(most: usize, most_of_address: u32) -> (Arc<Admission>, Wires) {
        (Arc::new(Admission::new(most, most_of_address)), Wires::default())
    }

    #[test]
    fn at_the_bound_the_one_that_was_idle_for_longest_gives_way_and_a_busy_one_never() {
        let (admission, mut thread) = admission(2, 0);
        let (first, second) =
            (admission.admit(None, &mut thread).unwrap(), admission.admit(None, &mut thread).unwrap());
        first.wire.begin();
        let third = admission.admit(None, &mut thread).unwrap();
        assert!(second.wire.gave_way.get() && !first.wire.gave_way.get());
        third.wire.begin();
        assert_eq!(admission.admit(None, &mut thread).unwrap_err(), Closing::Full);
        drop(second);
        assert_eq!(admission.open.load(Relaxed), 2);
        first.wire.end();
        let fourth = admission.admit(None, &mut thread).unwrap();
        assert!(first.wire.gave_way.get() && !third.wire.gave_way.get());
        drop((first, third, fourth));
        assert_eq!(admission.open.load(Relaxed), 0);
    }

    #[test]
    fn those_on_which_nothing_was_ever_answered_give_way_first() {
        let (admission, mut thread) = admission(2, 0);
        let proven = admission.admit(None, &mut thread).unwrap();
        proven.wire.is_proven.set(true);
        for _ in 0..10 {
            let stranger = admission.admit(None, &mut thread).unwrap();
            let _next = admission.admit(None, &mut thread).unwrap();
            assert!(stranger.wire.gave_way.get() && !proven.wire.gave_way.get());
        }
    }

    #[test]
    fn one_that_has_worked_since_it_was_found_idle_does_not_give_way() {
        let (admission, mut thread) = admission(2, 0);
        let (a, b) = (admission.admit(None, &mut thread).unwrap(), admission.admit(None, &mut thread).unwrap());
        thread.look();
        a.wire.begin();
        let _c = admission.admit(None, &mut thread).unwrap();
        assert!(b.wire.gave_way.get() && !a.wire.gave_way.get());
    }

    #[test]
    fn an_address_has_as_many_as_it_may_and_gets_them_back() {
        let (admission, mut thread) = admission(1, 1);
        let own = admission.admit(Some(HERE), &mut thread).unwrap();
        own.wire.begin();
        assert_eq!(admission.admit(Some(HERE), &mut thread).unwrap_err(), Closing::Address);
        // A place that was not to be had is given back too.
        assert_eq!(admission.admit(Some([10, 0, 0, 1].into()), &mut thread).unwrap_err(), Closing::Full);
        drop(own);
        assert!(admission.by_address.lock().unwrap().is_empty());
        assert!(admission.admit(Some(HERE), &mut thread).is_ok());
    }
}
