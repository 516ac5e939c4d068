//! One thread of the gateway: what it shares with the others, and what it has to itself.
//!
//! Threads share only what is read, or counted by atomics ([`Shared`]), so a request never waits for another core.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use tokio::sync::watch;
use weir_record::AccessRecord;

use crate::{
    body::UploadBody, connection::Terms, exchange::now_us, serving::Serving, stats::Stats, telemetry::Telemetry,
    timer::Deadlines, upstream::Pool,
};

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is served; a new one after each change of the configuration.
    pub serving: watch::Receiver<Arc<Serving>>,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where records go.
    pub telemetry: Telemetry,
    /// How clients may connect.
    pub terms: Terms,
    /// How long requests under way may take to end.
    pub drain: Duration,
}

impl Shared {
    /// Records what was refused before it was a request that could be served. Of failed TLS handshakes some are recorded.
    pub(crate) fn record_early(&self, record: AccessRecord) {
        self.stats.arrive();
        self.stats.end(record.outcome);
        let request_id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid().to_string();
        self.telemetry.offer(&AccessRecord { request_id, time_us: now_us(), ..record }, &[]);
    }
}

/// What is served, in a thread's own hands: taking it counts on no other core's cache.
pub(crate) type Served = Rc<Arc<Serving>>;

/// What one thread has to itself.
pub(crate) struct Core {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// What is served.
    serving: RefCell<Served>,
    /// Connections to the integrations.
    pub pool: Rc<Pool<UploadBody>>,
    /// Timers of the integrations.
    pub deadlines: Deadlines,
    /// How HTTP/1 is served.
    pub http1: http1::Builder,
    /// HTTP/2 frames that may ask for nothing in a tick of the thread's timer.
    pub frames_per_tick: u32,
    /// Connections for which hyper is there.
    pub awake: Cell<usize>,
    /// Whether the thread is about to end: no response leaves its connection open.
    pub is_draining: Cell<bool>,
}

impl Core {
    /// A thread that has served nothing.
    pub(crate) fn new(shared: Arc<Shared>, http1: http1::Builder, frames_per_tick: u32) -> Self {
        let serving = Rc::new(Arc::clone(&shared.serving.borrow()));
        Self {
            shared,
            serving: RefCell::new(serving),
            pool: Rc::new(Pool::new()),
            deadlines: Deadlines::new(),
            http1,
            frames_per_tick,
            awake: Cell::new(0),
            is_draining: Cell::new(false),
        }
    }

    /// What is served. A request keeps what it began with.
    pub(crate) fn serving(&self) -> Served {
        Rc::clone(&self.serving.borrow())
    }

    /// From now on this is served.
    pub(crate) fn serve(&self, serving: Arc<Serving>) {
        *self.serving.borrow_mut() = Rc::new(serving);
        self.pool.forget_unused();
    }
}
