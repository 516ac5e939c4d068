//! Parameter mapping, applied: what of a request changes on its way to the integration, and of a response on its way back.
//!
//! What always holds: values are read before anything is changed, so that the order of changes does not matter to them.
//! A value that is not there changes nothing where it would be appended; where it would overwrite, what stands there is
//! removed: what a client sent never passes for what the gateway was to say. So it is with a value that no header can
//! carry (line breaks, control characters). In a path and in a query, values are percent-encoded for their place, and the
//! path that comes of it is held to the rules of the client's ([`normalise`]).

mod query;
mod values;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use values::Values;
pub(crate) use values::{Around, RequestView, Surroundings};

use crate::{
    config::mapping::{Change, Expression, Mapping, Part, RequestTarget, ResponseTarget, Source},
    percent::encode,
    target::{BadTarget, normalise},
};

/// The bytes of a body that values are read from, as in API Gateway.
pub(crate) const BODY_BYTES: usize = 100 << 10;

/// What a route's integration changes in a stage.
#[derive(Debug)]
pub(crate) struct StageMapping {
    /// The changes.
    pub mapping: Mapping,
    /// The stage's variables.
    pub variables: BTreeMap<String, String>,
}

impl StageMapping {
    /// A mapping in a stage with these variables; none when it changes nothing.
    pub(crate) fn new(mapping: &Mapping, variables: &BTreeMap<String, String>) -> Option<Box<Self>> {
        (!mapping.is_empty()).then(|| Box::new(Self { mapping: mapping.clone(), variables: variables.clone() }))
    }
}

/// The changes that a request undergoes, with their values.
#[derive(Debug)]
pub(crate) struct RequestChanges<'m>(Vec<(&'m RequestTarget, Made)>);

/// A change with its value; none where the value is not there.
#[derive(Debug)]
enum Made {
    Remove,
    Overwrite(Option<Vec<u8>>),
    Append(Option<Vec<u8>>),
}

impl Mapping {
    /// Whether values are read from the request's body.
    pub(crate) fn needs_request_body(&self) -> bool {
        needs_body(self.request.iter().map(|(_, change)| change))
    }

    /// Whether values are read from the body of a response with this status.
    pub(crate) fn needs_response_body(&self, status: StatusCode) -> bool {
        self.responses.get(&status.as_u16()).is_some_and(|changes| needs_body(changes.iter().map(|(_, change)| change)))
    }

    /// The changes that a request undergoes.
    pub(crate) fn request_changes(
        &self,
        request: &RequestView<'_>,
        surroundings: &dyn Surroundings,
    ) -> RequestChanges<'_> {
        let values = Values::new(request, surroundings);
        let made = self.request.iter().map(|(target, change)| {
            let made = make(change, |expression| match target {
                RequestTarget::Path => values.path(expression),
                RequestTarget::PathParameter(_) => Some(values.segments(expression)),
                RequestTarget::Header(_) | RequestTarget::Query(_) => values.plain(expression),
            });
            (target, made)
        });
        RequestChanges(made.collect())
    }

    /// Changes a response. A status that is none from 200 to 599 changes nothing.
    pub(crate) fn change_response(
        &self,
        status: &mut StatusCode,
        headers: &mut HeaderMap,
        body: &[u8],
        surroundings: &dyn Surroundings,
    ) {
        let Some(changes) = self.responses.get(&status.as_u16()) else { return };
        let view = RequestView { headers, path: "", parameters: &[], query: None, body };
        let values = Values::new(&view, surroundings);
        let made = changes.iter().map(|(target, change)| (target, make(change, |expression| values.plain(expression))));
        for (target, made) in made.collect::<Vec<_>>() {
            match (target, made) {
                (ResponseTarget::Header(name), made) => change_header(headers, name, &made),
                (ResponseTarget::Status, Made::Overwrite(Some(text))) => {
                    let code = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
                    if let Some(Ok(code)) = code.filter(|code| (200..=599).contains(code)).map(StatusCode::from_u16) {
                        *status = code;
                    }
                }
                (ResponseTarget::Status, _) => {}
            }
        }
    }
}

impl RequestChanges<'_> {
    /// What stands for a parameter of the integration's URI, as it is written in a path, where it is mapped.
    pub(crate) fn path_parameter(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(target, made)| match (target, made) {
            (RequestTarget::PathParameter(own), Made::Overwrite(value)) if own == name => {
                Some(value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default())
            }
            _ => None,
        })
    }

    /// The path and query that the integration is asked for, given those that its URI and the request make.
    ///
    /// # Errors
    /// When the path that comes of it is none that a client may ask for.
    pub(crate) fn target(&self, made: String) -> Result<String, BadTarget> {
        let (mut changes_path, mut changes_query) = (false, false);
        for (target, _) in &self.0 {
            match target {
                RequestTarget::Path | RequestTarget::PathParameter(_) => changes_path = true,
                RequestTarget::Query(_) => changes_query = true,
                RequestTarget::Header(_) => {}
            }
        }
        if !changes_path && !changes_query {
            return Ok(made);
        }
        let (path, query) = made.split_once('?').map_or((made.as_str(), None), |(path, query)| (path, Some(query)));
        let mapped = self.0.iter().find_map(|(target, made)| match (target, made) {
            (RequestTarget::Path, Made::Overwrite(value)) => Some(value.as_deref().unwrap_or_default()),
            _ => None,
        });
        let path = match mapped {
            Some(path) => std::str::from_utf8(path).map_err(|_| BadTarget::Character)?,
            None => path,
        };
        let mut whole = normalise(path)?.into_owned();
        let changed;
        let query = if changes_query {
            changed = query::change(query.unwrap_or_default(), self.of_query());
            Some(changed.as_str()).filter(|query| !query.is_empty())
        } else {
            query
        };
        if let Some(query) = query {
            whole.push('?');
            whole.push_str(query);
        }
        Ok(whole)
    }

    fn of_query(&self) -> impl Iterator<Item = (&str, &Made)> {
        self.0.iter().filter_map(|(target, made)| match target {
            RequestTarget::Query(name) => Some((name.as_str(), made)),
            _ => None,
        })
    }

    /// Changes the headers that the integration gets.
    pub(crate) fn headers(&self, headers: &mut HeaderMap) {
        for (target, made) in &self.0 {
            if let RequestTarget::Header(name) = target {
                change_header(headers, name, made);
            }
        }
    }
}

fn needs_body<'c>(changes: impl Iterator<Item = &'c Change>) -> bool {
    changes.filter_map(Change::expression).flat_map(Expression::sources).any(|source| matches!(source, Source::Body(_)))
}

fn make(change: &Change, value: impl FnOnce(&Expression) -> Option<Vec<u8>>) -> Made {
    match change {
        Change::Remove => Made::Remove,
        Change::Overwrite(expression) => Made::Overwrite(value(expression)),
        Change::Append(expression) => Made::Append(value(expression)),
    }
}

fn change_header(headers: &mut HeaderMap, name: &http::HeaderName, made: &Made) {
    let carried = |value: &Option<Vec<u8>>| HeaderValue::from_bytes(value.as_deref()?).ok();
    match made {
        Made::Remove => drop(headers.remove(name)),
        Made::Overwrite(value) => match carried(value) {
            Some(value) => drop(headers.insert(name, value)),
            // Without a host of its own, the integration's stays.
            None if name == header::HOST => {}
            None => drop(headers.remove(name)),
        },
        Made::Append(value) => {
            if let Some(value) = carried(value) {
                headers.append(name, value);
            }
        }
    }
}

impl Values<'_> {
    /// The value of an expression as text; none when it is one value that is not there.
    fn plain(&self, expression: &Expression) -> Option<Vec<u8>> {
        if let [Part::Value(source)] = expression.0.as_slice() {
            return self.value(source).map(std::borrow::Cow::into_owned);
        }
        let mut whole = Vec::new();
        for part in &expression.0 {
            match part {
                Part::Text(text) => whole.extend_from_slice(text.as_bytes()),
                Part::Value(source) => whole.extend_from_slice(&self.value(source).unwrap_or_default()),
            }
        }
        Some(whole)
    }

    /// The value of an expression as a path: one value that is the whole is a path as it was written.
    fn path(&self, expression: &Expression) -> Option<Vec<u8>> {
        match expression.0.as_slice() {
            [Part::Value(source)] if self.written(source).is_none() => {
                self.value(source).map(std::borrow::Cow::into_owned)
            }
            _ => Some(self.segments(expression)),
        }
    }

    /// The value of an expression as part of a path: what was part of the client's path stays as it was written, and every
    /// other value is encoded as one segment.
    fn segments(&self, expression: &Expression) -> Vec<u8> {
        let mut whole = Vec::new();
        for part in &expression.0 {
            let source = match part {
                Part::Text(text) => {
                    whole.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Value(source) => source,
            };
            match self.written(source) {
                Some(written) if whole.ends_with(b"/") => {
                    whole.extend_from_slice(written.strip_prefix('/').unwrap_or(written).as_bytes());
                }
                Some(written) => whole.extend_from_slice(written.as_bytes()),
                None => encode(&mut whole, &self.value(source).unwrap_or_default()),
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests;
