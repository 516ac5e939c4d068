//! Where the values of a mapping come from: literal text, parts of the request or response, `$context`, stage variables.
//!
//! HTTP APIs: `text`, `$request.header.x`, `$request.querystring.x`, `$request.path`, `$request.path.x`,
//! `$request.body.x`, `$response.header.x`, `$response.body.x`, `$context.x`, `$stageVariables.x`; several in one text, with
//! braces (`${request.path.id}`) where a letter, digit, `.`, `-` or `_` follows that is not the name's.
//! REST APIs: one of `'text'`, `method.request.header.x` and its like, `integration.response.header.x` and its like,
//! `context.x`, `stageVariables.x`. A name that means nothing is refused: it never maps to nothing for ever.

use std::str::FromStr;

use http::HeaderName;

use super::json_path::JsonPath;
use crate::{config::definitions::ApiKind, context::variable::Variable};

/// A text with values in it.
#[derive(Clone, Debug)]
pub(crate) struct Expression(pub Vec<Part>);

/// A piece of it.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Text that stands for itself.
    Text(String),
    /// A value.
    Value(Source),
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A header of the request, or of the response when a response is mapped.
    Header(HeaderName, Which),
    /// A query parameter.
    Query(String, Which),
    /// The path, without base path and stage.
    Path,
    /// A parameter of the route.
    PathParameter(String),
    /// A value in the body of the request, or of the response when a response is mapped.
    Body(JsonPath),
    /// `$context.identity.sourceIp`, whatever of it is recorded.
    ClientAddress,
    /// Another variable of `$context`.
    Context(Variable),
    /// A stage variable.
    StageVariable(String),
}

/// Which of several values of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All, with commas between them.
    All,
    /// The last.
    Last,
}

/// Whose values an expression reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

impl Expression {
    /// Reads an expression as this kind of API writes it.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(crate) fn parse(text: &str, kind: ApiKind, side: Side) -> Result<Self, String> {
        match kind {
            ApiKind::Http => parse_http(text, side),
            ApiKind::Rest => parse_rest(text, side).map(|part| Self(vec![part])),
        }
    }

    /// The text, when there is nothing else in it.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The values in it.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(source) => Some(source),
        })
    }
}

fn parse_http(text: &str, side: Side) -> Result<Expression, String> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        let (name, after) = if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("has \"${{\" without \"}}\": {text:?}"))?;
            (name.strip_prefix('$').unwrap_or(name), after)
        } else if after.starts_with(|first: char| first.is_ascii_alphabetic()) {
            after.split_at(name_length(after))
        } else {
            literal.push('$');
            rest = after;
            continue;
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Value(source(name, side)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(Expression(parts))
}

/// Bytes of the name that a text without braces begins with.
fn name_length(text: &str) -> usize {
    let has_path = text.starts_with("request.body") || text.starts_with("response.body");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let mut is_in_brackets = false;
    let length = text.bytes().position(|byte| {
        match byte {
            b'[' if has_path => is_in_brackets = true,
            b']' if is_in_brackets => is_in_brackets = false,
            _ => return !is_in_brackets && !is_name(byte),
        }
        false
    });
    // A dot at the end ends a sentence.
    text[..length.unwrap_or(text.len())].trim_end_matches('.').len()
}

fn source(name: &str, side: Side) -> Result<Source, String> {
    let own = match side {
        Side::Request => "request.",
        Side::Response => "response.",
    };
    if let Some(part) = name.strip_prefix(own) {
        if let Some(header) = part.strip_prefix("header.") {
            return Ok(Source::Header(header_name(header)?, Which::All));
        }
        if let Some(path) = part.strip_prefix("body") {
            return Ok(Source::Body(JsonPath::parse(path)?));
        }
        if side == Side::Request {
            match part.split_once('.') {
                None if part == "path" => return Ok(Source::Path),
                Some(("path", name)) if !name.is_empty() => return Ok(Source::PathParameter(name.to_owned())),
                Some(("querystring", name)) if !name.is_empty() => {
                    return Ok(Source::Query(name.to_owned(), Which::All));
                }
                _ => {}
            }
        }
    }
    surroundings(name, ApiKind::Http)?.ok_or_else(|| {
        let expected = match side {
            Side::Request => {
                "$request.header.x, .querystring.x, .path, .path.x, .body.x, $context.x, $stageVariables.x"
            }
            Side::Response => "$response.header.x, .body.x, $context.x, $stageVariables.x",
        };
        format!("${name} is none: {expected}")
    })
}

fn parse_rest(text: &str, side: Side) -> Result<Part, String> {
    if let Some(literal) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Ok(Part::Text(literal.to_owned()));
    }
    let own = match side {
        Side::Request => "method.request.",
        Side::Response => "integration.response.",
    };
    let part = text.strip_prefix(own).unwrap_or_default();
    let (place, name) = part.split_once('.').unwrap_or((part, ""));
    let source = match (place, name) {
        ("header", name) => Source::Header(header_name(name)?, Which::Last),
        ("multivalueheader", name) => Source::Header(header_name(name)?, Which::All),
        ("querystring", name) if side == Side::Request && !name.is_empty() => {
            Source::Query(name.to_owned(), Which::Last)
        }
        ("multivaluequerystring", name) if side == Side::Request && !name.is_empty() => {
            Source::Query(name.to_owned(), Which::All)
        }
        ("path", name) if side == Side::Request && !name.is_empty() => Source::PathParameter(name.to_owned()),
        _ if part.starts_with("body") => Source::Body(JsonPath::parse(&part["body".len()..])?),
        _ => surroundings(text, ApiKind::Rest)?.ok_or_else(|| {
            let expected = match side {
                Side::Request => "method.request.header.x, .querystring.x, .path.x or .body.x",
                Side::Response => "integration.response.header.x or .body.x",
            };
            format!("{text:?} is none: 'text' in single quotes, {expected}, context.x or stageVariables.x")
        })?,
    };
    Ok(Part::Value(source))
}

/// `context.x`, `stageVariables.x`; none for anything else.
fn surroundings(name: &str, kind: ApiKind) -> Result<Option<Source>, String> {
    Ok(match name.split_once('.') {
        Some(("context", "identity.sourceIp")) => Some(Source::ClientAddress),
        Some(("context", name)) => Some(Source::Context(Variable::parse(name, kind)?)),
        Some(("stageVariables", name)) if !name.is_empty() => Some(Source::StageVariable(name.to_owned())),
        _ => None,
    })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_str(name).map_err(|_| format!("{name:?} is no name of a header"))
}
