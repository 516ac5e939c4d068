//! Whether a request's signature holds, and who signed it.

use std::{sync::Arc, time::SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{
    Message, Sha256, TERMINATOR, X_AMZ_CONTENT_SHA256, X_AMZ_SECURITY_TOKEN,
    canonical::{self, Query},
    credentials::{Identities, Identity, Signer},
    fault::Fault,
    hex,
    key::{Scope, SigningKey},
    moment::Moment,
    presented::Presented,
    sha256, unhex,
};

/// In the place of a body's hash: the body is not signed.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// How many characters of an unknown access key are told to the operator: it could be a secret in the wrong place.
const SHOWN_CHARACTERS: usize = 8;

/// What a credential must be scoped to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// The service: `execute-api`.
    pub(crate) service: &'a str,
    /// The region; none when any will do.
    pub(crate) region: Option<&'a str>,
}

/// What is known of a signature before the body has come.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It holds, whatever the body: `UNSIGNED-PAYLOAD`.
    Holds(Signer),
    /// It needs the hash of the body.
    NeedsBody(Pending),
}

/// A signature that the body's hash will prove or disprove.
#[derive(Debug)]
pub(crate) struct Pending(Proof);

#[derive(Debug)]
enum Proof {
    /// The signature holds for a body of this hash.
    Hash(Sha256, Signer),
    /// The body's hash is part of what was signed.
    Signature(Box<Claimed>),
}

/// A signature with all that it is compared to, but the body's hash.
struct Claimed {
    /// Whose it is said to be. When nobody has the access key, nobody's.
    identity: Arc<Identity>,
    access_key: String,
    is_known: bool,
    /// Whether the session token is the identity's.
    has_token: bool,
    now: Moment,
    moment: Moment,
    key: Arc<SigningKey>,
    /// The canonical request up to the hash of the body.
    head: Vec<u8>,
    signature: Option<Sha256>,
}

impl std::fmt::Debug for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The head has the session token.
        f.debug_struct("Claimed")
            .field("identity", &self.identity)
            .field("moment", &self.moment)
            .finish_non_exhaustive()
    }
}

/// Looks at everything of a request but its body.
///
/// # Errors
/// When the request is not signed, or its signature does not hold whatever the body. Whether anybody has the access key
/// may be told only when the body has come.
pub(crate) fn begin(
    message: &Message<'_>,
    expected: &Expected<'_>,
    identities: &Identities,
    now: SystemTime,
) -> Result<Claim, Fault> {
    let query = message.query.map(Query::parse).unwrap_or_default();
    let presented = Presented::find(message, &query)?;
    let now = Moment::from(now);
    presented.check_time(now)?;
    let signed = signed_headers(&presented, message)?;
    let (access_key, scope) = scope(&presented, expected)?;
    let known = identities.find(access_key);
    let is_known = known.is_some();
    let identity = known.unwrap_or_else(|| identities.nobody());
    let mut head = Vec::with_capacity(1024);
    canonical::head(&mut head, message, &query, &signed)
        .map_err(|absent| Fault::mismatch(format!("the signed header {:?} is not in the request", absent.0)))?;
    let key = identity.secret_key().signing_key(scope);
    let has_token = identity.has_token(presented.token.as_deref());
    let (identity, access_key) = (Arc::clone(identity), access_key.to_owned());
    let (moment, signature) = (presented.moment, presented.signature);
    let claimed = Claimed { identity, access_key, is_known, has_token, now, moment, key, head, signature };
    match declared_hash(message, &query, &presented)? {
        None => Ok(Claim::NeedsBody(Pending(Proof::Signature(Box::new(claimed))))),
        Some(declared) => {
            let signer = claimed.prove(&declared)?;
            match unhex(&declared) {
                None => Ok(Claim::Holds(signer)),
                Some(hash) => Ok(Claim::NeedsBody(Pending(Proof::Hash(hash, signer)))),
            }
        }
    }
}

impl Pending {
    /// Whether the signature has been proven already, so that only the body is still to be what it says. Otherwise
    /// anybody may have sent the request.
    pub(crate) fn is_proven(&self) -> bool {
        matches!(self.0, Proof::Hash(..))
    }

    /// Who signed the request, given the SHA-256 of its body.
    ///
    /// # Errors
    /// When the signature does not hold.
    pub(crate) fn finish(self, body: &Sha256) -> Result<Signer, Fault> {
        match self.0 {
            Proof::Hash(hash, signer) if hash == *body => Ok(signer),
            Proof::Hash(..) => Err(Fault::mismatch("the body is another one than x-amz-content-sha256 says")),
            Proof::Signature(claimed) => claimed.prove(&hex(body)),
        }
    }
}

impl Claimed {
    /// Who signed the request, given what it says as its body's hash.
    fn prove(mut self, payload: &str) -> Result<Signer, Fault> {
        self.head.extend_from_slice(payload.as_bytes());
        let hash = hex(&sha256(&self.head));
        let expected = self.key.sign(self.moment, &hash);
        let holds = verify_slices_are_equal(expected.as_ref(), &self.signature.unwrap_or_default()).is_ok();
        if !self.is_known {
            let shown: String = self.access_key.chars().take(SHOWN_CHARACTERS).collect();
            return Err(Fault::unrecognized(format!("nobody has the access key that begins with {shown:?}")));
        }
        let who = self.identity.section();
        if !holds || self.signature.is_none() {
            return Err(Fault::mismatch(format!(
                "signed as [{who}]; the canonical request's SHA-256 should be {hash}"
            )));
        }
        if !self.has_token {
            return Err(Fault::unrecognized(format!("the session token is not that of [{who}]")));
        }
        if self.identity.expires().is_some_and(|end| end <= self.now) {
            return Err(Fault::expired_token(format!("the session token of [{who}] has expired")));
        }
        Ok(Signer::new(self.identity))
    }
}

/// The names of the signed headers in order.
fn signed_headers<'a>(presented: &'a Presented<'_>, message: &Message<'_>) -> Result<Vec<&'a str>, Fault> {
    let mut names: Vec<_> = presented.signed_headers.split(';').collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault::incomplete("'SignedHeaders' has a name more than once."));
    }
    if !names.contains(&"host") {
        let message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(Fault::invalid(message, None));
    }
    // Both are signed in other ways too, the date in what is signed of itself, the hash in the last line; not the token.
    let must = |name: &str| message.headers.contains_key(name) && !names.contains(&name);
    if !presented.is_in_query() && must(X_AMZ_SECURITY_TOKEN) {
        let message = "'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(Fault::invalid(message, None));
    }
    Ok(names)
}

/// The access key and the scope of a credential.
fn scope<'a>(presented: &'a Presented<'_>, expected: &Expected<'_>) -> Result<(&'a str, Scope<'a>), Fault> {
    let mut parts = presented.credential.split('/');
    let parts = [(); 6].map(|()| parts.next());
    let [Some(access_key), Some(date), Some(region), Some(service), Some(terminator), None] = parts else {
        let message = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.";
        return Err(Fault::incomplete(message));
    };
    let mut wrong = String::new();
    if expected.region.is_some_and(|expected| expected != region) || region.is_empty() {
        wrong += "Credential should be scoped to a valid region. ";
    }
    if service != expected.service {
        wrong += &format!("Credential should be scoped to correct service: '{}'. ", expected.service);
    }
    if terminator != TERMINATOR {
        wrong += &format!("Credential should be scoped with a valid terminator: '{TERMINATOR}'. ");
    }
    let moment = presented.moment.to_string();
    if !moment.starts_with(date) || date.len() != 8 {
        let shown: String = date.chars().filter(char::is_ascii_digit).take(8).collect();
        let day = moment.get(..8).unwrap_or_default();
        wrong += &format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{shown}' != \
             '{day}', from '{moment}'. "
        );
    }
    if wrong.is_empty() {
        return Ok((access_key, Scope { date, region, service }));
    }
    let detail = format!("the credential is scoped to {date:?}, {region:?}, {service:?}, {terminator:?}");
    Err(Fault::invalid(wrong.trim_end().to_owned(), Some(detail)))
}

/// What the request says as its body's hash: 64 digits, or that the body is not signed. It is part of the canonical
/// request, so nobody but the signer can have said it.
fn declared_hash(message: &Message<'_>, query: &Query, presented: &Presented<'_>) -> Result<Option<String>, Fault> {
    let unusable = || {
        let expected = "the SHA-256 of the body in hexadecimal digits, or UNSIGNED-PAYLOAD";
        Fault::incomplete(format!("Header 'x-amz-content-sha256' must be {expected}."))
    };
    let mut values = message.headers.get_all(X_AMZ_CONTENT_SHA256).iter();
    let declared = match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().map_err(|_| unusable())?.trim().to_owned()),
        (None, _) if presented.is_in_query() => {
            query.only("X-Amz-Content-Sha256").map_err(|_| unusable())?.map(str::to_owned)
        }
        (None, _) => None,
        (Some(_), Some(_)) => return Err(unusable()),
    };
    let is_signed =
        presented.is_in_query() || presented.signed_headers.split(';').any(|name| name == X_AMZ_CONTENT_SHA256);
    match declared {
        Some(declared) if declared == UNSIGNED_PAYLOAD && !is_signed => {
            let message = "'x-amz-content-sha256' must be a 'SignedHeader' in the AWS Authorization.";
            Err(Fault::invalid(message, None))
        }
        Some(declared) if declared != UNSIGNED_PAYLOAD && unhex(&declared).is_none() => Err(unusable()),
        declared => Ok(declared),
    }
}
