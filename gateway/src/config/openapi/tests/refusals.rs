//! What is refused, and with which words.

use serde_json::{Value, json};

use super::{super::*, document, hints, put};

/// The one operation's integration.
const INTEGRATION: &str = "/paths/~1a/get/x-amazon-apigateway-integration";

/// Two lines each: a place and the value that is put there; the fault that comes of it.
const OF_DOCUMENTS: &str = r##"
/swagger = "2.0"
    #: is an OpenAPI 2 (Swagger) document; expected OpenAPI 3; API Gateway exports it as exportType oas30
/openapi = "4.0.0"
    #/openapi: is "4.0.0"; expected openapi: "3.0.x" or "3.1.x"
/x-amazon-apigateway-policy = {}
    #/x-amazon-apigateway-policy: is a resource policy, which is not evaluated; expected none; authorizers on the operations say who may
/x-amazon-apigateway-minimum-compression-size = 0
    #/x-amazon-apigateway-minimum-compression-size: asks for compression, which the gateway does not do; expected none; what a server compressed passes through
/x-amazon-apigateway-api-key-source = "AUTHORIZER"
    #/x-amazon-apigateway-api-key-source: is "AUTHORIZER"; expected HEADER: keys are taken from x-api-key alone
/x-amazon-apigateway-endpoint-access-mode = "STRICT"
    #/x-amazon-apigateway-endpoint-access-mode: is "STRICT"; expected BASIC
/x-amazon-apigateway-security-policy = "TLS_1_0"
    #/x-amazon-apigateway-security-policy: is "TLS_1_0"; expected TLS_1_2: the gateway takes TLS 1.2 and 1.3 alike
/x-amazon-apigateway-importexport-version = "2.0"
    #/x-amazon-apigateway-importexport-version: is "2.0"; expected "1.0"
/x-amazon-apigateway-whatever = 1
    #/x-amazon-apigateway-whatever: is not supported here; expected a document's fields, as docs/openapi.md lists them
/x-amazon-apigateway-gateway-responses = {}
    #/x-amazon-apigateway-gateway-responses: is for REST APIs; expected kind = "rest"; HTTP APIs have fixed responses
/servers/0/x-amazon-apigateway-endpoint-configuration/vpcEndpointIds = ["v"]
    #/servers/0/x-amazon-apigateway-endpoint-configuration/vpcEndpointIds: asks for VPC endpoints, which only AWS has; expected none; gateway.listen says where the gateway can be reached
/paths/~1a/trace = {}
    #/paths/~1a/trace: is not supported here; expected operations of get, put, post, delete, options, head and patch
/paths/~1a/servers = []
    #/paths/~1a/servers: is not supported here; expected operations of get, put, post, delete, options, head and patch
/paths/~1a/get = {}
    #/paths/~1a/get: has no x-amazon-apigateway-integration; expected one: what answers it
/paths/~1b~c/get = {}
    #/paths/~1b~0c/get: has '~' in its path; expected letters, digits and _ - . , : { } in paths
/paths/~1{x+}~1c/get = {}
    #/paths/~1{x+}~1c/get: cannot be a route: its greedy parameter is not the last segment; expected a path such as /users/{id} or /files/{proxy+}
"##;

/// As above; places begin at the integration.
const OF_INTEGRATIONS: &str = r##"
/type = "http"
    #/type: is http, whose requests and responses are made by mapping templates; expected http_proxy, aws_proxy or mock
/type = "aws"
    #/type: is aws, whose requests and responses are made by mapping templates; expected http_proxy, aws_proxy or mock
/uri = null
    #: has no uri; expected the server's, such as https://host/users/{id}
/tlsConfig/insecureSkipVerification = true
    #/tlsConfig/insecureSkipVerification: is true, which lets anybody answer in the server's place; expected false; integration.tls.ca of the [[api]] names the authorities that certificates may come from
/connectionId = "inner"
    #/connectionId: stands without connectionType VPC_LINK; expected connectionType: VPC_LINK beside it
/credentials = "arn:aws:iam::1:role/x"
    #/credentials: is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them
/integrationSubtype = "SQS-SendMessage"
    #/integrationSubtype: is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them
/contentHandling = "CONVERT_TO_TEXT"
    #/contentHandling: is not supported here; expected the fields of an http_proxy integration, as docs/openapi.md lists them
/requestTemplates = {"a/b": "x"}
    #/requestTemplates: are mapping templates, but a proxy's requests pass unchanged; expected none, or type mock
/cacheKeyParameters = ["x"]
    #/cacheKeyParameters: asks for a response cache, which there is none of; expected none
/responses/default/responseTemplates = {"a/b": "x"}
    #/responses/default/responseTemplates: is not supported here; expected statusCode alone: a proxy's answers pass unchanged
/timeoutInMillis = 5
    #/timeoutInMillis: is 5; expected from 50 to 900000
/httpMethod = "G T"
    #/httpMethod: is "G T"; expected a method such as "POST", or "ANY" for the client's
/payloadFormatVersion = "2.0"
    #/payloadFormatVersion: is "2.0"; expected 1.0
 = {"type": "aws_proxy", "payloadFormatVersion": "2.0", "uri": "arn:aws:apigateway:r:sqs:path/1/q"}
    #/uri: is "arn:aws:apigateway:r:sqs:path/1/q", which invokes no Lambda function; expected a function's ARN, or arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations
 = {"type": "aws_proxy", "uri": "arn:aws:lambda:r:1:function:f"}
    #: has no payloadFormatVersion that can be; expected payloadFormatVersion: "1.0" or "2.0"
/$ref = "other.yaml#/x"
    #/$ref: is "other.yaml#/x", outside this document; expected a reference that begins with #/
/$ref = "#/components/none"
    #/$ref: is "#/components/none", where nothing stands; expected a place in this document
 = {"$ref": "#/paths/~1a/get/x-amazon-apigateway-integration"}
    #: is a reference that leads nowhere; expected the value itself
"##;

/// As above.
const OF_SECURITY: &str = r##"
/paths/~1a/get/security = [{"none": []}]
    #/paths/~1a/get/security/0/none: is no security scheme; expected a name in components.securitySchemes
/paths/~1a/get/security = [{}]
    #/paths/~1a/get/security/0: asks for nothing, beside what else may be shown; expected security: [] for an open operation
/security = [{"none": []}]
    #/security/0/none: is no security scheme; expected a name in components.securitySchemes
/paths/~1a/get/x-amazon-apigateway-auth/type = "X"
    #/paths/~1a/get/x-amazon-apigateway-auth/type: is "X"; expected NONE or AWS_IAM
"##;

/// As above, in a REST API.
const OF_REST: &str = r##"
/security = [{"s": []}]
    #/security: stands at the root, where API Gateway ignores it for REST APIs; expected security at each operation, or kind = "http"
/x-amazon-apigateway-cors = {}
    #/x-amazon-apigateway-cors: is for HTTP APIs; expected OPTIONS operations with mock integrations, or kind = "http"
/paths/~1$default/x-amazon-apigateway-any-method = {}
    #/paths/~1$default/x-amazon-apigateway-any-method: is the default route, which only HTTP APIs have; expected kind = "http", or "/{proxy+}"
"##;

/// A kind and a security scheme, which an operation needs with a scope; what is said of it.
const OF_SCHEMES: &str = r##"
HTTP {"type": "http", "scheme": "bearer"}
    says what clients show, but not what checks it
HTTP {"type": "apiKey", "name": "k", "in": "query"}
    is no API key of the gateway
HTTP {"type": "apiKey", "name": "x-api-key", "in": "header"}
    has scopes, but no token
HTTP {"x-amazon-apigateway-authtype": "kerberos"}
    has the authtype "kerberos"
HTTP {"x-amazon-apigateway-authtype": "awsSigv4"}
    has scopes, but no token
HTTP {"x-amazon-apigateway-authorizer": {"type": "jwt"}}
    has no jwtConfiguration
HTTP {"x-amazon-apigateway-authorizer": {"type": "jwt", "jwtConfiguration": {"issuer": "id"}}}
    by which its keys cannot be found
HTTP {"x-amazon-apigateway-authorizer": {"type": "jwt", "enforce": 1}}
    enforce: is not supported here
HTTP {"x-amazon-apigateway-authorizer": {"type": "request", "authorizerUri": "http://h"}}
    invokes no Lambda function
HTTP {"x-amazon-apigateway-authorizer": {"type": "token"}}
    is "token", which REST APIs have
REST {"x-amazon-apigateway-authorizer": {"type": "jwt"}}
    is jwt, which HTTP APIs have
REST {"x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": ["x"]}}
    a user pool's ARN
"##;

fn pairs(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines: Vec<_> = table.trim().lines().map(str::trim).collect();
    assert_eq!(lines.len() % 2, 0);
    (0..lines.len() / 2).map(move |index| (lines[2 * index], lines[2 * index + 1]))
}

fn faults(document: &Value, kind: ApiKind) -> Vec<String> {
    let faults = import(document.to_string().as_bytes(), &hints(kind)).map(|taken| format!("{taken:?}")).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

fn check(table: &str, place: &str, kind: ApiKind) {
    for (change, fault) in pairs(table) {
        let (pointer, value) = change.split_once("= ").unwrap();
        let pointer = format!("{place}{}", pointer.trim());
        let document = document(|document| put(document, &pointer, serde_json::from_str(value).unwrap()));
        let (fault, faults) = (fault.replacen('#', &format!("#{place}"), 1), faults(&document, kind));
        assert!(faults.contains(&fault), "{change}:\n{}\nnot\n{fault}", faults.join("\n"));
    }
}

#[test]
fn what_is_not_supported_is_refused_by_its_name_and_place() {
    check(OF_DOCUMENTS, "", ApiKind::Http);
    check(OF_INTEGRATIONS, INTEGRATION, ApiKind::Http);
    check(OF_REST, "", ApiKind::Rest);
}

#[test]
fn an_operation_is_never_more_open_than_its_document_says() {
    check(OF_SECURITY, "", ApiKind::Http);
    for (scheme, fault) in pairs(OF_SCHEMES) {
        let (kind, scheme) = scheme.split_once(' ').unwrap();
        let document = document(|document| {
            put(document, "/paths/~1a/get/security", json!([{"s": ["scope"]}]));
            put(document, "/components/securitySchemes/s", serde_json::from_str(scheme).unwrap());
        });
        let faults = faults(&document, if kind == "REST" { ApiKind::Rest } else { ApiKind::Http });
        assert!(faults.iter().any(|text| text.contains(fault)), "{}\nnot\n{fault}", faults.join("\n"));
    }
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
