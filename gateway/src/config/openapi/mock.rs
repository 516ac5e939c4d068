//! `MOCK` integrations: a fixed answer, chosen when the document is read.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{ImportedMock, extensions::read_status, node::Node, text::read_yaml};
use crate::config::authorizers::Pattern;

const FIELDS: &[&str] = &["type", "requestTemplates", "responses", "timeoutInMillis", "httpMethod", "uri"];

/// Fields that say nothing of a fixed answer.
const WITHOUT_EFFECT: &[&str] = &["passthroughBehavior", "cacheNamespace", "payloadFormatVersion", "connectionType"];

/// Reads it: the status that its request template says, and the response for that.
pub(super) fn read(node: &Node<'_, '_>) -> Option<ImportedMock> {
    node.refuse_others(FIELDS, WITHOUT_EFFECT, "the fields of a mock integration, as docs/openapi.md lists them");
    let status = request_status(node)?;
    let Some(responses) = node.get("responses") else {
        node.fault("has no responses", "responses with a default");
        return None;
    };
    let entries = responses.entries();
    let text = status.to_string();
    let means = |pattern: &str| pattern == text || Pattern::parse(pattern).is_ok_and(|pattern| pattern.is_match(&text));
    let chosen = entries.iter().find(|(pattern, _)| *pattern != "default" && means(pattern));
    let Some((_, response)) = chosen.or_else(|| entries.iter().find(|(pattern, _)| *pattern == "default")) else {
        responses.fault(format!("has none for the status {status} of its request template"), "that, or a default");
        return None;
    };
    read_response(response)
}

/// `{"statusCode": 200}`.
fn request_status(node: &Node<'_, '_>) -> Option<u64> {
    let expected = "requestTemplates with application/json: '{\"statusCode\": 200}'";
    let Some(templates) = node.get("requestTemplates") else {
        node.fault("has no request template, which says the status", expected);
        return None;
    };
    let (_, template) = one_template(&templates)?;
    let text = literal(&template)?;
    // What API Gateway takes is looser than JSON: {statusCode: 200} will do.
    let status = read_yaml(text).ok().and_then(|value| value.get("statusCode")?.as_u64());
    if status.is_none() {
        template.fault("has no statusCode", expected);
    }
    status
}

/// The template for JSON, or the only one.
fn one_template<'r, 'd>(templates: &Node<'r, 'd>) -> Option<(&'d str, Node<'r, 'd>)> {
    let mut entries = templates.entries();
    if entries.len() != 1 {
        let json = entries.iter().position(|(kind, _)| *kind == "application/json");
        let Some(index) = json.filter(|_| entries.len() < 2) else {
            templates
                .fault(format!("has {} templates", entries.len()), "one: which answers cannot depend on the request");
            return None;
        };
        return Some(entries.swap_remove(index));
    }
    entries.pop()
}

/// A template that is text alone.
fn literal<'d>(template: &Node<'_, 'd>) -> Option<&'d str> {
    let text = template.text()?;
    if text.contains(['$', '#']) {
        template.fault("is a mapping template with $ or #, which are not evaluated", "text without $ and #");
        return None;
    }
    Some(text)
}

fn read_response(response: &Node<'_, '_>) -> Option<ImportedMock> {
    let fields = ["statusCode", "responseParameters", "responseTemplates"];
    response.refuse_others(&fields, &["description"], "statusCode, responseParameters and responseTemplates");
    let Some(field) = response.get("statusCode") else {
        response.fault("has no statusCode", "one");
        return None;
    };
    let status = read_status(&field);
    let mut headers = HeaderMap::new();
    let (mut kind, mut body) = ("application/json", "");
    if let Some(templates) = response.get("responseTemplates")
        && !templates.entries().is_empty()
    {
        let (own, template) = one_template(&templates)?;
        (kind, body) = (own, literal(&template)?);
    }
    match HeaderValue::from_str(kind) {
        Ok(kind) => drop(headers.insert(header::CONTENT_TYPE, kind)),
        Err(_) => response.fault(format!("has the media type {kind:?}"), "one such as application/json"),
    }
    for (target, source) in response.get("responseParameters").iter().flat_map(Node::entries) {
        if let Some((name, value)) = header(target, &source) {
            headers.insert(name, value);
        }
    }
    Some(ImportedMock { status: status?, headers, body: body.to_owned() })
}

/// `method.response.header.x: "'text'"`.
fn header(target: &str, source: &Node<'_, '_>) -> Option<(HeaderName, HeaderValue)> {
    let name = target.strip_prefix("method.response.header.").and_then(|name| name.parse::<HeaderName>().ok());
    let Some(name) = name else {
        source.fault("has no header as its target", "method.response.header.NAME");
        return None;
    };
    let text = source.text()?;
    let literal = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let value = literal.and_then(|text| HeaderValue::from_str(text).ok());
    if value.is_none() {
        source.fault(format!("is {text:?}"), "a text in single quotes, such as \"'*'\": a mock knows nothing else");
    }
    Some((name, value?))
}
