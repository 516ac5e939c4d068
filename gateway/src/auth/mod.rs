//! Who asks, and whether they may.

pub(crate) mod cognito;
mod iam;
pub(crate) mod jwt;
pub(crate) mod key;
pub(crate) mod lambda;
pub(crate) mod policy;

use std::sync::Arc;

use cognito::CognitoAuthorizer;
use http::Request;
use jwt::{Claims, JwtAuthorizer};
use lambda::LambdaAuthorizer;

use crate::{
    body::{Upload, UploadBody},
    core::Core,
    exchange::Exchange,
    facts::{AuthorizerFacts, AuthorizerKind},
    refusal::Refusal,
    serving::Route,
    sigv4::CredentialStore,
    target::Target,
};

/// What stands before a route.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// Nothing.
    Open,
    /// A signature by one of these.
    Iam(Arc<CredentialStore>),
    /// A token.
    Jwt(Arc<JwtAuthorizer>),
    /// A token of a user pool.
    Cognito(Arc<CognitoAuthorizer>),
    /// What a function says.
    Lambda(Arc<LambdaAuthorizer>),
}

/// A request that asks to pass.
pub(crate) struct Asking<'r> {
    /// The thread that serves it.
    pub core: &'r Core,
    /// The route that it asks for.
    pub route: &'r Route,
    /// Its target.
    pub target: &'r Target<'r>,
    /// The request.
    pub request: &'r mut Request<UploadBody>,
    /// What is known of it.
    pub exchange: &'r mut Exchange,
    /// What has come of its body.
    pub upload: &'r Upload,
}

impl Guard {
    /// Whether everybody may pass.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Lets the request pass, or not; the exchange learns who asked.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) async fn admit(&self, asking: Asking<'_>) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Iam(credentials) => iam::admit(credentials, asking).await,
            // On the heap, for it is many times larger than the rest, and room for it would be made for each request.
            Self::Lambda(authorizer) => Box::pin(authorizer.admit(asking)).await,
            Self::Jwt(authorizer) => {
                asking.exchange.facts.authorizer = Some(Box::default());
                let (request, query) = (&*asking.request, asking.request.uri().query());
                let claims = authorizer.check(request.headers(), query, &asking.route.scopes).await?;
                note(asking.exchange, AuthorizerKind::Jwt, claims);
                Ok(())
            }
            Self::Cognito(authorizer) => {
                asking.exchange.facts.authorizer =
                    Some(Box::new(AuthorizerFacts { kind: AuthorizerKind::Cognito, ..AuthorizerFacts::default() }));
                let (request, query) = (&*asking.request, asking.request.uri().query());
                let claims = authorizer.check(request.headers(), query, &asking.route.scopes).await?;
                note(asking.exchange, AuthorizerKind::Cognito, claims);
                Ok(())
            }
        }
    }
}

/// What a token says of who asks.
fn note(exchange: &mut Exchange, kind: AuthorizerKind, claims: Arc<Claims>) {
    let principal = claims.principal().map(str::to_owned);
    exchange.record.principal.clone_from(&principal);
    exchange.facts.authorizer = Some(Box::new(AuthorizerFacts {
        kind,
        principal_id: principal,
        claims: Some(claims),
        ..AuthorizerFacts::default()
    }));
}
