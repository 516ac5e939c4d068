//! What is known of a request beyond its record: where it belongs, who asks, and how each phase went.
//!
//! Access-log formats, mappings, gateway responses and the events of Lambda functions all read from here: `$context`
//! means the same everywhere.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use serde_json::{Map, Value};
use weir_record::AccessRecord;

use crate::{
    auth::jwt::Claims,
    connection::Client,
    privacy::Privacy,
    serving::{Api, Route, Stage},
    target::{Target, normalise},
};

/// What is known of a request beyond its record.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Where it belongs, as far as it was found.
    pub place: Place,
    /// The connection that it came on.
    pub client: Rc<Client>,
    /// The client's address: the peer's, or what a trusted proxy said.
    pub address: IpAddr,
    /// The query string as it was received, without its question mark.
    pub query: Option<String>,
    /// How many of the path's segments stand before what the routes see: base path and stage.
    pub below: usize,
    /// The base path of the domain's mapping that matched, without slashes at its ends; none without a mapping.
    pub base_path: Option<Arc<str>>,
    /// What is known of the caller; rare, so that most requests do not pay for it.
    pub caller: Option<Box<Caller>>,
    /// How the signature or token was checked.
    pub authenticate: Option<Phase>,
    /// How the authorizer decided.
    pub authorizer: Option<Box<AuthorizerFacts>>,
    /// How the policies decided.
    pub authorize: Option<Phase>,
    /// How the integration did, beyond the record.
    pub integration: IntegrationFacts,
    /// Why the gateway itself answered.
    pub error: Option<ErrorFacts>,
}

impl Facts {
    /// The value of a parameter in this path, as it was written.
    pub(crate) fn parameter(&self, path: &str, name: &str) -> Option<String> {
        let path = normalise(path).ok()?;
        let parameters = self.place.route()?.key.parameters(&Target::new(&path), self.below);
        parameters.into_iter().find_map(|(own, value)| (own == name).then(|| value.to_owned()))
    }

    /// Makes the record say of the client what it may; whether that is who asked, as it is.
    pub(crate) fn keep_back(&self, privacy: &Privacy, record: &mut AccessRecord) -> bool {
        let text = (self.address == self.client.peer.ip()).then(|| self.client.peer_text());
        record.client_address = privacy.shown(self.address, text);
        privacy.apply(record, self.query.as_deref());
        privacy.tells_principal()
    }

    /// Forgets of who asked what no access log may say: all but what the record says.
    pub(crate) fn forget_principal(&mut self, told: Option<&String>) {
        if self.caller.take().is_some() {
            // What the client was told may name the signer.
            self.error.iter_mut().for_each(|error| error.message = None);
        }
        if let Some(authorizer) = &mut self.authorizer {
            authorizer.principal_id = told.cloned();
            (authorizer.claims, authorizer.context, authorizer.phase.error) = (None, None, None);
        }
    }
}

/// Where a request belongs.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Nowhere: no API is served there.
    Nowhere,
    /// An API, but none of its stages.
    Api(Arc<Api>),
    /// A stage, but none of its routes.
    Stage(Arc<Stage>),
    /// A route.
    Route(Arc<Route>),
}

impl Place {
    /// The API.
    pub(crate) fn api(&self) -> Option<&Arc<Api>> {
        match self {
            Self::Nowhere => None,
            Self::Api(api) => Some(api),
            Self::Stage(stage) => Some(&stage.api),
            Self::Route(route) => Some(&route.stage.api),
        }
    }

    /// The stage.
    pub(crate) fn stage(&self) -> Option<&Arc<Stage>> {
        match self {
            Self::Nowhere | Self::Api(_) => None,
            Self::Stage(stage) => Some(stage),
            Self::Route(route) => Some(&route.stage),
        }
    }

    /// The route.
    pub(crate) fn route(&self) -> Option<&Arc<Route>> {
        match self {
            Self::Route(route) => Some(route),
            _ => None,
        }
    }
}

/// Who signed the request, and with which API key it came: `$context.identity`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// Access key id of the signature.
    pub access_key: Option<String>,
    /// Account of the signer.
    pub account_id: Option<String>,
    /// The signer's id: `$context.identity.caller` and `.user`.
    pub user_id: Option<String>,
    /// The signer's ARN.
    pub user_arn: Option<String>,
    /// The signer's organisation.
    pub principal_org_id: Option<String>,
}

/// How one phase went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    /// 200 it passed, 401 or 403 it refused, 500 it failed.
    pub status: u16,
    /// How long it took, microseconds.
    pub latency_us: u64,
    /// Why it refused or failed, in words.
    pub error: Option<String>,
}

/// What an authorizer said.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthorizerFacts {
    /// How it went.
    pub phase: Phase,
    /// Which kind of authorizer.
    pub kind: AuthorizerKind,
    /// Who asks: `$context.authorizer.principalId`.
    pub principal_id: Option<String>,
    /// What a token says and its scopes, for JWT and Cognito authorizers.
    pub claims: Option<Arc<Claims>>,
    /// What a Lambda authorizer said besides: `$context.authorizer.<name>`.
    pub context: Option<Arc<Map<String, Value>>>,
    /// Id of the call to the authorizer's function.
    pub request_id: Option<String>,
    /// How long its function took, microseconds; none when its answer was cached.
    pub integration_latency_us: Option<u64>,
    /// Status of the call to its function.
    pub integration_status: Option<u16>,
}

/// Which kind of authorizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AuthorizerKind {
    /// A JWT authorizer.
    #[default]
    Jwt,
    /// A Cognito user pool authorizer.
    Cognito,
    /// A Lambda authorizer.
    Lambda,
}

/// How the integration did, beyond the record.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntegrationFacts {
    /// What went wrong with it, in words.
    pub error: Option<String>,
    /// Its own id of the request: `x-amzn-requestid` or `x-amz-request-id`.
    pub request_id: Option<String>,
    /// `x-amz-id-2`.
    pub request_id_2: Option<String>,
    /// For Lambda: the status of the call; the record has the status that the function gave.
    pub service_status: Option<u16>,
}

/// Why the gateway itself answered.
#[derive(Clone, Debug)]
pub(crate) struct ErrorFacts {
    /// What the client is told: `$context.error.message`.
    pub message: Option<String>,
    /// API Gateway's response type: `THROTTLED`.
    pub response_type: &'static str,
}
