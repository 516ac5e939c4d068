//! The variables of access logs: what API Gateway has
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html> for REST
//! APIs, <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html> for HTTP APIs) and
//! what has a meaning here.
//!
//! A name that is none, or that the other kind of API has, is an error of the configuration: it never logs `-` for ever.
//! Where Weir is exact and API Gateway is not: `protocol` is the protocol.

use std::borrow::Cow;

use serde_json::Value;
use weir_record::AccessRecord;

use super::{clf_time, extended_request_id};
use crate::{
    config::definitions::ApiKind,
    facts::{Facts, Phase},
    trace::xray,
};

/// What a request is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// Its record.
    pub record: &'a AccessRecord,
    /// What else is known of it.
    pub facts: &'a Facts,
}

type Get = for<'a> fn(&About<'a>) -> Option<Cow<'a, str>>;

/// A variable.
#[derive(Clone)]
pub(crate) enum Variable {
    /// One that always has the same name.
    Named(&'static str, Get),
    /// A claim of a token.
    Claim(String),
    /// What a Lambda authorizer said.
    Authorizer(String),
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name, _) => write!(f, "$context.{name}"),
            Self::Claim(name) => write!(f, "$context.authorizer.claims.{name}"),
            Self::Authorizer(name) => write!(f, "$context.authorizer.{name}"),
        }
    }
}

/// Which kinds of API have a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Both,
    Rest,
    Http,
}

impl Variable {
    /// The variable of this name, without `$context.`.
    ///
    /// # Errors
    /// What is wrong with the name, and what would be right.
    pub(crate) fn parse(name: &str, kind: ApiKind) -> Result<Self, String> {
        if let Some(claim) = name.strip_prefix("authorizer.claims.").filter(|claim| !claim.is_empty()) {
            return Ok(Self::Claim(claim.to_owned()));
        }
        let (this, other) = match kind {
            ApiKind::Http => (Of::Http, "REST"),
            ApiKind::Rest => (Of::Rest, "HTTP"),
        };
        match VARIABLES.iter().find(|(own, ..)| *own == name) {
            Some((own, of, get)) if *of == Of::Both || *of == this => Ok(Self::Named(own, *get)),
            Some(_) => Err(format!("$context.{name} is one of {other} APIs")),
            None if name.strip_prefix("authorizer.").is_some_and(|own| !own.is_empty() && !own.contains('.')) => {
                Ok(Self::Authorizer(name["authorizer.".len()..].to_owned()))
            }
            None => {
                let near = VARIABLES.iter().filter(|(_, of, _)| *of == Of::Both || *of == this);
                let near =
                    near.max_by(|a, b| strsim::jaro_winkler(a.0, name).total_cmp(&strsim::jaro_winkler(b.0, name)));
                Err(format!("$context.{name} is none; perhaps $context.{}", near.map_or("requestId", |(own, ..)| own)))
            }
        }
    }

    /// Whether it names the request.
    pub(crate) fn is_request_id(&self) -> bool {
        matches!(self, Self::Named("requestId" | "extendedRequestId", _))
    }

    /// Its value; none when it has none.
    pub(crate) fn value<'a>(&self, about: &About<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Named(_, get) => get(about),
            Self::Claim(name) => {
                let claims = about.facts.authorizer.as_ref()?.claims.as_ref()?;
                claims.all.get(name).map(as_text)
            }
            Self::Authorizer(name) => about.facts.authorizer.as_ref()?.context.as_ref()?.get(name).map(as_text),
        }
    }
}

/// A text without its quotes, anything else as JSON.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(other.to_string()),
    }
}

/// The status of the call to a function; of another integration, its own.
fn integration_status<'a>(about: &About<'a>) -> Option<Cow<'a, str>> {
    number(about.facts.integration.service_status.or(about.record.integration_status))
}

/// A text of a record that may be empty.
fn text(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

fn number<'a>(number: Option<impl ToString>) -> Option<Cow<'a, str>> {
    number.map(|number| Cow::Owned(number.to_string()))
}

/// Whole milliseconds.
fn milliseconds<'a>(microseconds: Option<u64>) -> Option<Cow<'a, str>> {
    number(microseconds.map(|microseconds| microseconds / 1_000))
}

/// The template of the route as its API's kind writes it: `GET /pets/{id}`.
fn route_key<'a>(about: &About<'a>) -> Option<Cow<'a, str>> {
    Some(Cow::Owned(about.facts.place.route()?.key.to_string()))
}

fn status<'a>(phase: Option<&'a Phase>) -> Option<Cow<'a, str>> {
    number(phase.map(|phase| phase.status))
}

fn latency<'a>(phase: Option<&'a Phase>) -> Option<Cow<'a, str>> {
    milliseconds(phase.map(|phase| phase.latency_us))
}

fn error<'a>(phase: Option<&'a Phase>) -> Option<Cow<'a, str>> {
    phase?.error.as_deref().map(Cow::Borrowed)
}

/// What was told the client, as a text of JSON with its quotes.
fn message_string<'a>(about: &About<'a>) -> Option<Cow<'a, str>> {
    let message = about.facts.error.as_ref()?.message.as_deref()?;
    Some(Cow::Owned(Value::from(message).to_string()))
}

macro_rules! variables {
    ($($name:literal, $of:ident, $get:expr;)+) => {
        const VARIABLES: &[(&str, Of, Get)] = &[$(($name, Of::$of, $get)),+];
    };
}

variables! {
    "accountId", Both, |about| text(&about.facts.place.api()?.account_id);
    "apiId", Both, |about| text(&about.facts.place.api()?.id);
    "authenticate.error", Rest, |about| error(about.facts.authenticate.as_ref());
    "authenticate.latency", Rest, |about| latency(about.facts.authenticate.as_ref());
    "authenticate.status", Rest, |about| status(about.facts.authenticate.as_ref());
    "authorize.error", Rest, |about| error(about.facts.authorize.as_ref());
    "authorize.latency", Rest, |about| latency(about.facts.authorize.as_ref());
    "authorize.status", Rest, |about| status(about.facts.authorize.as_ref());
    "authorizer.error", Both, |about| error(about.facts.authorizer.as_ref().map(|own| &own.phase));
    "authorizer.integrationLatency", Both, |about| {
        milliseconds(about.facts.authorizer.as_ref()?.integration_latency_us)
    };
    "authorizer.integrationStatus", Both, |about| number(about.facts.authorizer.as_ref()?.integration_status);
    "authorizer.requestId", Both, |about| text(about.facts.authorizer.as_ref()?.request_id.as_deref()?);
    "authorizer.latency", Both, |about| latency(about.facts.authorizer.as_ref().map(|own| &own.phase));
    "authorizer.status", Both, |about| status(about.facts.authorizer.as_ref().map(|own| &own.phase));
    "authorizer.principalId", Both, |about| text(about.facts.authorizer.as_ref()?.principal_id.as_deref()?);
    "awsEndpointRequestId", Both, |about| text(about.facts.integration.request_id.as_deref()?);
    "awsEndpointRequestId2", Http, |about| text(about.facts.integration.request_id_2.as_deref()?);
    "cipherSuite", Rest, |about| text(about.facts.client.tls.as_ref()?.cipher);
    "customDomain.basePathMatched", Both, |about| text(about.facts.base_path.as_deref()?);
    "dataProcessed", Http, |about| number(Some(about.record.request_bytes + about.record.response_bytes));
    "deploymentId", Rest, |about| text(&about.facts.place.stage()?.deployment_id);
    "domainName", Both, |about| text(about.record.domain.as_deref()?);
    "domainPrefix", Both, |about| text(about.record.domain.as_deref()?.split(['.', ':']).next()?);
    "error.message", Both, |about| text(about.facts.error.as_ref()?.message.as_deref()?);
    "error.messageString", Both, message_string;
    "error.responseType", Both, |about| text(about.facts.error.as_ref()?.response_type);
    "extendedRequestId", Both, |about| match about.facts.place.api().map(|api| api.kind) {
        Some(ApiKind::Rest) => Some(Cow::Owned(extended_request_id(&about.record.request_id))),
        _ => text(&about.record.request_id),
    };
    "httpMethod", Both, |about| text(&about.record.method);
    "identity.accessKey", Rest, |about| text(about.facts.caller.as_ref()?.access_key.as_deref()?);
    "identity.accountId", Both, |about| text(about.facts.caller.as_ref()?.account_id.as_deref()?);
    "identity.apiKeyId", Rest, |about| text(about.record.api_key_id.as_deref()?);
    "identity.caller", Both, |about| text(about.facts.caller.as_ref()?.user_id.as_deref()?);
    "identity.principalOrgId", Both, |about| text(about.facts.caller.as_ref()?.principal_org_id.as_deref()?);
    "identity.sourceIp", Both, |about| text(about.record.client_address.as_deref()?);
    "identity.user", Both, |about| text(about.facts.caller.as_ref()?.user_id.as_deref()?);
    "identity.userAgent", Both, |about| text(about.record.user_agent.as_deref()?);
    "identity.userArn", Both, |about| text(about.facts.caller.as_ref()?.user_arn.as_deref()?);
    "integration.error", Both, |about| text(about.facts.integration.error.as_deref()?);
    "integration.integrationStatus", Both, integration_status;
    "integration.latency", Both, |about| milliseconds(about.record.integration_latency_us);
    "integration.requestId", Both, |about| text(about.facts.integration.request_id.as_deref()?);
    "integration.status", Both, |about| number(about.record.integration_status);
    "integrationErrorMessage", Both, |about| text(about.facts.integration.error.as_deref()?);
    "integrationLatency", Both, |about| milliseconds(about.record.integration_latency_us);
    "integrationStatus", Both, integration_status;
    "path", Both, |about| text(&about.record.path);
    "protocol", Both, |about| Some(Cow::Owned(format!("HTTP/{}", about.record.protocol.as_deref()?)));
    "requestId", Both, |about| text(&about.record.request_id);
    "requestTime", Both, |about| Some(Cow::Owned(clf_time(about.record.time_us)));
    "requestTimeEpoch", Both, |about| number(Some(about.record.time_us / 1_000));
    "resourceId", Rest, |about| text(&about.facts.place.route()?.resource_id);
    "resourcePath", Rest, |about| text(&about.record.route);
    "responseLatency", Both, |about| milliseconds(Some(about.record.latency_us));
    "responseLength", Both, |about| number(Some(about.record.response_bytes));
    "routeKey", Http, route_key;
    "stage", Both, |about| text(&about.record.stage);
    "status", Both, |about| number(about.record.status);
    "tlsVersion", Rest, |about| text(about.facts.client.tls.as_ref()?.version);
    "xrayTraceId", Rest, |about| Some(Cow::Owned(xray::root(about.record.trace_id?)));
}
