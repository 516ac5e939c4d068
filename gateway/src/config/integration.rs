//! What answers a route: an HTTP server behind the gateway, a Lambda function, or the gateway itself.
//!
//! A URI may hold the route's parameters (`{id}`) and stage variables (`${stageVariables.host}`); a variable that the
//! stage does not have is empty, as in API Gateway. Each stage's URI is made and checked when it is made ready.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::Authority};
use weir_station::{config::Section, tls::ClientTlsConfig};

use super::{
    definitions::ApiKind,
    lambda::{FunctionDefaults, LambdaProxy},
    mapping::Mapping,
};

/// What answers a route.
#[derive(Clone, Debug)]
pub enum Integration {
    /// An HTTP server.
    HttpProxy(HttpProxy),
    /// The gateway, with what the configuration says.
    Mock(Mock),
    /// A Lambda function.
    Lambda(LambdaProxy),
}

/// An HTTP server behind the gateway.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    /// Where it is: `http://host:port/path`, with parameters and stage variables in it. A `[[service]]`'s name may stand
    /// for the host.
    pub uri: String,
    /// The method that it is asked with; none for the client's.
    pub method: Option<Method>,
    /// How long it may take to begin its answer.
    pub timeout: Duration,
    /// How long its answer may pause.
    pub idle_timeout: Duration,
    /// How the two recognise each other, by TLS.
    pub tls: ClientTlsConfig,
    /// What of requests and responses is changed.
    pub(crate) mapping: Mapping,
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct Mock {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// How long it takes.
    pub delay: Duration,
}

/// A URI of a stage: stage variables have their values, parameters are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageUri {
    /// Whether the server is reached by TLS.
    pub is_https: bool,
    /// Host and port.
    pub authority: Authority,
    /// Path, and query if it has one.
    pieces: Vec<Piece>,
    has_query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter(String),
}

impl Integration {
    /// Reads the table `integration` of a route.
    pub(super) fn read(
        section: &Section,
        timeout: Duration,
        kind: ApiKind,
        functions: &FunctionDefaults,
    ) -> Option<Self> {
        match section.required::<String>("type")?.as_str() {
            "http_proxy" => HttpProxy::read(section, timeout, kind).map(Self::HttpProxy),
            "mock" => Mock::read(section).map(Self::Mock),
            "lambda" => LambdaProxy::read(section, timeout, functions).map(Self::Lambda),
            other => {
                section.fault("type", format!("is {other:?}"), "\"http_proxy\", \"lambda\" or \"mock\"");
                None
            }
        }
    }

    /// Whether it can be made ready for a stage with these variables and a route with these parameters.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn check(
        &self,
        variables: &BTreeMap<String, String>,
        parameters: &[&str],
    ) -> Result<(), (String, &'static str)> {
        match self {
            Self::HttpProxy(proxy) => {
                let uri = StageUri::new(&proxy.uri, variables).map_err(|problem| (problem, StageUri::EXPECTED))?;
                let is_known = |name: &str| {
                    parameters.contains(&name) || proxy.mapping.path_parameters().any(|mapped| mapped == name)
                };
                if let Some(name) = uri.parameters().find(|name| !is_known(name)) {
                    return Err((format!("names {{{name}}}, which is no parameter of the route"), StageUri::EXPECTED));
                }
                match proxy.mapping.unknown_parameter(parameters) {
                    Some(name) => {
                        let problem = format!("is mapped from the parameter {name:?}, which the route does not have");
                        Err((problem, "the name of one of the route's parameters"))
                    }
                    None => Ok(()),
                }
            }
            Self::Lambda(lambda) => lambda.function.check(variables),
            Self::Mock(_) => Ok(()),
        }
    }
}

impl HttpProxy {
    fn read(section: &Section, timeout: Duration, kind: ApiKind) -> Option<Self> {
        let tls = ClientTlsConfig::read(&section.section("tls"));
        let method = section.optional::<String>("method").and_then(|text| {
            let method = Method::from_str(&text).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_uppercase()));
            if method.is_none() {
                section.fault("method", format!("is {text:?}"), "a method such as \"POST\"; unset: the client's");
            }
            method
        });
        let timeout = section.value("timeout", timeout);
        let idle_timeout = section.value("idle_timeout", Duration::from_secs(300));
        let mapping = Mapping::read(section, kind);
        Some(Self { uri: section.required("uri")?, method, timeout, idle_timeout, tls, mapping })
    }
}

impl StageUri {
    /// What would be right.
    pub(crate) const EXPECTED: &'static str =
        "a URI such as \"http://127.0.0.1:9000/users/{id}\" or \"https://${stageVariables.host}/{proxy}\"";

    /// The URI in a stage with these variables.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: &str, variables: &BTreeMap<String, String>) -> Result<Self, String> {
        let uri = substitute(text, variables)?;
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| format!("is {uri:?}"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(format!("has the scheme {scheme:?}"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = Authority::from_str(authority).ok().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| format!("has no host: {uri:?}"))?;
        if let Some(character) = path.chars().find(|character| *character == '#' || *character <= ' ') {
            return Err(format!("has {character:?} in its path: {uri:?}"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_https: scheme == "https", authority, has_query: path.contains('?'), pieces: pieces(&path) })
    }

    /// Its path with the names of its parameters, without its query.
    pub(crate) fn template(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(name) => format!("{{{name}}}"),
        });
        let whole: String = pieces.collect();
        whole.split('?').next().unwrap_or_default().to_owned()
    }

    /// Names of the parameters in it.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Parameter(name) => Some(name.as_str()),
        })
    }

    /// The path and query to ask the server for. Values are passed on as they were written.
    pub(crate) fn path_and_query<'v>(&self, value: impl Fn(&str) -> &'v str, query: Option<&str>) -> String {
        let mut text = String::with_capacity(64);
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Parameter(name) => value(name),
            });
        }
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            text.push(if self.has_query { '&' } else { '?' });
            text.push_str(query);
        }
        text
    }
}

/// `a/${stageVariables.b}` with the variables' values.
///
/// # Errors
/// When something else stands between `${` and `}`.
pub(crate) fn substitute(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut whole, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("has \"${{\" without \"}}\": {text:?}"))?;
        let name = name
            .strip_prefix("stageVariables.")
            .ok_or_else(|| format!("has \"${{{name}}}\": only \"${{stageVariables.name}}\" can stand there"))?;
        whole.push_str(before);
        whole.push_str(variables.get(name).map_or("", String::as_str));
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

/// `/users/{id}/x` → text, parameter, text. `{proxy+}` names the same parameter as `{proxy}`.
fn pieces(path: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{')
        && let Some((name, after)) = after.split_once('}')
    {
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Parameter(name.trim_end_matches('+').to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

impl Mock {
    fn read(section: &Section) -> Option<Self> {
        let status = section.value("status", 200_u16);
        let mut headers = HeaderMap::new();
        for line in section.value("headers", Vec::<String>::new()) {
            let pair = line
                .split_once(':')
                .map(|(name, value)| (HeaderName::from_str(name.trim()), HeaderValue::from_str(value.trim())));
            match pair {
                Some((Ok(name), Ok(value))) => drop(headers.append(name, value)),
                _ => section.fault("headers", format!("has {line:?}"), "texts such as \"content-type: text/plain\""),
            }
        }
        let body = Bytes::from(section.value("body", String::new()));
        let delay = section.value("delay", Duration::ZERO);
        if let (200..=599, Ok(status)) = (status, StatusCode::from_u16(status)) {
            return Some(Self { status, headers, body, delay });
        }
        section.fault("status", format!("is {status}"), "a status from 200 to 599");
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([("host".to_owned(), "inner:9000".to_owned()), ("base".to_owned(), "v1".to_owned())])
    }

    #[test]
    fn parameters_variables_and_query_go_into_the_uri_as_they_were_written() {
        let value = |name: &str| match name {
            "id" => "a%2Fb",
            _ => "x/y",
        };
        for (uri, query, authority, path) in [
            ("http://host:9000/v1/{id}/files/{proxy+}", Some("q=1&q=2"), "host:9000", "/v1/a%2Fb/files/x/y?q=1&q=2"),
            ("https://host", None, "host", "/"),
            ("http://${stageVariables.host}/${stageVariables.base}/{id}", Some(""), "inner:9000", "/v1/a%2Fb"),
            ("http://h/x?a=${stageVariables.none}", Some("b=2"), "h", "/x?a=&b=2"),
        ] {
            let made = StageUri::new(uri, &variables()).unwrap();
            assert_eq!((made.authority.as_str(), &made.path_and_query(value, query)[..]), (authority, path), "{uri}");
        }
    }

    #[test]
    fn a_uri_that_cannot_be_is_told_why() {
        for (uri, why) in [
            ("host:9000/x", "is \"host"),
            ("ftp://host", "scheme \"ftp\""),
            ("http:///x", "has no host"),
            ("http://${stageVariables.nothing}/x", "has no host"),
            ("http://user@h/x", "has no host"),
            ("http://${context.x}/", "only \"${stageVariables.name}\""),
            ("http://${stageVariables.x", "without \"}\""),
            ("http://h/a b", "has ' ' in its path"),
        ] {
            let problem = StageUri::new(uri, &variables()).unwrap_err();
            assert!(problem.contains(why), "{uri}: {problem}");
        }
    }
}
