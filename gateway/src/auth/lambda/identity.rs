//! What a Lambda authorizer decides by: headers, query parameters, stage variables and what is known of the request, as
//! API Gateway names them (`identitySource`).
//!
//! What always holds: a source has one value. Where a request has a header or a parameter several times, the function and
//! the integration may look at different ones: it is refused.

use http::{HeaderMap, HeaderName};

use crate::{
    config::definitions::ApiKind,
    context::variable::{About, Variable},
    serving::Stage,
};

const HEADER: [&str; 2] = ["$request.header.", "method.request.header."];
const QUERY: [&str; 2] = ["$request.querystring.", "method.request.querystring."];
const CONTEXT: [&str; 2] = ["$context.", "context."];
const STAGE_VARIABLE: [&str; 2] = ["$stageVariables.", "stageVariables."];

/// What an identity source looks like.
pub(crate) const EXPECTED: &str = "\"$request.header.NAME\", \"$request.querystring.NAME\", \"$context.NAME\" or \
    \"$stageVariables.NAME\", or REST's \"method.request.header.NAME\", \"method.request.querystring.NAME\", \
    \"context.NAME\", \"stageVariables.NAME\"";

/// An identity source.
#[derive(Clone, Debug)]
pub(crate) enum IdentitySource {
    /// A header.
    Header(HeaderName),
    /// A query parameter.
    Query(String),
    /// The client's address: `$context.identity.sourceIp`, which records may keep back.
    Address,
    /// A variable of `$context`.
    Context(Variable),
    /// A stage variable.
    StageVariable(String),
}

/// A request, as far as identity sources look at it.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub headers: &'a HeaderMap,
    /// Names and values of the query, decoded.
    pub query: &'a [(String, String)],
    pub stage: &'a Stage,
    pub about: About<'a>,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoIdentity {
    /// A source is missing or empty.
    Missing,
    /// A source has several values.
    Several,
}

impl IdentitySource {
    /// Reads a source.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let after = |prefixes: [&str; 2]| {
            prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).filter(|name| !name.is_empty())
        };
        if let Some(name) = after(HEADER) {
            return name.parse().ok().map(Self::Header);
        }
        if let Some(name) = after(QUERY) {
            return Some(Self::Query(name.to_owned()));
        }
        if let Some(name) = after(STAGE_VARIABLE) {
            return Some(Self::StageVariable(name.to_owned()));
        }
        // API Gateway lets nobody decide by the path; what the authorizer itself says is not known yet.
        let name = after(CONTEXT).filter(|name| *name != "path" && !name.starts_with("authorizer."))?;
        if name == "identity.sourceIp" {
            return Some(Self::Address);
        }
        let variable = Variable::parse(name, ApiKind::Http).or_else(|_| Variable::parse(name, ApiKind::Rest));
        variable.ok().map(Self::Context)
    }

    fn value(&self, sources: &Sources<'_>) -> Result<String, NoIdentity> {
        let value = match self {
            Self::Header(name) => {
                let mut values = sources.headers.get_all(name).iter();
                let value = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                if values.next().is_some() {
                    return Err(NoIdentity::Several);
                }
                value
            }
            Self::Query(name) => {
                let mut values = sources.query.iter().filter(|(own, _)| own == name);
                let value = values.next().map(|(_, value)| value.clone());
                if values.next().is_some() {
                    return Err(NoIdentity::Several);
                }
                value
            }
            Self::Address => Some(sources.about.facts.address.to_string()),
            Self::Context(variable) => variable.value(&sources.about).map(std::borrow::Cow::into_owned),
            Self::StageVariable(name) => sources.stage.variables.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty()).ok_or(NoIdentity::Missing)
    }
}

/// The values of all sources in their order.
pub(super) fn values(own: &[IdentitySource], sources: &Sources<'_>) -> Result<Vec<String>, NoIdentity> {
    own.iter().map(|source| source.value(sources)).collect()
}
