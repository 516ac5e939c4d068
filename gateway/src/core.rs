//! One thread of the gateway: what it shares with the others, and what it has to itself.
//!
//! Threads share only what is read, or counted by atomics ([`Shared`]), so a request never waits for another core.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use hyper::server::conn::http1;

use crate::{
    body::UploadBody, connection::Terms, serving::Serving, stats::Stats, telemetry::Telemetry, upstream::Pool,
};

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is served.
    pub serving: Serving,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where records go.
    pub telemetry: Telemetry,
    /// How clients may connect.
    pub terms: Terms,
    /// How long requests under way may take to end.
    pub drain: Duration,
}

/// What one thread has to itself.
pub(crate) struct Core {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Connections to the integrations.
    pub pool: Rc<Pool<UploadBody>>,
    /// How HTTP/1 is served.
    pub http1: http1::Builder,
    /// HTTP/2 frames that may ask for nothing in a tick of the thread's timer.
    pub frames_per_tick: u32,
    /// Connections for which hyper is there.
    pub awake: Cell<usize>,
    /// Whether the thread is about to end: no response leaves its connection open.
    pub is_draining: Cell<bool>,
}
