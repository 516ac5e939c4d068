//! What answers a route: an HTTP server behind the gateway, or the gateway itself.

use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, uri::Authority};
use weir_station::config::Section;

use crate::route::Parameters;

/// What answers a route.
#[derive(Clone, Debug)]
pub enum Integration {
    /// An HTTP server.
    HttpProxy(HttpProxy),
    /// The gateway, with what the configuration says.
    Mock(Mock),
}

/// An HTTP server behind the gateway.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    /// Whether it is reached by TLS.
    pub is_https: bool,
    /// Its host and port.
    pub authority: Authority,
    /// Its path, with the route's parameters in it.
    path: Vec<Piece>,
    /// How long it may take, to the last byte.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter(String),
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

impl Integration {
    /// Reads the table `integration` of a route that has these parameters.
    pub(super) fn read(section: &Section, parameters: &[String], timeout: Duration) -> Option<Self> {
        match section.required::<String>("type")?.as_str() {
            "http_proxy" => HttpProxy::read(section, parameters, timeout).map(Self::HttpProxy),
            "mock" => Mock::read(section).map(Self::Mock),
            other => {
                section.fault("type", format!("is {other:?}"), "\"http_proxy\" or \"mock\"");
                None
            }
        }
    }
}

impl HttpProxy {
    const EXPECTED: &'static str = "a URI such as \"http://127.0.0.1:9000/users/{id}\", without a query";

    fn read(section: &Section, parameters: &[String], timeout: Duration) -> Option<Self> {
        let text = section.required::<String>("uri")?;
        let timeout = section.value("timeout", timeout);
        let fault = |problem: String| {
            section.fault("uri", problem, Self::EXPECTED);
            None
        };
        let Some((scheme, rest)) = text.split_once("://") else { return fault(format!("is {text:?}")) };
        if !matches!(scheme, "http" | "https") {
            return fault(format!("has the scheme {scheme:?}"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Ok(authority) = Authority::from_str(authority) else { return fault(format!("has no host: {text:?}")) };
        if path.contains(['?', '#']) {
            return fault("has a query; the request's own query is passed on".to_owned());
        }
        let pieces = pieces(if path.is_empty() { "/" } else { path });
        for piece in &pieces {
            if let Piece::Parameter(name) = piece
                && !parameters.contains(name)
            {
                return fault(format!("names {{{name}}}, which is no parameter of the route"));
            }
        }
        Some(Self { is_https: scheme == "https", authority, path: pieces, timeout })
    }

    /// The path and query to ask the server for. Values are passed on as they were written.
    pub fn uri(&self, parameters: &Parameters<'_, '_>, query: Option<&str>) -> Option<Uri> {
        let mut path = String::with_capacity(64);
        for piece in &self.path {
            path.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Parameter(name) => parameters.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value),
            });
        }
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        path.parse().ok()
    }
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
    use weir_station::config::Document;

    use super::*;

    fn read(uri: &str) -> Result<HttpProxy, String> {
        let document = Document::parse(&format!("[i]\nuri = \"{uri}\""), Vec::new()).unwrap();
        let parameters = ["id".to_owned(), "proxy".to_owned()];
        let proxy = HttpProxy::read(&document.section("i"), &parameters, Duration::from_secs(1));
        document.finish(&[]).map_err(|faults| faults.to_string()).map(|_| proxy.unwrap())
    }

    #[test]
    fn parameters_and_query_go_into_the_uri_as_they_were_written() {
        let proxy = read("http://host:9000/v1/{id}/files/{proxy+}").unwrap();
        let uri = proxy.uri(&vec![("id", "a%2Fb"), ("proxy", "x/y")], Some("q=1&q=2")).unwrap();
        assert_eq!(uri.to_string(), "/v1/a%2Fb/files/x/y?q=1&q=2");
        assert_eq!(read("https://host").unwrap().uri(&vec![], None).unwrap().to_string(), "/");
    }

    #[test]
    fn a_uri_that_cannot_be_is_told_why() {
        for (uri, why) in [
            ("host:9000/x", "is \"host"),
            ("ftp://host", "scheme \"ftp\""),
            ("http:///x", "has no host"),
            ("http://h/x?a=b", "has a query"),
            ("http://h/{name}", "names {name}"),
        ] {
            let faults = read(uri).unwrap_err();
            assert!(faults.contains(why), "{uri}: {faults}");
        }
    }
}
