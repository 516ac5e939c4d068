//! Cross-origin requests of HTTP APIs, which the gateway answers itself
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>).
//!
//! A preflight request gets 204 whether or not a route has the method OPTIONS, and before anybody is authorized: browsers
//! send it without credentials. What an integration says of cross-origin requests is dropped: the configuration decides.
//! An origin that may not ask gets the same answer without any of these headers, and its browser refuses.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::config::definitions::Cors as Definition;

/// What an integration's answer loses.
const OVERRIDDEN: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// How cross-origin requests are answered, ready to be said.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
    /// Whether any origin may ask, so that the answer need not name it.
    is_for_all: bool,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    allows_credentials: bool,
}

impl Cors {
    /// What the definition says. Texts that no header can carry are left out; reading the configuration refuses them.
    pub(crate) fn new(definition: &Definition) -> Self {
        let list =
            |items: &[String]| (!items.is_empty()).then(|| HeaderValue::from_str(&items.join(",")).ok()).flatten();
        Self {
            is_for_all: definition.allow_origins.iter().any(|origin| origin == "*"),
            origins: definition.allow_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            methods: list(&definition.allow_methods),
            headers: list(&definition.allow_headers),
            exposed: list(&definition.expose_headers),
            max_age: definition.max_age.map(|age| HeaderValue::from(age.as_secs())),
            allows_credentials: definition.allow_credentials,
        }
    }

    /// The answer to a preflight request; none for other requests.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let is_preflight = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(header::ORIGIN).filter(|_| is_preflight)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let to = response.headers_mut();
        if self.allow(origin, to) {
            let all = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
                (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
            ];
            to.extend(all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        }
        Some(response)
    }

    /// Puts what the configuration says into a response in place of what the integration said.
    pub(crate) fn dress(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in OVERRIDDEN {
            headers.remove(name);
        }
        let Some(origin) = origin else {
            // A cache must not give this answer to one who asks from an origin.
            self.vary(headers);
            return;
        };
        if self.allow(origin, headers)
            && let Some(exposed) = &self.exposed
        {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// Says that the origin may ask, if it may.
    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
        self.vary(headers);
        if self.is_for_all {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return true;
        }
        let Ok(text) = origin.to_str() else { return false };
        if !self.origins.iter().any(|own| is_meant(own, text)) {
            return false;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.allows_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    /// The answer depends on who asks.
    fn vary(&self, headers: &mut HeaderMap) {
        if !self.is_for_all {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// Whether a configured origin means this one: `https://example.com`, or `https://*` for all of a scheme.
fn is_meant(own: &str, origin: &str) -> bool {
    match own.strip_suffix("://*") {
        Some(scheme) => {
            origin.split_once("://").is_some_and(|(own, host)| own.eq_ignore_ascii_case(scheme) && !host.is_empty())
        }
        None => own.eq_ignore_ascii_case(origin),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        let texts = |items: &[&str]| items.iter().map(ToString::to_string).collect();
        Cors::new(&Definition {
            allow_origins: texts(origins),
            allow_methods: texts(&["GET", "POST"]),
            allow_headers: texts(&["content-type", "x-a"]),
            expose_headers: texts(&["x-b"]),
            max_age: Some(Duration::from_secs(300)),
            allow_credentials: !origins.contains(&"*"),
        })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    const PREFLIGHT: [(&str, &str); 2] = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];

    #[test]
    fn a_preflight_request_is_answered_with_all_that_is_allowed() {
        let response = cors(&["https://a.example"]).preflight(&Method::OPTIONS, &headers(&PREFLIGHT)).unwrap();
        assert_eq!(response.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "content-type,x-a"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "300"),
            ("vary", "origin"),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
    }

    #[test]
    fn only_options_with_an_origin_and_a_method_that_is_asked_for_is_a_preflight_request() {
        let cors = cors(&["*"]);
        assert!(cors.preflight(&Method::GET, &headers(&PREFLIGHT)).is_none());
        assert!(cors.preflight(&Method::OPTIONS, &headers(&PREFLIGHT[..1])).is_none());
        assert!(cors.preflight(&Method::OPTIONS, &headers(&PREFLIGHT[1..])).is_none());
    }

    #[test]
    fn origins_are_compared_whole_or_by_their_scheme() {
        for (own, origin, is_allowed) in [
            ("https://a.example", "https://a.example", true),
            ("https://A.example", "https://a.EXAMPLE", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://a.example", "http://a.example", false),
            ("https://*", "https://any.example:8443", true),
            ("https://*", "http://any.example", false),
            ("https://*", "https://", false),
            ("*", "null", true),
        ] {
            let mut answer = HeaderMap::new();
            cors(&[own]).dress(Some(&HeaderValue::from_static(origin)), &mut answer);
            assert_eq!(answer.contains_key("access-control-allow-origin"), is_allowed, "{own} {origin}");
        }
    }

    #[test]
    fn what_the_integration_says_of_origins_is_dropped() {
        let mut answer =
            headers(&[("access-control-allow-origin", "*"), ("access-control-max-age", "9"), ("vary", "a")]);
        cors(&["https://a.example"]).dress(Some(&HeaderValue::from_static("https://b.example")), &mut answer);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
        assert_eq!(answer.get_all("vary").iter().count(), 2);
        cors(&["https://a.example"]).dress(Some(&HeaderValue::from_static("https://a.example")), &mut answer);
        assert_eq!(answer["access-control-expose-headers"], "x-b");
    }
}
