//! HTTP on a listener that strangers may reach: TLS, a bound on connections, and an end for those that do nothing.
//!
//! What always holds: the handshake and each connection run in tasks of their own, so that none holds up another; there
//! are never more than [`Limits::connections`]: at that bound an idle connection gives way, first those on which no
//! request ever succeeded, then the one that has been idle for longest; and when none is idle the new one is closed.

mod connections;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
pub use connections::ConnectionCounts;
use connections::{Connection, Connections, UnderWay};
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{config::Section, tls::ServerTls};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a connection to be closed in good order.
const FAREWELL: Duration = Duration::from_secs(1);

/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// HTTP/2 (RFC 9113): streams at once on a connection, bytes of a request's head, and bytes of bodies on their way.
const STREAMS: u32 = 128;
const HEAD_BYTES: u32 = 16 << 10;
const WINDOW_BYTES: u32 = 1 << 20;

/// HTTP/2: a connection that does not answer a ping is dead.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/1: bytes of a request's head, and of what is read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Bounds on the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most that are open at once.
    pub connections: usize,
    /// One without a request is closed after this time.
    pub idle: Duration,
}

impl Limits {
    /// Reads `connections` and `idle_timeout`.
    #[must_use]
    pub fn read(section: &Section) -> Self {
        let limits = Self {
            connections: section.value("connections", 1_024),
            idle: section.value("idle_timeout", Duration::from_secs(300)),
        };
        if limits.connections == 0 {
            section.fault("connections", "is 0", "at least 1");
        }
        if limits.idle < Duration::from_secs(1) {
            section.fault("idle_timeout", "leaves a client no time", "a time such as \"5m\", at least \"1s\"");
        }
        limits
    }
}

/// Who is at the other end of a connection; in the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(
    /// Where it comes from.
    pub SocketAddr,
);

/// A listener, and what stands before its requests.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    connections: Arc<Connections>,
}

impl Server {
    /// Nothing is accepted before [`Self::serve`].
    #[must_use]
    pub fn new(listener: TcpListener, tls: Option<Arc<ServerTls>>, limits: Limits) -> Self {
        Self { listener, tls, connections: Arc::new(Connections::new(limits)) }
    }

    /// What it counts of its connections.
    #[must_use]
    pub fn counts(&self) -> Arc<ConnectionCounts> {
        self.connections.counts()
    }

    /// Serves HTTP/1.1 and HTTP/2 until `shutdown`; requests that are under way are answered first.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let Some(own) = self.connections.admit() else { continue };
                    let (tls, router, shutdown) = (self.tls.clone(), router.clone(), shutdown.clone());
                    tasks.spawn(async move { begin(own, stream, Peer(address), tls, router, shutdown).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// A connection's life, from its handshake.
async fn begin(
    own: Connection,
    stream: TcpStream,
    peer: Peer,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    shutdown: CancellationToken,
) {
    // It costs latency at most.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return drive(own, stream, peer, router, shutdown).await };
    let shaken = tokio::select! {
        () = shutdown.cancelled() => return,
        () = own.closed() => return,
        shaken = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => drive(own, stream, peer, router, shutdown).await,
        Ok(Err(error)) => own.handshake_failed(peer.0, &error),
        Err(_) => own.handshake_failed(peer.0, &io::ErrorKind::TimedOut.into()),
    }
}

/// Answers the requests on a connection until it ends, is closed, or does nothing for too long.
async fn drive(
    own: Connection,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = service_fn(|request| answer(router.clone(), peer, own.under_way(), request));
    let builder = builder();
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_leaving = false;
    loop {
        let pause = if is_leaving { FAREWELL } else { own.until_idle().unwrap_or_default() };
        tokio::select! {
            // Whatever broke the connection, its client has seen it.
            _ = serving.as_mut() => return,
            () = own.closed() => break,
            () = shutdown.cancelled(), if !is_leaving => {
                is_leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            () = sleep(pause) => {
                // What is under way at the end is answered; a request that is not there yet is not waited for.
                let is_over = if is_leaving { !own.is_busy() } else { own.until_idle().is_none() };
                if is_over {
                    break;
                }
            }
        }
    }
    if own.is_proven() {
        serving.as_mut().graceful_shutdown();
        // A client that does not listen is not waited for.
        let _ = timeout(FAREWELL, serving.as_mut()).await;
    }
}

/// The request is under way until its response's body has been sent.
async fn answer(
    router: Router,
    peer: Peer,
    under_way: UnderWay,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let response = router.oneshot(request).await?;
    // A gRPC call that failed is a success of HTTP with its own status in the head.
    if response.status().is_success() && !response.headers().contains_key("grpc-status") {
        under_way.succeeded();
    }
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &under_way;
            frame
        }))
    }))
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The idle timeout of the connection covers a head that does not come.
    builder.http1().header_read_timeout(None).max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    builder
}

#[cfg(test)]
mod tests;
