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
        "paths": {"/a": {"get": {"x-amazon-apigateway-integration": {"type": "http_proxy", "uri": "http://h/a"}}}},
    });
    change(&mut document);
    document
}

/// A pointer, the value to put there, and the fault that comes of it.
type Refusal = (&'static str, Value, &'static str);

fn check(kind: ApiKind, refusals: Vec<Refusal>) {
    for (pointer, value, fault) in refusals {
        let document = document(|document| put(document, pointer, value.clone()));
        let faults = match import(document.to_string().as_bytes(), &hints(kind)) {
            Ok(imported) => panic!("{pointer} = {value} is taken: {imported:?}"),
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        assert!(faults.iter().any(|text| text == fault), "{pointer} = {value}:\n{}\nnot\n{fault}", faults.join("\n"));
    }
}

/// Puts a value at a pointer, making objects on the way.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key.replace("~1", "/")];
    }
    *place = value;
}

#[test]
fn what_is_not_supported_is_refused_by_its_name_and_place() {
    const I: &str = "/paths/~1a/get/x-amazon-apigateway-integration";
    let at = |rest: &str| -> &'static str { format!("{I}{rest}").leak() };
    let fault = |place: &str, rest: &str| -> &'static str { format!("#{I}{place}: {rest}").leak() };
    check(
        ApiKind::Http,
        vec![
            (
                "/swagger",
                json!("2.0"),
                "#: is an OpenAPI 2 (Swagger) document; expected OpenAPI 3; API Gateway exports it as exportType oas30",
            ),
            ("/openapi", json!("4.0.0"), "#/openapi: is \"4.0.0\"; expected openapi: \"3.0.x\" or \"3.1.x\""),
            (
                "/x-amazon-apigateway-policy",
                json!({}),
                "#/x-amazon-apigateway-policy: is a resource policy, which is not evaluated; expected none; authorizers on the operations say who may",
            ),
            (
                "/x-amazon-apigateway-minimum-compression-size",
                json!(0),
                "#/x-amazon-apigateway-minimum-compression-size: asks for compression, which the gateway does not do; expected none; what a server compressed passes through",
            ),
            (
                "/x-amazon-apigateway-api-key-source",
                json!("AUTHORIZER"),
                "#/x-amazon-apigateway-api-key-source: is \"AUTHORIZER\"; expected HEADER: keys are taken from x-api-key alone",
            ),
            (
                "/x-amazon-apigateway-endpoint-access-mode",
                json!("STRICT"),
                "#/x-amazon-apigateway-endpoint-access-mode: is \"STRICT\"; expected BASIC",
            ),
            (
                "/x-amazon-apigateway-security-policy",
                json!("TLS_1_0"),
                "#/x-amazon-apigateway-security-policy: is \"TLS_1_0\"; expected TLS_1_2: the gateway takes TLS 1.2 and 1.3 alike",
            ),
            (
                "/x-amazon-apigateway-importexport-version",
                json!("2.0"),
                "#/x-amazon-apigateway-importexport-version: is \"2.0\"; expected \"1.0\"",
            ),
            (
                "/x-amazon-apigateway-whatever",
                json!(1),
                "#/x-amazon-apigateway-whatever: is not supported here; expected a document's fields, as docs/openapi.md lists them",
            ),
            (
                "/paths/~1a/trace",
                json!({}),
                "#/paths/~1a/trace: is not supported here; expected operations of get, put, post, delete, options, head and patch",
            ),
            (
                "/paths/~1a/servers",
                json!([]),
                "#/paths/~1a/servers: is not supported here; expected operations of get, put, post, delete, options, head and patch",
            ),
            (
                "/paths/~1a/get",
                json!({}),
                "#/paths/~1a/get: has no x-amazon-apigateway-integration; expected one: what answers it",
            ),
            (
                "/paths/~1b~c/get",
                json!({}),
                "#/paths/~1b~0c/get: has '~' in its path; expected letters, digits and _ - . , : { } in paths",
            ),
            (
                "/paths/~1{x+}~1c/get",
                json!({}),
                "#/paths/~1{x+}~1c/get: cannot be a route: its greedy parameter is not the last segment; expected a path such as /users/{id} or /files/{proxy+}",
            ),
            (
                at("/type"),
                json!("http"),
                fault(
                    "/type",
                    "is http, whose requests and responses are made by mapping templates; expected http_proxy, aws_proxy or mock",
                ),
            ),
            (
                at("/type"),
                json!("aws"),
                fault(
                    "/type",
                    "is aws, whose requests and responses are made by mapping templates; expected http_proxy, aws_proxy or mock",
                ),
            ),
            (at("/uri"), json!(null), fault("", "has no uri; expected the server's, such as https://host/users/{id}")),
            (
                at("/tlsConfig/insecureSkipVerification"),
                json!(true),
                fault(
                    "/tlsConfig/insecureSkipVerification",
                    "is true, which lets anybody answer in the server's place; expected false; integration.tls.ca of the [[api]] names the authorities that certificates may come from",
                ),
            ),
            (
                at("/connectionId"),
                json!("inner"),
                fault(
                    "/connectionId",
                    "stands without connectionType VPC_LINK; expected connectionType: VPC_LINK beside it",
                ),
            ),
            (
                at("/credentials"),
                json!("arn:aws:iam::1:role/x"),
                fault(
                    "/credentials",
                    "is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them",
                ),
            ),
            (
                at("/integrationSubtype"),
                json!("SQS-SendMessage"),
                fault(
                    "/integrationSubtype",
                    "is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them",
                ),
            ),
            (
                at("/contentHandling"),
                json!("CONVERT_TO_TEXT"),
                fault(
                    "/contentHandling",
                    "is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them",
                ),
            ),
            (
                at("/requestTemplates"),
                json!({"a/b": "x"}),
                fault(
                    "/requestTemplates",
                    "are mapping templates, but a proxy's requests pass unchanged; expected none, or type mock",
                ),
            ),
            (
                at("/cacheKeyParameters"),
                json!(["x"]),
                fault("/cacheKeyParameters", "asks for a response cache, which there is none of; expected none"),
            ),
            (
                at("/responses/default/responseTemplates"),
                json!({"a/b": "x"}),
                fault(
                    "/responses/default/responseTemplates",
                    "is not supported here; expected statusCode alone: a proxy's answers pass unchanged",
                ),
            ),
            (at("/timeoutInMillis"), json!(5), fault("/timeoutInMillis", "is 5; expected from 50 to 900000")),
            (
                at("/httpMethod"),
                json!("G T"),
                fault("/httpMethod", "is \"G T\"; expected a method such as \"POST\", or \"ANY\" for the client's"),
            ),
            (
                at(""),
                json!({"type": "aws_proxy", "payloadFormatVersion": "2.0", "uri": "arn:aws:apigateway:us-east-1:sqs:path/1/q"}),
                fault(
                    "/uri",
                    "is \"arn:aws:apigateway:us-east-1:sqs:path/1/q\", which invokes no Lambda function; expected a function's ARN, or arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations",
                ),
            ),
            (
                at("/$ref"),
                json!("other.yaml#/x"),
                fault("/$ref", "is \"other.yaml#/x\", outside this document; expected a reference that begins with #/"),
            ),
            (
                at("/$ref"),
                json!("#/components/x-amazon-apigateway-integrations/none"),
                fault(
                    "/$ref",
                    "is \"#/components/x-amazon-apigateway-integrations/none\", where nothing stands; expected a place in this document",
                ),
            ),
            (
                at(""),
                json!({"$ref": format!("#{I}")}),
                fault("", "is a reference that leads nowhere; expected the value itself"),
            ),
            (
                "/servers",
                json!([{"url": "/", "x-amazon-apigateway-endpoint-configuration": {"vpcEndpointIds": ["v"]}}]),
                "#/servers/0/x-amazon-apigateway-endpoint-configuration/vpcEndpointIds: asks for VPC endpoints, which only AWS has; expected none; gateway.listen says where the gateway can be reached",
            ),
        ],
    );
}

#[test]
fn an_operation_is_never_more_open_than_its_document_says() {
    const OPERATION: &str = "/paths/~1a/get/security";
    let scheme_fault = |scheme: Value, fault: &str, kind| {
        let document = document(|document| {
            put(document, OPERATION, json!([{"s": ["scope"]}]));
            put(document, "/components/securitySchemes/s", scheme);
        });
        let faults = import(document.to_string().as_bytes(), &hints(kind)).unwrap_err();
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|text| text.contains(fault)), "{}\nnot\n{fault}", faults.join("\n"));
    };
    let http = ApiKind::Http;
    scheme_fault(json!({"type": "http", "scheme": "bearer"}), "says what clients show, but not what checks it", http);
    scheme_fault(json!({"type": "apiKey", "name": "k", "in": "query"}), "is no API key of the gateway", http);
    scheme_fault(json!({"type": "apiKey", "name": "x-api-key", "in": "header"}), "has scopes, but no token", http);
    scheme_fault(
        json!({"type": "apiKey", "x-amazon-apigateway-authtype": "kerberos"}),
        "has the authtype \"kerberos\"",
        http,
    );
    let authorizer = |authorizer| json!({"type": "oauth2", "x-amazon-apigateway-authorizer": authorizer});
    scheme_fault(authorizer(json!({"type": "jwt"})), "has no jwtConfiguration", http);
    scheme_fault(authorizer(json!({"type": "jwt"})), "is jwt, which HTTP APIs have", ApiKind::Rest);
    let configuration = json!({"issuer": "id", "audience": []});
    scheme_fault(
        authorizer(json!({"type": "jwt", "jwtConfiguration": configuration})),
        "by which its keys cannot be found",
        http,
    );
    scheme_fault(
        authorizer(json!({"type": "request", "authorizerUri": "http://h"})),
        "invokes no Lambda function",
        http,
    );
    scheme_fault(
        authorizer(json!({"type": "cognito_user_pools", "providerARNs": ["x"]})),
        "a user pool's ARN",
        ApiKind::Rest,
    );
    scheme_fault(authorizer(json!({"type": "jwt", "enforce": 1})), "enforce: is not supported here", http);
    let iam = json!({"type": "apiKey", "x-amazon-apigateway-authtype": "awsSigv4"});
    scheme_fault(iam, "has scopes, but no token", http);
    check(
        http,
        vec![
            (
                OPERATION,
                json!([{"none": []}]),
                "#/paths/~1a/get/security/0/none: is no security scheme; expected a name in components.securitySchemes",
            ),
            (
                OPERATION,
                json!([{}]),
                "#/paths/~1a/get/security/0: asks for nothing, beside what else may be shown; expected security: [] for an open operation",
            ),
            (
                "/security",
                json!([{"none": []}]),
                "#/security/0/none: is no security scheme; expected a name in components.securitySchemes",
            ),
            (
                "/paths/~1a/get/x-amazon-apigateway-auth/type",
                json!("X"),
                "#/paths/~1a/get/x-amazon-apigateway-auth/type: is \"X\"; expected NONE or AWS_IAM",
            ),
        ],
    );
    check(
        ApiKind::Rest,
        vec![
            (
                "/security",
                json!([{"s": []}]),
                "#/security: stands at the root, where API Gateway ignores it for REST APIs; expected security at each operation, or kind = \"http\"",
            ),
            (
                "/x-amazon-apigateway-cors",
                json!({}),
                "#/x-amazon-apigateway-cors: is for HTTP APIs; expected OPTIONS operations with mock integrations, or kind = \"http\"",
            ),
            (
                "/paths/~1$default/x-amazon-apigateway-any-method",
                json!({}),
                "#/paths/~1$default/x-amazon-apigateway-any-method: is the default route, which only HTTP APIs have; expected kind = \"http\", or \"/{proxy+}\"",
            ),
        ],
    );
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
fn a_mock_is_as_its_literal_templates_say_and_others_are_refused() {
    let mock = |change: &dyn Fn(&mut Value)| {
        let mut integration = json!({
            "type": "MOCK",
            "requestTemplates": {"application/json": "{statusCode: 204}"},
            "responses": {
                "default": {"statusCode": "500"},
                "2\\d{2}": {
                    "statusCode": "201",
                    "responseParameters": {"method.response.header.X-A": "'b'"},
                    "responseTemplates": {"text/plain": "hello"},
                },
            },
        });
        change(&mut integration);
        let document =
            document(|document| put(document, "/paths/~1a/get/x-amazon-apigateway-integration", integration));
        import(document.to_string().as_bytes(), &hints(ApiKind::Rest))
    };
    let made = mock(&|_| {}).unwrap();
    let ImportedIntegration::Mock(made) = &made.routes[0].integration else { panic!() };
    assert_eq!((made.status.as_u16(), &made.body[..]), (201, "hello"));
    assert_eq!(
        (&made.headers["content-type"], &made.headers["x-a"]),
        (&"text/plain".parse().unwrap(), &"b".parse().unwrap())
    );
    let template = "/responses/2\\d{2}/responseTemplates/text~1plain";
    for (pointer, value, why) in [
        ("/requestTemplates", Value::Null, "has no request template"),
        (
            "/requestTemplates/application~1json",
            json!("{\"statusCode\": $input.x}"),
            "is a mapping template with $ or #",
        ),
        ("/requestTemplates/application~1json", json!("{}"), "has no statusCode"),
        ("/requestTemplates/text~1plain", json!("{}"), "has 2 templates"),
        ("/responses", Value::Null, "has no responses"),
        ("/responses", json!({"404": {"statusCode": 404}}), "has none for the status 204"),
        (template, json!("#set($x = 1)"), "is a mapping template with $ or #"),
        ("/responses/2\\d{2}/statusCode", json!(99), "a status from 200 to 599"),
        (
            "/responses/2\\d{2}/responseParameters/method.response.header.X",
            json!("context.stage"),
            "a text in single quotes",
        ),
        ("/responses/2\\d{2}/responseParameters/method.response.body", json!("'x'"), "has no header as its target"),
        ("/responses/2\\d{2}/contentHandling", json!("CONVERT_TO_TEXT"), "contentHandling: is not supported here"),
    ] {
        let faults = mock(&|integration| put(integration, pointer, value.clone())).unwrap_err();
        assert!(faults.iter().any(|fault| fault.to_string().contains(why)), "{pointer}: {faults:#?}");
    }
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
