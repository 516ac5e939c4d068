//! The way into signatures for the fuzz target `sigv4` and for the tests with foreign signers, which know nothing of the
//! gateway's types.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, request::Parts};

use super::{Claim, Expected, Identities, Message, begin, canonical, sha256, sign};

/// A service, as both sides name it.
const SERVICE: &str = "execute-api";

/// Identities that are known.
#[derive(Debug)]
pub struct Signers(Identities);

impl Signers {
    /// Reads a file of credentials.
    ///
    /// # Errors
    /// When it cannot be used; what is wrong in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Identities::parse(text).map(Self).map_err(|problem| problem.0)
    }

    /// Who signed a request for `execute-api` in any region: the signer's ARN.
    ///
    /// # Errors
    /// When the signature does not hold: AWS's type of error, and the message.
    pub fn verify(&self, request: &Parts, body: &[u8], now: SystemTime) -> Result<String, (&'static str, String)> {
        let message = Message::of(&request.method, &request.uri, &request.headers);
        let signer = match begin(&message, &Expected { service: SERVICE, region: None }, &self.0, now) {
            Ok(Claim::Holds(signer)) => Ok(signer),
            Ok(Claim::NeedsBody(pending)) => pending.finish(&sha256(body)),
            Err(fault) => Err(fault),
        };
        match signer {
            Ok(signer) => Ok(signer.user_arn().to_owned()),
            Err(fault) => Err((fault.kind.error_type(), fault.message.into_owned())),
        }
    }

    /// Signs a request as the identity of a section; whether it could be signed.
    pub fn sign(&self, section: &str, request: &mut Parts, body: &[u8], now: SystemTime) -> bool {
        let identity = self.0.named(section);
        identity.is_some_and(|identity| sign(request, &sha256(body), identity, ("eu-central-1", SERVICE), now).is_ok())
    }
}

/// A path and a query in their canonical forms.
#[must_use]
pub fn canonicalize(path: &str, query: &str) -> (String, String) {
    let (mut canonical_path, mut canonical_query) = (Vec::new(), Vec::new());
    canonical::path(&mut canonical_path, path);
    canonical::Query::parse(query).write(&mut canonical_query);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(canonical_path), text(canonical_query))
}

/// A request out of any text: the first line is `METHOD TARGET`, the others are headers, `name:value`. None when it is
/// none.
#[must_use]
pub fn request(text: &str) -> Option<Parts> {
    let mut lines = text.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value);
    }
    request.body(()).ok().map(|request| request.into_parts().0)
}

/// A moment: 30 August 2015, 12:36:00, at which AWS's examples were signed.
#[must_use]
pub fn moment_of_examples() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}
