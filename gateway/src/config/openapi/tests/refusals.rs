//! What is refused, and with which words.

use serde_json::{Value, json};

use super::{super::*, document, hints, put};

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
