//! `[[domain]]` and `[[service]]`, read.

use std::{str::FromStr, time::Duration};

use http::uri::Authority;
use weir_station::{config::Section, tls::IdentityFiles};

use super::{
    apis::{one_of, split},
    definitions::{ApiDefinition, DomainDefinition, MappingDefinition, ServiceDefinition},
};

/// API Gateway's limit on the length of a base path.
const MOST_BASE_PATH: usize = 300;

/// Reads a domain; its mappings lead to these APIs.
pub(super) fn read_domain(section: &Section, apis: &[ApiDefinition]) -> Option<DomainDefinition> {
    let name = section.required::<String>("name").map(|name| name.to_ascii_lowercase());
    if let Some(name) = &name {
        let host = name.strip_prefix("*.").unwrap_or(name);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !host.split('.').all(is_label) {
            section.fault("name", format!("is {name:?}"), "a host such as \"api.example.com\" or \"*.example.com\"");
        }
    }
    let identity = IdentityFiles::read(section);
    let mut mappings: Vec<MappingDefinition> = Vec::new();
    for mapping in section.sections("mapping") {
        let Some(own) = read_mapping(&mapping, apis) else { continue };
        if mappings.iter().any(|other| other.base == own.base) {
            mapping.fault("path", "another mapping of the domain has it", "each path once");
        }
        mappings.push(own);
    }
    if mappings.is_empty() {
        section.fault("mapping", "is missing", "at least one [[domain.mapping]] with api and stage");
    }
    // The longest base path is tried first.
    mappings.sort_by_key(|mapping| std::cmp::Reverse(mapping.base.len()));
    Some(DomainDefinition { name: name?, identity, mappings })
}

fn read_mapping(section: &Section, apis: &[ApiDefinition]) -> Option<MappingDefinition> {
    let path = section.value("path", String::new());
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"$-_.+!*'()/".contains(&byte);
    if !path.bytes().all(is_fine) || path.len() > MOST_BASE_PATH {
        section.fault(
            "path",
            format!("is {path:?}"),
            "letters, digits, $-_.+!*'() and slashes, at most 300 characters",
        );
    }
    let (api, stage) = (section.required::<String>("api")?, section.value("stage", "$default".to_owned()));
    let Some(found) = apis.iter().find(|own| own.name == api) else {
        let names: Vec<_> = apis.iter().map(|api| api.name.clone()).collect();
        section.fault("api", format!("names {api:?}, which is no API"), one_of(&names));
        return None;
    };
    if !found.stages.iter().any(|own| own.name == stage) {
        let names: Vec<_> = found.stages.iter().map(|stage| stage.name.clone()).collect();
        section.fault("stage", format!("names {stage:?}, which is no stage of {api}"), one_of(&names));
        return None;
    }
    Some(MappingDefinition { base: split(&path), api, stage })
}

/// Reads a service.
pub(super) fn read_service(section: &Section) -> Option<ServiceDefinition> {
    let name = section.required::<String>("name");
    let texts = section.required::<Vec<String>>("endpoints");
    let mut endpoints = Vec::new();
    for text in texts.iter().flatten() {
        match Authority::from_str(text) {
            Ok(authority) if !authority.host().is_empty() && !text.contains('@') => endpoints.push(authority),
            _ => section.fault("endpoints", format!("has {text:?}"), "hosts and ports such as \"10.0.0.7:8080\""),
        }
    }
    if endpoints.is_empty() {
        section.fault("endpoints", "names no server", "at least one \"host:port\"");
    }
    let failures = section.value("failures", 5);
    if failures == 0 {
        section.fault("failures", "is 0", "at least 1");
    }
    let ejection = section.value("ejection", Duration::from_secs(10));
    Some(ServiceDefinition { name: name?, endpoints, failures, ejection })
}
