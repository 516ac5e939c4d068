//! The formats of access logs: a text with `$context` variables in it, or one of the presets that API Gateway documents
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html>).
//!
//! What always holds: a request is one line, whatever its client sent. A value cannot end the line, nor the quotes that
//! it stands in: in JSON it is escaped as JSON, in XML as XML, in CSV it is quoted, and elsewhere quotes, backslashes and
//! control characters are escaped. What the API's privacy keeps back stands in no line.

use std::{borrow::Cow, fmt::Write};

use serde_json::Value;

use super::variable::{About, Variable};
use crate::config::definitions::ApiKind;

/// The longest format, bytes; API Gateway's limit.
const MOST_BYTES: usize = 3 << 10;

/// A format.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    notation: Notation,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Value {
        variable: Variable,
        /// Whether it stands between quotes.
        is_quoted: bool,
    },
}

/// What a line is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Plain,
    Json,
    Xml,
    Csv,
}

impl Format {
    /// Reads `clf`, `json`, `xml`, `csv`, or a text with variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str, kind: ApiKind) -> Result<Self, Vec<String>> {
        let (text, notation) = match preset(text, kind) {
            Some((text, notation)) => (Cow::Owned(text), notation),
            // Of a format of one's own it shows when its pieces are known.
            None => (Cow::Borrowed(text.trim_end()), Notation::Plain),
        };
        let mut faults = Vec::new();
        if text.len() > MOST_BYTES {
            faults.push(format!("has {} bytes; {MOST_BYTES} are the most", text.len()));
        }
        if text.contains(['\n', '\r']) {
            faults.push("has more than one line".to_owned());
        }
        let pieces = pieces(&text, kind, &mut faults);
        let names_request = |piece: &Piece| matches!(piece, Piece::Value { variable, .. } if variable.is_request_id());
        if !pieces.iter().any(names_request) {
            faults.push("names the request neither by $context.requestId nor by $context.extendedRequestId".to_owned());
        }
        let notation = if notation == Notation::Plain { notation_of(&pieces) } else { notation };
        if faults.is_empty() { Ok(Self { pieces, notation }) } else { Err(faults) }
    }

    /// The line of a request, without its end.
    pub(crate) fn render(&self, about: &About<'_>) -> String {
        let mut line = String::with_capacity(512);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { variable, is_quoted } => {
                    self.notation.write(&mut line, shown(variable, about).as_deref(), *is_quoted);
                }
            }
        }
        line
    }
}

/// The value of a variable, as far as the API's privacy lets it be recorded. Who asked the facts have no more then.
fn shown<'a>(variable: &Variable, about: &About<'a>) -> Option<Cow<'a, str>> {
    if variable.is_source_ip() {
        // The record has of it what it may have.
        return about.record.client_address.as_deref().map(Cow::Borrowed);
    }
    variable.value(about)
}

impl Notation {
    fn write(self, line: &mut String, value: Option<&str>, is_quoted: bool) {
        match (self, value) {
            (Self::Json, Some(_)) => write_json(line, value, is_quoted),
            (Self::Json, None) if !is_quoted => write_json(line, None, false),
            (_, None) => line.push('-'),
            (Self::Xml, Some(value)) => xml(line, value),
            (Self::Csv, Some(value)) => csv(line, value),
            (Self::Plain, Some(value)) => plain(line, value),
        }
    }
}

/// Writes a value into JSON: within quotes that are there, or as a value of its own; nothing within quotes, and else
/// `null`, when there is none.
pub(crate) fn write_json(line: &mut String, value: Option<&str>, is_quoted: bool) {
    let Some(value) = value else {
        line.push_str(if is_quoted { "" } else { "null" });
        return;
    };
    if is_quoted {
        let text = Value::from(value).to_string();
        line.push_str(&text[1..text.len() - 1]);
    } else if serde_json::from_str::<Value>(value).is_ok_and(|value| value.is_number() || value.is_string()) {
        line.push_str(value);
    } else {
        line.push_str(&Value::from(value).to_string());
    }
}

fn xml(line: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => line.push_str("&amp;"),
            '<' => line.push_str("&lt;"),
            '>' => line.push_str("&gt;"),
            '"' => line.push_str("&quot;"),
            '\'' => line.push_str("&apos;"),
            // XML 1.0 has no way to write these.
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => line.push('?'),
            other => line.push(other),
        }
    }
}

/// RFC 4180, but that a value stays on its line.
fn csv(line: &mut String, value: &str) {
    let value: String = value.chars().map(|own| if own.is_control() { '?' } else { own }).collect();
    // A hyphen that is a value is told from one that stands for none.
    let is_bare = !value.contains([',', '"']) && value != "-";
    if is_bare {
        line.push_str(&value);
    } else {
        line.push('"');
        line.push_str(&value.replace('"', "\"\""));
        line.push('"');
    }
}

fn plain(line: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            // Writing to a string does not fail.
            control if control.is_control() => drop(write!(line, "\\u{:04x}", u32::from(control))),
            other => line.push(other),
        }
    }
}

/// What a format that is no preset is written in: JSON when it is JSON whatever its values are, XML by how it begins.
fn notation_of(pieces: &[Piece]) -> Notation {
    let with = |value: Option<&str>| {
        let mut line = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { is_quoted, .. } => Notation::Json.write(&mut line, value, *is_quoted),
            }
        }
        line
    };
    let is_json = |value| serde_json::from_str::<Value>(&with(value)).is_ok_and(|line| !line.is_string());
    match pieces.first() {
        Some(Piece::Text(text)) if text.trim_start().starts_with('<') => Notation::Xml,
        _ if is_json(None) && is_json(Some("1")) && is_json(Some("a")) => Notation::Json,
        _ => Notation::Plain,
    }
}

fn pieces(text: &str, kind: ApiKind, faults: &mut Vec<String>) -> Vec<Piece> {
    let (mut pieces, mut rest, mut is_quoted) = (Vec::new(), text, false);
    while let Some((before, after)) = rest.split_once('$') {
        is_quoted ^= quotes(before) % 2 == 1;
        pieces.push(Piece::Text(before.to_owned()));
        let Some(after) = after.strip_prefix("context.") else {
            faults.push(format!("has \"${}\"; only $context variables stand in access logs", first_word(after)));
            rest = after;
            continue;
        };
        let name = match Variable::name_in(after) {
            Ok(name) => name,
            Err(fault) => {
                faults.push(fault);
                rest = after;
                continue;
            }
        };
        match Variable::parse(name, kind) {
            Ok(variable) => pieces.push(Piece::Value { variable, is_quoted }),
            Err(fault) => faults.push(fault),
        }
        rest = &after[name.len()..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

/// Quotes that begin or end a text: those after a backslash do neither.
pub(crate) fn quotes(text: &str) -> usize {
    let (mut count, mut is_escaped) = (0, false);
    for byte in text.bytes() {
        count += usize::from(byte == b'"' && !is_escaped);
        is_escaped = byte == b'\\' && !is_escaped;
    }
    count
}

fn first_word(text: &str) -> &str {
    let end = text.find(|own: char| !(own.is_ascii_alphanumeric() || own == '.' || own == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// The formats that API Gateway documents.
fn preset(name: &str, kind: ApiKind) -> Option<(String, Notation)> {
    let route: &[(&str, &str)] = match kind {
        ApiKind::Rest => &[("httpMethod", "httpMethod"), ("resourcePath", "resourcePath")],
        ApiKind::Http => &[("routeKey", "routeKey")],
    };
    let values = |names: &[&str], between: &str| {
        names.iter().map(|name| format!("$context.{name}")).collect::<Vec<_>>().join(between)
    };
    let who = ["identity.sourceIp", "identity.caller", "identity.user"];
    let of_route: Vec<&str> = route.iter().map(|(_, variable)| *variable).collect();
    let keyed = || {
        let first = [("ip", who[0]), ("caller", who[1]), ("user", who[2]), ("requestTime", "requestTime")];
        let last = [("status", "status"), ("protocol", "protocol"), ("responseLength", "responseLength")];
        first.into_iter().chain(route.iter().copied()).chain(last)
    };
    match name {
        "clf" => Some((
            format!(
                "{} [$context.requestTime] \"{} $context.protocol\" {}",
                values(&who, " "),
                values(&of_route, " "),
                values(&["status", "responseLength", "requestId", "extendedRequestId"], " "),
            ),
            Notation::Plain,
        )),
        "json" => {
            let ids = [("requestId", "requestId"), ("extendedRequestId", "extendedRequestId")];
            let members =
                ids.into_iter().chain(keyed()).map(|(key, variable)| format!("\"{key}\":\"$context.{variable}\""));
            Some((format!("{{{}}}", members.collect::<Vec<_>>().join(",")), Notation::Json))
        }
        "xml" => {
            let elements = [("extendedRequestId", "extendedRequestId")].into_iter().chain(keyed());
            let elements: String =
                elements.map(|(key, variable)| format!("<{key}>$context.{variable}</{key}>")).collect();
            Some((format!("<request id=\"$context.requestId\">{elements}</request>"), Notation::Xml))
        }
        "csv" => {
            let last = ["protocol", "status", "responseLength", "requestId", "extendedRequestId"];
            let all: Vec<&str> = who.into_iter().chain(["requestTime"]).chain(of_route).chain(last).collect();
            Some((values(&all, ","), Notation::Csv))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
