//! What is known of a connection while it is served: what it waits for, since when, and what it is told to do.
//!
//! Times are counted in ticks of the thread's one timer ([`super::accept`]): a connection has no timer of its own, so an
//! idle one costs no memory for it and a request no work. A limit is therefore kept to within a tick.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

use super::{
    counts::Closing,
    refused::{Reason, Refused},
};

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To give back what it needs only while a request comes.
    Rest,
    /// To end for this reason: at once when nothing is under way, or else after the response.
    End(Closing),
    /// To end at once for this reason, whatever is under way.
    Cut(Closing),
    /// To look at what is late.
    Look,
}

/// What the peer is late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The head of a request.
    Head,
    /// The body of a request.
    Body,
}

/// How long each state may last, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Without a request.
    pub idle: u32,
    /// Without a request, before memory is given back.
    pub rest: u32,
    /// From the first byte of a head to its last.
    pub head: u32,
    /// Waiting for a body that comes slower than it may.
    pub body: u32,
    /// Bytes of a body that must come in a tick.
    pub body_bytes: u64,
    /// Waiting for the peer to take what is sent.
    pub write: u32,
}

/// A connection, as its two sides see it: what moves the bytes writes here, and the thread's timer reads.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Heads that were passed on to hyper.
    pub heads: Cell<u64>,
    /// Requests that hyper gave to the service.
    pub calls: Cell<u64>,
    /// Requests whose responses have not ended.
    under_way: Cell<u32>,
    /// Whether a request was ever answered.
    pub is_proven: Cell<bool>,
    /// Whether a head has begun and is not whole.
    pub in_head: Cell<bool>,
    /// Whether a body is not whole.
    pub in_body: Cell<bool>,
    /// Whether we wait for the peer's bytes.
    pub reads: Cell<bool>,
    /// Whether we wait for the peer to take bytes.
    pub writes: Cell<bool>,
    /// Bytes of the body since they were last counted.
    pub body_bytes: Cell<u64>,
    /// Ticks that have passed since it came.
    pub now: Cell<u32>,
    /// Ticks in the state that is measured: idle, head.
    ticks: Cell<u32>,
    body_ticks: Cell<u32>,
    write_ticks: Cell<u32>,
    /// What the peer is late with.
    pub late: Cell<Option<Late>>,
    /// The refusal that the last head stands for.
    pub refused: RefCell<Option<Refused>>,
    /// Why the body of the request that is under way was broken off.
    pub broken: Cell<Option<Reason>>,
    /// The head that asked for a WebSocket, as `heads` counts them; 0 for none. None is passed on after it.
    pub upgrade: Cell<u64>,
    /// Whether the request that asked for a WebSocket got another answer.
    pub stays_http: Cell<bool>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// Whether another has taken its place: it does not count any more.
    pub gave_way: Cell<bool>,
}

impl Wire {
    /// A request begins.
    pub(crate) fn begin(&self) {
        self.under_way.set(self.under_way.get() + 1);
        self.ticks.set(0);
    }

    /// A request's response has ended.
    pub(crate) fn end(&self) {
        self.under_way.set(self.under_way.get() - 1);
        self.ticks.set(0);
    }

    /// A head begins.
    pub(crate) fn head_begins(&self) {
        if !self.in_head.replace(true) {
            self.ticks.set(0);
        }
    }

    /// What has come is for others to read: no head has begun.
    pub(crate) fn head_is_over(&self) {
        self.in_head.set(false);
    }

    /// Whether the request that hyper gave last is the one that asked for a WebSocket.
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        self.upgrade.get() == self.calls.get()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.get() == 0 && !self.in_head.get() && !self.in_body.get()
    }

    /// For how many ticks it has been idle, when it is.
    pub(crate) fn idle_ticks(&self) -> Option<u32> {
        self.is_idle().then(|| self.ticks.get())
    }

    /// Whether hyper holds nothing of it: no request, no bytes that it has not written.
    pub(crate) fn can_rest(&self) -> bool {
        self.is_idle() && !self.writes.get() && self.heads == self.calls
    }

    /// Whether the request that hyper just gave stands for a refusal.
    pub(crate) fn refused_now(&self) -> Option<Refused> {
        if self.calls == self.heads { self.refused.take() } else { None }
    }

    /// A tick has passed.
    pub(crate) fn tick(&self, patience: &Patience) {
        self.now.set(self.now.get().wrapping_add(1));
        let grow = |ticks: &Cell<u32>| {
            ticks.set(ticks.get() + 1);
            ticks.get()
        };
        if self.writes.get() {
            if grow(&self.write_ticks) > patience.write {
                return self.order(Order::Cut(Closing::Write));
            }
        } else {
            self.write_ticks.set(0);
        }
        if self.in_head.get() {
            if grow(&self.ticks) > patience.head {
                self.late(Late::Head);
            }
        } else if self.in_body.get() {
            self.tick_body(patience, grow);
        } else if self.under_way.get() == 0 {
            let ticks = grow(&self.ticks);
            if ticks > patience.idle {
                self.order(Order::End(Closing::Idle));
            } else if ticks == patience.rest {
                self.order(Order::Rest);
            }
        }
    }

    /// Time in which we do not ask for the body is not the peer's; bytes beyond what it must send are no credit.
    fn tick_body(&self, patience: &Patience, grow: impl Fn(&Cell<u32>) -> u32) {
        let due = patience.body_bytes * (u64::from(self.body_ticks.get()) + 1);
        if !self.reads.get() || self.body_bytes.get() >= due {
            self.body_ticks.set(0);
            self.body_bytes.set(0);
        } else if grow(&self.body_ticks) > patience.body {
            self.late(Late::Body);
        }
    }

    fn late(&self, what: Late) {
        if self.late.replace(Some(what)).is_none() {
            self.order(Order::Look);
        }
    }

    /// Tells the connection what to do. An order to end is not taken back by a lesser one.
    pub(crate) fn order(&self, order: Order) {
        let before = self.order.get();
        let is_lesser =
            matches!((before, order), (Some(Order::Cut(_)), _) | (Some(Order::End(_)), Order::Rest | Order::Look));
        if !is_lesser {
            self.order.set(Some(order));
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Waits for an order.
    pub(crate) fn poll_order(&self, cx: &Context<'_>) -> Poll<Order> {
        if let Some(order) = self.order.take() {
            return Poll::Ready(order);
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { idle: 4, rest: 2, head: 2, body: 2, body_bytes: 100, write: 3 };

    fn ticks(wire: &Wire, count: u32) -> Vec<Option<Order>> {
        let tick = |_| {
            wire.tick(&PATIENCE);
            wire.order.take()
        };
        (0..count).map(tick).collect()
    }

    #[test]
    fn an_idle_connection_rests_and_then_ends() {
        let wire = Wire::default();
        assert_eq!(ticks(&wire, 5), [None, Some(Order::Rest), None, None, Some(Order::End(Closing::Idle))]);
        wire.begin();
        assert_eq!(ticks(&wire, 9), [None; 9]);
        wire.end();
        assert_eq!(ticks(&wire, 2), [None, Some(Order::Rest)]);
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte() {
        let wire = Wire::default();
        ticks(&wire, 1);
        wire.head_begins();
        assert_eq!(ticks(&wire, 2), [None, None]);
        wire.head_begins();
        assert_eq!((ticks(&wire, 1), wire.late.get()), (vec![Some(Order::Look)], Some(Late::Head)));
    }

    #[test]
    fn a_body_that_trickles_is_late_and_one_that_we_do_not_read_is_not() {
        let wire = Wire::default();
        wire.begin();
        wire.in_body.set(true);
        assert_eq!(ticks(&wire, 9), [None; 9]);
        wire.reads.set(true);
        for _ in 0..9 {
            wire.body_bytes.set(wire.body_bytes.get() + 100);
            assert_eq!(ticks(&wire, 1), [None]);
        }
        // What came at once before is no credit for later.
        wire.body_bytes.set(1_000_000);
        assert_eq!(ticks(&wire, 1), [None]);
        for _ in 0..2 {
            wire.body_bytes.set(wire.body_bytes.get() + 1);
            assert_eq!((ticks(&wire, 1), wire.late.get()), (vec![None], None));
        }
        assert_eq!((ticks(&wire, 1), wire.late.get()), (vec![Some(Order::Look)], Some(Late::Body)));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_cut_off() {
        let wire = Wire::default();
        wire.begin();
        wire.writes.set(true);
        assert_eq!(ticks(&wire, 3), [None; 3]);
        wire.writes.set(false);
        assert_eq!(ticks(&wire, 1), [None]);
        wire.writes.set(true);
        assert_eq!(ticks(&wire, 4), [None, None, None, Some(Order::Cut(Closing::Write))]);
    }

    #[test]
    fn an_order_to_end_is_not_taken_back() {
        let wire = Wire::default();
        wire.order(Order::Cut(Closing::Write));
        wire.order(Order::Rest);
        assert_eq!(wire.order.take(), Some(Order::Cut(Closing::Write)));
        wire.order(Order::End(Closing::Idle));
        wire.order(Order::Rest);
        assert_eq!(wire.order.take(), Some(Order::End(Closing::Idle)));
    }
}
