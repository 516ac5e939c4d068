//! Every variable, every preset, and clients who would like to write the log themselves.

use std::rc::Rc;

use proptest::prelude::*;
use weir_record::AccessRecord;

use super::*;
use crate::{
    connection::Client,
    facts::{Caller, ErrorFacts, Facts, IntegrationFacts, Phase, Place},
};

pub(crate) fn facts() -> Facts {
    Facts {
        place: Place::Nowhere,
        client: Rc::new(Client::from(std::net::SocketAddr::from(([10, 0, 0, 9], 1_234)))),
        address: "10.0.0.9".parse().unwrap(),
        query: None,
        below: 0,
        base_path: Some("v1".into()),
        caller: Some(Box::new(Caller { user_id: Some("AIDA".into()), ..Caller::default() })),
        authenticate: Some(Phase { status: 200, latency_us: 1_999, error: None }),
        authorizer: None,
        authorize: Some(Phase { status: 403, latency_us: 0, error: Some("no \"way\"".into()) }),
        integration: IntegrationFacts::default(),
        error: Some(ErrorFacts { message: Some("Too \"Many\"".into()), response_type: "THROTTLED" }),
    }
}

pub(crate) fn record() -> AccessRecord {
    AccessRecord {
        time_us: 971_186_136_123_456,
        request_id: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0".into(),
        stage: "prod".into(),
        route: "/pets/{id}".into(),
        method: "GET".into(),
        path: "/prod/pets/1".into(),
        protocol: Some("2".into()),
        domain: Some("api.example.com".into()),
        status: Some(429),
        latency_us: 12_345,
        integration_latency_us: Some(999),
        response_bytes: 31,
        client_address: Some("10.0.0.9".into()),
        user_agent: Some("curl".into()),
        trace_id: "5759e988bd862e3fe1be46a994272793".parse().ok(),
        ..AccessRecord::default()
    }
}

fn render(format: &str, kind: ApiKind, record: &AccessRecord) -> String {
    let facts = facts();
    Format::parse(format, kind).unwrap().render(&About { record, facts: &facts })
}

#[test]
fn variables_have_the_values_that_the_developer_guide_says() {
    for (name, value) in [
        ("authenticate.latency", "1"),
        ("authenticate.status", "200"),
        ("authorize.error", "no \\\"way\\\""),
        ("authorize.status", "403"),
        ("authorizer.status", "-"),
        ("authorizer.claims.sub", "-"),
        ("customDomain.basePathMatched", "v1"),
        ("domainName", "api.example.com"),
        ("domainPrefix", "api"),
        ("error.responseType", "THROTTLED"),
        ("extendedRequestId", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        ("httpMethod", "GET"),
        ("identity.caller", "AIDA"),
        ("identity.sourceIp", "10.0.0.9"),
        ("integration.latency", "0"),
        ("integrationStatus", "-"),
        ("protocol", "HTTP/2"),
        ("requestTime", "10/Oct/2000:13:55:36 +0000"),
        ("requestTimeEpoch", "971186136123"),
        ("resourcePath", "/pets/{id}"),
        ("responseLatency", "12"),
        ("responseLength", "31"),
        ("status", "429"),
        ("xrayTraceId", "1-5759e988-bd862e3fe1be46a994272793"),
    ] {
        let line = render(&format!("$context.requestId|$context.{name}"), ApiKind::Rest, &record());
        assert_eq!(line.split_once('|').unwrap().1, value, "{name}");
    }
}

#[test]
fn a_wrong_variable_is_a_fault_with_the_right_one() {
    for (format, kind, fault) in [
        ("$context.requestId $context.routeKey", ApiKind::Rest, "$context.routeKey is one of HTTP APIs"),
        ("$context.requestId $context.resourcePath", ApiKind::Http, "$context.resourcePath is one of REST APIs"),
        ("$context.requestId $context.statuss", ApiKind::Http, "none; perhaps $context.status"),
        ("$context.requestId $input.body", ApiKind::Http, "has \"$input.body\""),
        ("$context.status", ApiKind::Http, "names the request neither by"),
        ("$context.requestId\n$context.status", ApiKind::Http, "more than one line"),
    ] {
        let faults = Format::parse(format, kind).unwrap_err().join("; ");
        assert!(faults.contains(fault), "{format}: {faults}");
    }
    let long = format!("$context.requestId{}", "x".repeat(MOST_BYTES));
    assert!(Format::parse(&long, ApiKind::Http).is_err());
}

#[test]
fn the_presets_are_those_of_the_developer_guide() {
    let id = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
    for (preset, line) in [
        (
            "clf",
            format!("10.0.0.9 AIDA AIDA [10/Oct/2000:13:55:36 +0000] \"GET /pets/{{id}} HTTP/2\" 429 31 {id} {id}"),
        ),
        ("csv", format!("10.0.0.9,AIDA,AIDA,10/Oct/2000:13:55:36 +0000,GET,/pets/{{id}},HTTP/2,429,31,{id},{id}")),
        (
            "json",
            format!(
                "{{\"requestId\":\"{id}\",\"extendedRequestId\":\"{id}\",\"ip\":\"10.0.0.9\",\"caller\":\"AIDA\",\
                 \"user\":\"AIDA\",\"requestTime\":\"10/Oct/2000:13:55:36 +0000\",\"httpMethod\":\"GET\",\
                 \"resourcePath\":\"/pets/{{id}}\",\"status\":\"429\",\"protocol\":\"HTTP/2\",\"responseLength\":\"31\"}}"
            ),
        ),
        (
            "xml",
            format!(
                "<request id=\"{id}\"><extendedRequestId>{id}</extendedRequestId><ip>10.0.0.9</ip>\
                 <caller>AIDA</caller><user>AIDA</user><requestTime>10/Oct/2000:13:55:36 +0000</requestTime>\
                 <httpMethod>GET</httpMethod><resourcePath>/pets/{{id}}</resourcePath><status>429</status>\
                 <protocol>HTTP/2</protocol><responseLength>31</responseLength></request>"
            ),
        ),
    ] {
        assert_eq!(render(preset, ApiKind::Rest, &record()), line);
    }
    assert!(render("json", ApiKind::Http, &record()).contains("\"routeKey\":\"-\""));
}

#[test]
fn a_format_of_json_stays_json_with_numbers_and_what_has_no_value() {
    let format = r#"{"id":"$context.requestId","status":$context.status,"integration":$context.integrationStatus,
"message":$context.error.messageString,"route":$context.resourcePath}"#
        .replace('\n', "");
    let line: Value = serde_json::from_str(&render(&format, ApiKind::Rest, &record())).unwrap();
    assert_eq!(line["status"], 429);
    assert_eq!(line["integration"], Value::Null);
    assert_eq!(line["message"], "Too \"Many\"");
    assert_eq!(line["route"], "/pets/{id}");
}

proptest! {
    #[test]
    fn no_client_writes_more_than_its_own_values(path in "\\PC{0,20}|[\"\\\\\n\r,<&]{0,9}", agent in ".{0,20}") {
        let record = AccessRecord { path: path.clone(), user_agent: Some(agent), ..record() };
        for preset in ["clf", "json", "xml", "csv"] {
            let line = render(preset, ApiKind::Rest, &record);
            prop_assert!(!line.contains(['\n', '\r']));
        }
        let custom = r#"{"id":"$context.requestId","p":"$context.path","a":"$context.identity.userAgent"}"#;
        let line = render(custom, ApiKind::Http, &record);
        let line: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(line["p"].as_str().unwrap(), if path.is_empty() { "-" } else { &path });
        prop_assert_eq!(line.as_object().unwrap().len(), 3);
        let plain = render("$context.requestId \"$context.path\" \"$context.identity.userAgent\"", ApiKind::Http, &record);
        let bare = plain.replace("\\\\", "").replace("\\\"", "");
        prop_assert_eq!(bare.matches('"').count(), 4);
    }
}
