//! Parameter mapping, read: what of a request is changed on its way to the integration, and of a response on its way
//! back. HTTP APIs: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html>; REST
//! APIs: <https://docs.aws.amazon.com/apigateway/latest/developerguide/request-response-data-mappings.html>.
//!
//! What always holds: no mapping touches what the gateway itself says in headers, or what frames a message. Of changes
//! to the same thing, removals are made first, then what overwrites, then what is appended.

mod expression;
mod json_path;

use std::{collections::BTreeMap, str::FromStr};

pub(crate) use expression::{Expression, Part, Side, Source, Which};
use http::{HeaderName, HeaderValue, header};
pub(crate) use json_path::JsonPath;
use weir_station::config::Section;

use super::definitions::ApiKind;
use crate::target::normalise;

/// What a mapping changes; nothing unless it is configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    /// Changes to requests.
    pub request: Vec<(RequestTarget, Change)>,
    /// Changes to responses, by the integration's status.
    pub responses: BTreeMap<u16, Vec<(ResponseTarget, Change)>>,
}

/// A change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// No value.
    Remove,
    /// A value in place of those that are there.
    Overwrite(Expression),
    /// A value beside those that are there.
    Append(Expression),
}

/// What a mapping changes in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestTarget {
    /// A header.
    Header(HeaderName),
    /// A query parameter.
    Query(String),
    /// The path.
    Path,
    /// What stands for `{name}` in the integration's URI (REST APIs).
    PathParameter(String),
}

/// What a mapping changes in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResponseTarget {
    /// A header.
    Header(HeaderName),
    /// The status.
    Status,
}

/// Targets and sources, as they were written.
type Pairs = [(String, String)];

impl Mapping {
    /// Reads `request` and `[[…response]]` of an integration.
    pub(super) fn read(section: &Section, kind: ApiKind) -> Self {
        let request: Vec<_> = section.texts("request").into_iter().collect();
        let mut responses: Vec<(String, Vec<_>)> = Vec::new();
        for response in section.sections("response") {
            let Some(status) = response.required::<u16>("status") else { continue };
            let status = status.to_string();
            if responses.iter().any(|(other, _)| *other == status) {
                response.fault("status", format!("another response has {status}"), "each status once");
            }
            responses.push((status, response.texts("map").into_iter().collect()));
        }
        Self::parse(kind, &request, &responses).unwrap_or_else(|problems| {
            for problem in problems {
                section.fault("", problem, "mappings as API Gateway has them for this kind of API");
            }
            Self::default()
        })
    }

    /// Reads the changes of requests, and of responses by status.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn parse(
        kind: ApiKind,
        request: &Pairs,
        responses: &[(String, Vec<(String, String)>)],
    ) -> Result<Self, Vec<String>> {
        let (mut mapping, mut problems) = (Self::default(), Vec::new());
        for (target, value) in request {
            match parse_request(kind, target, value) {
                Ok(change) => mapping.request.push(change),
                Err(problem) => problems.push(format!("request {target:?}: {problem}")),
            }
        }
        mapping.request.sort_by_key(|(_, change)| change.turn());
        for (status, pairs) in responses {
            let code = status.parse().ok().filter(|code| (200..=599).contains(code));
            let Some(code) = code else {
                problems.push(format!("response {status:?}: is no status from 200 to 599"));
                continue;
            };
            let mut changes = Vec::new();
            for (target, value) in pairs {
                match parse_response(kind, target, value) {
                    Ok(change) => changes.push(change),
                    Err(problem) => problems.push(format!("response {status}, {target:?}: {problem}")),
                }
            }
            changes.sort_by_key(|(_, change)| change.turn());
            mapping.responses.insert(code, changes);
        }
        if problems.is_empty() { Ok(mapping) } else { Err(problems) }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.request.is_empty() && self.responses.is_empty()
    }

    /// Names that the integration's URI may have besides the route's parameters.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &str> {
        self.request.iter().filter_map(|(target, _)| match target {
            RequestTarget::PathParameter(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// A parameter that it reads and that is none of the route's.
    pub(crate) fn unknown_parameter(&self, parameters: &[&str]) -> Option<&str> {
        let expressions = self.request.iter().filter_map(|(_, change)| change.expression());
        expressions.flat_map(Expression::sources).find_map(|source| match source {
            Source::PathParameter(name) if !parameters.contains(&name.as_str()) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Change {
    /// The value that it brings.
    pub(crate) fn expression(&self) -> Option<&Expression> {
        match self {
            Self::Remove => None,
            Self::Overwrite(expression) | Self::Append(expression) => Some(expression),
        }
    }

    fn turn(&self) -> u8 {
        match self {
            Self::Remove => 0,
            Self::Overwrite(_) => 1,
            Self::Append(_) => 2,
        }
    }
}

fn parse_request(kind: ApiKind, target: &str, value: &str) -> Result<(RequestTarget, Change), String> {
    const HTTP: &str = "is none: append:, overwrite: or remove: with header.x or querystring.x, or overwrite:path";
    const REST: &str = "is none: integration.request.header.x, .querystring.x or .path.x";
    let (verb, place) =
        split(kind, target, "integration.request.").ok_or(if kind == ApiKind::Http { HTTP } else { REST })?;
    let (place, name) = place.split_once('.').unwrap_or((place, ""));
    let target = match (kind, place, name) {
        (_, "header", name) => RequestTarget::Header(header(kind, verb, name)?),
        (_, "querystring", name) if !name.is_empty() => RequestTarget::Query(name.to_owned()),
        (ApiKind::Http, "path", "") if verb == Verb::Overwrite => RequestTarget::Path,
        (ApiKind::Rest, "path", name) if !name.is_empty() => RequestTarget::PathParameter(name.to_owned()),
        (ApiKind::Http, ..) => return Err(HTTP.to_owned()),
        (ApiKind::Rest, ..) => return Err(REST.to_owned()),
    };
    // A REST API's query parameters stand beside the client's.
    let is_query = matches!(target, RequestTarget::Query(_));
    let verb = if kind == ApiKind::Rest && is_query { Verb::Append } else { verb };
    let change = change(kind, Side::Request, verb, value)?;
    match (&target, change.expression().and_then(Expression::literal)) {
        (RequestTarget::Header(_), Some(text)) => check_header_value(text)?,
        (RequestTarget::Path, Some(text)) => {
            normalise(text).map_err(|fault| format!("{fault}; a path such as \"/v2/${{request.path.id}}\""))?;
        }
        _ => {}
    }
    Ok((target, change))
}

fn parse_response(kind: ApiKind, target: &str, value: &str) -> Result<(ResponseTarget, Change), String> {
    const HTTP: &str = "is none: append:, overwrite: or remove: with header.x, or overwrite:statuscode";
    const REST: &str = "is none: method.response.header.x";
    let (verb, place) =
        split(kind, target, "method.response.").ok_or(if kind == ApiKind::Http { HTTP } else { REST })?;
    let target = match (kind, place.split_once('.')) {
        (_, Some(("header", name))) => ResponseTarget::Header(header(kind, verb, name)?),
        (ApiKind::Http, None) if place == "statuscode" && verb == Verb::Overwrite => ResponseTarget::Status,
        (ApiKind::Http, _) => return Err(HTTP.to_owned()),
        (ApiKind::Rest, _) => return Err(REST.to_owned()),
    };
    let change = change(kind, Side::Response, verb, value)?;
    match (&target, change.expression().and_then(Expression::literal)) {
        (ResponseTarget::Header(_), Some(text)) => check_header_value(text)?,
        (ResponseTarget::Status, Some(text)) if !text.parse().is_ok_and(|status| (200..=599_u16).contains(&status)) => {
            return Err(format!("{text:?} is no status from 200 to 599"));
        }
        _ => {}
    }
    Ok((target, change))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Append,
    Overwrite,
    Remove,
}

/// The verb of a target, and what it is done to. Those of REST APIs overwrite, and begin with `prefix`.
fn split<'t>(kind: ApiKind, target: &'t str, prefix: &str) -> Option<(Verb, &'t str)> {
    if kind == ApiKind::Rest {
        return Some((Verb::Overwrite, target.strip_prefix(prefix)?));
    }
    let (verb, place) = target.split_once(':')?;
    let verb = match verb {
        "append" => Verb::Append,
        "overwrite" => Verb::Overwrite,
        "remove" => Verb::Remove,
        _ => return None,
    };
    Some((verb, place))
}

fn change(kind: ApiKind, side: Side, verb: Verb, value: &str) -> Result<Change, String> {
    match verb {
        // API Gateway's own exports write two quotes.
        Verb::Remove if matches!(value, "" | "''") => Ok(Change::Remove),
        Verb::Remove => Err(format!("has the value {value:?}; what is removed has none: \"\"")),
        Verb::Overwrite => Expression::parse(value, kind, side).map(Change::Overwrite),
        Verb::Append => Expression::parse(value, kind, side).map(Change::Append),
    }
}

fn check_header_value(text: &str) -> Result<(), String> {
    HeaderValue::from_str(text).map(drop).map_err(|_| format!("{text:?} has characters that no header can carry"))
}

/// Headers that mappings of HTTP APIs must leave alone.
const RESERVED: [&str; 17] = [
    "authorization",
    "content-encoding",
    "content-location",
    "forwarded",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailers",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "expect",
    "proxy-connection",
];

/// Names that these begin with are the gateway's own in HTTP APIs.
const RESERVED_PREFIXES: [&str; 5] = ["access-control-", "apigw-", "x-amz-", "x-amzn-", "x-forwarded-"];

/// Headers that no mapping of a REST API may set.
const FORBIDDEN: [&str; 7] = [
    "x-amzn-trace-id",
    "x-amzn-apigateway-api-id",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
];

/// Headers that say where a message ends, or that concern one connection alone: of no mapping, whatever the API.
const FRAMING: [HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER, header::UPGRADE];

fn header(kind: ApiKind, verb: Verb, name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::from_str(name).map_err(|_| format!("{name:?} is no name of a header"))?;
    let text = header.as_str();
    let is_reserved = match kind {
        ApiKind::Http => RESERVED.contains(&text) || RESERVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix)),
        ApiKind::Rest => FORBIDDEN.contains(&text),
    };
    if is_reserved || FRAMING.contains(&header) {
        return Err(format!("{text} is a header that mappings must leave alone"));
    }
    if header == header::HOST && verb != Verb::Overwrite {
        return Err("a request has one host, no more and no less: overwrite:header.host".to_owned());
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
