//! Lambda authorizers: a function decides who may pass
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html>).
//!
//! What the function says is kept by the values of the identity sources ([`cache`]), and what it allows is looked at for
//! every request anew: a policy that allows one route refuses the next one, as long as it is kept.

mod cache;
pub(crate) mod identity;
mod verdict;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use weir_record::Outcome;

use self::{
    cache::{Cache, Key},
    identity::{NoIdentity, Sources},
    verdict::{Failure, Verdict},
};
use super::{
    Asking,
    iam::{ACTION, circumstances, resource},
    policy::Decision,
};
use crate::{
    config::{
        definitions::ApiKind,
        lambda::{LambdaAuthorizerDefinition, PayloadVersion},
    },
    context::variable::About,
    exchange::micros,
    facts::{AuthorizerFacts, AuthorizerKind},
    integration::Upstreams,
    lambda::{
        Function, Invocation, Shape,
        event::{self, Asked},
        text,
    },
    refusal::Refusal,
    serving::ServingError,
    sigv4::{CredentialStore, sha256},
};

/// A Lambda authorizer.
#[derive(Debug)]
pub(crate) struct LambdaAuthorizer {
    definition: LambdaAuthorizerDefinition,
    function: Function,
    kept: Cache<Verdict, Failure>,
}

/// What is known of the call to the function.
#[derive(Debug, Default)]
struct Call {
    took: Duration,
    status: Option<u16>,
    request_id: Option<String>,
}

impl LambdaAuthorizer {
    /// Nothing is kept yet.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn new(
        definition: LambdaAuthorizerDefinition,
        upstreams: &mut Upstreams,
        store: Option<&Arc<CredentialStore>>,
    ) -> Result<Self, ServingError> {
        let function = Function::new(&definition.function, &BTreeMap::new(), upstreams, store)?;
        Ok(Self { definition, function, kept: Cache::new() })
    }

    /// Lets the request pass, or not.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) async fn admit(&self, asking: Asking<'_>) -> Result<(), Refusal> {
        let unknown = AuthorizerFacts { kind: AuthorizerKind::Lambda, ..AuthorizerFacts::default() };
        asking.exchange.facts.authorizer = Some(Box::new(unknown));
        let kind = asking.route.stage.api.kind;
        let arn = resource(asking.route, asking.request.method(), asking.target, asking.exchange.facts.below)?;
        let identity = self.identity(&asking, kind)?;
        let call = RefCell::new(None);
        let asked = self.ask(&asking, &arn, &identity, &call);
        let verdict = if self.definition.ttl.is_zero() {
            asked.await.map(Arc::new)
        } else {
            let now = Instant::now();
            self.kept.get(key(&asking, &identity), now, now + self.definition.ttl, asked).await
        };
        let exchange = asking.exchange;
        if let (Some(Call { took, status, request_id }), Some(facts)) =
            (call.into_inner(), exchange.facts.authorizer.as_deref_mut())
        {
            facts.integration_latency_us = Some(micros(took));
            (facts.integration_status, facts.request_id) = (status, request_id);
        }
        let verdict = verdict.map_err(|failure| refuse(&failure))?;
        exchange.record.principal.clone_from(&verdict.principal);
        exchange.usage_identifier_key.clone_from(&verdict.usage_identifier_key);
        if let Some(facts) = exchange.facts.authorizer.as_deref_mut() {
            facts.principal_id.clone_from(&verdict.principal);
            facts.context.clone_from(&verdict.context);
        }
        let circumstances = circumstances(exchange, asking.request.headers(), None);
        match verdict.decide(ACTION, &arn, &circumstances) {
            Decision::Allow => Ok(()),
            denied => Err(deny(denied, kind, &arn)),
        }
    }

    /// The form of its events and answers.
    fn shape(&self, kind: ApiKind) -> Shape {
        Shape::of(kind, self.definition.payload == PayloadVersion::V1)
    }

    /// The values that the function decides by.
    fn identity(&self, asking: &Asking<'_>, kind: ApiKind) -> Result<Vec<String>, Refusal> {
        let exchange = &*asking.exchange;
        let query = text::parameters(exchange.facts.query.as_deref());
        let sources = Sources {
            headers: asking.request.headers(),
            query: &query,
            stage: &asking.route.stage,
            about: About { record: &exchange.record, facts: &exchange.facts },
        };
        let values = match identity::values(&self.definition.identity, &sources) {
            // A REST API asks without an identity where nothing is kept by it.
            Err(NoIdentity::Missing)
                if kind == ApiKind::Rest && self.definition.ttl.is_zero() && !self.definition.is_token =>
            {
                return Ok(Vec::new());
            }
            Err(NoIdentity::Missing) => return Err(Refusal::new(Outcome::MissingIdentity)),
            Err(NoIdentity::Several) => {
                return Err(Refusal::with_detail(Outcome::Unauthorized, "an identity source has several values"));
            }
            Ok(values) => values,
        };
        match &self.definition.validation {
            Some(pattern) if !values.first().is_some_and(|token| pattern.is_match(token)) => {
                Err(Refusal::with_detail(Outcome::Unauthorized, "the token does not look like one"))
            }
            _ => Ok(values),
        }
    }

    /// Asks the function.
    async fn ask(
        &self,
        asking: &Asking<'_>,
        arn: &str,
        identity: &[String],
        call: &RefCell<Option<Call>>,
    ) -> Result<Verdict, Failure> {
        let exchange = &*asking.exchange;
        let shape = self.shape(asking.route.stage.api.kind);
        let asked = Asked { arn, identity };
        let payload = if self.definition.is_token {
            event::token(asked)
        } else {
            let mut headers = asking.request.headers().clone();
            crate::handle::to_function(&mut headers, exchange);
            let invocation = Invocation {
                route: asking.route,
                target: asking.target,
                headers: &headers,
                body: &[],
                record: &exchange.record,
                facts: &exchange.facts,
            };
            event::request(&invocation, shape, asked)
        };
        let mut context = HeaderMap::new();
        exchange.trace.write(&mut context, exchange.is_sampled());
        let begun = Instant::now();
        let reply = self.function.call(asking.core, Bytes::from(payload), context).await;
        let took = begun.elapsed();
        *call.borrow_mut() = Some(Call { took, ..Call::default() });
        let reply = reply.map_err(|error| Failure::Unusable(error.to_string()))?;
        let status = Some(reply.status.as_u16());
        *call.borrow_mut() = Some(Call { took, status, request_id: reply.request_id });
        Verdict::read(&reply.payload, shape, self.definition.has_simple_responses, reply.is_error)
    }
}

/// What an answer is kept by: the API's stage and the values of the identity sources in their order, each with its
/// length before it, so that no two lists are written alike.
fn key(asking: &Asking<'_>, identity: &[String]) -> Key {
    let stage = &asking.route.stage;
    let mut text = Vec::with_capacity(128);
    for part in [&stage.api.name, &stage.name].into_iter().chain(identity) {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    sha256(&text)
}

fn refuse(failure: &Failure) -> Refusal {
    match failure {
        Failure::Unauthorized => Refusal::with_detail(Outcome::Unauthorized, "the authorizer says Unauthorized"),
        Failure::Function(detail) => Refusal::with_detail(Outcome::AuthorizerFailure, detail),
        Failure::Unusable(detail) => Refusal::with_detail(Outcome::AuthorizerConfigurationError, detail),
    }
}

fn deny(decision: Decision, kind: ApiKind, arn: &str) -> Refusal {
    let is_explicit = decision == Decision::ExplicitDeny;
    let message = (is_explicit && kind == ApiKind::Rest)
        .then(|| "User is not authorized to access this resource with an explicit deny".to_owned());
    let how = if is_explicit { "denies" } else { "does not allow" };
    Refusal { message, ..Refusal::with_detail(Outcome::AccessDenied, format!("the authorizer {how} {arn}")) }
}
