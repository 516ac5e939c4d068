//! Clients' connections: from the accept to the last response.
//!
//! A connection's way: it is admitted ([`admission`]), does its TLS handshake ([`tls`]), turns out to be HTTP/1 or
//! HTTP/2 by its first bytes or by ALPN, and is served ([`http1`], [`http2`]) from behind a [`guard`] that lets no request
//! pass which has two readings. What it waits for is noted on its [`wire`], where the thread's one timer ([`accept`])
//! finds what takes too long.

pub(crate) mod accept;
mod admission;
pub(crate) mod counts;
pub(crate) mod forwarded;
mod guard;
mod http1;
mod http2;
pub(crate) mod refused;
mod reply;
mod stream;
pub(crate) mod tls;
pub(crate) mod upgrade;
mod wire;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use http::HeaderMap;
use tokio::{io::AsyncReadExt, net::TcpStream};

use self::{
    admission::{Admission, Ticket},
    counts::ClientCounts,
    forwarded::TrustedProxies,
    guard::frames::PREFACE,
    refused::Reason,
    stream::Stream,
    tls::TlsFacts,
    upgrade::Tunnel,
    wire::{Order, Wire},
};
use crate::{config::connections::ConnectionsConfig, core::Core};
use weir_station::tls::HostsTls;

/// Room for the first bytes of a connection: a request's head fits in most often.
const FIRST_BYTES: usize = 1_024;

/// What all threads know of connections.
#[derive(Debug)]
pub(crate) struct Terms {
    /// What clients may use.
    pub config: ConnectionsConfig,
    /// Proxies that are believed.
    trusted: Arc<TrustedProxies>,
    /// Certificates.
    pub tls: Option<Arc<HostsTls>>,
    admission: Arc<Admission>,
}

impl Terms {
    /// No connection is open.
    pub(crate) fn new(config: ConnectionsConfig, tls: Option<Arc<HostsTls>>) -> Self {
        let limits = &config.limits;
        let admission = Arc::new(Admission::new(limits.connections, limits.connections_per_address));
        Self { trusted: Arc::new(config.trusted_proxies.clone()), tls, admission, config }
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where the connection comes from: the client, or a proxy before us.
    pub peer: SocketAddr,
    /// What was agreed on, when the connection is by TLS.
    pub tls: Option<TlsFacts>,
    /// The address of `peer` as text.
    peer_text: Box<str>,
    /// The trusted proxies, when the peer is one of them.
    trusted: Option<Arc<TrustedProxies>>,
    requests: Cell<u64>,
    tunnel: RefCell<Option<Tunnel>>,
    wire: Rc<Wire>,
}

/// A client on a connection that nobody watches.
#[cfg(test)]
impl From<SocketAddr> for Client {
    fn from(peer: SocketAddr) -> Self {
        let (requests, tunnel) = (Cell::new(0), RefCell::new(None));
        let peer_text = peer.ip().to_string().into_boxed_str();
        Self { peer, tls: None, peer_text, trusted: None, requests, tunnel, wire: Rc::default() }
    }
}

impl Client {
    fn new(core: &Core, peer: SocketAddr, tls: Option<TlsFacts>, wire: Rc<Wire>) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let trusted = &core.shared.terms.trusted;
        let trusted = trusted.contains(peer.ip()).then(|| Arc::clone(trusted));
        let peer_text = peer.ip().to_string().into_boxed_str();
        let (requests, tunnel) = (Cell::new(0), RefCell::new(None));
        Self { peer, tls, peer_text, trusted, requests, tunnel, wire }
    }

    /// Who sent a request with these headers: the peer, or whom it forwards for when it is a trusted proxy.
    pub(crate) fn address(&self, headers: &HeaderMap) -> IpAddr {
        self.trusted.as_ref().map_or(self.peer.ip(), |trusted| trusted.client(self.peer.ip(), headers))
    }

    /// The address of the connection's other end, as text.
    pub(crate) fn peer_text(&self) -> &str {
        &self.peer_text
    }

    /// Why the connection broke off the body of the HTTP/1 request that is under way: its sender is answered so.
    pub(crate) fn body_refused(&self) -> Option<Reason> {
        self.wire.broken.get()
    }

    /// Whether the peer is a trusted proxy: its `x-forwarded-*` headers may be passed on.
    pub(crate) fn is_trusted_proxy(&self) -> bool {
        self.trusted.is_some()
    }

    /// Makes the connection a tunnel after the response 101 that is about to be given.
    pub(crate) fn hand_over(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }
}

/// Serves a connection from its first byte to its end.
async fn serve(core: Rc<Core>, stream: TcpStream, peer: SocketAddr, by_tls: bool, ticket: Ticket) {
    let _open = core.shared.stats.connection();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let wire = Rc::clone(&ticket.wire);
    if by_tls {
        Box::pin(serve_tls(&core, stream, peer, wire)).await;
        return;
    }
    let client = Rc::new(Client::new(&core, peer, None, Rc::clone(&wire)));
    let mut stream = Stream::Plain(stream);
    let Some(first) = unless_ended(&core, &wire, first_bytes(&mut stream, &wire)).await.flatten() else { return };
    if first.starts_with(PREFACE) {
        Box::pin(http2::serve(&core, client, stream, first)).await;
    } else {
        http1::serve(&core, client, stream, first).await;
    }
}

async fn serve_tls(core: &Rc<Core>, stream: TcpStream, peer: SocketAddr, wire: Rc<Wire>) {
    let terms = &core.shared.terms;
    let Some(config) = terms.tls.as_ref().map(|tls| tls.current()) else { return };
    let handshake = tls::handshake(config, stream, terms.config.handshake_timeout);
    match unless_ended(core, &wire, handshake).await {
        Some(Ok((stream, facts))) => {
            let is_http2 = facts.is_http2;
            let client = Rc::new(Client::new(core, peer, Some(facts), wire));
            let stream = Stream::Tls(Box::new(stream));
            if is_http2 {
                http2::serve(core, client, stream, Vec::new()).await;
            } else {
                http1::serve(core, client, stream, Vec::new()).await;
            }
        }
        Some(Err(failure)) => refused::no_handshake(&core.shared, peer, failure),
        None => {}
    }
}

/// Waits for bytes enough to tell HTTP/2 from HTTP/1; none when the client goes away before.
async fn first_bytes(stream: &mut Stream, wire: &Wire) -> Option<Vec<u8>> {
    stream.readable().await.ok()?;
    let mut bytes = Vec::with_capacity(FIRST_BYTES);
    loop {
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return None;
        }
        if bytes.len() >= PREFACE.len() || !PREFACE.starts_with(&bytes) {
            return Some(bytes);
        }
        wire.head_begins();
    }
}

/// Waits for something while nothing is under way; none when the connection has to end before.
async fn unless_ended<T>(core: &Core, wire: &Wire, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let counts: &ClientCounts = &core.shared.stats.clients;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        while let Poll::Ready(order) = wire.poll_order(cx) {
            match order {
                Order::End(why) | Order::Cut(why) => {
                    counts.close(why);
                    return Poll::Ready(None);
                }
                Order::Look if wire.late.take().is_some() => {
                    counts.refuse(Reason::HeadTimeout);
                    return Poll::Ready(None);
                }
                Order::Look | Order::Rest => {}
            }
        }
        Poll::Pending
    })
    .await
}
