//! Where a request's token is: a header or a query parameter, as API Gateway names them (`identitySource`).
//!
//! What always holds: a request has one token. Where it has several, in several headers, parameters or sources, it is
//! refused, for the integration may look at another one than we do (RFC 6750, section 2).

use http::{HeaderMap, HeaderName};

use super::fault::TokenFault;

const HEADER: [&str; 2] = ["$request.header.", "method.request.header."];
const QUERY: [&str; 2] = ["$request.querystring.", "method.request.querystring."];

/// What stands before a token in a header (RFC 6750, section 2.1); its case does not matter (RFC 9110, section 11.1).
const SCHEME: &[u8] = b"Bearer ";

/// What an identity source looks like.
pub(crate) const EXPECTED: &str =
    "\"$request.header.NAME\" or \"$request.querystring.NAME\", NAME of letters, digits, - and _";

/// Where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentitySource {
    /// A header.
    Header(HeaderName),
    /// A query parameter.
    Query(String),
}

impl IdentitySource {
    /// Reads a source as API Gateway writes it: `$request.header.Authorization`, or `method.request.header.Authorization`
    /// as in REST APIs.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let after = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
        if let Some(name) = after(HEADER) {
            return name.parse().ok().map(Self::Header);
        }
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        after(QUERY).filter(is_name).map(|name| Self::Query(name.to_owned()))
    }
}

/// The request's one token, as it came. A header's may stand behind `Bearer `.
pub(super) fn token<'r>(
    sources: &[IdentitySource],
    headers: &'r HeaderMap,
    query: Option<&'r str>,
) -> Result<&'r [u8], TokenFault> {
    let mut found = None;
    for source in sources {
        match source {
            IdentitySource::Header(name) => {
                for value in headers.get_all(name) {
                    only(&mut found, without_scheme(value.as_bytes()))?;
                }
            }
            IdentitySource::Query(name) => {
                let pairs = query.into_iter().flat_map(|query| query.split('&'));
                // A token has no character that a query must encode.
                for (_, value) in pairs.filter_map(|pair| pair.split_once('=')).filter(|(own, _)| own == name) {
                    only(&mut found, value.as_bytes())?;
                }
            }
        }
    }
    found.ok_or(TokenFault::Missing)
}

fn only<'r>(found: &mut Option<&'r [u8]>, token: &'r [u8]) -> Result<(), TokenFault> {
    match found.replace(token) {
        None => Ok(()),
        Some(_) => Err(TokenFault::Several),
    }
}

fn without_scheme(value: &[u8]) -> &[u8] {
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token,
        _ => value,
    }
}
