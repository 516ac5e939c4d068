//! JSON Web Tokens: API Gateway's JWT authorizer for HTTP APIs
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>), and what the authorizer
//! of Cognito user pools shares with it ([`super::cognito`]). AWS takes RSA signatures alone; those of elliptic curves and
//! PSS are taken too.
//!
//! A token's way: where it stands in the request (`identity`), its parts (`token`), the key that it names (`source` has
//! the key sets, `keys` one of them), its claims (`claims`). What a thread has verified it remembers (`verified`).
//!
//! What always holds: a token cannot choose how it is checked. Its algorithm is one of an allow-list and one that its
//! key may be used with, and the key comes from its issuer alone.

mod algorithm;
mod claims;
mod fault;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod identity;
mod keeper;
mod keys;
mod source;
mod token;
mod verified;
mod verifier;

use std::sync::Arc;

pub(crate) use claims::Claims;
pub(crate) use fault::TokenFault;
use http::HeaderMap;
pub(crate) use source::KeySetError;
use source::Pace;
use verifier::{Rejection, Verifier};
use weir_record::Outcome;

use crate::{
    config::authorizers::{JwksSource, JwtDefinition},
    refusal::Refusal,
};

/// Takes tokens of one issuer.
#[derive(Debug)]
pub(crate) struct JwtAuthorizer {
    tokens: Tokens,
}

impl JwtAuthorizer {
    /// An authorizer; a key set in a file is read now, one at a URL as soon as may be.
    ///
    /// # Errors
    /// When a file cannot be read, or is no key set.
    pub(crate) fn new(definition: JwtDefinition) -> Result<Self, KeySetError> {
        Self::with_pace(definition, Pace::default())
    }

    fn with_pace(definition: JwtDefinition, pace: Pace) -> Result<Self, KeySetError> {
        let JwtDefinition { name: _, issuer, audience, jwks, ca, identity_source, leeway } = definition;
        let verifier = Verifier::open(vec![(issuer, jwks)], Some(audience), leeway, ca.as_deref(), pace)?;
        Ok(Self { tokens: Tokens { identity_source, verifier } })
    }

    /// What the request's token says, if it holds and has one of these scopes (none asked for is none needed).
    ///
    /// # Errors
    /// 401 with the reason as a challenge, 403 when a scope is missing, 500 when the issuer's keys cannot be had.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        scopes: &[String],
    ) -> Result<Arc<Claims>, Refusal> {
        let claims = self.tokens.claims(headers, query, |fault| fault.challenge(&[])).await?;
        if claims.has_scope_of(scopes) { Ok(claims) } else { Err(TokenFault::Scope.challenge(scopes)) }
    }
}

/// The tokens of requests, from where they stand to what they say.
#[derive(Debug)]
pub(super) struct Tokens {
    identity_source: Vec<identity::IdentitySource>,
    verifier: Verifier,
}

impl Tokens {
    /// Tokens of several issuers, for whomever they are meant.
    pub(super) fn of_issuers(
        issuers: Vec<(String, JwksSource)>,
        ca: Option<&std::path::Path>,
        identity_source: Vec<identity::IdentitySource>,
    ) -> Result<Self, KeySetError> {
        let verifier = Verifier::open(issuers, None, std::time::Duration::ZERO, ca, Pace::default())?;
        Ok(Self { identity_source, verifier })
    }

    /// What the request's token says, if it holds.
    pub(super) async fn claims(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        refuse: impl Fn(TokenFault) -> Refusal,
    ) -> Result<Arc<Claims>, Refusal> {
        let token = identity::token(&self.identity_source, headers, query).map_err(&refuse)?;
        self.verifier.verify(token).await.map_err(|rejection| match rejection {
            Rejection::Token(fault) => refuse(fault),
            Rejection::Keys(error) => Refusal::with_detail(Outcome::AuthorizerFailure, error.to_string()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
