//! A stream to a server: TCP, and TLS over it.

use std::{
    io,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use weir_station::tls::{ClientTls, ClientTlsConfig};

use super::SendError;

/// How long a key set may take to be fetched; the limit that API Gateway states.
const FETCH_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The largest key set, bytes; the limit that API Gateway states.
const MOST_FETCHED_BYTES: usize = 150_000;

/// A stream to a server.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens a stream to `server`, which is called `authority`.
pub(super) async fn open(
    tls: Option<&ClientTls>,
    authority: &Authority,
    server: &Authority,
) -> Result<Stream, SendError> {
    let failed = |source| SendError::Connect { authority: server.clone(), source };
    let port = server.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    // An IPv6 address stands in brackets in a URI, and without them everywhere else.
    let host = server.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    tls.look();
    let stream = tls.connect(authority.host(), stream).await.map_err(failed)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Servers with certificates that browsers know.
fn public() -> Result<&'static ClientTls, SendError> {
    static TLS: LazyLock<Option<ClientTls>> =
        LazyLock::new(|| ClientTls::open(&ClientTlsConfig::default(), b"http/1.1").ok());
    TLS.as_ref().ok_or(SendError::NoHost)
}

/// Fetches a small document, on a connection of its own.
pub(crate) async fn fetch(uri: &Uri) -> Result<Bytes, SendError> {
    let authority = uri.authority().ok_or(SendError::NoHost)?.clone();
    let work = async {
        let http = |source| SendError::Http { authority: authority.clone(), source };
        let stream = open(if uri.scheme_str() == Some("https") { Some(public()?) } else { None }, &authority, &authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() =
            uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| SendError::NoHost)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| SendError::NoHost)?;
        request.headers_mut().insert(header::HOST, host);
        let exchange = async {
            let response = sender.send_request(request).await.map_err(http)?;
            if !response.status().is_success() {
                return Err(SendError::Status(authority.clone(), response.status()));
            }
            let body = Limited::new(response.into_body(), MOST_FETCHED_BYTES).collect().await;
            Ok(body.map_err(|_| SendError::Body(authority.clone()))?.to_bytes())
        };
        tokio::pin!(exchange);
        // The connection moves the exchange on; it may end first, when the server closes it after its answer.
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    };
    tokio::time::timeout(FETCH_TIMEOUT, work).await.unwrap_or_else(|_| Err(SendError::Timeout(authority.clone())))
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
