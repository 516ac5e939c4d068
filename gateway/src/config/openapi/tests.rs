mod definitions;
mod refusals;

use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::jwt::identity::IdentitySource;

/// An HTTP API as API Gateway exports it (`get-export`, oas30, with extensions).
const HTTP: &str = include_str!("tests/http.yaml");

/// A REST API as API Gateway exports it: Cognito, an API key, preflights by mocks.
const REST: &str = include_str!("tests/rest.json");

fn hints(kind: ApiKind) -> Hints<'static> {
    Hints { name: "shop", kind, basepath: BasePath::Ignore, services: &[] }
}

fn read(text: &str, kind: ApiKind) -> Imported {
    import(text.as_bytes(), &hints(kind)).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn route<'i>(imported: &'i Imported, key: &str) -> &'i ImportedRoute {
    imported.routes.iter().find(|route| route.key.to_string() == key).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn an_exported_http_api_comes_with_its_routes_authorizers_and_cors() {
    let imported = read(HTTP, ApiKind::Http);
    let keys: Vec<_> = imported.routes.iter().map(|route| route.key.to_string()).collect();
    assert_eq!(keys, ["$default", "ANY /files/{proxy+}", "GET /orders", "POST /orders", "GET /users/{id}"]);
    let orders = route(&imported, "GET /orders");
    assert_eq!(
        (&orders.auth, &orders.scopes[..]),
        (&ImportedAuth::Jwt("shop/oidc".to_owned()), &["read".to_owned()][..])
    );
    let [ImportedAuthorizer::Jwt(jwt)] = &imported.authorizers[..] else { panic!("{:?}", imported.authorizers) };
    assert_eq!((&jwt.name[..], &jwt.issuer[..]), ("shop/oidc", "https://id.example.com/pool"));
    assert_eq!(jwt.audience, ["shop-web", "shop-app"]);
    assert_eq!(jwt.identity_source, [IdentitySource::Header("authorization".parse().unwrap())]);
    let users = ImportedIntegration::HttpProxy(ImportedProxy {
        uri: "https://users.internal/v1/users/{id}".to_owned(),
        method: Some(Method::GET),
        timeout_ms: Some(5_000),
        server_name: Some("users.example.com".to_owned()),
        mapping: ImportedMapping {
            request: vec![("append:header.x-stage".to_owned(), "$context.stage".to_owned())],
            responses: vec![("404".to_owned(), vec![("overwrite:statuscode".to_owned(), "410".to_owned())])],
        },
    });
    assert_eq!(route(&imported, "GET /users/{id}").integration, users);
    let ImportedIntegration::Lambda(lambda) = &route(&imported, "POST /orders").integration else { panic!() };
    assert_eq!(
        (&lambda.function[..], lambda.is_format_2),
        ("arn:aws:lambda:eu-central-1:123456789012:function:orders", true)
    );
    let cors = imported.cors.unwrap();
    assert_eq!(
        (&cors.allow_origins[..], cors.max_age),
        (&["https://shop.example.com".to_owned()][..], Some(Duration::from_secs(600)))
    );
    assert!(imported.disables_default_endpoint);
}

#[test]
fn an_exported_rest_api_comes_with_cognito_keys_and_mocked_preflights() {
    let imported = read(REST, ApiKind::Rest);
    let keys: Vec<_> = imported.routes.iter().map(|route| route.key.to_string()).collect();
    assert_eq!(keys, ["GET /pets/{petId}", "OPTIONS /pets/{petId}", "ANY /{proxy+}"]);
    let get = route(&imported, "GET /pets/{petId}");
    assert_eq!((&get.auth, get.needs_api_key), (&ImportedAuth::Cognito("shop/pool".to_owned()), true));
    assert_eq!(get.scopes, ["pets/read"]);
    let ImportedIntegration::HttpProxy(proxy) = &get.integration else { panic!() };
    assert_eq!((&proxy.uri[..], &proxy.mapping.request[..]), ("http://pets.internal/pets/{petId}", &[][..]));
    let ImportedIntegration::Mock(mock) = &route(&imported, "OPTIONS /pets/{petId}").integration else { panic!() };
    assert_eq!((mock.status.as_u16(), &mock.headers["access-control-allow-origin"]), (204, &"*".parse().unwrap()));
    assert_eq!(mock.body, "");
    assert_eq!(route(&imported, "ANY /{proxy+}").auth, ImportedAuth::Lambda("shop/custom".to_owned()));
    let lambda = imported.authorizers.iter().find_map(|authorizer| match authorizer {
        ImportedAuthorizer::Lambda(lambda) => Some(lambda),
        _ => None,
    });
    let lambda = lambda.unwrap();
    assert!(lambda.is_token && !lambda.is_format_2 && lambda.ttl_seconds == 300);
    assert_eq!(lambda.identity_source, ["method.request.header.X-Token"]);
    assert_eq!(lambda.function, "arn:aws:lambda:us-east-1:123456789012:function:check");
    assert_eq!(imported.binary_media_types, ["image/*"]);
    let responses = &imported.gateway_responses;
    assert_eq!((&responses[0].response_type[..], responses[0].headers.len()), ("DEFAULT_4XX", 1));
    assert!(responses[0].template.is_some());
}

#[test]
fn each_exported_document_is_of_its_kind_only() {
    for (text, kind, why) in
        [(HTTP, ApiKind::Rest, "which only HTTP APIs have"), (REST, ApiKind::Http, "which REST APIs have")]
    {
        let faults = import(text.as_bytes(), &hints(kind)).unwrap_err();
        assert!(faults.iter().any(|fault| fault.to_string().contains(why)), "{faults:#?}");
    }
}

/// A document with one operation, whose parts can be put in place of the usual ones.
fn document(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = json!({
        "openapi": "3.0.1",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "/"}],
        "paths": {"/a": {"get": {"x-amazon-apigateway-integration": {"type": "http_proxy", "uri": "http://h/a"}}}},
    });
    change(&mut document);
    document
}

/// Puts a value at a pointer, making objects on the way.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/");
        place = if key == "0" { &mut place.as_array_mut().unwrap()[0] } else { &mut place[key] };
    }
    *place = value;
}

#[test]
fn security_of_the_root_holds_for_operations_without_their_own_in_http_apis() {
    let document = document(|document| {
        put(document, "/security", json!([{"sig": []}]));
        put(
            document,
            "/components/securitySchemes/sig",
            json!({"type": "apiKey", "x-amazon-apigateway-authtype": "awsSigv4"}),
        );
        put(document, "/paths/~1open/get", document["paths"]["/a"]["get"].clone());
        put(document, "/paths/~1open/get/security", json!([]));
    });
    let imported = import(document.to_string().as_bytes(), &hints(ApiKind::Http)).unwrap();
    let auth: Vec<_> = imported.routes.iter().map(|route| route.auth.clone()).collect();
    assert_eq!(auth, [ImportedAuth::Iam, ImportedAuth::None]);
}

#[test]
fn two_authorizers_of_one_operation_are_one_too_many() {
    let document = document(|document| {
        let lambda = json!({"type": "request", "authorizerPayloadFormatVersion": "2.0", "authorizerUri": "arn:aws:lambda:r:1:function:f"});
        put(document, "/components/securitySchemes/one/x-amazon-apigateway-authorizer", lambda.clone());
        put(document, "/components/securitySchemes/two/x-amazon-apigateway-authorizer", lambda);
        put(document, "/paths/~1a/get/security", json!([{"one": []}, {"two": []}]));
    });
    let faults = import(document.to_string().as_bytes(), &hints(ApiKind::Http)).unwrap_err();
    assert_eq!(faults[0].path, "#/paths/~1a/get/security/1/two");
    assert_eq!(faults[0].problem, "is a second authorizer of the operation");
}

#[test]
fn a_private_service_stands_for_the_host() {
    let services = ["inner".to_owned()];
    let hints = Hints { services: &services, ..hints(ApiKind::Http) };
    let uri = |path: &str, uri: &str, connection: &str| {
        let integration =
            json!({"type": "http_proxy", "uri": uri, "connectionType": "VPC_LINK", "connectionId": connection});
        let document = document(|document| {
            document["paths"] =
                json!({path: {"x-amazon-apigateway-any-method": {"x-amazon-apigateway-integration": integration}}});
        });
        let imported = import(document.to_string().as_bytes(), &hints).map_err(|faults| faults[0].problem.clone())?;
        match &imported.routes[0].integration {
            ImportedIntegration::HttpProxy(proxy) => Ok::<_, String>(proxy.uri.clone()),
            other => panic!("{other:?}"),
        }
    };
    let listener = "arn:aws:elasticloadbalancing:r:1:listener/x";
    assert_eq!(uri("/a", "https://nlb.example.com:8443/x/{y}?z=1", "inner").unwrap(), "https://inner/x/{y}?z=1");
    assert_eq!(uri("/a/{proxy+}", listener, "inner").unwrap(), "http://inner/a/{proxy+}");
    assert!(uri("/$default", listener, "inner").unwrap_err().contains("$default has no path for the service"));
    assert!(uri("/a", listener, "vpclink-1").unwrap_err().contains("no [[service]] is called that"));
}

#[test]
fn the_base_path_is_ignored_prepended_or_split() {
    let document = document(|document| {
        document["servers"] = json!([{"url": "https://h/{basePath}", "variables": {"basePath": {"default": "a/b"}}}]);
        put(document, "/paths/~1", document["paths"]["/a"].clone());
    });
    let urls = json!([{"url": "https://{h}/{x}/b", "variables": {"x": {"default": "a"}, "h": {"default": "host"}}}]);
    let mut other = document.clone();
    other["servers"] = urls;
    for document in [document, other] {
        for (basepath, paths) in [
            (BasePath::Ignore, ["GET /", "GET /a"]),
            (BasePath::Prepend, ["GET /a/b", "GET /a/b/a"]),
            (BasePath::Split, ["GET /b", "GET /b/a"]),
        ] {
            let hints = Hints { basepath, ..hints(ApiKind::Http) };
            let imported = import(document.to_string().as_bytes(), &hints).unwrap();
            assert_eq!(imported.routes.iter().map(|route| route.key.to_string()).collect::<Vec<_>>(), paths);
        }
    }
}

#[test]
fn the_parameters_of_a_rest_proxy_take_the_names_of_the_routes() {
    let document = document(|document| {
        let integration = json!({
            "type": "http_proxy", "uri": "http://h/{inner}/{rest+}",
            "requestParameters": {
                "integration.request.path.inner": "method.request.path.outer",
                "integration.request.path.rest": "method.request.path.proxy",
                "integration.request.header.x": "'1'",
            },
        });
        document["paths"] = json!({"/{outer}/{proxy+}": {"get": {"x-amazon-apigateway-integration": integration}}});
    });
    let imported = import(document.to_string().as_bytes(), &hints(ApiKind::Rest)).unwrap();
    let ImportedIntegration::HttpProxy(proxy) = &imported.routes[0].integration else { panic!() };
    assert_eq!(proxy.uri, "http://h/{outer}/{proxy}");
    assert_eq!(proxy.mapping.request, [("integration.request.header.x".to_owned(), "'1'".to_owned())]);
}

#[test]
fn routes_stand_once_and_are_not_too_many() {
    let integration = document(|_| {})["paths"]["/a"].clone();
    let twice = document(|document| document["paths"] = json!({"/{a}": integration, "/{b}": integration}));
    let faults = import(twice.to_string().as_bytes(), &hints(ApiKind::Http)).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "#/paths/~1{b}/get: means the same requests as \"GET /{a}\"; expected each route once"
    );
    let many = document(|document| {
        document["paths"] = (0..301).map(|index| (format!("/{index}"), integration.clone())).collect();
    });
    let faults = import(many.to_string().as_bytes(), &hints(ApiKind::Http)).unwrap_err();
    assert_eq!(faults[0].to_string(), "#/paths: has 301 operations; expected at most 300");
}

#[test]
fn a_validator_that_validates_is_refused() {
    let validated = |validates: bool| {
        let document = document(|document| {
            put(document, "/x-amazon-apigateway-request-validators/v/validateRequestBody", json!(validates));
            put(document, "/paths/~1a/get/x-amazon-apigateway-request-validator", json!("v"));
        });
        import(document.to_string().as_bytes(), &hints(ApiKind::Rest))
    };
    assert!(validated(false).is_ok());
    assert_eq!(validated(true).unwrap_err()[0].problem, "is \"v\", but requests are not validated");
}

#[test]
fn a_text_that_is_no_document_is_told_why() {
    let large = vec![b' '; MOST_BYTES + 1];
    for (text, why) in [
        (&b"\xff"[..], "is no UTF-8"),
        (&large, "has 6291457 bytes"),
        (b"", "has no version"),
        (b"[]", "has no version"),
        (b"openapi: 3.1.0", "has no paths"),
        (b"{\"openapi\": ", "is no JSON"),
        (b"openapi: [", "is no YAML that can be read"),
    ] {
        let faults = import(text, &hints(ApiKind::Http)).unwrap_err();
        assert!(faults[0].problem.contains(why), "{faults:?}");
    }
}

/// JSON with the keys that are read, so that more than the root is reached.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just("http_proxy"),
            Just("aws_proxy"),
            Just("mock"),
            Just("VPC_LINK"),
            Just("#/paths"),
            Just("{x}")
        ]
        .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let keys = prop_oneof![
        Just("$ref"),
        Just("/a/{b}"),
        Just("get"),
        Just("security"),
        Just("type"),
        Just("uri"),
        Just("responses"),
        Just("requestTemplates"),
        Just("default"),
        Just("statusCode"),
        Just("x-amazon-apigateway-integration"),
        Just("x-amazon-apigateway-any-method"),
        Just("isDefaultRoute"),
        Just("requestParameters"),
        Just("s"),
        Just("x-amazon-apigateway-authorizer"),
        Just("connectionType"),
        Just("identitySource"),
        Just("servers"),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_is_too_much(paths in any_json(), components in any_json(), security in any_json(), is_rest: bool) {
        let kind = if is_rest { ApiKind::Rest } else { ApiKind::Http };
        let document = json!({
            "openapi": "3.0.1",
            "paths": {"/a": paths, "/b": {"get": {"security": security, "x-amazon-apigateway-integration": components}}},
            "components": {"securitySchemes": {"s": components}},
            "servers": security,
        });
        let _ = import(document.to_string().as_bytes(), &hints(kind));
        let _ = import(paths.to_string().as_bytes(), &hints(kind));
    }

    #[test]
    fn no_text_is_too_much(text in "\\PC{0,200}", more in "[-a-z:\\[\\]{}&*!|>'\" \n\t,#?~0-9]{0,200}") {
        for text in [text, more] {
            let _ = import(text.as_bytes(), &hints(ApiKind::Http));
        }
    }
}
