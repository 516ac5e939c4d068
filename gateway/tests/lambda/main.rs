//! Lambda functions behind the gateway, over real sockets: as integrations and as authorizers, in both kinds of API.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails where it breaks off")]

mod setting;

use serde_json::{Value, json};

use crate::setting::{Setting, body, get};

/// The functions that the server has, by name.
fn functions(name: &str, event: &Value) -> Value {
    match name {
        "echo" => json!({"statusCode": 201, "headers": {"x-a": "b", "date": "then"}, "body": event.to_string()}),
        "plain" => json!({"hello": "world"}),
        "broken" => json!({"errorMessage": "boom", "errorType": "Error", "stackTrace": []}),
        "yes" => json!({"isAuthorized": event["identitySource"][0] == "good", "context": {"list": [1, 2]}}),
        "policy" => match event["authorizationToken"].as_str() {
            Some("throw") => json!({"errorMessage": "Unauthorized", "errorType": "Error"}),
            Some("fail") => json!({"errorMessage": "other", "errorType": "Error"}),
            Some("odd") => json!({"principalId": "ann"}),
            _ => {
                let arn = event["methodArn"].as_str().unwrap();
                json!({"principalId": "ann", "context": {"level": 7}, "policyDocument": {"Version": "2012-10-17",
                "Statement": [
                    {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": arn},
                    {"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": "*/GET/secret"},
                ]}})
            }
        },
        other => panic!("{other}"),
    }
}

const SERVED: &str = r#"
[[lambda_authorizer]]
name = "simple"
function = "yes"
endpoint = "ENDPOINT"
simple_responses = true
identity_source = ["$request.header.x-key", "$stageVariables.color"]

[[lambda_authorizer]]
name = "token"
kind = "token"
function = "policy"
endpoint = "ENDPOINT"
identity_source = "method.request.header.Authorization"
validation = "[a-z]+"

[[api]]
name = "shop"
[[api.stage]]
name = "$default"
variables = { color = "blue" }
[[api.route]]
route = "ANY /echo/{id}"
integration = { type = "lambda", function = "echo", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /old"
integration = { type = "lambda", function = "echo", endpoint = "ENDPOINT", payload_version = "1.0" }
[[api.route]]
route = "GET /plain"
integration = { type = "lambda", function = "plain", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /broken"
integration = { type = "lambda", function = "broken", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /guarded"
auth = "lambda:simple"
integration = { type = "lambda", function = "echo", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /guarded/other"
auth = "lambda:simple"
integration = { type = "mock" }

[[api]]
name = "rest"
kind = "rest"
[[api.stage]]
name = "prod"
[[api.route]]
route = "ANY /echo"
integration = { type = "lambda", function = "echo", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /plain"
integration = { type = "lambda", function = "plain", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /broken"
integration = { type = "lambda", function = "broken", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /away"
integration = { type = "lambda", function = "echo", endpoint = "http://127.0.0.1:1" }
[[api.route]]
route = "GET /open"
auth = "lambda:token"
integration = { type = "lambda", function = "echo", endpoint = "ENDPOINT" }
[[api.route]]
route = "GET /other"
auth = "lambda:token"
integration = { type = "mock" }
[[api.route]]
route = "GET /secret"
auth = "lambda:token"
integration = { type = "mock" }
"#;

#[tokio::test]
async fn a_request_is_an_event_and_the_answer_a_response() {
    let setting = Setting::start(SERVED, functions).await;
    let request = "POST /shop/echo/7?a=1 HTTP/1.1\r\nhost: h\r\ncookie: c=d\r\ncontent-length: 4\r\n\
                   connection: close\r\n\r\nbody";
    let answer = setting.send(request).await;
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("\r\nx-a: b\r\n"), "{answer}");
    let event: Value = serde_json::from_str(body(&answer)).unwrap();
    for (pointer, value) in [
        ("/version", json!("2.0")),
        ("/routeKey", json!("ANY /echo/{id}")),
        ("/body", json!("body")),
        ("/cookies", json!(["c=d"])),
        ("/headers/host", json!("h")),
        ("/headers/x-forwarded-for", json!("127.0.0.1")),
        ("/headers/x-forwarded-proto", json!("http")),
        ("/pathParameters/id", json!("7")),
        ("/requestContext/http/method", json!("POST")),
    ] {
        assert_eq!(event.pointer(pointer), Some(&value), "{pointer}: {event}");
    }
    for absent in ["connection", "content-length", "x-forwarded-host", "x-amzn-requestid"] {
        assert!(event["headers"].get(absent).is_none(), "{absent}: {event}");
    }
    assert!(event["headers"]["x-amzn-trace-id"].as_str().unwrap().starts_with("Root=1-"));
    let old: Value = serde_json::from_str(body(&setting.send(&get("/shop/old", "")).await)).unwrap();
    assert_eq!((&old["version"], &old["resource"]), (&json!("1.0"), &json!("/old")));
    assert!(setting.send(&get("/shop/plain", "")).await.ends_with("\r\n\r\n{\"hello\":\"world\"}"));
    let rest = setting.send(&get("/rest/prod/echo", "")).await;
    assert!(rest.contains("\r\nx-amzn-remapped-date: then\r\n"), "{rest}");
    let rest: Value = serde_json::from_str(body(&rest)).unwrap();
    assert_eq!((&rest["path"], &rest["body"]), (&json!("/echo"), &Value::Null));
    setting.ended().await;
}

#[tokio::test]
async fn a_function_that_fails_is_told_as_each_kind_of_api_tells_it() {
    let setting = Setting::start(SERVED, functions).await;
    for (path, status, told) in [
        ("/shop/broken", 500, r#"{"message":"Internal Server Error"}"#),
        ("/rest/prod/broken", 502, r#"{"message":"Internal server error"}"#),
        ("/rest/prod/plain", 502, r#"{"message":"Internal server error"}"#),
        ("/rest/prod/away", 504, r#"{"message":"Network error communicating with endpoint"}"#),
    ] {
        let answer = setting.send(&get(path, "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert_eq!(body(&answer), told, "{path}");
    }
    setting.ended().await;
}

#[tokio::test]
async fn a_simple_authorizer_is_asked_once_of_an_identity_for_all_routes() {
    let setting = Setting::start(SERVED, functions).await;
    for (path, header, status) in [
        ("/shop/guarded", "", 401),
        ("/shop/guarded", "x-key: good\r\nx-key: good\r\n", 401),
        ("/shop/guarded", "x-key: bad\r\n", 403),
        ("/shop/guarded", "x-key: good\r\n", 201),
        ("/shop/guarded/other", "x-key: good\r\n", 200),
        ("/shop/guarded/other", "x-key: bad\r\n", 403),
    ] {
        let answer = setting.send(&get(path, header)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {header}: {answer}");
        if status == 201 {
            let event: Value = serde_json::from_str(body(&answer)).unwrap();
            assert_eq!(event["requestContext"]["authorizer"], json!({"lambda": {"list": [1, 2]}}));
        }
    }
    assert_eq!(setting.calls("yes"), 2);
    setting.ended().await;
}

#[tokio::test]
async fn a_policy_that_is_kept_is_evaluated_for_each_route_and_failures_are_told_by_their_kind() {
    let setting = Setting::start(SERVED, functions).await;
    for (path, token, status, told) in [
        ("/rest/prod/open", "", 401, r#"{"message":"Unauthorized"}"#),
        ("/rest/prod/open", "authorization: NO\r\n", 401, r#"{"message":"Unauthorized"}"#),
        ("/rest/prod/open", "authorization: ann\r\n", 201, ""),
        (
            "/rest/prod/other",
            "authorization: ann\r\n",
            403,
            r#"{"Message":"User is not authorized to access this resource"}"#,
        ),
        (
            "/rest/prod/secret",
            "authorization: ann\r\n",
            403,
            r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#,
        ),
        ("/rest/prod/open", "authorization: throw\r\n", 401, r#"{"message":"Unauthorized"}"#),
        ("/rest/prod/open", "authorization: fail\r\n", 500, r#"{"message":"Internal server error"}"#),
        ("/rest/prod/open", "authorization: odd\r\n", 500, r#"{"message":null}"#),
    ] {
        let answer = setting.send(&get(path, token)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {token}: {answer}");
        if status == 201 {
            let event: Value = serde_json::from_str(body(&answer)).unwrap();
            let authorizer = &event["requestContext"]["authorizer"];
            assert_eq!((&authorizer["principalId"], &authorizer["level"]), (&json!("ann"), &json!("7")));
        } else {
            assert_eq!(body(&answer), told, "{path} {token}");
        }
    }
    assert_eq!(setting.calls("policy"), 4);
    setting.ended().await;
}
