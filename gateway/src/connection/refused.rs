//! What is refused before there is a request that the rest of the gateway could see, or in the middle of its body: why,
//! and what the client is told.
//!
//! Bodies have API Gateway's shape; its exact texts for 408, 414 and 431 are not recorded, so these say what is wrong.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use weir_record::{AccessRecord, Outcome};

use super::{Client, tls::TlsFailure};
use crate::core::Shared;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $message:literal;)+) => {
        /// Why a request was refused by the connection it came on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub(crate) enum Reason { $($(#[$doc])* #[error($message)] $variant),+ }

        impl Reason {
            /// Every reason, in its order.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its one spelling, in metrics and records.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The status that the client gets.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// What is wrong, in words for the operator.
            pub(crate) const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $message),+ }
            }
        }
    };
}

reasons! {
    /// Method, target or the spaces between them are not as RFC 9112, section 3, has them.
    RequestLine = "request_line", BAD_REQUEST, "the request line is malformed";
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version = "version", BAD_REQUEST, "the HTTP version is not 1.0 or 1.1";
    /// `CONNECT`: this is no forward proxy.
    Connect = "connect", BAD_REQUEST, "CONNECT is not served";
    /// A header's name or value has a character that may not be there (RFC 9110, section 5.5).
    Header = "header", BAD_REQUEST, "a header is malformed";
    /// A header of which two readings exist: `content_length`, which some servers take for `content-length`.
    AmbiguousName = "ambiguous_name", BAD_REQUEST, "a header's name can be taken for another one's";
    /// A header that goes on in the next line (RFC 9112, section 5.2).
    ObsFold = "obs_fold", BAD_REQUEST, "a header is folded over lines";
    /// A line that ends in a bare LF, or has a bare CR (RFC 9112, section 2.2).
    LineEnding = "line_ending", BAD_REQUEST, "a line does not end in CRLF";
    /// No `Host`, two of them, an invalid one, or one that the target contradicts (RFC 9112, section 3.2).
    Host = "host", BAD_REQUEST, "Host is missing, doubled, malformed or contradicted";
    /// Where the body ends is not said once and clearly (RFC 9112, section 6): request smuggling.
    Framing = "framing", BAD_REQUEST, "the length of the body is ambiguous";
    /// A chunk that is not as RFC 9112, section 7.1, has it, or that has extensions.
    Chunk = "chunk", BAD_REQUEST, "a chunk of the body is malformed or has extensions";
    /// The target is longer than `url_bytes`.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "the request target is too long";
    /// The head is larger than `header_bytes`.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large";
    /// There are more than `headers`.
    TooManyHeaders = "too_many_headers", REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers";
    /// The head took longer than `header_timeout`.
    HeadTimeout = "head_timeout", REQUEST_TIMEOUT, "the head took too long to arrive";
    /// The body came slower than `body_timeout` and `body_bytes_per_s` allow.
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "the body arrives too slowly";
    /// More HTTP/2 frames that ask for nothing than a client has use for.
    Flood = "flood", BAD_REQUEST, "a flood of HTTP/2 control frames";
}

impl Reason {
    /// `x-amzn-errortype` and the message in the body.
    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::UriTooLong => ("RequestTooLongException", "Request URI Too Long"),
            Self::HeadersTooLarge | Self::TooManyHeaders => {
                ("RequestTooLargeException", "Request Header Fields Too Large")
            }
            Self::HeadTimeout | Self::BodyTimeout => ("RequestTimeoutException", "Request Timeout"),
            _ => ("BadRequestException", "Bad Request"),
        }
    }

    /// The answer to the client. The connection ends with it: nothing that comes after can be trusted.
    pub(crate) fn response(self) -> Response<Bytes> {
        let (error_type, message) = self.told();
        let mut response = Response::new(Bytes::from(format!("{{\"message\":\"{message}\"}}")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        response
    }
}

/// A request that was refused, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why.
    pub reason: Reason,
    /// Its method, when there is one.
    pub method: Option<String>,
    /// Its path without the query, at most 256 bytes of it, when there is one.
    pub path: Option<String>,
}

/// The longest path that is told of a refused request, bytes.
const MOST_PATH_BYTES: usize = 256;

impl Refused {
    /// A refused request of which these bytes came.
    pub(crate) fn new(reason: Reason, head: &[u8]) -> Self {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let line = head.split(|byte| byte.is_ascii_control()).next().unwrap_or_default();
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let method = parts.next().filter(|method| is_method(method)).map(text);
        let path = parts.next().and_then(|target| target.split(|byte| *byte == b'?').next());
        let path = path.filter(|path| method.is_some() && path.starts_with(b"/"));
        Self { reason, method, path: path.map(|path| text(&path[..path.len().min(MOST_PATH_BYTES)])) }
    }
}

fn is_method(bytes: &[u8]) -> bool {
    (1..=32).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_uppercase)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A request was refused before the rest of the gateway could see it.
pub(super) fn early(shared: &Shared, client: &Client, refused: &Refused) {
    shared.stats.clients.refuse(refused.reason);
    let outcome = match refused.reason {
        Reason::UriTooLong => Outcome::UriTooLong,
        Reason::HeadersTooLarge | Reason::TooManyHeaders => Outcome::HeadersTooLarge,
        Reason::HeadTimeout | Reason::BodyTimeout => Outcome::RequestTimeout,
        _ => Outcome::BadRequest,
    };
    shared.record_early(AccessRecord {
        method: refused.method.clone().unwrap_or_default(),
        path: refused.path.clone().unwrap_or_default(),
        status: Some(refused.reason.status().as_u16()),
        outcome,
        client_address: shared.serving.borrow().privacy.shown(client.peer.ip(), None),
        error_message: Some(refused.reason.detail().to_owned()),
        ..AccessRecord::default()
    });
    tracing::debug!(peer = %client.peer, reason = refused.reason.as_str(), "request refused");
}

/// A client did not get through the TLS handshake.
pub(super) fn no_handshake(shared: &Shared, peer: SocketAddr, failure: TlsFailure) {
    if shared.stats.clients.fail_tls(failure) {
        tracing::debug!(%peer, reason = failure.as_str(), "no TLS handshake");
        shared.record_early(AccessRecord {
            outcome: Outcome::TlsFailure,
            client_address: shared.serving.borrow().privacy.shown(peer.ip().to_canonical(), None),
            error_message: Some(failure.as_str().to_owned()),
            ..AccessRecord::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_of_a_refused_request_is_told_without_its_query() {
        let refused = |head: &[u8]| {
            let Refused { method, path, .. } = Refused::new(Reason::Header, head);
            (method, path)
        };
        let known = |method: &str, path: &str| (Some(method.to_owned()), Some(path.to_owned()));
        assert_eq!(refused(b"GET /a/b?secret=1 HTTP/1.1\r\nx y"), known("GET", "/a/b"));
        assert_eq!(refused(b"\r\nPOST /"), known("POST", "/"));
        assert_eq!(refused(b"GET http://a/b HTTP/1.1"), (Some("GET".to_owned()), None));
        assert_eq!(refused(b"\x16\x03\x01"), (None, None));
        let long = [b"GET /".as_slice(), &[b'a'; 9_000]].concat();
        assert_eq!(refused(&long).1.map(|path| path.len()), Some(MOST_PATH_BYTES));
    }

    #[test]
    fn every_reason_has_an_answer_of_its_status() {
        for reason in Reason::ALL {
            let response = reason.response();
            assert_eq!(response.status(), reason.status());
            assert!(response.body().starts_with(b"{\"message\":\""), "{reason:?}");
        }
    }
}
