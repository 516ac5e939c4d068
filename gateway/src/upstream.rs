//! Connections to the servers behind the gateway: a pool for each thread, never shared, never locked.
//!
//! A connection goes back into the pool at the end of the response body. Of several servers the one with the fewest
//! requests under way (on this thread) is asked; one that failed several times in a row is left out for a while, unless
//! all are.
//!
//! What always holds: a request is sent again, to the same server or another one, only when nothing of it had been sent.

mod connect;

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    rc::Rc,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
pub(crate) use connect::Stream;
use http::{HeaderValue, Request, Response, uri::Authority};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use weir_station::{
    tls::{ClientTls, ClientTlsConfig},
    watched::FileFault,
};

use crate::{config::definitions::ServiceDefinition, timer::Deadline};

/// Idle connections kept for one server.
const MOST_IDLE: usize = 256;

/// A connection that has been idle for longer is not used again: its server may be about to close it.
const IDLE_LIFE: Duration = Duration::from_secs(30);

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no connection to be had.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// The server.
        authority: Authority,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("no response from {authority}: {source}")]
    Http {
        /// The server.
        authority: Authority,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The server took too long.
    #[error("{0} did not answer in time")]
    Timeout(Authority),
    /// There is no server to ask.
    #[error("the service has no server")]
    NoServer,
}

impl SendError {
    /// Whether it was the request's body that ended the request: its sender broke off, or sent too much.
    fn is_of_body(&self) -> bool {
        matches!(self, Self::Http { source, .. } if source.is_user())
    }
}

/// The servers of an integration, of which any may answer.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// What the pools know it by.
    id: u64,
    /// What the servers are called.
    pub authority: Authority,
    /// The same, for `Host`.
    pub host: HeaderValue,
    endpoints: Vec<Authority>,
    tls: Option<ClientTls>,
    failures: u32,
    ejection: Duration,
}

impl Upstream {
    /// The servers of a service, or the one that the URI names.
    ///
    /// # Errors
    /// When a file of certificates cannot be used.
    pub(crate) fn new(
        is_https: bool,
        authority: Authority,
        service: Option<&ServiceDefinition>,
        tls: &ClientTlsConfig,
    ) -> Result<Self, FileFault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let endpoints = service.map_or_else(|| vec![authority.clone()], |service| service.endpoints.clone());
        let (failures, ejection) = service.map_or((5, Duration::ZERO), |service| (service.failures, service.ejection));
        let tls = if is_https { Some(ClientTls::open(tls, b"http/1.1")?) } else { None };
        // An authority is made of characters that a header may have.
        let host = HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""));
        Ok(Self { id: NEXT.fetch_add(1, Relaxed), authority, host, endpoints, tls, failures, ejection })
    }
}

/// One thread's connections. `B` is the body of requests.
pub(crate) struct Pool<B> {
    upstreams: RefCell<HashMap<u64, Endpoints<B>, ahash::RandomState>>,
    /// Drive the connections; they end when the pool does.
    drivers: RefCell<JoinSet<()>>,
}

/// What this thread knows of an upstream's servers.
struct Endpoints<B> {
    upstream: Weak<Upstream>,
    all: Vec<Endpoint<B>>,
    /// Where looking for the one with the fewest requests begins: equals take turns.
    turn: usize,
}

struct Endpoint<B> {
    idle: Vec<Idle<B>>,
    under_way: u32,
    /// Failures in a row.
    failures: u32,
    /// Until when it is left out.
    ejected_until: Option<Instant>,
}

struct Idle<B> {
    sender: SendRequest<B>,
    since: Instant,
}

/// A request under way to a server, and the connection that it has. When it is dropped, the request has ended.
pub(crate) struct Lease<B> {
    pool: Rc<Pool<B>>,
    upstream: u64,
    endpoint: usize,
    sender: Option<SendRequest<B>>,
}

impl<B> Lease<B> {
    /// Puts the connection back; the response on it has ended.
    pub(crate) fn give_back(mut self) {
        let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) else { return };
        self.pool.with(self.upstream, self.endpoint, |endpoint| {
            if endpoint.idle.len() < MOST_IDLE {
                endpoint.idle.push(Idle { sender, since: Instant::now() });
            }
        });
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        self.pool
            .with(self.upstream, self.endpoint, |endpoint| endpoint.under_way = endpoint.under_way.saturating_sub(1));
    }
}

impl<B> Pool<B> {
    /// An empty pool.
    pub(crate) fn new() -> Self {
        Self { upstreams: RefCell::default(), drivers: RefCell::default() }
    }

    /// Forgets the servers that no configuration names any more.
    pub(crate) fn forget_unused(&self) {
        self.upstreams.borrow_mut().retain(|_, endpoints| endpoints.upstream.strong_count() > 0);
    }

    fn with<R>(&self, upstream: u64, endpoint: usize, work: impl FnOnce(&mut Endpoint<B>) -> R) -> Option<R> {
        self.upstreams.borrow_mut().get_mut(&upstream)?.all.get_mut(endpoint).map(work)
    }

    /// The server to be asked: the one with the fewest requests under way among those not left out.
    fn choose(&self, upstream: &Arc<Upstream>, tried: &[usize]) -> Option<usize> {
        let mut upstreams = self.upstreams.borrow_mut();
        let endpoints = upstreams.entry(upstream.id).or_insert_with(|| Endpoints {
            upstream: Arc::downgrade(upstream),
            all: upstream.endpoints.iter().map(|_| Endpoint::new()).collect(),
            turn: 0,
        });
        let chosen =
            if let [_] = &endpoints.all[..] { tried.is_empty().then_some(0) } else { endpoints.fewest(tried) }?;
        endpoints.all[chosen].under_way += 1;
        Some(chosen)
    }

    fn failed(&self, upstream: &Upstream, endpoint: usize) {
        self.with(upstream.id, endpoint, |own| {
            own.failures += 1;
            if own.failures >= upstream.failures && upstream.endpoints.len() > 1 {
                own.failures = 0;
                own.ejected_until = Some(Instant::now() + upstream.ejection);
                let server = &upstream.endpoints[endpoint];
                tracing::warn!(%server, service = %upstream.authority, for_ms = upstream.ejection.as_millis(), "server left out");
            }
        });
    }

    fn succeeded(&self, upstream: &Upstream, endpoint: usize) {
        if upstream.endpoints.len() > 1 {
            self.with(upstream.id, endpoint, |own| (own.failures, own.ejected_until) = (0, None));
        }
    }

    /// The connection that was used last: the likeliest to be open still.
    fn take_idle(&self, upstream: u64, endpoint: usize) -> Option<SendRequest<B>> {
        self.with(upstream, endpoint, |endpoint| {
            while let Some(Idle { sender, since }) = endpoint.idle.pop() {
                if !sender.is_closed() && since.elapsed() < IDLE_LIFE {
                    return Some(sender);
                }
            }
            None
        })?
    }
}

impl<B> Endpoint<B> {
    fn new() -> Self {
        Self { idle: Vec::new(), under_way: 0, failures: 0, ejected_until: None }
    }
}

impl<B> Endpoints<B> {
    fn fewest(&mut self, tried: &[usize]) -> Option<usize> {
        let now = Instant::now();
        let count = self.all.len();
        self.turn = (self.turn + 1) % count;
        let untried = |index: &usize| !tried.contains(index);
        let in_turn = || (0..count).map(|step| (self.turn + step) % count).filter(untried);
        let is_in = |index: &usize| self.all[*index].ejected_until.is_none_or(|until| until <= now);
        let chosen = in_turn().filter(is_in).min_by_key(|index| self.all[*index].under_way);
        chosen.or_else(|| in_turn().min_by_key(|index| self.all[*index].under_way))
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends a request and waits for the head of the response until the deadline. Runs within a `LocalSet`.
    pub(crate) async fn send(
        self: &Rc<Self>,
        upstream: &Arc<Upstream>,
        mut request: Request<B>,
        mut deadline: Deadline,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError> {
        let mut tried = Vec::new();
        let mut failure = None;
        while let Some(endpoint) = self.choose(upstream, &tried) {
            let mut lease = Lease { pool: Rc::clone(self), upstream: upstream.id, endpoint, sender: None };
            let sent = tokio::select! {
                sent = self.send_to(upstream, endpoint, request, &mut lease) => sent,
                () = &mut deadline => Err((SendError::Timeout(upstream.endpoints[endpoint].clone()), None)),
            };
            match sent {
                Ok(response) => {
                    self.succeeded(upstream, endpoint);
                    return Ok((response, lease));
                }
                Err((error, unsent)) => {
                    if !error.is_of_body() {
                        self.failed(upstream, endpoint);
                    }
                    let Some(unsent) = unsent else { return Err(error) };
                    request = unsent;
                    failure = Some(error);
                    tried.push(endpoint);
                }
            }
        }
        Err(failure.unwrap_or(SendError::NoServer))
    }

    /// Sends a request to one server. What was not sent at all comes back with the error.
    async fn send_to(
        &self,
        upstream: &Upstream,
        endpoint: usize,
        mut request: Request<B>,
        lease: &mut Lease<B>,
    ) -> Result<Response<Incoming>, (SendError, Option<Request<B>>)> {
        let authority = &upstream.endpoints[endpoint];
        let http = |source| SendError::Http { authority: authority.clone(), source };
        loop {
            let (mut sender, is_new) = match self.take_idle(upstream.id, endpoint) {
                Some(sender) => (sender, false),
                // On the heap, for it is rare, and larger than all the rest.
                None => match Box::pin(self.connect(upstream, authority)).await {
                    Ok(sender) => (sender, true),
                    Err(error) => return Err((error, Some(request))),
                },
            };
            if !is_new && sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    lease.sender = Some(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // The server closed an idle connection at this moment; a new one has not been idle.
                    Some(unsent) if !is_new => request = unsent,
                    unsent => return Err((http(error.into_error()), unsent)),
                },
            }
        }
    }

    async fn connect(&self, upstream: &Upstream, authority: &Authority) -> Result<SendRequest<B>, SendError> {
        let stream = Stream::open(upstream.tls.as_ref(), &upstream.authority, authority).await;
        let stream = stream.map_err(|source| SendError::Connect { authority: authority.clone(), source })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|source| SendError::Http { authority: authority.clone(), source })?;
        let mut drivers = self.drivers.borrow_mut();
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to an integration ended");
            }
        });
        Ok(sender)
    }
}
