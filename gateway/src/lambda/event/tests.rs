//! The tables of sections 7.3, 8.1 and 8.2.

use std::{path::Path, rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue};
use weir_station::config::Document;

use super::*;
use crate::{
    config::{Config, OTHER_SECTIONS},
    connection::Client,
    facts::{AuthorizerFacts, AuthorizerKind, Caller, IntegrationFacts, Place},
    serving::Serving,
};

const SERVED: &str = r#"
[[api]]
name = "pets"
id = "abc123"
kind = "rest"
binary_media_types = ["image/*"]
[[api.stage]]
name = "prod"
variables = { color = "blue" }
[[api.route]]
route = "ANY /pets/{id}"
integration = { type = "mock" }
[[api.route]]
route = "ANY /{proxy+}"
integration = { type = "mock" }
[[api.route]]
route = "ANY /"
integration = { type = "mock" }

[[api]]
name = "shop"
[[api.stage]]
name = "$default"
[[api.stage]]
name = "dev"
variables = { color = "red" }
[[api.route]]
route = "GET /users/{id}"
integration = { type = "mock" }
[[api.route]]
route = "$default"
integration = { type = "mock" }

[[domain]]
name = "api.example.com"
[[domain.mapping]]
path = "v1"
api = "pets"
stage = "prod"
"#;

/// A request, and what is known of it.
struct Asking {
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static [u8],
    domain: &'static str,
    change: fn(&mut Facts),
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            method: "GET",
            path: "/pets/prod/pets/7",
            query: None,
            headers: Vec::new(),
            body: b"",
            domain: "gateway.example.com:8080",
            change: |_| {},
        }
    }
}

impl Asking {
    fn with<T>(&self, work: impl FnOnce(&Invocation<'_>) -> T) -> T {
        let document = Document::parse(SERVED, Vec::new()).unwrap();
        let config = Config::read(&document, Path::new("data"));
        document.finish(OTHER_SECTIONS).unwrap();
        let serving = Serving::new(&config, None).unwrap();
        let target = Target::new(self.path);
        let found = serving.find(Some(self.domain), self.method, &target);
        let route = Arc::clone(found.place.route().expect("a route"));
        let mut facts = Facts {
            place: Place::Route(Arc::clone(&route)),
            client: Rc::new(Client::from(std::net::SocketAddr::from(([10, 0, 0, 9], 1_234)))),
            address: "10.0.0.9".parse().unwrap(),
            query: self.query.map(str::to_owned),
            below: found.below,
            base_path: found.base_path,
            caller: None,
            authenticate: None,
            authorizer: None,
            authorize: None,
            integration: IntegrationFacts::default(),
            error: None,
        };
        (self.change)(&mut facts);
        let record = AccessRecord {
            time_us: 1_583_348_638_390_123,
            request_id: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0".into(),
            method: self.method.into(),
            path: self.path.into(),
            protocol: Some("1.1".into()),
            domain: Some(self.domain.into()),
            user_agent: Some("curl/8".into()),
            ..AccessRecord::default()
        };
        let own = self.headers.iter();
        let headers = own.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value)));
        let headers = headers.collect();
        let (target, body) = (&target, self.body);
        work(&Invocation { route: &route, target, headers: &headers, body, record: &record, facts: &facts })
    }

    fn event(&self, shape: Shape) -> Value {
        serde_json::from_slice(&self.with(|invocation| proxy(invocation, shape))).unwrap()
    }
}

#[test]
fn a_rest_api_gives_all_keys_of_1_0_null_where_there_is_nothing() {
    let event = Asking::default().event(Shape::Rest);
    let expected = json!({
        "resource": "/pets/{id}",
        "path": "/pets/7",
        "httpMethod": "GET",
        "headers": null,
        "multiValueHeaders": null,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": {"id": "7"},
        "stageVariables": {"color": "blue"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "abc123",
            "deploymentId": event["requestContext"]["deploymentId"],
            "domainName": "gateway.example.com:8080",
            "domainPrefix": "gateway",
            "extendedRequestId": "Dx4tPEtaaXiHlqU=",
            "httpMethod": "GET",
            "identity": {
                "accessKey": null, "accountId": null, "caller": null, "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null, "cognitoIdentityId": null, "cognitoIdentityPoolId": null,
                "principalOrgId": null, "sourceIp": "10.0.0.9", "user": null, "userAgent": "curl/8", "userArn": null,
            },
            "path": "/prod/pets/7",
            "protocol": "HTTP/1.1",
            "requestId": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "requestTime": "04/Mar/2020:19:03:58 +0000",
            "requestTimeEpoch": 1_583_348_638_390_i64,
            "resourceId": event["requestContext"]["resourceId"],
            "resourcePath": "/pets/{id}",
            "stage": "prod",
        },
        "body": null,
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
    assert!(event["requestContext"]["deploymentId"].is_string() && event["requestContext"]["resourceId"].is_string());
}

#[test]
fn an_http_api_gives_what_there_is_in_2_0_and_nothing_else() {
    let asking = Asking { path: "/shop/dev/users/7", ..Asking::default() };
    let expected = json!({
        "version": "2.0",
        "routeKey": "GET /users/{id}",
        "rawPath": "/dev/users/7",
        "rawQueryString": "",
        "headers": {},
        "pathParameters": {"id": "7"},
        "stageVariables": {"color": "red"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "shop",
            "domainName": "gateway.example.com:8080",
            "domainPrefix": "gateway",
            "http": {
                "method": "GET", "path": "/dev/users/7", "protocol": "HTTP/1.1", "sourceIp": "10.0.0.9",
                "userAgent": "curl/8",
            },
            "requestId": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "routeKey": "GET /users/{id}",
            "stage": "dev",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_i64,
        },
        "isBase64Encoded": false,
    });
    assert_eq!(asking.event(Shape::Http2), expected);
    let all = Asking {
        path: "/shop/other/path",
        query: Some("a=1&b=x%20y&a=2"),
        headers: vec![("cookie", "a=1; b=2"), ("x-many", "1"), ("x-many", "2"), ("accept", "*/*")],
        body: b"text",
        ..Asking::default()
    };
    let event = all.event(Shape::Http2);
    for (key, value) in [
        ("routeKey", json!("$default")),
        ("rawPath", json!("/other/path")),
        ("rawQueryString", json!("a=1&b=x%20y&a=2")),
        ("queryStringParameters", json!({"a": "1,2", "b": "x y"})),
        ("cookies", json!(["a=1", "b=2"])),
        ("headers", json!({"x-many": "1,2", "accept": "*/*"})),
        ("body", json!("text")),
        ("stageVariables", Value::Null),
        ("pathParameters", Value::Null),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
    assert!(!event.as_object().unwrap().contains_key("pathParameters"));
}

#[test]
fn an_http_api_with_1_0_says_so() {
    let event = Asking { path: "/shop/users/7", ..Asking::default() }.event(Shape::Http1);
    let context = &event["requestContext"];
    for (value, expected) in [
        (&event["version"], json!("1.0")),
        (&event["path"], json!("/users/7")),
        (&context["stage"], json!("$default")),
        (&context["resourceId"], Value::Null),
        (&context["extendedRequestId"], context["requestId"].clone()),
    ] {
        assert_eq!(*value, expected);
    }
}

#[test]
fn paths_are_as_api_gateway_was_recorded_to_give_them() {
    for (domain, path, resource, own, in_stage, parameters) in [
        ("h", "/pets/prod/pets/7/", "/pets/{id}", "/pets/7/", "/prod/pets/7/", json!({"id": "7"})),
        ("h", "/pets/prod/a//b", "/{proxy+}", "/a//b", "/prod/a//b", json!({"proxy": "a//b"})),
        (
            "h",
            "/pets/prod/proxy-value/",
            "/{proxy+}",
            "/proxy-value/",
            "/prod/proxy-value/",
            json!({"proxy": "proxy-value"}),
        ),
        ("h", "/pets/prod/a%2Bb", "/{proxy+}", "/a%2Bb", "/prod/a%2Bb", json!({"proxy": "a%2Bb"})),
        ("h", "/pets/prod//pets/7", "/{proxy+}", "/pets/7", "/prod//pets/7", json!({"proxy": "/pets/7"})),
        ("h", "/pets/prod", "/", "/", "/prod", Value::Null),
        ("h", "/pets/prod/", "/", "/", "/prod/", Value::Null),
        ("api.example.com", "/v1/pets/7", "/pets/{id}", "/v1/pets/7", "/v1/pets/7", json!({"id": "7"})),
    ] {
        let event = Asking { path, domain, ..Asking::default() }.event(Shape::Rest);
        let told = (&event["resource"], &event["path"], &event["requestContext"]["path"], &event["pathParameters"]);
        assert_eq!(told, (&json!(resource), &json!(own), &json!(in_stage), &parameters), "{path}");
    }
    for (domain, path, raw) in [
        ("h", "/shop/dev/users/7", "/dev/users/7"),
        ("h", "/shop/dev/users/7/", "/dev/users/7/"),
        ("h", "/shop/users/7", "/users/7"),
        ("h", "/shop", "/"),
        ("h", "/shop/dev", "/dev"),
    ] {
        let event = Asking { path, domain, ..Asking::default() }.event(Shape::Http2);
        assert_eq!(event["rawPath"], raw, "{path}");
        assert_eq!(event["requestContext"]["http"]["path"], raw, "{path}");
    }
}

#[test]
fn the_last_of_several_values_counts_and_all_are_there() {
    let event = Asking {
        query: Some("a=1&b=%2B&a=x+y"),
        headers: vec![("x-one", "1"), ("x-many", "a"), ("x-many", "b"), ("authorization", "t"), ("user-agent", "u")],
        ..Asking::default()
    }
    .event(Shape::Rest);
    for (key, expected) in [
        ("queryStringParameters", json!({"a": "x y", "b": "+"})),
        ("multiValueQueryStringParameters", json!({"a": ["1", "x y"], "b": ["+"]})),
        ("headers", json!({"X-One": "1", "X-Many": "b", "Authorization": "t", "User-Agent": "u"})),
        (
            "multiValueHeaders",
            json!({"X-One": ["1"], "X-Many": ["a", "b"], "Authorization": ["t"], "User-Agent": ["u"]}),
        ),
    ] {
        assert_eq!(event[key], expected, "{key}");
    }
}

#[test]
fn bytes_that_are_no_text_and_binary_media_types_come_in_base64() {
    for (content_type, body, told, is_base64) in [
        ("text/plain", &b"h\xc3\xa9llo"[..], json!("héllo"), false),
        ("text/plain", b"\xff\x00", json!("/wA="), true),
        ("image/png", b"png", json!("cG5n"), true),
        ("image/png; a=b", b"", Value::Null, false),
    ] {
        let asking = Asking { body, headers: vec![("content-type", content_type)], ..Asking::default() };
        let event = asking.event(Shape::Rest);
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&told, &json!(is_base64)), "{content_type}");
    }
}

#[test]
fn a_function_is_told_who_asks() {
    let lambda = |facts: &mut Facts| {
        let context = object(json!({"plan": "gold", "level": "7"}));
        let mut own = AuthorizerFacts { kind: AuthorizerKind::Lambda, ..AuthorizerFacts::default() };
        (own.principal_id, own.context) = (Some("ann".into()), Some(Arc::new(context)));
        (own.phase.status, own.integration_latency_us) = (200, Some(12_345));
        facts.authorizer = Some(Box::new(own));
    };
    let rest = Asking { change: lambda, ..Asking::default() };
    let told = rest.event(Shape::Rest)["requestContext"]["authorizer"].clone();
    assert_eq!(told, json!({"principalId": "ann", "plan": "gold", "level": "7", "integrationLatency": 12}));
    let told = rest.event(Shape::Http2)["requestContext"]["authorizer"].clone();
    assert_eq!(told, json!({"lambda": {"plan": "gold", "level": "7"}}));
    let signed = Asking {
        change: |facts| {
            facts.caller = Some(Box::new(Caller {
                access_key: Some("AKIA".into()),
                account_id: Some("1".into()),
                user_id: Some("AIDA".into()),
                user_arn: Some("arn".into()),
                principal_org_id: None,
            }));
        },
        ..Asking::default()
    };
    let told = signed.event(Shape::Http2)["requestContext"]["authorizer"].clone();
    let expected = json!({"iam": {
        "accessKey": "AKIA", "accountId": "1", "callerId": "AIDA", "cognitoIdentity": null, "principalOrgId": null,
        "userArn": "arn", "userId": "AIDA",
    }});
    assert_eq!(told, expected);
    let told = signed.event(Shape::Rest)["requestContext"]["identity"].clone();
    assert_eq!((&told["caller"], &told["user"], &told["accessKey"]), (&json!("AIDA"), &json!("AIDA"), &json!("AKIA")));
}

#[test]
fn an_authorizer_is_told_what_its_kind_asks_for() {
    let identity = ["t".to_owned(), "blue".to_owned()];
    let asked = Asked { arn: "arn:x", identity: &identity };
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
    assert_eq!(read(token(asked)), json!({"type": "TOKEN", "authorizationToken": "t", "methodArn": "arn:x"}));
    let asking = Asking { headers: vec![("x-a", "b")], ..Asking::default() };
    let event = |shape| asking.with(|invocation| read(request(invocation, shape, asked)));
    let keys = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let rest = event(Shape::Rest);
    let of_rest = [
        "headers",
        "httpMethod",
        "methodArn",
        "multiValueHeaders",
        "multiValueQueryStringParameters",
        "path",
        "pathParameters",
        "queryStringParameters",
        "requestContext",
        "resource",
        "stageVariables",
        "type",
    ];
    assert_eq!(keys(&rest), of_rest);
    assert_eq!((&rest["type"], &rest["methodArn"]), (&json!("REQUEST"), &json!("arn:x")));
    let http_1 = event(Shape::Http1);
    assert_eq!((&http_1["version"], &http_1["identitySource"]), (&json!("1.0"), &json!("t,blue")));
    assert_eq!(http_1["authorizationToken"], "t,blue");
    let http_2 = event(Shape::Http2);
    let of_http_2 = [
        "headers",
        "identitySource",
        "pathParameters",
        "rawPath",
        "rawQueryString",
        "requestContext",
        "routeArn",
        "routeKey",
        "stageVariables",
        "type",
        "version",
    ];
    assert_eq!(keys(&http_2), of_http_2);
    assert_eq!((&http_2["routeArn"], &http_2["identitySource"]), (&json!("arn:x"), &json!(["t", "blue"])));
}
