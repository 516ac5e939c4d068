//! Gateway responses: what a REST API says in place of the gateway's own words
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html>).
//!
//! For each case its own response is looked for, then `DEFAULT_4XX` or `DEFAULT_5XX`, then the built-in one stays. A
//! template is a text with `$context`, `$stageVariables` and `$method.request` values in it, and nothing else.
//!
//! What always holds: a value that a client sent stays within the quotes of a JSON template, and cannot end a header.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    config::definitions::ApiKind,
    context::{
        format::{quotes, write_json},
        variable::{About, Variable},
    },
    refusal::Answer,
};

/// The cases that API Gateway names; what is too large cannot be answered otherwise.
pub(crate) const TYPES: [&str; 20] = [
    "ACCESS_DENIED",
    "API_CONFIGURATION_ERROR",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "AUTHORIZER_FAILURE",
    "BAD_REQUEST_BODY",
    "BAD_REQUEST_PARAMETERS",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
    "EXPIRED_TOKEN",
    "INTEGRATION_FAILURE",
    "INTEGRATION_TIMEOUT",
    "INVALID_API_KEY",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "QUOTA_EXCEEDED",
    "RESOURCE_NOT_FOUND",
    "THROTTLED",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "WAF_FILTERED",
];

/// A response of the API's own.
#[derive(Clone, Debug)]
pub(crate) struct GatewayResponse {
    /// The case.
    pub response_type: String,
    /// Its status; none for the built-in one.
    pub status: Option<StatusCode>,
    /// Headers besides the built-in ones, or in their place.
    pub headers: Vec<(HeaderName, Source)>,
    /// Its body; none for the built-in one.
    pub template: Option<Template>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The definition.
    Literal(String),
    /// `context.x`.
    Context(Variable),
    /// `stageVariables.x`.
    StageVariable(String),
    /// `method.request.header.x`.
    Header(HeaderName),
    /// `method.request.querystring.x`.
    Query(String),
    /// `method.request.path.x`.
    Path(String),
}

/// A body with values in it.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Value { source: Source, is_quoted: bool },
}

/// The request that is answered, as far as responses may speak of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'r> {
    /// Its record and what else is known of it.
    pub about: About<'r>,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

impl Source {
    /// Reads `'literal'`, `context.x`, `stageVariables.x`, or `method.request.{header,querystring,path}.x`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(literal) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            return match HeaderValue::try_from(literal) {
                Ok(_) => Ok(Self::Literal(literal.to_owned())),
                Err(_) => Err(format!("is {text:?}, which no header can say")),
            };
        }
        Self::parse_name(text)?.ok_or_else(|| {
            format!("is {text:?}; expected 'a literal', context.x, stageVariables.x or method.request.header.x")
        })
    }

    /// Reads a name that is no literal; none when it is none.
    fn parse_name(text: &str) -> Result<Option<Self>, String> {
        let Some((place, name)) = ["context.", "stageVariables.", "method.request."]
            .iter()
            .find_map(|place| Some((*place, text.strip_prefix(place)?)))
        else {
            return Ok(None);
        };
        if place == "context." {
            return Variable::parse(name, ApiKind::Rest).map(|variable| Some(Self::Context(variable)));
        }
        if place == "stageVariables." {
            return Ok((!name.is_empty()).then(|| Self::StageVariable(name.to_owned())));
        }
        match name.split_once('.') {
            Some(("header", name)) => {
                let header = HeaderName::try_from(name).map_err(|_| format!("has no header name: {text:?}"))?;
                Ok(Some(Self::Header(header)))
            }
            Some(("querystring", name)) => Ok(Some(Self::Query(name.to_owned()))),
            Some(("path", name)) => Ok(Some(Self::Path(name.to_owned()))),
            _ => Ok(None),
        }
    }

    fn value(&self, asked: &Asked<'_>) -> Option<String> {
        let facts = asked.about.facts;
        match self {
            Self::Literal(text) => Some(text.clone()),
            Self::Context(variable) => variable.value(&asked.about).map(std::borrow::Cow::into_owned),
            Self::StageVariable(name) => facts.place.stage()?.variables.get(name).cloned(),
            Self::Header(name) => Some(asked.headers.get(name)?.to_str().ok()?.to_owned()),
            Self::Query(name) => {
                let pairs = facts.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
                pairs.rev().find_map(|(own, value)| (own == name).then(|| value.to_owned()))
            }
            Self::Path(name) => facts.parameter(&asked.about.record.path, name),
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut pieces, mut faults, mut rest, mut is_quoted) = (Vec::new(), Vec::new(), text, false);
        while let Some((before, after)) = rest.split_once('$') {
            is_quoted ^= quotes(before) % 2 == 1;
            pieces.push(Piece::Text(before.to_owned()));
            let name = match name_in(after) {
                Ok(name) => name,
                Err(fault) => {
                    faults.push(fault);
                    rest = after;
                    continue;
                }
            };
            match Source::parse_name(name) {
                Ok(Some(source)) => pieces.push(Piece::Value { source, is_quoted }),
                Ok(None) => faults.push(format!(
                    "has \"${name}\"; only $context, $stageVariables and $method.request values stand in templates"
                )),
                Err(fault) => faults.push(fault),
            }
            rest = &after[name.len()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if faults.is_empty() { Ok(Self(pieces)) } else { Err(faults) }
    }

    fn render(&self, asked: &Asked<'_>) -> String {
        let mut body = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => body.push_str(text),
                Piece::Value { source, is_quoted } => {
                    write_json(&mut body, source.value(asked).as_deref(), *is_quoted);
                }
            }
        }
        body
    }
}

/// The name of a value that a text begins with.
fn name_in(text: &str) -> Result<&str, String> {
    const CONTEXT: &str = "context.";
    if let Some(rest) = text.strip_prefix(CONTEXT) {
        return Variable::name_in(rest).map(|name| &text[..CONTEXT.len() + name.len()]);
    }
    let is_name = |own: char| own.is_ascii_alphanumeric() || matches!(own, '.' | '_' | '-');
    Ok(text[..text.find(|own| !is_name(own)).unwrap_or(text.len())].trim_end_matches('.'))
}

/// Whether one of these speaks of the request's headers.
pub(crate) fn ask_for_headers(responses: &[GatewayResponse]) -> bool {
    let asks = |source: &Source| matches!(source, Source::Header(_));
    responses.iter().any(|response| {
        let pieces = response.template.iter().flat_map(|template| &template.0);
        let in_template = pieces.filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value { source, .. } => Some(source),
        });
        response.headers.iter().map(|(_, source)| source).chain(in_template).any(asks)
    })
}

/// Makes the built-in response what the API says in its place.
pub(crate) fn apply(responses: &[GatewayResponse], answer: &Answer, asked: &Asked<'_>, response: &mut Response<Bytes>) {
    let default = if answer.status.is_server_error() { "DEFAULT_5XX" } else { "DEFAULT_4XX" };
    let of = |name: &str| responses.iter().find(|own| own.response_type == name);
    // What was too large is not ours to answer otherwise.
    let own = if answer.response_type == "REQUEST_TOO_LARGE" { None } else { of(answer.response_type) };
    let Some(own) = own.or_else(|| of(default).filter(|_| answer.response_type != "REQUEST_TOO_LARGE")) else { return };
    if let Some(status) = own.status {
        *response.status_mut() = status;
    }
    if let Some(template) = &own.template {
        *response.body_mut() = Bytes::from(template.render(asked));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, source) in &own.headers {
        if let Some(value) = source.value(asked).and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
