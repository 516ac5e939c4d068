//! Who asks, and whether they may.

#[cfg_attr(not(test), expect(dead_code, reason = "called where routes of kind rest find their authorizer"))]
pub(crate) mod cognito;
pub(crate) mod jwt;
pub(crate) mod key;

use std::{sync::Arc, time::Instant};

use http::HeaderMap;
use jwt::JwtAuthorizer;
use key::Keys;

use crate::{config::apis::Auth, exchange::Exchange, refusal::Refusal};

/// What stands before a route.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// Nothing.
    Open,
    /// An API key.
    Key(Arc<Keys>),
    /// A token.
    Jwt(Arc<JwtAuthorizer>),
}

impl Guard {
    /// The guard that a definition asks for.
    pub(crate) fn new(auth: &Auth, keys: &Arc<Keys>, authorizers: &[Arc<JwtAuthorizer>]) -> Self {
        match auth {
            Auth::None => Self::Open,
            Auth::ApiKey => Self::Key(Arc::clone(keys)),
            Auth::Jwt(name) => {
                let found = authorizers.iter().find(|authorizer| authorizer.name() == name);
                Self::Jwt(Arc::clone(found.expect("the configuration names only authorizers that it defines")))
            }
        }
    }

    /// Lets the request pass, or not; the record learns who asked and how long it took.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        api: &str,
        stage: &str,
        exchange: &mut Exchange,
    ) -> Result<(), Refusal> {
        let begun = Instant::now();
        let admitted = match self {
            Self::Open => return Ok(()),
            Self::Key(keys) => keys.check(headers, api, stage).map(|id| exchange.record.api_key_id = Some(id)),
            Self::Jwt(authorizer) => {
                let claims = authorizer.check(headers, None, &[]).await;
                claims.map(|claims| exchange.record.principal = claims.principal().map(str::to_owned))
            }
        };
        let status = admitted.as_ref().err().map_or(200, |refusal| refusal.response().status().as_u16());
        exchange.authorized(begun.elapsed(), status);
        admitted
    }
}
