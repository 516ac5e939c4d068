//! The events that functions get: of proxy integrations, in format 1.0 and 2.0 (the reference's sections 8.1 and 8.2;
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>), and of
//! Lambda authorizers (section 7.3).
//!
//! What always holds: what is empty is `null` in 1.0 and absent in 2.0.

mod context;

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Map, Value, json};
use weir_record::AccessRecord;

use super::text;
use crate::{
    config::definitions::ApiKind,
    facts::Facts,
    serving::{DEFAULT_STAGE, Route},
    target::Target,
};

/// The forms of events and of what functions answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 1.0 of a REST API.
    Rest,
    /// 1.0 of an HTTP API.
    Http1,
    /// 2.0.
    Http2,
}

/// What a function is told of a request.
#[derive(Clone, Copy)]
pub(crate) struct Invocation<'a> {
    /// The route that it asks for.
    pub route: &'a Route,
    /// Its target.
    pub target: &'a Target<'a>,
    /// Its headers, with those that the gateway adds.
    pub headers: &'a HeaderMap,
    /// Its body; empty for authorizers.
    pub body: &'a [u8],
    /// Its record, as far as it goes.
    pub record: &'a AccessRecord,
    /// What else is known of it.
    pub facts: &'a Facts,
}

/// An event of a proxy integration.
#[derive(Serialize)]
struct ProxyEvent<'a> {
    #[serde(flatten)]
    head: Map<String, Value>,
    #[serde(skip_serializing_if = "Body::is_absent")]
    body: Body<'a>,
    #[serde(rename = "isBase64Encoded")]
    is_base64: bool,
}

/// The text of a body.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Text(Cow<'a, str>),
    Null(()),
    #[serde(skip)]
    Absent,
}

impl Body<'_> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What an authorizer's event has besides.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// `methodArn`, `routeArn`.
    pub arn: &'a str,
    /// The values of the identity sources.
    pub identity: &'a [String],
}

/// The event of a proxy integration.
pub(crate) fn proxy(invocation: &Invocation<'_>, shape: Shape) -> Vec<u8> {
    let head = match shape {
        Shape::Rest | Shape::Http1 => version_1(invocation, shape),
        Shape::Http2 => version_2(invocation),
    };
    let binary = &invocation.route.stage.api.binary_media_types;
    let content_type = invocation.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_binary = content_type.is_some_and(|own| text::is_one_of(binary, own));
    let own_text = str::from_utf8(invocation.body).ok().filter(|_| !is_binary);
    let (body, is_base64) = match (invocation.body, own_text) {
        ([], _) if shape == Shape::Http2 => (Body::Absent, false),
        ([], _) => (Body::Null(()), false),
        (_, Some(own)) => (Body::Text(Cow::Borrowed(own)), false),
        (bytes, None) => (Body::Text(Cow::Owned(STANDARD.encode(bytes))), true),
    };
    bytes(&ProxyEvent { head, body, is_base64 })
}

/// The event of a `TOKEN` authorizer.
pub(crate) fn token(asked: Asked<'_>) -> Vec<u8> {
    let token = asked.identity.first();
    bytes(&json!({"type": "TOKEN", "authorizationToken": token, "methodArn": asked.arn}))
}

/// The event of a `REQUEST` authorizer.
pub(crate) fn request(invocation: &Invocation<'_>, shape: Shape, asked: Asked<'_>) -> Vec<u8> {
    let mut event = match shape {
        Shape::Rest | Shape::Http1 => version_1(invocation, shape),
        Shape::Http2 => version_2(invocation),
    };
    event.insert("type".to_owned(), "REQUEST".into());
    let arn = if shape == Shape::Http2 { "routeArn" } else { "methodArn" };
    event.insert(arn.to_owned(), asked.arn.into());
    match shape {
        Shape::Rest => {}
        Shape::Http1 => {
            let sources = asked.identity.join(",");
            event.insert("authorizationToken".to_owned(), sources.as_str().into());
            event.insert("identitySource".to_owned(), sources.into());
        }
        Shape::Http2 => drop(event.insert("identitySource".to_owned(), asked.identity.into())),
    }
    bytes(&event)
}

/// Serializing to memory what has nothing but texts for keys does not fail.
fn bytes(event: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(event).unwrap_or_default()
}

fn version_1(invocation: &Invocation<'_>, shape: Shape) -> Map<String, Value> {
    let Invocation { route, record, facts, .. } = *invocation;
    let paths = Paths::of(invocation);
    let (headers, multiple_headers) = headers_1(invocation.headers, record.protocol.as_deref() == Some("2"));
    let (query, multiple_query) = query_1(facts.query.as_deref());
    let mut event = object(json!({
        "resource": route.key.template,
        "path": paths.path,
        "httpMethod": record.method,
        "headers": null_if_empty(headers),
        "multiValueHeaders": null_if_empty(multiple_headers),
        "queryStringParameters": null_if_empty(query),
        "multiValueQueryStringParameters": null_if_empty(multiple_query),
        "pathParameters": null_if_empty(path_parameters(invocation)),
        "stageVariables": null_if_empty(stage_variables(route)),
        "requestContext": context::version_1(invocation, shape, &paths.in_stage),
    }));
    if shape == Shape::Http1 {
        event.insert("version".to_owned(), "1.0".into());
    }
    event
}

fn version_2(invocation: &Invocation<'_>) -> Map<String, Value> {
    let Invocation { route, facts, .. } = *invocation;
    let raw_path = Paths::of(invocation).raw;
    let (headers, cookies) = headers_2(invocation.headers);
    let mut event = object(json!({
        "version": "2.0",
        "routeKey": route.key.to_string(),
        "rawPath": raw_path,
        "rawQueryString": facts.query.as_deref().unwrap_or_default(),
        "headers": headers,
        "requestContext": context::version_2(invocation, &raw_path),
    }));
    let mut put = |key: &str, value: Value, is_empty: bool| {
        if !is_empty {
            event.insert(key.to_owned(), value);
        }
    };
    let is_empty = cookies.is_empty();
    put("cookies", cookies.into(), is_empty);
    for (key, members) in [
        ("queryStringParameters", query_2(facts.query.as_deref())),
        ("pathParameters", path_parameters(invocation)),
        ("stageVariables", stage_variables(route)),
    ] {
        let is_empty = members.is_empty();
        put(key, members.into(), is_empty);
    }
    event
}

/// The path of a request in the ways in which events have it.
struct Paths {
    /// As the routes see it, without the stage; with the base path of a domain.
    path: String,
    /// `requestContext.path`: below the stage, slashes as they came.
    in_stage: String,
    /// `rawPath`: below the stage, unless that is `$default`.
    raw: String,
}

impl Paths {
    fn of(invocation: &Invocation<'_>) -> Self {
        let Invocation { target, record, facts, route, .. } = *invocation;
        let slash = if record.path.len() > 1 && record.path.ends_with('/') { "/" } else { "" };
        if facts.base_path.is_some() {
            let rest = target.rest(0);
            let whole = if rest.is_empty() { "/".to_owned() } else { format!("/{rest}{slash}") };
            return Self { path: whole.clone(), in_stage: whole.clone(), raw: whole };
        }
        let rest = target.rest(facts.below);
        let stage = &route.stage.name;
        let end = if rest.is_empty() { slash.to_owned() } else { format!("/{rest}{slash}") };
        let in_stage = format!("/{stage}{end}");
        // Slashes that are doubled after the stage are one.
        let own = rest.trim_start_matches('/');
        let path = if own.is_empty() { "/".to_owned() } else { format!("/{own}{slash}") };
        let raw = if stage == DEFAULT_STAGE { path.clone() } else { in_stage.clone() };
        Self { path, in_stage, raw }
    }
}

fn path_parameters(invocation: &Invocation<'_>) -> Map<String, Value> {
    let parameters = invocation.route.key.parameters(invocation.target, invocation.facts.below);
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn stage_variables(route: &Route) -> Map<String, Value> {
    route.stage.variables.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// The last value of each header, and all values of each.
fn headers_1(headers: &HeaderMap, is_http2: bool) -> (Map<String, Value>, Map<String, Value>) {
    let (mut single, mut multiple) = (Map::new(), Map::new());
    for name in headers.keys() {
        let key = text::header_name(name.as_str(), is_http2);
        let values: Vec<Value> = headers.get_all(name).iter().map(|value| lossy(value).into()).collect();
        if let Some(last) = values.last() {
            single.insert(key.clone().into_owned(), last.clone());
        }
        multiple.insert(key.into_owned(), values.into());
    }
    (single, multiple)
}

/// The values of each header, joined; and the cookies, which are no header then.
fn headers_2(headers: &HeaderMap) -> (Map<String, Value>, Vec<String>) {
    let (mut joined, mut cookies) = (Map::new(), Vec::new());
    for name in headers.keys() {
        let values: Vec<Cow<'_, str>> = headers.get_all(name).iter().map(lossy).collect();
        if name == header::COOKIE {
            let all = values.iter().flat_map(|value| value.split(';'));
            cookies.extend(all.map(str::trim).filter(|cookie| !cookie.is_empty()).map(str::to_owned));
        } else {
            joined.insert(name.as_str().to_owned(), values.join(",").into());
        }
    }
    (joined, cookies)
}

fn lossy(value: &http::HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// The last value of each parameter, and all values of each.
fn query_1(query: Option<&str>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut single, mut multiple) = (Map::new(), Map::new());
    for (name, value) in text::parameters(query) {
        single.insert(name.clone(), value.as_str().into());
        if let Value::Array(values) = multiple.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            values.push(value.into());
        }
    }
    (single, multiple)
}

/// The values of each parameter, joined.
fn query_2(query: Option<&str>) -> Map<String, Value> {
    let mut joined = Map::new();
    for (name, value) in text::parameters(query) {
        match joined.get_mut(&name) {
            Some(Value::String(values)) => {
                values.push(',');
                values.push_str(&value);
            }
            _ => drop(joined.insert(name, value.into())),
        }
    }
    joined
}

fn null_if_empty(members: Map<String, Value>) -> Value {
    if members.is_empty() { Value::Null } else { members.into() }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

impl Shape {
    /// The form in which an API of this kind talks to a function; `is_1` when an HTTP API is configured to use 1.0.
    pub(crate) fn of(kind: ApiKind, is_1: bool) -> Self {
        match kind {
            ApiKind::Rest => Self::Rest,
            ApiKind::Http if is_1 => Self::Http1,
            ApiKind::Http => Self::Http2,
        }
    }
}

/// An address as events have it.
fn address(address: IpAddr) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests;
