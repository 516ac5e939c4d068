//! Connections to the integrations: a pool for each thread, never shared, never locked.
//!
//! A connection goes back into the pool at the end of the response body. A request that meets a connection which its
//! server has closed meanwhile is sent again on a new one, but only when nothing of it had been sent.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, uri::Authority};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

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
}

/// A server: by TLS or not, and its host and port.
type Server = (bool, Authority);

/// One thread's connections. `B` is the body of requests.
pub(crate) struct Pool<B> {
    idle: RefCell<HashMap<Server, Vec<Idle<B>>>>,
    /// Drive the connections; they end when the pool does.
    drivers: RefCell<JoinSet<()>>,
}

struct Idle<B> {
    sender: SendRequest<B>,
    since: Instant,
}

/// A connection in use.
pub(crate) struct Lease<B> {
    pool: Rc<Pool<B>>,
    server: Server,
    sender: SendRequest<B>,
}

impl<B> Lease<B> {
    /// Puts the connection back; the response on it has ended.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let idle = idle.entry(self.server).or_default();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// An empty pool.
    pub(crate) fn new() -> Self {
        Self { idle: RefCell::default(), drivers: RefCell::default() }
    }

    /// Sends a request and waits for the head of the response. Runs within a `LocalSet`.
    pub(crate) async fn send(
        self: &Rc<Self>,
        is_https: bool,
        authority: &Authority,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError> {
        let server = (is_https, authority.clone());
        while let Some(mut sender) = self.take_idle(&server) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { pool: Rc::clone(self), server, sender })),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Http { authority: authority.clone(), source: error.into_error() }),
                },
            }
        }
        let mut sender = self.connect(is_https, authority).await?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|source| SendError::Http { authority: authority.clone(), source })?;
        Ok((response, Lease { pool: Rc::clone(self), server, sender }))
    }

    /// The connection that was used last: the likeliest to be open still.
    fn take_idle(&self, server: &Server) -> Option<SendRequest<B>> {
        let mut idle = self.idle.borrow_mut();
        let idle = idle.get_mut(server)?;
        while let Some(Idle { sender, since }) = idle.pop() {
            if !sender.is_closed() && since.elapsed() < IDLE_LIFE {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self, is_https: bool, authority: &Authority) -> Result<SendRequest<B>, SendError> {
        let stream = connect(is_https, authority).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|source| SendError::Http { authority: authority.clone(), source })?;
        let mut drivers = self.drivers.borrow_mut();
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to an integration ended");
            }
        });
        Ok(sender)
    }
}

/// A stream to a server.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

async fn connect(is_https: bool, authority: &Authority) -> Result<Stream, SendError> {
    let failed = |source| SendError::Connect { authority: authority.clone(), source };
    let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    // An IPv6 address stands in brackets in a URI, and without them everywhere else.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    if !is_https {
        return Ok(Stream::Plain(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    let stream = tls().connect(name, stream).await.map_err(failed)?;
    Ok(Stream::Tls(Box::new(stream)))
}

fn tls() -> TlsConnector {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    });
    TlsConnector::from(Arc::clone(&CONFIG))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
