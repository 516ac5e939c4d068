//! `[[api.gateway_response]]`, read.

use http::{HeaderName, StatusCode};
use weir_station::config::Section;

use super::definitions::ApiKind;
use crate::responses::{GatewayResponse, Source, TYPES, Template};

/// Headers that say how a response is sent (RFC 9110, 7.6.1, and RFC 9112, 6).
const OF_CONNECTIONS: [&str; 7] =
    ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Reads the responses of an API's own.
pub(super) fn read(api: &Section, kind: ApiKind) -> Vec<GatewayResponse> {
    let sections = api.sections("gateway_response");
    if let (Some(first), ApiKind::Http) = (sections.first(), kind) {
        first.fault("", "is for REST APIs", "kind = \"rest\"; HTTP APIs have fixed responses");
    }
    let mut responses: Vec<GatewayResponse> = Vec::new();
    for section in &sections {
        let Some(response) = read_one(section) else { continue };
        if responses.iter().any(|other| other.response_type == response.response_type) {
            section.fault("type", format!("there are two of {}", response.response_type), "each type once");
        }
        responses.push(response);
    }
    responses
}

fn read_one(section: &Section) -> Option<GatewayResponse> {
    let response_type = section.required::<String>("type")?;
    if !TYPES.contains(&response_type.as_str()) {
        section.fault("type", format!("is {response_type:?}"), format!("one of {}", TYPES.join(", ")));
    }
    let status = section.optional::<u16>("status").and_then(|status| {
        let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 200);
        if status.is_none() {
            section.fault("status", "is no status of an answer", "a status from 200 to 599");
        }
        status
    });
    let mut headers = Vec::new();
    for (name, value) in section.texts("headers") {
        match (HeaderName::try_from(name.as_str()), Source::parse(&value)) {
            (Ok(name), _) if OF_CONNECTIONS.contains(&name.as_str()) => {
                section.fault("headers", format!("{name:?} is the connection's to say"), "a header of the response");
            }
            (Ok(name), Ok(source)) => headers.push((name, source)),
            (Err(_), _) => section.fault("headers", format!("{name:?} is no header's name"), "such as \"x-a\""),
            (_, Err(fault)) => {
                section.fault(&format!("headers.{name}"), fault, "such as \"'*'\" or \"context.requestId\"");
            }
        }
    }
    let template = section.optional::<String>("template").and_then(|text| match Template::parse(&text) {
        Ok(template) => Some(template),
        Err(faults) => {
            section.fault("template", faults.join("; "), "such as '{\"message\":$context.error.messageString}'");
            None
        }
    });
    Some(GatewayResponse { response_type, status, headers, template })
}
