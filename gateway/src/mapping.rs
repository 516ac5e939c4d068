//! Parameter mapping: what a request to an HTTP server behind the gateway, and its response, gain, lose and change
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html>).
//!
//! `append:header.x`, `overwrite:header.x`, `remove:header.x`, the same of `querystring.x`, and `overwrite:path` of a
//! request; of headers and `overwrite:statuscode` of a response. A value is a text, or `$request.header.x`,
//! `$request.querystring.x`, `$request.path`, `$request.path.x`, `$response.header.x`, `$context.x`, `$stageVariables.x`, or
//! several of these in a text as `${request.header.x}`.
//!
//! What always holds: a value cannot make another header, parameter or path segment of itself: what a header cannot carry
//! is left out, what stands in a query is percent-encoded, and a path that the gateway would not take from a client is
//! not sent.

use std::{borrow::Cow, fmt::Write};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    config::definitions::ApiKind,
    context::variable::{About, Variable},
    target::normalise,
};

/// Headers that are not for mappings to change; those that end with `-` stand for all that begin so.
const RESERVED: [&str; 19] = [
    "access-control-",
    "apigw-",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-amz",
    "x-forwarded-",
];

/// What is changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    request: Vec<(Target, Change)>,
    responses: Vec<(StatusCode, Vec<(Target, Change)>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Header(HeaderName),
    Query(String),
    Path,
    Status,
}

#[derive(Clone, Debug)]
enum Change {
    Append(Value),
    Overwrite(Value),
    Remove,
}

/// A text with values in it.
#[derive(Clone, Debug)]
struct Value(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Context(Variable),
    StageVariable(String),
    RequestHeader(HeaderName),
    RequestQuery(String),
    RequestPath,
    PathParameter(String),
    ResponseHeader(HeaderName),
}

/// Where values come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'r> {
    /// The request's record and what else is known of it.
    pub about: About<'r>,
    /// The headers that values may name: the request's on the way up, the response's on the way down.
    pub headers: &'r HeaderMap,
}

impl Mapping {
    /// Reads changes to requests, and to responses of each status.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn parse(
        kind: ApiKind,
        request: &[(String, String)],
        responses: &[(StatusCode, Vec<(String, String)>)],
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut read = |pairs: &[(String, String)], is_response| {
            let mut changes = Vec::new();
            for (key, value) in pairs {
                match change(kind, key, value, is_response) {
                    Ok(change) => changes.push(change),
                    Err(fault) => faults.push(fault),
                }
            }
            changes
        };
        let request = read(request, false);
        let responses = responses.iter().map(|(status, pairs)| (*status, read(pairs, true))).collect();
        if faults.is_empty() { Ok(Self { request, responses }) } else { Err(faults) }
    }

    /// Whether a request is changed.
    pub(crate) fn changes_requests(&self) -> bool {
        !self.request.is_empty()
    }

    /// Whether responses are changed.
    pub(crate) fn changes_responses(&self) -> bool {
        !self.responses.is_empty()
    }

    /// Changes a request's headers, and its path and query.
    ///
    /// # Errors
    /// When the path would be none that the gateway takes.
    pub(crate) fn request(
        &self,
        asked: &Asked<'_>,
        headers: &mut HeaderMap,
        path_and_query: &mut String,
    ) -> Result<(), &'static str> {
        for (target, change) in &self.request {
            match target {
                Target::Header(name) => change.header(name, asked, headers),
                Target::Query(name) => change.query(name, asked, path_and_query),
                Target::Path => {
                    if let Change::Overwrite(value) = change {
                        let path = value.text(asked);
                        let path = normalise(&path).map_err(|_| "a mapping makes a path that is none")?;
                        let query = path_and_query.find('?').map_or("", |at| &path_and_query[at..]);
                        *path_and_query = format!("{path}{query}");
                    }
                }
                Target::Status => {}
            }
        }
        Ok(())
    }

    /// Changes a response's status and headers.
    pub(crate) fn response(&self, asked: &Asked<'_>, status: &mut StatusCode, headers: &mut HeaderMap) {
        let Some((_, changes)) = self.responses.iter().find(|(own, _)| own == status) else { return };
        for (target, change) in changes {
            match (target, change) {
                (Target::Header(name), change) => change.header(name, asked, headers),
                (Target::Status, Change::Overwrite(value)) => {
                    let told = value.text(asked).parse().ok().and_then(|own| StatusCode::from_u16(own).ok());
                    if let Some(told) = told.filter(|told| told.as_u16() >= 200) {
                        *status = told;
                    }
                }
                _ => {}
            }
        }
    }
}

impl Change {
    fn header(&self, name: &HeaderName, asked: &Asked<'_>, headers: &mut HeaderMap) {
        let value = |value: &Value| HeaderValue::try_from(value.text(asked).into_owned()).ok();
        match self {
            Self::Append(own) => drop(value(own).map(|value| headers.append(name, value))),
            Self::Overwrite(own) => drop(value(own).map(|value| headers.insert(name, value))),
            Self::Remove => drop(headers.remove(name)),
        }
    }

    fn query(&self, name: &str, asked: &Asked<'_>, path_and_query: &mut String) {
        if !matches!(self, Self::Append(_))
            && let Some((path, query)) = path_and_query.split_once('?')
        {
            let others = query.split('&').filter(|pair| pair.split('=').next() != Some(name));
            let others = others.collect::<Vec<_>>().join("&");
            *path_and_query = if others.is_empty() { path.to_owned() } else { format!("{path}?{others}") };
        }
        if let Self::Append(value) | Self::Overwrite(value) = self {
            path_and_query.push(if path_and_query.contains('?') { '&' } else { '?' });
            encode(path_and_query, name);
            path_and_query.push('=');
            encode(path_and_query, &value.text(asked));
        }
    }
}

impl Value {
    fn text(&self, asked: &Asked<'_>) -> Cow<'_, str> {
        if let [Piece::Text(text)] = &self.0[..] {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.0.iter().filter_map(|piece| piece.value(asked)).collect())
    }

    fn parse(kind: ApiKind, text: &str, is_response: bool) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            return Ok(Self(vec![Piece::parse(kind, name, is_response)?]));
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("has \"${{\" without \"}}\": {text:?}"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::parse(kind, name, is_response)?);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }
}

impl Piece {
    fn parse(kind: ApiKind, name: &str, is_response: bool) -> Result<Self, String> {
        let header =
            |name: &str| HeaderName::try_from(name).map_err(|_| format!("names {name:?}, which is no header's name"));
        let parts: Vec<&str> = name.splitn(3, '.').collect();
        match parts[..] {
            ["context", ..] => Variable::parse(&name["context.".len()..], kind).map(Self::Context),
            ["stageVariables", name] => Ok(Self::StageVariable(name.to_owned())),
            ["request", "header", name] if !is_response => header(name).map(Self::RequestHeader),
            ["request", "querystring", name] if !is_response => Ok(Self::RequestQuery(name.to_owned())),
            ["request", "path"] if !is_response => Ok(Self::RequestPath),
            ["request", "path", name] if !is_response => Ok(Self::PathParameter(name.to_owned())),
            ["response", "header", name] if is_response => header(name).map(Self::ResponseHeader),
            _ => {
                Err(format!("has ${name}, which is no value of a {}", if is_response { "response" } else { "request" }))
            }
        }
    }

    fn value<'a>(&'a self, asked: &Asked<'a>) -> Option<Cow<'a, str>> {
        let About { record, facts } = asked.about;
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Context(variable) => variable.value(&asked.about),
            Self::StageVariable(name) => {
                facts.place.stage()?.variables.get(name).map(|value| Cow::Borrowed(&value[..]))
            }
            Self::RequestHeader(name) | Self::ResponseHeader(name) => {
                let values = asked.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
                Some(Cow::Owned(values.collect::<Vec<_>>().join(",")))
            }
            Self::RequestQuery(name) => {
                let pairs = facts.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
                let values = pairs.filter(|(own, _)| own == name).map(|(_, value)| value);
                Some(Cow::Owned(values.collect::<Vec<_>>().join(",")))
            }
            Self::RequestPath => Some(Cow::Borrowed(&record.path)),
            Self::PathParameter(name) => facts.parameter(&record.path, name).map(Cow::Owned),
        }
    }
}

fn change(kind: ApiKind, key: &str, value: &str, is_response: bool) -> Result<(Target, Change), String> {
    let expected = if is_response {
        "append:header.x, overwrite:header.x, remove:header.x, overwrite:statuscode"
    } else {
        "append, overwrite or remove, then :header.x or :querystring.x; or overwrite:path"
    };
    let (verb, place) = key.split_once(':').ok_or_else(|| format!("{key:?} is none of {expected}"))?;
    let target = match place.split_once('.') {
        Some(("header", name)) => {
            let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header's name"))?;
            let is_reserved = |own: &str| {
                name.as_str() == own || ((own.ends_with('-') || own == "x-amz") && name.as_str().starts_with(own))
            };
            if RESERVED.into_iter().any(is_reserved) {
                return Err(format!("{key:?}: the header is reserved"));
            }
            Target::Header(name)
        }
        Some(("querystring", name)) if !is_response => Target::Query(name.to_owned()),
        None if place == "path" && !is_response => Target::Path,
        None if place == "statuscode" && is_response => Target::Status,
        _ => return Err(format!("{key:?} is none of {expected}")),
    };
    let value = || Value::parse(kind, value, is_response).map_err(|fault| format!("{key:?} {fault}"));
    let is_whole = matches!(target, Target::Path | Target::Status);
    let change = match verb {
        "overwrite" => Change::Overwrite(value()?),
        "append" if !is_whole => Change::Append(value()?),
        "remove" if !is_whole => Change::Remove,
        _ => return Err(format!("{key:?} is none of {expected}")),
    };
    Ok((target, change))
}

/// Percent-encodes all but what is unreserved (RFC 3986, section 2.3). What is encoded already stays as it is.
fn encode(to: &mut String, text: &str) {
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let is_encoding =
            || bytes.get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(*byte)),
            b'%' if is_encoding() => to.push('%'),
            // Writing to a string does not fail.
            _ => drop(write!(to, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
