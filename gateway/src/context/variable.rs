//! The variables of access logs: what API Gateway has
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html> for REST
//! APIs, <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html> for HTTP APIs) and
//! what has a meaning here.
//!
//! A name that is none, or that the other kind of API has, is an error of the configuration: it never logs `-` for ever.
//! Where Weir is exact and API Gateway is not: `protocol` is the protocol.

use std::borrow::Cow;

use serde_json::Value;
use weir_record::{AccessRecord, keys};

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
        if let Some(claim) = name.strip_prefix("authorizer.claims") {
            let quoted = claim.strip_prefix("['").and_then(|claim| claim.strip_suffix("']"));
            let claim = quoted.or_else(|| claim.strip_prefix('.')).filter(|claim| !claim.is_empty());
            let fault = || format!("$context.{name} names no claim; expected .name or ['name'] after claims");
            return claim.map(|claim| Self::Claim(claim.to_owned())).ok_or_else(fault);
        }
        if name == "identity.apiKey" {
            return Err("$context.identity.apiKey is a secret; $context.identity.apiKeyId names the key".to_owned());
        }
        if let Some((_, why)) = ELSEWHERE.iter().find(|(own, _)| name.starts_with(own)) {
            return Err(format!("$context.{name} has no value here: {why}"));
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

    /// Whether it is the client's address.
    pub(crate) fn is_source_ip(&self) -> bool {
        matches!(self, Self::Named("identity.sourceIp", _))
    }

    /// The name of a variable that a text begins with, as far as it could be one: letters, digits, `_`, full stops, and
    /// a claim's name in brackets.
    ///
    /// # Errors
    /// When a claim's name goes on with what could be a part of it or of the text.
    pub(crate) fn name_in(text: &str) -> Result<&str, String> {
        let end = text.find(|own: char| !(own.is_ascii_alphanumeric() || own == '.' || own == '_'));
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        if word == "authorizer.claims"
            && let Some(end) = rest.strip_prefix("['").and_then(|rest| rest.find("']"))
        {
            return Ok(&text[..word.len() + 2 + end + 2]);
        }
        // A full stop after a name ends a sentence, not the name.
        let name = word.trim_end_matches('.');
        if let Some(claim) = name.strip_prefix("authorizer.claims.")
            && rest.starts_with([':', '-'])
            && rest[1..].starts_with(|next: char| next.is_ascii_alphanumeric())
        {
            let mark = &rest[..1];
            return Err(format!("$context.{name}{mark}… can be read in two ways; expected claims['{claim}{mark}…']"));
        }
        Ok(name)
    }

    /// Its value; none when it has none.
    pub(crate) fn value<'a>(&self, about: &About<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Named(_, get) => get(about),
            Self::Claim(name) => {
                let claims = about.facts.authorizer.as_ref()?.claims.as_ref()?;
                claims.text(name)
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

/// X-Ray's trace id of the request: the root that its header goes on with.
fn xray_trace_id<'a>(about: &About<'a>) -> Option<Cow<'a, str>> {
    match about.record.attributes.get(keys::XRAY_TRACE_ID) {
        Some(other) => text(other),
        None => Some(Cow::Owned(xray::root(about.record.trace_id?))),
    }
}

/// What API Gateway has and Weir has not, by how its name begins, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("waf", "there is no web application firewall"),
    ("webaclArn", "there is no web application firewall"),
    ("isCanaryRequest", "stages have no canaries"),
    ("endpointType", "there is one type of endpoint"),
    ("customDomain.routingRuleIdMatched", "domains have mappings, not routing rules"),
    ("identity.cognito", "there are no identity pools"),
    ("identity.clientCert", "clients show no certificates"),
    ("identity.vpc", "there are no VPC endpoints"),
    ("requestOverride", "it is one of mapping templates"),
    ("responseOverride", "it is one of mapping templates"),
    ("error.validationErrorString", "requests are not validated against models"),
    ("integration.responseTransferMode", "every response is passed on as it comes"),
    ("integration.timeTo", "it is not measured"),
    ("connectedAt", "it is one of WebSocket APIs"),
    ("connectionId", "it is one of WebSocket APIs"),
    ("eventType", "it is one of WebSocket APIs"),
    ("messageId", "it is one of WebSocket APIs"),
];

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
    "identity.sourceIp", Both, |about| Some(Cow::Owned(about.facts.address.to_string()));
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
    "xrayTraceId", Rest, xray_trace_id;
}
