//! From a token's text to what it says: through the thread's cache, or by the keys of the issuers that are trusted.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    claims::{Claims, Clock, Expected},
    fault::TokenFault,
    source::{KeySetError, KeySource, Pace},
    token::Token,
    verified::{self, Verified},
};
use crate::config::authorizers::JwksSource;

/// Why a token is not taken.
#[derive(Debug)]
pub(super) enum Rejection {
    /// The token.
    Token(TokenFault),
    /// The keys that it would be verified with are not there.
    Keys(Arc<KeySetError>),
}

impl From<TokenFault> for Rejection {
    fn from(fault: TokenFault) -> Self {
        Self::Token(fault)
    }
}

/// Verifies tokens of one authorizer.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Tells its entries in the cache from those of others.
    id: u64,
    issuers: Vec<Issuer>,
    audience: Option<Vec<String>>,
    leeway: Duration,
}

#[derive(Debug)]
struct Issuer {
    name: String,
    keys: Arc<KeySource>,
}

impl Verifier {
    /// Trusts these issuers, each with where its keys are.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(super) fn open(
        issuers: Vec<(String, JwksSource)>,
        audience: Option<Vec<String>>,
        leeway: Duration,
        ca: Option<&Path>,
        pace: Pace,
    ) -> Result<Self, KeySetError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let open =
            |(name, from): (String, JwksSource)| Ok(Issuer { keys: KeySource::open(&name, &from, ca, pace)?, name });
        let issuers = issuers.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), issuers, audience, leeway })
    }

    /// What a token says, if it holds now.
    pub(super) async fn verify(&self, text: &[u8]) -> Result<Arc<Claims>, Rejection> {
        let clock = self.clock();
        if let Some(Verified { claims, issuer, generation }) = verified::find(self.id, text)
            && self.issuers[issuer].keys.generation() == generation
        {
            claims.check_time(clock)?;
            return Ok(claims);
        }
        let token = std::str::from_utf8(text).map_err(|_| TokenFault::Malformed)?;
        let token = Token::parse(token)?;
        let index = self.issuer_of(&token)?;
        let issuer = &self.issuers[index];
        let current = issuer.keys.keys_for(&token).await.map_err(Rejection::Keys)?;
        current.keys.verify(&token)?;
        let expected = Expected { issuer: &issuer.name, audience: self.audience.as_deref() };
        let claims = Arc::new(Claims::check(token.claims()?, expected, clock)?);
        let known = Verified { claims: Arc::clone(&claims), issuer: index, generation: current.generation };
        verified::keep(self.id, text, known);
        Ok(claims)
    }

    /// Whose keys to try. Where there are several issuers, the token's own word chooses, which is then checked with that
    /// issuer's keys.
    fn issuer_of(&self, token: &Token<'_>) -> Result<usize, TokenFault> {
        if self.issuers.len() == 1 {
            return Ok(0);
        }
        let claims = token.claims()?;
        let named = claims.get("iss").and_then(|name| name.as_str());
        self.issuers.iter().position(|issuer| Some(issuer.name.as_str()) == named).ok_or(TokenFault::Issuer)
    }

    fn clock(&self) -> Clock {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Clock { now_s, leeway_s: self.leeway.as_secs_f64() }
    }
}
