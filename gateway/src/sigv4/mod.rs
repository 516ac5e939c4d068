//! AWS Signature Version 4, both sides: requests that clients have signed for this gateway, and requests that the
//! gateway signs for AWS
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
//!
//! [`begin`] looks at everything of a request but its body, [`Pending::finish`] at the body's hash; [`sign`] signs. Both
//! sides make the same canonical request ([`canonical`]) of a [`Message`]. Nothing here reads a clock, a socket or, save
//! [`CredentialStore`], a file.
//!
//! What always holds: signatures and session tokens are compared in constant time; an access key that nobody has takes
//! the way of one whose secret is wrong; no secret is shown by `Debug` or told in a [`Fault`]; no request brings about a
//! panic (I10).
//!
//! Where AWS says nothing that could be built on: a `+` in a query counts as a space, as in forms; empty parameters
//! (`a=1&&b=2`) are left out; names in `SignedHeaders` may come in any order. Signatures of chunked uploads
//! (`STREAMING-…`) and SigV4A are refused, as API Gateway refuses them.

mod canonical;
mod credentials;
mod fault;
mod ini;
mod key;
mod moment;
pub mod outside;
mod presented;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

use aws_lc_rs::digest::{SHA256, digest};
pub(crate) use credentials::{CredentialStore, Identities, Signer};
pub(crate) use fault::{Fault, FaultKind};
use http::{HeaderMap, Method, Uri};
pub(crate) use moment::Moment;
pub(crate) use presented::{IN_QUERY, TOKEN_IN_QUERY};
pub(crate) use sign::{SignError, sign};
pub(crate) use verify::{Claim, Expected, begin};

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What the scope of a credential ends with.
const TERMINATOR: &str = "aws4_request";

const X_AMZ_CONTENT_SHA256: &str = "x-amz-content-sha256";
const X_AMZ_DATE: &str = "x-amz-date";
const X_AMZ_SECURITY_TOKEN: &str = "x-amz-security-token";

/// A SHA-256 as it is.
pub(crate) type Sha256 = [u8; 32];

/// What is signed of a request, as it stands on the wire: before any mapping of its path, with its escapes.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The method.
    pub(crate) method: &'a str,
    /// The path, escaped.
    pub(crate) path: &'a str,
    /// The query, escaped.
    pub(crate) query: Option<&'a str>,
    /// `:authority` of HTTP/2, the host where there is no header `host`.
    pub(crate) authority: Option<&'a str>,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> Message<'a> {
    /// The message that a request is.
    pub(crate) fn of(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        Self { method: method.as_str(), path: uri.path(), query: uri.query(), authority, headers }
    }
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Lower-case digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
        digits.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    digits
}

/// The SHA-256 that 64 digits say.
fn unhex(digits: &str) -> Option<Sha256> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(hash)
}
