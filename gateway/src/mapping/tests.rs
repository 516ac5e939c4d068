use std::borrow::Cow;

use http::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::{config::definitions::ApiKind, context::variable::Variable};

/// `$context` values are the variables' names; one stage variable.
struct Fixed;

impl Surroundings for Fixed {
    fn client_address(&self) -> Option<String> {
        Some("192.0.2.1".to_owned())
    }

    fn context(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        let name = format!("{variable:?}");
        (!name.contains("claims")).then_some(Cow::Owned(name))
    }

    fn stage_variable(&self, name: &str) -> Option<&str> {
        (name == "v").then_some("v 1")
    }
}

const PARAMETERS: [(&str, &str); 2] = [("id", "a%2Fb"), ("proxy", "x/y")];
const BODY: &[u8] = br#"{"user":{"name":"N","tags":["t",2]},"evil":"a\r\nb","dots":"..","none":null}"#;

fn mapping(kind: ApiKind, pairs: &[(&str, &str)]) -> Mapping {
    let pairs: Vec<_> = pairs.iter().map(|(target, value)| ((*target).to_owned(), (*value).to_owned())).collect();
    Mapping::parse(kind, &pairs, &[]).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

/// The headers and target that come of a request.
fn mapped(kind: ApiKind, pairs: &[(&str, &str)]) -> (HeaderMap, Result<String, BadTarget>) {
    let mut headers = headers(&[("x", "1"), ("x", "2"), ("host", "own"), ("up", ".."), ("whole", "/p/q")]);
    let query = "a=1&b=x+y&a=%C3%A9&%61dmin=1";
    let mapping = mapping(kind, pairs);
    let original = headers.clone();
    let path = "/pets/a%2Fb";
    let view = RequestView { headers: &original, path, parameters: &PARAMETERS, query: Some(query), body: BODY };
    let changes = mapping.request_changes(&view, &Fixed);
    changes.headers(&mut headers);
    let parameter = changes.path_parameter("id").unwrap_or("a%2Fb");
    let target = changes.target(format!("/base/{parameter}?{query}"));
    (headers, target)
}

fn header_of(kind: ApiKind, target: &str, value: &str) -> Vec<String> {
    let (headers, _) = mapped(kind, &[(target, value)]);
    headers.get_all("x").iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

#[test]
fn headers_get_the_values_that_they_are_mapped_to() {
    for (target, value, expected) in [
        ("append:header.x", "3", &["1", "2", "3"][..]),
        ("overwrite:header.X", "3", &["3"]),
        ("remove:header.x", "", &[]),
        ("overwrite:header.x", "$request.header.x", &["1,2"]),
        ("overwrite:header.x", "$request.querystring.a", &["1,é"]),
        ("overwrite:header.x", "$request.querystring.b", &["x y"]),
        ("overwrite:header.x", "$request.path", &["/pets/a%2Fb"]),
        ("overwrite:header.x", "$request.path.id", &["a/b"]),
        ("overwrite:header.x", "$request.body.user.name", &["N"]),
        ("overwrite:header.x", "$request.body.user.tags", &["[\"t\",2]"]),
        ("overwrite:header.x", "$request.body.user.tags[1]", &["2"]),
        ("overwrite:header.x", "$context.identity.sourceIp", &["192.0.2.1"]),
        ("overwrite:header.x", "$context.requestId", &["$context.requestId"]),
        ("overwrite:header.x", "$stageVariables.v", &["v 1"]),
        ("overwrite:header.x", "${stageVariables.v}x-$request.header.none.", &["v 1x-."]),
        ("overwrite:header.x", "costs $5", &["costs $5"]),
    ] {
        assert_eq!(header_of(ApiKind::Http, target, value), expected, "{target} {value}");
    }
    for (value, expected) in [
        ("'text'", "text"),
        ("method.request.header.x", "2"),
        ("method.request.multivalueheader.x", "1,2"),
        ("method.request.querystring.a", "é"),
        ("method.request.multivaluequerystring.a", "1,é"),
        ("method.request.path.proxy", "x/y"),
        ("method.request.body.user.name", "N"),
        ("stageVariables.v", "v 1"),
    ] {
        assert_eq!(header_of(ApiKind::Rest, "integration.request.header.x", value), [expected], "{value}");
    }
}

#[test]
fn a_value_that_is_not_there_or_that_no_header_carries_leaves_nothing_of_the_clients_in_its_place() {
    for value in ["$request.header.none", "$request.body.none", "$request.body.evil", "$context.authorizer.claims.sub"]
    {
        assert_eq!(header_of(ApiKind::Http, "overwrite:header.x", value), [""; 0], "{value}");
        assert_eq!(header_of(ApiKind::Http, "append:header.x", value), ["1", "2"], "{value}");
    }
    let (headers, _) = mapped(ApiKind::Http, &[("overwrite:header.host", "$request.header.none")]);
    assert_eq!(headers["host"], "own");
}

#[test]
fn what_is_removed_overwritten_and_appended_is_so_in_this_order_from_the_values_before() {
    let pairs = [
        ("append:header.x", "$request.header.whole"),
        ("overwrite:header.x", "$request.header.x"),
        ("remove:header.whole", ""),
    ];
    let (headers, _) = mapped(ApiKind::Http, &pairs);
    assert_eq!(headers.get_all("x").iter().collect::<Vec<_>>(), ["1,2", "/p/q"]);
    assert!(!headers.contains_key("whole"));
}

#[test]
fn paths_and_queries_come_of_values_encoded_for_their_place() {
    const QUERY: &str = "a=1&b=x+y&a=%C3%A9&%61dmin=1";
    for (target, value, expected) in [
        ("overwrite:path", "/v2/$request.path.id", "/v2/a%2Fb?a=1&b=x+y&a=%C3%A9&%61dmin=1"),
        ("overwrite:path", "/v2/$request.path", "/v2/pets/a%2Fb?a=1&b=x+y&a=%C3%A9&%61dmin=1"),
        ("overwrite:path", "/v2/${request.header.whole}/", "/v2/%2Fp%2Fq/?a=1&b=x+y&a=%C3%A9&%61dmin=1"),
        ("overwrite:path", "$request.header.whole", "/p/q?a=1&b=x+y&a=%C3%A9&%61dmin=1"),
        ("overwrite:path", "/$stageVariables.v", "/v%201?a=1&b=x+y&a=%C3%A9&%61dmin=1"),
        ("append:querystring.a", "x&y=é", "/base/a%2Fb?a=1&b=x+y&a=%C3%A9&%61dmin=1&a=x%26y%3D%C3%A9"),
        ("overwrite:querystring.a", "$request.path.id", "/base/a%2Fb?b=x+y&%61dmin=1&a=a%2Fb"),
        ("overwrite:querystring.a", "$request.body.evil", "/base/a%2Fb?b=x+y&%61dmin=1&a=a%0D%0Ab"),
        ("overwrite:querystring.a", "$request.body.none", "/base/a%2Fb?b=x+y&%61dmin=1"),
        ("remove:querystring.admin", "", "/base/a%2Fb?a=1&b=x+y&a=%C3%A9"),
    ] {
        assert_eq!(mapped(ApiKind::Http, &[(target, value)]).1.as_deref(), Ok(expected), "{target} {value}");
    }
    for (target, value, expected) in [
        ("integration.request.path.id", "method.request.path.proxy", format!("/base/x/y?{QUERY}")),
        ("integration.request.path.id", "method.request.header.whole", format!("/base/%2Fp%2Fq?{QUERY}")),
        ("integration.request.path.id", "stageVariables.v", format!("/base/v%201?{QUERY}")),
        ("integration.request.querystring.a", "'2'", format!("/base/a%2Fb?{QUERY}&a=2")),
    ] {
        assert_eq!(mapped(ApiKind::Rest, &[(target, value)]).1, Ok(expected), "{target} {value}");
    }
}

#[test]
fn a_path_that_no_client_may_ask_for_is_refused() {
    for (value, fault) in [
        ("/v2/$request.header.up", BadTarget::DotSegment),
        ("/v2/${request.body.dots}/x", BadTarget::DotSegment),
        ("$request.header.x", BadTarget::NoPath),
        ("$request.header.none", BadTarget::NoPath),
        ("$request.body.evil", BadTarget::NoPath),
    ] {
        assert_eq!(mapped(ApiKind::Http, &[("overwrite:path", value)]).1, Err(fault), "{value}");
    }
}

#[test]
fn a_body_is_needed_where_a_value_is_in_it_and_is_read_up_to_its_limit() {
    let needs = mapping(ApiKind::Http, &[("append:header.x", "a $request.body.b")]);
    assert!(needs.needs_request_body());
    assert!(!mapping(ApiKind::Http, &[("append:header.x", "$request.path")]).needs_request_body());
    let large = format!("{{\"b\":\"{}\"}}", "x".repeat(BODY_BYTES));
    let none = HeaderMap::new();
    let view = RequestView { headers: &none, path: "", parameters: &[], query: None, body: large.as_bytes() };
    let mut headers = HeaderMap::new();
    mapping(ApiKind::Http, &[("overwrite:header.x", "$request.body.b")])
        .request_changes(&view, &Fixed)
        .headers(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_response_is_changed_by_its_status() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(target, value)| ((*target).to_owned(), (*value).to_owned())).collect()
    };
    let responses = [
        ("500".to_owned(), pairs(&[("overwrite:statuscode", "503"), ("append:header.y", "$response.header.x")])),
        ("200".to_owned(), pairs(&[("overwrite:statuscode", "$response.body.status"), ("remove:header.x", "")])),
    ];
    let mapping = Mapping::parse(ApiKind::Http, &[], &responses).unwrap();
    assert!(mapping.needs_response_body(StatusCode::OK) && !mapping.needs_response_body(StatusCode::NOT_FOUND));
    for (status, body, expected, told) in [
        (500, "", 503, &[("x", "1"), ("y", "1")][..]),
        (200, r#"{"status":418}"#, 418, &[]),
        (200, r#"{"status":"404"}"#, 404, &[]),
        (200, r#"{"status":101}"#, 200, &[]),
        (200, r#"{"status":"70000"}"#, 200, &[]),
        (200, "no json", 200, &[]),
        (404, "", 404, &[("x", "1")]),
    ] {
        let (mut code, mut map) = (StatusCode::from_u16(status).unwrap(), headers(&[("x", "1")]));
        mapping.change_response(&mut code, &mut map, body.as_bytes(), &Fixed);
        assert_eq!((code.as_u16(), &map), (expected, &headers(told)), "{status} {body}");
    }
}

proptest! {
    #[test]
    fn whatever_a_client_sends_the_target_is_one_that_a_client_may_ask_for(
        value in prop::collection::vec(any::<u8>(), 0..12), text in "[ -~é]{0,12}",
    ) {
        let mut sent = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            sent.insert("x", value);
        }
        let body = serde_json::json!({"a": text}).to_string();
        for (target, expression) in [
            ("overwrite:path", "/v2/${request.header.x}/${request.body.a}"),
            ("overwrite:path", "$request.header.x"),
            ("overwrite:querystring.q", "$request.header.x$request.body.a"),
            ("overwrite:header.y", "$request.header.x$request.body.a"),
        ] {
            let mapping = mapping(ApiKind::Http, &[(target, expression)]);
            let view = RequestView { headers: &sent, path: "/", parameters: &[], query: None, body: body.as_bytes() };
            let changes = mapping.request_changes(&view, &Fixed);
            if let Ok(made) = changes.target("/base".to_owned()) {
                let (path, query) = made.split_once('?').unwrap_or((&made, ""));
                let again = normalise(path);
                prop_assert_eq!(again.as_deref(), Ok(path));
                prop_assert!(query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'&'), "{}", query);
            }
            let mut out = HeaderMap::new();
            changes.headers(&mut out);
            prop_assert!(out.values().all(|value| !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte))));
        }
    }

    #[test]
    fn a_value_in_a_query_reads_back(value in "\\PC{0,12}", name in "[a-c +&%=]{1,4}") {
        let (text, made) = (value.clone().into_bytes(), Made::Overwrite(Some(value.into_bytes())));
        let query = query::change("z=1", [(name.as_str(), &made)].into_iter());
        let read: Vec<_> = query::values(&query, &name).collect();
        prop_assert_eq!(read, [text]);
    }
}
