//! `x-amazon-apigateway-integration`: what answers an operation.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-integration.html>.

use std::str::FromStr;

use http::Method;

use super::{Hints, ImportedIntegration, ImportedLambda, ImportedMapping, ImportedProxy, mock, node::Node};
use crate::{config::definitions::ApiKind, route::RouteKey};

/// What an integration may take, milliseconds: API Gateway's least, and more than its most.
const TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 50..=900_000;

/// Reads an integration.
pub(super) fn read(node: &Node<'_, '_>, key: &RouteKey, hints: &Hints<'_>) -> Option<ImportedIntegration> {
    let Some(kind) = node.get("type") else {
        node.fault("has no type", "http_proxy, aws_proxy or mock");
        return None;
    };
    match kind.text()?.to_ascii_lowercase().as_str() {
        "http_proxy" => read_proxy(node, key, hints).map(ImportedIntegration::HttpProxy),
        "aws_proxy" => read_lambda(node, hints).map(ImportedIntegration::Lambda),
        "mock" => mock::read(node).map(ImportedIntegration::Mock),
        other => {
            let problem = match other {
                "http" => "is http, whose requests and responses are made by mapping templates".to_owned(),
                "aws" => "is aws, whose requests and responses are made by mapping templates".to_owned(),
                _ => format!("is {other:?}"),
            };
            kind.fault(problem, "http_proxy, aws_proxy or mock");
            None
        }
    }
}

/// Fields that say nothing of a proxy: what passes through it is not changed, and no stage has a cache.
const WITHOUT_EFFECT: &[&str] = &["passthroughBehavior", "cacheNamespace"];

const PROXY: &[&str] = &[
    "type",
    "uri",
    "httpMethod",
    "timeoutInMillis",
    "requestParameters",
    "responseParameters",
    "connectionType",
    "connectionId",
    "tlsConfig",
    "payloadFormatVersion",
    "responses",
    "cacheKeyParameters",
    "requestTemplates",
    "responseTransferMode",
];

fn read_proxy(node: &Node<'_, '_>, key: &RouteKey, hints: &Hints<'_>) -> Option<ImportedProxy> {
    node.refuse_others(PROXY, WITHOUT_EFFECT, "the fields of an http_proxy integration, as docs/openapi.md lists them");
    refuse_content(node);
    check_payload_format(node, "1.0");
    let server_name = read_tls(node);
    let mut mapping = read_mapping(node, hints.kind);
    let uri = read_uri(node, key, hints);
    let mode = node.get("responseTransferMode");
    if let Some(mode) = mode.filter(|mode| !matches!(mode.value().as_str(), Some("BUFFERED" | "STREAM"))) {
        mode.fault(format!("is {}", mode.value()), "BUFFERED or STREAM; either way answers pass through as they come");
    }
    let method = read_method(node);
    let timeout_ms = read_timeout(node);
    let uri = rename_parameters(uri?, &mut mapping.request);
    Some(ImportedProxy { uri, method: method?, timeout_ms, server_name, mapping })
}

/// The method; the inner none for the client's, the outer for a fault.
#[expect(clippy::option_option, reason = "a fault and the client's own method are two things")]
fn read_method(node: &Node<'_, '_>) -> Option<Option<Method>> {
    let Some(field) = node.get("httpMethod") else { return Some(None) };
    let text = field.text()?.to_ascii_uppercase();
    if text == "ANY" {
        return Some(None);
    }
    let method = Method::from_str(&text).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_uppercase()));
    if method.is_none() {
        field.fault(format!("is {text:?}"), "a method such as \"POST\", or \"ANY\" for the client's");
    }
    method.map(Some)
}

fn read_timeout(node: &Node<'_, '_>) -> Option<u64> {
    let field = node.get("timeoutInMillis")?;
    let timeout = field.number()?;
    if !TIMEOUTS_MS.contains(&timeout) {
        field.fault(format!("is {timeout}"), format!("from {} to {}", TIMEOUTS_MS.start(), TIMEOUTS_MS.end()));
    }
    Some(timeout)
}

/// The name that the server's certificate must bear.
fn read_tls(node: &Node<'_, '_>) -> Option<String> {
    let tls = node.get("tlsConfig")?;
    tls.refuse_others(&["serverNameToVerify", "insecureSkipVerification"], &[], "serverNameToVerify");
    if let Some(skip) = tls.get("insecureSkipVerification")
        && skip.boolean()
    {
        let expected = "false; integration.tls.ca of the [[api]] names the authorities that certificates may come from";
        skip.fault("is true, which lets anybody answer in the server's place", expected);
    }
    let field = tls.get("serverNameToVerify")?;
    let name = field.text()?;
    if rustls::pki_types::ServerName::try_from(name).is_err() {
        field.fault(format!("is {name:?}"), "a host's name");
    }
    Some(name.to_owned())
}

/// The URI. Where a private service answers, its name stands for the host.
fn read_uri(node: &Node<'_, '_>, key: &RouteKey, hints: &Hints<'_>) -> Option<String> {
    let is_private = match node.get("connectionType") {
        None => false,
        Some(field) => match field.text()? {
            "INTERNET" => false,
            "VPC_LINK" => true,
            other => {
                field.fault(format!("is {other:?}"), "INTERNET or VPC_LINK");
                return None;
            }
        },
    };
    let Some(field) = node.get("uri") else {
        node.fault("has no uri", "the server's, such as https://host/users/{id}");
        return None;
    };
    let uri = field.text()?;
    let connection = node.get("connectionId");
    if !is_private {
        if let Some(connection) = connection {
            connection.fault("stands without connectionType VPC_LINK", "connectionType: VPC_LINK beside it");
        }
        if uri.starts_with("arn:") {
            field.fault(format!("is {uri:?}"), "a URL; an ARN stands for a service with connectionType: VPC_LINK");
            return None;
        }
        return Some(uri.to_owned());
    }
    let Some(connection) = connection else {
        node.fault("is VPC_LINK without a connectionId", "connectionId, the name of a [[service]]");
        return None;
    };
    let service = connection.text()?;
    if !hints.services.iter().any(|own| own == service) {
        let own = hints.services.join(", ");
        let expected = if own.is_empty() { "a [[service]] of this name".to_owned() } else { format!("one of: {own}") };
        connection.fault(format!("is {service:?}, but no [[service]] is called that"), expected);
    }
    if uri.starts_with("arn:") {
        // The service gets the path that the client asked for.
        if key.path.is_none() {
            field.fault("is an ARN, but $default has no path for the service", "a URL such as http://service/path");
        }
        return Some(format!("http://{service}{}", key.template));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        field.fault(format!("is {uri:?}"), "a URL such as http://host/users/{id}, or a listener's ARN");
        return None;
    };
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    Some(format!("{scheme}://{service}{path}"))
}

/// `integration.request.path.a: method.request.path.b` says that `{a}` in the URI stands for the route's `{b}`.
fn rename_parameters(mut uri: String, request: &mut Vec<(String, String)>) -> String {
    request.retain(|(target, source)| {
        let own = target.strip_prefix("integration.request.path.");
        let Some((own, routes)) = own.zip(source.strip_prefix("method.request.path.")) else { return true };
        for suffix in ["}", "+}"] {
            uri = uri.replace(&format!("{{{own}{suffix}"), &format!("{{{routes}}}"));
        }
        false
    });
    uri
}

fn read_mapping(node: &Node<'_, '_>, kind: ApiKind) -> ImportedMapping {
    let pairs = |node: &Node<'_, '_>| {
        let pair = |(key, value): (&str, Node<'_, '_>)| {
            // `remove:` takes no value; exports write one that says nothing.
            let is_removal = key.starts_with("remove:");
            let text = if is_removal { Some("") } else { value.text() };
            text.map(|text| (key.to_owned(), text.to_owned()))
        };
        node.entries().into_iter().filter_map(pair).collect::<Vec<_>>()
    };
    let request = node.get("requestParameters").map(|node| pairs(&node)).unwrap_or_default();
    let statuses = node.get("responseParameters");
    let statuses = statuses.iter().flat_map(Node::entries);
    let responses = statuses.map(|(status, node)| (status.to_owned(), pairs(&node))).collect();
    if kind == ApiKind::Rest
        && let Some(node) = node.get("responseParameters")
    {
        node.fault(
            "stands at the integration, as in HTTP APIs",
            "kind = \"http\": a REST proxy's answers pass unchanged",
        );
    }
    ImportedMapping { request, responses }
}

/// What would change the content, which passes through a proxy as it comes.
fn refuse_content(node: &Node<'_, '_>) {
    if let Some(templates) = node.get("requestTemplates")
        && !templates.entries().is_empty()
    {
        templates.fault("are mapping templates, but a proxy's requests pass unchanged", "none, or type mock");
    }
    if let Some(keys) = node.get("cacheKeyParameters")
        && !keys.items().is_empty()
    {
        keys.fault("asks for a response cache, which there is none of", "none");
    }
    for (_, response) in node.get("responses").iter().flat_map(Node::entries) {
        // Exports write a status for each, which says nothing of a proxy.
        let expected = "statusCode alone: a proxy's answers pass unchanged";
        response.refuse_others(&["statusCode"], &["description"], expected);
    }
}

fn check_payload_format(node: &Node<'_, '_>, only: &str) {
    if let Some(field) = node.get("payloadFormatVersion")
        && !matches!(field.text(), None | Some("1.0"))
    {
        field.fault(format!("is {}", field.value()), only);
    }
}

const LAMBDA: &[&str] = &[
    "type",
    "uri",
    "httpMethod",
    "timeoutInMillis",
    "requestParameters",
    "responseParameters",
    "connectionType",
    "payloadFormatVersion",
    "responses",
    "cacheKeyParameters",
    "requestTemplates",
    "credentials",
    "responseTransferMode",
];

fn read_lambda(node: &Node<'_, '_>, hints: &Hints<'_>) -> Option<ImportedLambda> {
    let without_effect = [WITHOUT_EFFECT, &["contentHandling"]].concat();
    let expected = "the fields of an aws_proxy integration, as docs/openapi.md lists them";
    node.refuse_others(LAMBDA, &without_effect, expected);
    refuse_content(node);
    let is_format_2 = match node.get("payloadFormatVersion").as_ref().map(Node::text) {
        Some(Some("1.0")) => false,
        Some(Some("2.0")) if hints.kind == ApiKind::Http => true,
        None if hints.kind == ApiKind::Rest => false,
        _ => {
            node.fault(
                "has no payloadFormatVersion that can be",
                match hints.kind {
                    ApiKind::Http => "payloadFormatVersion: \"1.0\" or \"2.0\"",
                    ApiKind::Rest => "none, or \"1.0\": REST APIs have no other",
                },
            );
            false
        }
    };
    if let Some(method) = node.get("httpMethod")
        && !method.text().is_none_or(|method| method.eq_ignore_ascii_case("POST"))
    {
        method.fault(format!("is {}", method.value()), "POST: functions are invoked by it");
    }
    for (field, allowed) in [("connectionType", "INTERNET"), ("responseTransferMode", "BUFFERED")] {
        if let Some(node) = node.get(field).filter(|node| node.value().as_str() != Some(allowed)) {
            node.fault(format!("is {}", node.value()), allowed);
        }
    }
    let mapping = read_mapping(node, hints.kind);
    let timeout_ms = read_timeout(node);
    let credentials = node.get("credentials").and_then(|field| field.text().map(str::to_owned));
    let Some(uri) = node.get("uri") else {
        node.fault("has no uri", FUNCTION);
        return None;
    };
    let function = function(&uri)?;
    Some(ImportedLambda { function, is_format_2, credentials, timeout_ms, mapping })
}

const FUNCTION: &str = "a function's ARN, or \
                        arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations";

/// The function that an integration's or an authorizer's URI invokes.
pub(super) fn function(uri: &Node<'_, '_>) -> Option<String> {
    let text = uri.text()?;
    let parts: Vec<_> = text.splitn(7, ':').collect();
    let found = match parts.as_slice() {
        ["arn", _, "lambda", _, _, "function", name] => (!name.is_empty()).then_some(text),
        ["arn", _, "apigateway", _, "lambda", ..] => {
            let after = text.split_once("/functions/").map(|(_, rest)| rest);
            after.and_then(|rest| rest.strip_suffix("/invocations")).filter(|name| !name.is_empty())
        }
        _ => None,
    };
    if found.is_none() {
        uri.fault(format!("is {text:?}, which invokes no Lambda function"), FUNCTION);
    }
    found.map(str::to_owned)
}
