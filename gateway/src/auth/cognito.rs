//! Cognito user pools: the authorizer of REST APIs
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-integrate-with-cognito.html>).
//!
//! Where a method asks for scopes, an access token with one of them is wanted; where it asks for none, an ID token.

use std::sync::Arc;

use http::HeaderMap;

use super::jwt::{Claims, KeySetError, TokenFault, Tokens};
use crate::{
    config::authorizers::{CognitoDefinition, Pattern},
    refusal::Refusal,
};

/// Takes tokens of user pools.
#[derive(Debug)]
pub(crate) struct CognitoAuthorizer {
    tokens: Tokens,
    audience_pattern: Option<Pattern>,
}

impl CognitoAuthorizer {
    /// An authorizer; the pools' keys are read as soon as may be.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn new(definition: CognitoDefinition) -> Result<Self, KeySetError> {
        let CognitoDefinition { name: _, user_pools, ca, identity_source, audience_pattern } = definition;
        let issuers = user_pools.into_iter().map(|pool| (pool.issuer, pool.jwks)).collect();
        Ok(Self { tokens: Tokens::of_issuers(issuers, ca.as_deref(), identity_source)?, audience_pattern })
    }

    /// What the request's token says, if it is the one that a method with these scopes asks for.
    ///
    /// # Errors
    /// 401, or 500 when a pool's keys cannot be had.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        scopes: &[String],
    ) -> Result<Arc<Claims>, Refusal> {
        let claims = self.tokens.claims(headers, query, TokenFault::without_challenge).await?;
        self.admit(&claims, scopes).map_err(TokenFault::without_challenge)?;
        Ok(claims)
    }

    fn admit(&self, claims: &Claims, scopes: &[String]) -> Result<(), TokenFault> {
        let wanted = if scopes.is_empty() { "id" } else { "access" };
        if claims.string("token_use") != Some(wanted) {
            return Err(TokenFault::Use);
        }
        // An access token has no audience, and so never fits a pattern.
        let fits = |pattern: &Pattern| claims.string("aud").is_some_and(|audience| pattern.is_match(audience));
        if !self.audience_pattern.as_ref().is_none_or(fits) {
            return Err(TokenFault::Audience);
        }
        if claims.has_scope_of(scopes) { Ok(()) } else { Err(TokenFault::Scope) }
    }
}

#[cfg(test)]
mod tests;
