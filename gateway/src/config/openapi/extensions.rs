//! The extensions at a document's root.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::{Hints, Imported, node::Node, servers};
use crate::{
    config::definitions::{ApiKind, Cors},
    responses::{GatewayResponse, Source, TYPES, Template},
};

const READ: &[&str] = &[
    "openapi",
    "paths",
    "components",
    "security",
    "servers",
    "x-amazon-apigateway-api-key-source",
    "x-amazon-apigateway-binary-media-types",
    "x-amazon-apigateway-cors",
    "x-amazon-apigateway-endpoint-access-mode",
    "x-amazon-apigateway-endpoint-configuration",
    "x-amazon-apigateway-gateway-responses",
    "x-amazon-apigateway-importexport-version",
    "x-amazon-apigateway-minimum-compression-size",
    "x-amazon-apigateway-policy",
    "x-amazon-apigateway-request-validator",
    "x-amazon-apigateway-request-validators",
    "x-amazon-apigateway-security-policy",
];

/// Fields of a document that only document it.
const DOCUMENTATION: &[&str] =
    &["info", "tags", "externalDocs", "jsonSchemaDialect", "webhooks", "x-amazon-apigateway-documentation"];

/// Reads all but the paths.
pub(super) fn read(root: &Node<'_, '_>, hints: &Hints<'_>) -> Imported {
    root.refuse_others(READ, DOCUMENTATION, "a document's fields, as docs/openapi.md lists them");
    refuse(root);
    check_validator(root);
    let endpoint = root.get("x-amazon-apigateway-endpoint-configuration");
    let responses = root.get("x-amazon-apigateway-gateway-responses");
    if let (Some(responses), ApiKind::Http) = (&responses, hints.kind) {
        responses.fault("is for REST APIs", "kind = \"rest\"; HTTP APIs have fixed responses");
    }
    let types = root.get("x-amazon-apigateway-binary-media-types");
    Imported {
        cors: root.get("x-amazon-apigateway-cors").map(|cors| read_cors(&cors, hints.kind)),
        gateway_responses: responses.iter().flat_map(Node::entries).filter_map(read_gateway_response).collect(),
        binary_media_types: types.map(|types| types.texts()).unwrap_or_default(),
        disables_default_endpoint: endpoint.is_some_and(|endpoint| servers::read_endpoint(&endpoint)),
        ..Imported::default()
    }
}

/// Notes what cannot be done, each with why.
fn refuse(root: &Node<'_, '_>) {
    let only = |key: &str, allowed: &[&str], expected: &str| {
        if let Some(node) = root.get(key)
            && !node.text().is_none_or(|text| allowed.contains(&text))
        {
            node.fault(format!("is {}", node.value()), expected);
        }
    };
    only("x-amazon-apigateway-importexport-version", &["1.0"], "\"1.0\"");
    only("x-amazon-apigateway-api-key-source", &["HEADER"], "HEADER: keys are taken from x-api-key alone");
    only("x-amazon-apigateway-endpoint-access-mode", &["BASIC"], "BASIC");
    only("x-amazon-apigateway-security-policy", &["TLS_1_2"], "TLS_1_2: the gateway takes TLS 1.2 and 1.3 alike");
    if let Some(policy) = root.get("x-amazon-apigateway-policy") {
        policy.fault("is a resource policy, which is not evaluated", "none; authorizers on the operations say who may");
    }
    if let Some(size) = root.get("x-amazon-apigateway-minimum-compression-size") {
        size.fault(
            "asks for compression, which the gateway does not do",
            "none; what a server compressed passes through",
        );
    }
}

/// Notes a validator that would validate something.
pub(super) fn check_validator(node: &Node<'_, '_>) {
    let Some(name) = node.get("x-amazon-apigateway-request-validator") else { return };
    let Some(text) = name.text() else { return };
    let validator = node.root().get("x-amazon-apigateway-request-validators").and_then(|all| all.get(text));
    let Some(validator) = validator else {
        name.fault(format!("is {text:?}, which is no validator"), "a name in x-amazon-apigateway-request-validators");
        return;
    };
    if validator.entries().iter().any(|(_, value)| value.boolean()) {
        name.fault(format!("is {text:?}, but requests are not validated"), "none: what serves the operation validates");
    }
}

/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-cors-configuration.html>
fn read_cors(node: &Node<'_, '_>, kind: ApiKind) -> Cors {
    let lists = ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders"];
    let all = [&lists[..], &["maxAge", "allowCredentials"]].concat();
    node.refuse_others(&all, &[], "allowOrigins, allowMethods, allowHeaders, exposeHeaders, maxAge, allowCredentials");
    if kind == ApiKind::Rest {
        node.fault("is for HTTP APIs", "OPTIONS operations with mock integrations, or kind = \"http\"");
    }
    let list = |key: &str| node.get(key).map(|list| list.texts()).unwrap_or_default();
    let cors = Cors {
        allow_origins: list("allowOrigins"),
        allow_methods: list("allowMethods"),
        allow_headers: list("allowHeaders"),
        expose_headers: list("exposeHeaders"),
        max_age: node.get("maxAge").and_then(|age| age.number()).map(Duration::from_secs),
        allow_credentials: node.get("allowCredentials").is_some_and(|value| value.boolean()),
    };
    if let Some(problem) = cors.fault() {
        node.fault(
            format!("allowCredentials {problem}"),
            "the origins, methods and headers by name: browsers refuse * then",
        );
    }
    cors
}

/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-gateway-responses.gatewayResponse.html>
fn read_gateway_response((name, node): (&str, Node<'_, '_>)) -> Option<GatewayResponse> {
    let fields = ["statusCode", "responseParameters", "responseTemplates"];
    node.refuse_others(&fields, &[], "statusCode, responseParameters and responseTemplates");
    if !TYPES.contains(&name) {
        node.fault("is no type of gateway response that can be changed", format!("one of {}", TYPES.join(", ")));
    }
    let status = match node.get("statusCode") {
        None => None,
        Some(field) => Some(read_status(&field)?),
    };
    let mut headers = Vec::new();
    for (target, source) in node.get("responseParameters").iter().flat_map(Node::entries) {
        let header = target.strip_prefix("gatewayresponse.header.").and_then(|name| HeaderName::try_from(name).ok());
        match (header, source.text().map(Source::parse)) {
            (Some(header), Some(Ok(source))) => headers.push((header, source)),
            (None, _) => source.fault("has no header as its target", "gatewayresponse.header.NAME"),
            (_, Some(Err(fault))) => source.fault(fault, "such as \"'*'\" or \"context.requestId\""),
            (_, None) => {}
        }
    }
    let mut template = None;
    for (kind, node) in node.get("responseTemplates").iter().flat_map(Node::entries) {
        if kind != "application/json" {
            node.fault(format!("is for {kind:?}"), "application/json alone");
        }
        match node.text().map(Template::parse) {
            Some(Ok(parsed)) => template = Some(parsed),
            Some(Err(faults)) => {
                node.fault(faults.join("; "), "such as {\"message\":$context.error.messageString}");
            }
            None => {}
        }
    }
    Some(GatewayResponse { response_type: name.to_owned(), status, headers, template })
}

/// A status that can be answered.
pub(super) fn read_status(field: &Node<'_, '_>) -> Option<StatusCode> {
    let number = field.number()?;
    let status = u16::try_from(number).ok().filter(|status| (200..=599).contains(status));
    if status.is_none() {
        field.fault(format!("is {number}"), "a status from 200 to 599");
    }
    StatusCode::from_u16(status?).ok()
}
