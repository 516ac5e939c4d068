//! The connections that are open, how long each has been idle, and which gives way at the bound.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Limits;

/// What a listener counts of its connections.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: AtomicU64,
    /// Closed when they arrived: the bound was reached, and none was idle.
    pub refused: AtomicU64,
    /// Closed in favour of a new one: the bound was reached, and they were idle for longest.
    pub displaced: AtomicU64,
    /// Without a TLS handshake, or without a certificate that is asked for.
    pub failed_handshakes: AtomicU64,
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    counts: Arc<ConnectionCounts>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Arc<Activity>>,
}

/// What a connection is doing.
#[derive(Debug)]
struct Activity {
    state: Mutex<State>,
    close: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct State {
    under_way: u32,
    /// Whether a request on it ever succeeded: whoever it is has a reason to be here.
    is_proven: bool,
    /// When the last request ended; at first, when the connection came.
    idle_since: Instant,
}

impl Activity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default(), open: Mutex::default() }
    }

    pub(super) fn counts(&self) -> Arc<ConnectionCounts> {
        Arc::clone(&self.counts)
    }

    /// Makes room for a new connection. `None` when there is none.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Connection> {
        let mut open = self.lock();
        if open.all.len() >= self.limits.connections {
            let idle = open.all.iter().filter_map(|(id, activity)| {
                let state = *activity.state();
                (state.under_way == 0).then_some((state.is_proven, state.idle_since, *id))
            });
            let Some((_, _, id)) = idle.min() else {
                self.counts.refused.fetch_add(1, Relaxed);
                return None;
            };
            // Its task ends soon; from now on it does not count.
            if let Some(activity) = open.all.remove(&id) {
                activity.close.cancel();
            }
            self.counts.displaced.fetch_add(1, Relaxed);
        }
        let id = open.next;
        open.next += 1;
        let state = Mutex::new(State { under_way: 0, is_proven: false, idle_since: Instant::now() });
        let activity = Arc::new(Activity { state, close: CancellationToken::new() });
        open.all.insert(id, Arc::clone(&activity));
        self.counts.open.store(open.all.len() as u64, Relaxed);
        Some(Connection { id, activity, all: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    activity: Arc<Activity>,
    all: Arc<Connections>,
}

impl Connection {
    /// Waits until it has to give way to another.
    pub(super) async fn closed(&self) {
        self.activity.close.cancelled().await;
    }

    /// How long it may go on, if no request begins meanwhile. `None` when it has been idle for too long.
    pub(super) fn until_idle(&self) -> Option<Duration> {
        let State { under_way, idle_since, .. } = *self.activity.state();
        let limit = self.all.limits.idle;
        if under_way > 0 { Some(limit) } else { limit.checked_sub(idle_since.elapsed()).filter(|left| !left.is_zero()) }
    }

    /// A request begins; it ends when this is dropped.
    pub(super) fn under_way(&self) -> UnderWay {
        self.activity.state().under_way += 1;
        UnderWay(Arc::clone(&self.activity))
    }

    /// Whether a request is under way on it.
    pub(super) fn is_busy(&self) -> bool {
        self.activity.state().under_way > 0
    }

    /// Whether a request on it ever succeeded.
    pub(super) fn is_proven(&self) -> bool {
        self.activity.state().is_proven
    }

    pub(super) fn handshake_failed(&self, address: SocketAddr, error: &io::Error) {
        self.all.counts.failed_handshakes.fetch_add(1, Relaxed);
        tracing::debug!(%address, %error, "no TLS handshake");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.all.remove(&self.id);
        self.all.counts.open.store(open.all.len() as u64, Relaxed);
    }
}

/// A request on a connection.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl UnderWay {
    pub(super) fn succeeded(&self) {
        self.0.state().is_proven = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_the_one_that_was_idle_for_longest_gives_way_and_a_busy_one_never() {
        let connections = Arc::new(Connections::new(Limits { connections: 2, idle: Duration::from_secs(60) }));
        let (first, second) = (connections.admit().unwrap(), connections.admit().unwrap());
        let request = first.under_way();
        let third = connections.admit().unwrap();
        assert!(second.activity.close.is_cancelled() && !first.activity.close.is_cancelled());
        let other = third.under_way();
        assert!(connections.admit().is_none());
        drop(request);
        let fourth = connections.admit().unwrap();
        assert!(first.activity.close.is_cancelled() && !third.activity.close.is_cancelled());
        drop((first, second, third, fourth, other));
        let counts = connections.counts();
        let values = [&counts.open, &counts.refused, &counts.displaced].map(|count| count.load(Relaxed));
        assert_eq!(values, [0, 1, 2]);
    }

    #[test]
    fn those_on_which_nothing_ever_succeeded_give_way_first() {
        let connections = Arc::new(Connections::new(Limits { connections: 2, idle: Duration::from_secs(60) }));
        let proven = connections.admit().unwrap();
        proven.under_way().succeeded();
        for _ in 0..10 {
            drop(proven.under_way());
            let stranger = connections.admit().unwrap();
            let _next = connections.admit().unwrap();
            assert!(stranger.activity.close.is_cancelled() && !proven.activity.close.is_cancelled());
        }
    }

    #[test]
    fn a_connection_is_idle_only_while_nothing_is_under_way() {
        let connections = Arc::new(Connections::new(Limits { connections: 1, idle: Duration::ZERO }));
        let own = connections.admit().unwrap();
        let request = own.under_way();
        assert_eq!(own.until_idle(), Some(Duration::ZERO));
        drop(request);
        assert_eq!(own.until_idle(), None);
    }
}
