//! Signs a request that the gateway sends to AWS, as the Invoke API of Lambda wants it.

use std::time::SystemTime;

use http::{HeaderValue, header, request::Parts};

use super::{
    ALGORITHM, Message, Sha256, TERMINATOR, X_AMZ_CONTENT_SHA256, X_AMZ_DATE, X_AMZ_SECURITY_TOKEN,
    canonical::{self, Query},
    credentials::Identity,
    hex,
    key::Scope,
    moment::Moment,
    sha256,
};

/// A request that cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignError {
    /// It has neither a header `host` nor an authority.
    #[error("a request that names no host cannot be signed")]
    NoHost,
    /// The region or the service cannot stand in a header.
    #[error("the region or the service is not printable ASCII")]
    NoText,
}

/// Signs a request: sets `x-amz-date`, `x-amz-security-token` where the identity has a session token, and
/// `authorization`. Signed are the host, the content's type, and each header that begins with `x-amz-`; those may be
/// changed no more. `body` is the SHA-256 of the body.
///
/// # Errors
/// When the request cannot be signed; it may have got some of the headers.
pub(crate) fn sign(
    request: &mut Parts,
    body: &Sha256,
    identity: &Identity,
    (region, service): (&str, &str),
    now: SystemTime,
) -> Result<(), SignError> {
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| SignError::NoText);
    let moment = Moment::from(now);
    let date = moment.to_string();
    request.headers.insert(X_AMZ_DATE, text(&date)?);
    request.headers.remove(X_AMZ_SECURITY_TOKEN);
    // It would stand for the hash that is given.
    request.headers.remove(X_AMZ_CONTENT_SHA256);
    if let Some(token) = identity.token() {
        let mut token = text(token)?;
        token.set_sensitive(true);
        request.headers.insert(X_AMZ_SECURITY_TOKEN, token);
    }
    let message = Message::of(&request.method, &request.uri, &request.headers);
    let is_signed = |name: &&str| name.starts_with("x-amz-") || *name == header::CONTENT_TYPE.as_str();
    let mut signed: Vec<_> = request.headers.keys().map(header::HeaderName::as_str).filter(is_signed).collect();
    signed.push("host");
    signed.sort_unstable();
    let query = message.query.map(Query::parse).unwrap_or_default();
    let mut canonical = Vec::with_capacity(1024);
    canonical::head(&mut canonical, &message, &query, &signed).map_err(|_| SignError::NoHost)?;
    canonical.extend_from_slice(hex(body).as_bytes());
    let date = date.get(..8).unwrap_or_default();
    let key = identity.secret_key().signing_key(Scope { date, region, service });
    let signature = hex(key.sign(moment, &hex(&sha256(&canonical))).as_ref());
    let mut authorization = text(&format!(
        "{ALGORITHM} Credential={}/{date}/{region}/{service}/{TERMINATOR}, SignedHeaders={}, Signature={signature}",
        identity.access_key(),
        signed.join(";"),
    ))?;
    authorization.set_sensitive(true);
    request.headers.insert(header::AUTHORIZATION, authorization);
    Ok(())
}
