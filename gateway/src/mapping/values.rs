//! The values that mappings read.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::{BODY_BYTES, query};
use crate::{
    config::mapping::{JsonPath, Source, Which},
    context::variable::{About, Variable},
    percent::decode,
};

/// What of a request, or of a response, values are read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestView<'r> {
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its path without base path and stage, as it was written.
    pub path: &'r str,
    /// The route's parameters, as they were written.
    pub parameters: &'r [(&'r str, &'r str)],
    /// Its query.
    pub query: Option<&'r str>,
    /// The beginning of its body, at least [`BODY_BYTES`] of it when it has as many; empty where the mapping needs none.
    pub body: &'r [u8],
}

/// What is known around a request.
pub(crate) trait Surroundings {
    /// The client's address.
    fn client_address(&self) -> Option<String>;
    /// A variable of `$context`.
    fn context(&self, variable: &Variable) -> Option<Cow<'_, str>>;
    /// A stage variable.
    fn stage_variable(&self, name: &str) -> Option<&str>;
}

/// What is known of a request, and its stage's variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// What is known of the request.
    pub about: About<'a>,
    /// Its stage's variables.
    pub variables: &'a BTreeMap<String, String>,
}

impl Surroundings for Around<'_> {
    fn client_address(&self) -> Option<String> {
        Some(self.about.facts.address.to_string())
    }

    fn context(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        variable.value(&self.about)
    }

    fn stage_variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// The values of a request or response.
pub(super) struct Values<'r> {
    view: &'r RequestView<'r>,
    surroundings: &'r dyn Surroundings,
    /// The body, read once; none when it is no JSON.
    document: OnceCell<Option<Value>>,
}

impl<'r> Values<'r> {
    pub(super) fn new(view: &'r RequestView<'r>, surroundings: &'r dyn Surroundings) -> Self {
        Self { view, surroundings, document: OnceCell::new() }
    }

    /// A value as it was written in the path, if it was part of it.
    pub(super) fn written(&self, source: &Source) -> Option<&'r str> {
        match source {
            Source::Path => Some(self.view.path),
            Source::PathParameter(name) => Some(self.path_parameter(name).unwrap_or_default()),
            _ => None,
        }
    }

    /// A value: what it means, not how it was encoded.
    pub(super) fn value(&self, source: &Source) -> Option<Cow<'_, [u8]>> {
        match source {
            Source::Header(name, which) => self.header(name, *which),
            Source::Query(name, which) => self.query(name, *which).map(Cow::Owned),
            Source::Path => Some(Cow::Borrowed(self.view.path.as_bytes())),
            Source::PathParameter(name) => Some(decode(self.path_parameter(name)?, false)),
            Source::Body(path) => self.body(path),
            Source::ClientAddress => self.surroundings.client_address().map(bytes),
            Source::Context(variable) => self.surroundings.context(variable).map(|value| match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => bytes(text),
            }),
            Source::StageVariable(name) => {
                self.surroundings.stage_variable(name).map(|text| Cow::Borrowed(text.as_bytes()))
            }
        }
    }

    fn path_parameter(&self, name: &str) -> Option<&'r str> {
        self.view.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    fn header(&self, name: &HeaderName, which: Which) -> Option<Cow<'_, [u8]>> {
        let mut all = self.view.headers.get_all(name).iter();
        let first = all.next()?.as_bytes();
        if which == Which::Last {
            return Some(Cow::Borrowed(all.next_back().map_or(first, |last| last.as_bytes())));
        }
        let mut whole = Cow::Borrowed(first);
        for value in all {
            let whole = whole.to_mut();
            whole.push(b',');
            whole.extend_from_slice(value.as_bytes());
        }
        Some(whole)
    }

    fn query(&self, name: &str, which: Which) -> Option<Vec<u8>> {
        let mut all = query::values(self.view.query?, name);
        let first = all.next()?.into_owned();
        Some(match which {
            Which::Last => all.last().map_or(first, Cow::into_owned),
            Which::All => all.fold(first, |mut whole, value| {
                whole.push(b',');
                whole.extend_from_slice(&value);
                whole
            }),
        })
    }

    /// Texts without their quotes, everything else as JSON; null is no value.
    fn body(&self, path: &JsonPath) -> Option<Cow<'_, [u8]>> {
        let body = &self.view.body[..self.view.body.len().min(BODY_BYTES)];
        if path.is_root() {
            return (!body.is_empty()).then_some(Cow::Borrowed(body));
        }
        let document = self.document.get_or_init(|| serde_json::from_slice(body).ok()).as_ref()?;
        match path.find(document)? {
            Value::Null => None,
            Value::String(text) => Some(Cow::Borrowed(text.as_bytes())),
            other => Some(bytes(other.to_string())),
        }
    }
}

fn bytes<'b>(text: String) -> Cow<'b, [u8]> {
    Cow::Owned(text.into_bytes())
}
