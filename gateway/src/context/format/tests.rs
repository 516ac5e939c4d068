//! Every variable, every preset, and clients who would like to write the log themselves.

use std::{rc::Rc, sync::Arc};

use proptest::prelude::*;
use weir_record::AccessRecord;

use super::*;
use crate::{
    auth::jwt::Claims,
    connection::Client,
    facts::{AuthorizerFacts, Caller, ErrorFacts, Facts, IntegrationFacts, Phase, Place},
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

/// RFC 4180.
fn fields_of_csv(line: &str) -> Vec<String> {
    let (mut fields, mut is_quoted) = (vec![String::new()], false);
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => fields.last_mut().unwrap().push(other),
        }
    }
    assert!(!is_quoted);
    fields
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

#[test]
fn what_api_gateway_has_and_weir_has_not_is_told_why() {
    for (name, kind, why) in [
        ("waf.status", ApiKind::Rest, "no web application firewall"),
        ("wafResponseCode", ApiKind::Rest, "no web application firewall"),
        ("identity.apiKey", ApiKind::Rest, "is a secret; $context.identity.apiKeyId"),
        ("identity.clientCert.subjectDN", ApiKind::Http, "show no certificates"),
        ("isCanaryRequest", ApiKind::Rest, "no canaries"),
        ("connectionId", ApiKind::Http, "WebSocket"),
        ("authorizer.claims", ApiKind::Http, "names no claim"),
        ("authorizer.claims.cognito:username", ApiKind::Http, "expected claims['cognito:…']"),
    ] {
        let faults = Format::parse(&format!("$context.requestId $context.{name}"), kind).unwrap_err().join("; ");
        assert!(faults.contains(why), "{name}: {faults}");
    }
}

#[test]
fn a_claim_is_named_after_a_full_stop_or_in_brackets() {
    let claims = Claims::unchecked(r#"{"sub":"u1","cognito:username":"ann","n":7}"#);
    let authorizer = AuthorizerFacts { claims: Some(Arc::new(claims)), ..AuthorizerFacts::default() };
    let facts = Facts { authorizer: Some(Box::new(authorizer)), ..facts() };
    let format = "$context.requestId $context.authorizer.claims.sub. $context.authorizer.claims['cognito:username'] \
                  $context.authorizer.claims.n:$context.authorizer.claims.absent";
    let line = Format::parse(format, ApiKind::Http).unwrap().render(&About { record: &record(), facts: &facts });
    assert_eq!(line.split_once(' ').unwrap().1, "u1. ann 7:-");
}

#[test]
fn of_an_address_that_is_kept_back_the_line_has_what_the_record_has() {
    for (told, shown) in [(Some("10.0.0.0"), "10.0.0.0"), (None, "-")] {
        let record = AccessRecord { client_address: told.map(str::to_owned), ..record() };
        let line = render("$context.requestId|$context.identity.sourceIp", ApiKind::Http, &record);
        assert_eq!(line.split_once('|').unwrap().1, shown);
    }
}

#[test]
fn a_trace_of_x_rays_own_is_the_one_that_goes_on() {
    let mut record = record();
    let other = "1-67891233-abcdef012345678912345678".to_owned();
    record.attributes.insert(weir_record::keys::XRAY_TRACE_ID.to_owned(), other.clone());
    let line = render("$context.requestId|$context.xrayTraceId", ApiKind::Rest, &record);
    assert_eq!(line.split_once('|').unwrap().1, other);
}

#[test]
fn a_format_is_json_only_when_it_stays_so_whatever_its_values_are() {
    let record = AccessRecord { path: r#"/a"b"#.into(), integration_status: None, ..record() };
    for (format, expected) in [
        ("[$context.requestTime] $context.path $context.requestId", r#"[10/Oct/2000:13:55:36 +0000] /a\"b "#),
        (r#"{"p":"at \"$context.path\"","i":"$context.requestId"}"#, r#"{"p":"at \"/a\"b\"","i":""#),
        ("{$context.path: 1} $context.requestId", r#"{/a\"b: 1} "#),
    ] {
        let line = render(format, ApiKind::Http, &record);
        assert!(line.starts_with(expected), "{format}: {line}");
    }
}

proptest! {
    #[test]
    fn no_text_stops_the_reading_of_formats(text in "[$\\PC]{0,60}|(\\$context\\.|[a-z.'\\[\\]\"{}:,$-]{0,12}){0,6}") {
        for kind in [ApiKind::Http, ApiKind::Rest] {
            if let Ok(format) = Format::parse(&text, kind) {
                let facts = facts();
                let line = format.render(&About { record: &record(), facts: &facts });
                prop_assert!(!line.contains(['\n', '\r']));
            }
        }
    }

    #[test]
    fn the_presets_keep_their_fields_apart(
        path in ".{0,20}", domain in "[\"\\\\,<>&'\\x00-\\x1f\\u{85}=@-]{0,9}",
    ) {
        let record = AccessRecord { route: path.clone(), protocol: Some(domain), ..record() };
        let json: Value = serde_json::from_str(&render("json", ApiKind::Rest, &record)).unwrap();
        prop_assert_eq!(json.as_object().unwrap().len(), 11);
        prop_assert_eq!(json["resourcePath"].as_str().unwrap(), if path.is_empty() { "-" } else { &path });
        prop_assert_eq!(fields_of_csv(&render("csv", ApiKind::Rest, &record)).len(), 11);
        let xml = render("xml", ApiKind::Rest, &record);
        prop_assert_eq!((xml.matches('<').count(), xml.matches('>').count()), (22, 22));
    }

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
