//! Where a request belongs: its host, its path and its method, looked up.
//!
//! A host that is a domain's decides by the domain's mappings alone (exact names before wildcards, the longest base path
//! first). Every other host gets the default endpoint: the API whose path is the longest that begins the request's, and
//! then the stage that the next segment names, or else `$default`.

use std::sync::Arc;

use super::{DEFAULT_STAGE, Domain, ServedApi, ServedStage, Serving};
use crate::{config::definitions::DomainDefinition, facts::Place, target::Target};

/// Where a request belongs.
#[derive(Debug)]
pub(crate) struct Found {
    /// The API, stage and route, as far as there are such.
    pub place: Place,
    /// How many of the path's segments stand before what the routes see.
    pub below: usize,
    /// The mapping's base path; none at the default endpoint.
    pub base_path: Option<Arc<str>>,
    /// Whether the host is a domain's, none of whose mappings has the path.
    pub is_unmapped: bool,
}

impl Serving {
    /// Finds where a request belongs.
    pub(crate) fn find(&self, host: Option<&str>, method: &str, target: &Target<'_>) -> Found {
        match host.and_then(|host| self.domain(host)) {
            Some(domain) => self.find_in_domain(domain, method, target),
            None => self.find_by_path(method, target),
        }
    }

    fn domain(&self, host: &str) -> Option<&Domain> {
        if self.domains.is_empty() {
            return None;
        }
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_exact = |domain: &&Domain| domain.name.eq_ignore_ascii_case(host);
        // `*.example.com` is every host with one label or more before it.
        let is_below = |domain: &&Domain| {
            let at = host.len().checked_sub(domain.name.len());
            domain.name.starts_with('.')
                && at.is_some_and(|at| {
                    at > 0 && host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(&domain.name))
                })
        };
        self.domains
            .iter()
            .find(is_exact)
            .or_else(|| self.domains.iter().filter(is_below).max_by_key(|domain| domain.name.len()))
    }

    fn find_in_domain(&self, domain: &Domain, method: &str, target: &Target<'_>) -> Found {
        let Some((base, shown, api, stage)) = domain.mappings.iter().find(|(base, ..)| begins(base, target)) else {
            return Found { place: Place::Nowhere, below: 0, base_path: None, is_unmapped: true };
        };
        let found = self.apis[*api].stages[*stage].find(method, target, base.len());
        Found { base_path: Some(Arc::clone(shown)), ..found }
    }

    fn find_by_path(&self, method: &str, target: &Target<'_>) -> Found {
        let found = self.by_path.iter().find(|(base, _)| begins(base, target));
        let Some((base, api)) = found else {
            return Found { place: Place::Nowhere, below: 0, base_path: None, is_unmapped: false };
        };
        self.apis[*api].find(method, target, base.len())
    }
}

impl ServedApi {
    fn find(&self, method: &str, target: &Target<'_>, below: usize) -> Found {
        let named = |name: &str| self.stages.iter().find(|own| own.stage.name == name);
        let stage = target.segments().get(below).and_then(|segment| named(segment).filter(|own| !own.is_default()));
        match (stage, named(DEFAULT_STAGE)) {
            (Some(stage), _) => stage.find(method, target, below + 1),
            (None, Some(stage)) => stage.find(method, target, below),
            (None, None) => {
                Found { place: Place::Api(Arc::clone(&self.api)), below, base_path: None, is_unmapped: false }
            }
        }
    }
}

impl ServedStage {
    fn is_default(&self) -> bool {
        self.stage.name == DEFAULT_STAGE
    }

    fn find(&self, method: &str, target: &Target<'_>, below: usize) -> Found {
        let route = self.router.find(method, target, below).map(Arc::clone);
        let place = route.map_or_else(|| Place::Stage(Arc::clone(&self.stage)), Place::Route);
        Found { place, below, base_path: None, is_unmapped: false }
    }
}

fn begins(base: &[String], target: &Target<'_>) -> bool {
    let segments = target.segments();
    base.len() <= segments.len() && base.iter().zip(segments).all(|(own, segment)| own == segment)
}

/// `example.com:8080` → `example.com`; `[::1]:80` → `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The domains, with their mappings resolved.
pub(super) fn domains(definitions: &[DomainDefinition], apis: &[ServedApi]) -> Vec<Domain> {
    let resolve = |definition: &DomainDefinition| {
        let mappings = definition.mappings.iter().filter_map(|mapping| {
            let api = apis.iter().position(|own| own.api.name == mapping.api)?;
            let stage = apis[api].stages.iter().position(|own| own.stage.name == mapping.stage)?;
            Some((mapping.base.clone(), mapping.base.join("/").into(), api, stage))
        });
        let name = definition.name.strip_prefix('*').unwrap_or(&definition.name).to_owned();
        Domain { name, mappings: mappings.collect() }
    };
    definitions.iter().map(resolve).collect()
}

#[cfg(test)]
mod tests;
