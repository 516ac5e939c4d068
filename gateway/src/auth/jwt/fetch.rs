//! Fetches small documents of an issuer: its configuration and its keys. A connection for each; redirects are not
//! followed, for they would choose whose keys are trusted.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use weir_station::{
    tls::{ClientTls, ClientTlsConfig},
    watched::FileFault,
};

use crate::upstream::Stream;

/// How long a document may take; the limit that API Gateway states.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// The largest document, bytes; the limit that API Gateway states.
const MOST_BYTES: usize = 150_000;

/// A document that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0:?} is no URL of a host")]
    Url(String),
    #[error("cannot connect to {0}: {1}")]
    Connect(Authority, io::Error),
    #[error("no response from {0}: {1}")]
    Http(Authority, hyper::Error),
    #[error("{0} answered {1}")]
    Status(Authority, http::StatusCode),
    #[error("the response of {0} is larger than {MOST_BYTES} bytes, or broke off")]
    Body(Authority),
    #[error("{0} did not answer within {TIMEOUT:?}")]
    Timeout(Authority),
}

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    /// What it says.
    pub body: Bytes,
    /// How long it may be used, when its server says so (RFC 9111, `max-age`).
    pub max_age: Option<Duration>,
}

/// Fetches documents over HTTP or HTTPS.
#[derive(Debug)]
pub(super) struct Fetcher {
    tls: ClientTls,
}

impl Fetcher {
    /// A fetcher that trusts the authorities in this file, or else those that browsers know.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn open(ca: Option<PathBuf>) -> Result<Self, FileFault> {
        let config = ClientTlsConfig { ca, ..ClientTlsConfig::default() };
        Ok(Self { tls: ClientTls::open(&config, b"http/1.1")? })
    }

    /// Fetches a document.
    pub(super) async fn fetch(&self, url: &str) -> Result<Document, FetchError> {
        let malformed = || FetchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?.clone();
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(malformed()),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| malformed())?;
        self.tls.look();
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(is_https, &authority, request)).await;
        answered.unwrap_or_else(|_| Err(FetchError::Timeout(authority)))
    }

    async fn exchange(
        &self,
        is_https: bool,
        authority: &Authority,
        request: Request<Empty<Bytes>>,
    ) -> Result<Document, FetchError> {
        let http = |error| FetchError::Http(authority.clone(), error);
        let stream = Stream::open(is_https.then_some(&self.tls), authority, authority).await;
        let stream = stream.map_err(|error| FetchError::Connect(authority.clone(), error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(http)?;
            if !response.status().is_success() {
                return Err(FetchError::Status(authority.clone(), response.status()));
            }
            let max_age = max_age(response.headers());
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            Ok(Document { body: body.map_err(|_| FetchError::Body(authority.clone()))?.to_bytes(), max_age })
        };
        tokio::pin!(exchange);
        // The connection moves the exchange on; it may end first, when the server closes it after its answer.
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }
}

/// `max-age` of `cache-control`; none at all where it says that the document is not to be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut age = None;
    for directive in values.flat_map(|value| value.split(',')).map(str::trim) {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        let seconds = directive.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"));
        if let Some((_, seconds)) = seconds {
            age = seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs).or(age);
        }
    }
    age
}
