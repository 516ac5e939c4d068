//! Connections to the servers behind the gateway: a pool for each thread, never shared, never locked.
//!
//! A connection goes back into the pool at the end of the response body. Of several servers the one with the fewest
//! requests under way (on this thread) is asked; one that failed several times in a row is left out for a while, unless
//! all are.
//!
//! What always holds: a request is sent again, to the same server or another one, only when nothing of it had been sent.

mod connect;
mod link;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    io,
    rc::Rc,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

pub(crate) use connect::Stream;
use http::{HeaderValue, Request, Response, uri::Authority};
use hyper::body::Incoming;
pub(crate) use link::ServerBody;
use link::{Driver, Link};
use tokio::task::JoinSet;
use weir_station::{
    tls::{ClientTls, ClientTlsConfig},
    watched::FileFault,
};

use crate::{body::UploadBody, config::definitions::ServiceDefinition, timer::Deadline};

/// Idle connections kept for one server.
const MOST_IDLE: usize = 256;

/// A connection that has been idle for longer is not used again: its server may be about to close it.
const IDLE_LIFE: Duration = Duration::from_secs(30);

/// With more requests under way to a server, each is sent after all that has come by then is read: many requests are read
/// in a row and then many are sent in a row, which keeps the code of each in the processor's cache and wakes a server on
/// the same machine once for many. With fewer, a request is sent at once, for the sake of its latency.
const FEW_UNDER_WAY: u32 = 8;

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

/// One thread's connections.
pub(crate) struct Pool {
    upstreams: RefCell<HashMap<u64, Endpoints, ahash::RandomState>>,
    /// Of connections that no request drives; they end when the pool does.
    drivers: RefCell<JoinSet<()>>,
}

/// What this thread knows of an upstream's servers.
struct Endpoints {
    upstream: Weak<Upstream>,
    all: Vec<Endpoint>,
    /// Where looking for the one with the fewest requests begins: equals take turns.
    turn: usize,
}

struct Endpoint {
    idle: Vec<Idle>,
    under_way: u32,
    /// Failures in a row.
    failures: u32,
    /// Until when it is left out.
    ejected_until: Option<Instant>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// A request under way to a server. When it is dropped, the request has ended.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    upstream: u64,
    endpoint: usize,
}

impl Lease {
    /// Puts a connection back; the response on it has ended.
    fn give_back(self, link: Link) {
        self.pool.with(self.upstream, self.endpoint, |endpoint| {
            if endpoint.idle.len() < MOST_IDLE {
                endpoint.idle.push(Idle { link, since: Instant::now() });
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool
            .with(self.upstream, self.endpoint, |endpoint| endpoint.under_way = endpoint.under_way.saturating_sub(1));
    }
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new() -> Self {
        Self { upstreams: RefCell::default(), drivers: RefCell::default() }
    }

    /// Forgets the servers that no configuration names any more.
    pub(crate) fn forget_unused(&self) {
        self.upstreams.borrow_mut().retain(|_, endpoints| endpoints.upstream.strong_count() > 0);
    }

    fn with<R>(&self, upstream: u64, endpoint: usize, work: impl FnOnce(&mut Endpoint) -> R) -> Option<R> {
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
    fn take_idle(&self, upstream: u64, endpoint: usize) -> Option<Link> {
        self.with(upstream, endpoint, |endpoint| {
            while let Some(mut idle) = endpoint.idle.pop() {
                if idle.is_usable() {
                    return Some(idle.link);
                }
            }
            None
        })?
    }

    /// Whether connections are kept for requests to come.
    pub(crate) fn has_idle(&self) -> bool {
        self.upstreams.borrow().values().flat_map(|endpoints| &endpoints.all).any(|endpoint| !endpoint.idle.is_empty())
    }

    /// Closes the connections that their servers have closed, and those that have been idle for too long.
    pub(crate) fn close_unusable(&self) {
        for endpoint in self.upstreams.borrow_mut().values_mut().flat_map(|endpoints| &mut endpoints.all) {
            endpoint.idle.retain_mut(Idle::is_usable);
        }
    }

    /// Drives a connection that no request drives.
    fn drive(&self, driver: Driver) {
        let mut drivers = self.drivers.borrow_mut();
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "connection to an integration ended");
            }
        });
    }
}

impl Endpoint {
    fn new() -> Self {
        Self { idle: Vec::new(), under_way: 0, failures: 0, ejected_until: None }
    }
}

impl Endpoints {
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

impl Idle {
    fn is_usable(&mut self) -> bool {
        self.since.elapsed() < IDLE_LIFE && self.link.is_free()
    }
}

impl Pool {
    /// Sends a request and waits for the head of the response until the deadline. Runs within a `LocalSet`.
    pub(crate) async fn send(
        self: &Rc<Self>,
        upstream: &Arc<Upstream>,
        mut request: Request<UploadBody>,
        mut deadline: Deadline,
    ) -> Result<Response<ServerBody>, SendError> {
        let mut tried = Vec::new();
        let mut failure = None;
        while let Some(endpoint) = self.choose(upstream, &tried) {
            let lease = Lease { pool: Rc::clone(self), upstream: upstream.id, endpoint };
            let sent = tokio::select! {
                sent = self.send_to(upstream, endpoint, request) => sent,
                () = &mut deadline => Err((SendError::Timeout(upstream.endpoints[endpoint].clone()), None)),
            };
            match sent {
                Ok((response, link)) => {
                    self.succeeded(upstream, endpoint);
                    return Ok(response.map(|body| ServerBody::new(body, link, lease)));
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
        mut request: Request<UploadBody>,
    ) -> Result<(Response<Incoming>, Link), (SendError, Option<Request<UploadBody>>)> {
        let authority = &upstream.endpoints[endpoint];
        let http = |source| SendError::Http { authority: authority.clone(), source };
        if self.with(upstream.id, endpoint, |endpoint| endpoint.under_way > FEW_UNDER_WAY).is_some_and(|many| many) {
            let_others_go_first().await;
        }
        loop {
            let (mut link, is_new) = match self.take_idle(upstream.id, endpoint) {
                Some(link) => (link, false),
                // On the heap, for it is rare, and larger than all the rest.
                None => match Box::pin(connect(upstream, authority)).await {
                    Ok(link) => (link, true),
                    Err(error) => return Err((error, Some(request))),
                },
            };
            match link.send(request).await {
                Ok(response) => return Ok((response, link)),
                Err(mut error) => match error.take_message() {
                    // The server closed an idle connection at this moment; a new one has not been idle.
                    Some(unsent) if !is_new => request = unsent,
                    unsent => return Err((http(error.into_error()), unsent)),
                },
            }
        }
    }
}

/// Goes on when whatever else is due on this thread has had its turn.
async fn let_others_go_first() {
    let mut is_behind = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_behind, true) {
            return Poll::Ready(());
        }
        // Not `yield_now`, which looks for new events first.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn connect(upstream: &Upstream, authority: &Authority) -> Result<Link, SendError> {
    let stream = Stream::open(upstream.tls.as_ref(), &upstream.authority, authority).await;
    let stream = stream.map_err(|source| SendError::Connect { authority: authority.clone(), source })?;
    Link::open(stream).await.map_err(|source| SendError::Http { authority: authority.clone(), source })
}
