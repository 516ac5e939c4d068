//! Which response is chosen, and what it says.

use std::borrow::Cow;

use weir_record::AccessRecord;

use super::*;
use crate::context::format::tests::{facts, record};

fn response(response_type: &str, status: Option<u16>, template: Option<&str>) -> GatewayResponse {
    GatewayResponse {
        response_type: response_type.to_owned(),
        status: status.map(|status| StatusCode::from_u16(status).unwrap()),
        headers: vec![(HeaderName::from_static("x-from"), Source::parse(&format!("'{response_type}'")).unwrap())],
        template: template.map(|template| Template::parse(template).unwrap()),
    }
}

fn applied(
    responses: &[GatewayResponse],
    response_type: &'static str,
    status: u16,
    record: &AccessRecord,
) -> (u16, String, String) {
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        error_type: "E",
        response_type,
        key: "message",
        message: Some(Cow::Borrowed("m")),
    };
    let mut told = Response::new(Bytes::from_static(b"built-in"));
    *told.status_mut() = answer.status;
    let headers: HeaderMap = [(header::ORIGIN, HeaderValue::from_static("https://a\"b"))].into_iter().collect();
    let facts = facts();
    apply(responses, &answer, &Asked { about: About { record, facts: &facts }, headers: &headers }, &mut told);
    let from = told.headers().get("x-from").map_or("", |value| value.to_str().unwrap()).to_owned();
    (told.status().as_u16(), from, String::from_utf8(told.body().to_vec()).unwrap())
}

#[test]
fn a_cases_own_response_stands_before_the_default_and_that_before_the_built_in_one() {
    let own = response("THROTTLED", Some(430), None);
    let default = response("DEFAULT_4XX", None, Some("{\"e\":$context.error.messageString}"));
    let all = [default, own];
    for (name, status, expected) in [
        ("THROTTLED", 429, (430, "THROTTLED", "built-in")),
        ("UNAUTHORIZED", 401, (401, "DEFAULT_4XX", "{\"e\":\"Too \\\"Many\\\"\"}")),
        ("INTEGRATION_FAILURE", 504, (504, "", "built-in")),
        ("REQUEST_TOO_LARGE", 413, (413, "", "built-in")),
    ] {
        let (status, from, body) = applied(&all, name, status, &record());
        assert_eq!((status, from.as_str(), body.as_str()), expected, "{name}");
    }
}

#[test]
fn values_stay_within_the_quotes_of_a_template() {
    let template = "{\"o\":\"$method.request.header.Origin\",\"n\":$context.status,\"none\":$stageVariables.x,\"p\":\"$context.path.\"}";
    let record = AccessRecord { path: "/\"},\"x\":\"\n".into(), ..record() };
    let (_, _, body) = applied(&[response("THROTTLED", None, Some(template))], "THROTTLED", 429, &record);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["o"], "https://a\"b");
    assert_eq!(body["n"], 429);
    assert_eq!(body["none"], serde_json::Value::Null);
    assert_eq!(body["p"], "/\"},\"x\":\"\n.");
}

#[test]
fn what_is_no_value_is_told_why() {
    for (template, why) in [
        ("$input.body", "has \"$input.body\""),
        ("$context.routeKey", "is one of HTTP APIs"),
        ("$method.request.cookie.a", "has \"$method.request.cookie.a\""),
    ] {
        assert!(Template::parse(template).unwrap_err()[0].contains(why), "{template}");
    }
    assert!(Source::parse("literal").unwrap_err().contains("expected 'a literal'"));
}

#[test]
fn quotes_that_are_escaped_are_a_part_of_the_text_that_they_stand_in() {
    let template = r#"{"m":"from \"$method.request.header.Origin\"","s":$context.status}"#;
    let (_, _, body) = applied(&[response("THROTTLED", None, Some(template))], "THROTTLED", 429, &record());
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["m"], r#"from "https://a"b""#);
}

#[test]
fn a_response_may_tell_the_client_its_address_and_a_hyphen_ends_a_variable() {
    let template = r#"{"ip":"$context.identity.sourceIp","id":"$context.stage-$context.status"}"#;
    let record = AccessRecord { client_address: None, ..record() };
    let (_, _, body) = applied(&[response("THROTTLED", None, Some(template))], "THROTTLED", 429, &record);
    assert_eq!(body, r#"{"ip":"10.0.0.9","id":"prod-429"}"#);
}

#[test]
fn a_literal_that_no_header_can_say_is_told() {
    assert!(Source::parse("'a\nb'").unwrap_err().contains("no header can say"));
    assert!(Source::parse("'").is_err() && Source::parse("stageVariables.").is_err());
}
