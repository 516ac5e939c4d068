//! What the gateway serves: `[[api]]` with its stages and routes, `[[api_key]]`, `[[jwt_authorizer]]`.

use std::{collections::BTreeSet, time::Duration};

use weir_station::config::{Document, Secret, Section};

use super::{
    authorizers::{CognitoDefinition, JwtDefinition, read_cognito, read_jwt},
    integration::Integration,
    limit,
};
use crate::{
    bucket::Limit,
    route::{EXPECTED, RouteKey, Segment},
};

/// Everything that is served.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// The APIs.
    pub apis: Vec<ApiDefinition>,
    /// The API keys.
    pub keys: Vec<KeyDefinition>,
    /// The authorizers of JSON Web Tokens.
    pub authorizers: Vec<JwtDefinition>,
    /// The authorizers of Cognito user pools.
    pub cognito: Vec<CognitoDefinition>,
}

/// An API.
#[derive(Clone, Debug)]
pub struct ApiDefinition {
    /// Its name.
    pub name: String,
    /// Segments of the path that it is served under.
    pub base: Vec<String>,
    /// Its stages.
    pub stages: Vec<StageDefinition>,
    /// Its routes.
    pub routes: Vec<RouteDefinition>,
}

/// A stage of an API.
#[derive(Clone, Debug)]
pub struct StageDefinition {
    /// Its name; `$default` needs no segment in the path.
    pub name: String,
    /// The limit on all its requests together.
    pub throttle: Option<Limit>,
}

/// A route of an API.
#[derive(Clone, Debug)]
pub struct RouteDefinition {
    /// What it is found by.
    pub key: RouteKey,
    /// What answers it.
    pub integration: Integration,
    /// What a client must prove itself with.
    pub auth: Auth,
    /// The limit on its requests, in each stage.
    pub throttle: Option<Limit>,
    /// The stages that have it; none for all.
    pub stages: Option<Vec<String>>,
}

/// What a client must prove itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// An API key.
    ApiKey,
    /// A token that the authorizer of this name takes.
    Jwt(String),
}

/// An API key.
#[derive(Clone, Debug)]
pub struct KeyDefinition {
    /// Its id: what records name it by.
    pub id: String,
    /// What is known of the key itself.
    pub value: KeyValue,
    /// The APIs that it opens; none for all.
    pub apis: Option<Vec<String>>,
    /// The stages that it opens; none for all.
    pub stages: Option<Vec<String>>,
}

/// An API key, or what it hashes to.
#[derive(Clone, Debug)]
pub enum KeyValue {
    /// The key.
    Plain(Secret),
    /// Its SHA-256, hexadecimal.
    Sha256(String),
}

impl Definitions {
    pub(super) fn read(document: &Document, timeout: Duration) -> Self {
        let authorizers: Vec<_> = document.sections("jwt_authorizer").iter().filter_map(read_jwt).collect();
        let names: Vec<_> = authorizers.iter().map(|authorizer| authorizer.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        let mut apis = Vec::new();
        for section in document.sections("api") {
            let Some(api) = read_api(&section, &names, timeout) else { continue };
            if !seen.insert(format!("name {:?}", api.name)) || !seen.insert(format!("path /{}", api.base.join("/"))) {
                section.fault("name", "another API has this name or path", "a name and a path of its own for each API");
            }
            apis.push(api);
        }
        let keys: Vec<_> = document.sections("api_key").iter().filter_map(|section| read_key(section, &apis)).collect();
        let cognito = document.sections("cognito_authorizer").iter().filter_map(read_cognito).collect();
        Self { apis, keys, authorizers, cognito }
    }
}

fn read_api(section: &Section, authorizers: &[&str], timeout: Duration) -> Option<ApiDefinition> {
    let name = section.required::<String>("name");
    let path = section.value("path", format!("/{}", name.as_deref().unwrap_or_default()));
    if !path.starts_with('/') || path.contains(['{', '}', '?', '#', ' ']) {
        section.fault("path", format!("is {path:?}"), "a path such as \"/shop\", or \"/\" for all");
    }
    let mut stages: Vec<StageDefinition> = Vec::new();
    for stage in section.sections("stage") {
        let Some(name) = stage.required::<String>("name") else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if name != "$default" && (!is_name || name.is_empty() || name.len() > 128) {
            stage.fault("name", format!("is {name:?}"), "letters, digits, - and _, at most 128, or \"$default\"");
        }
        if stages.iter().any(|other| other.name == name) {
            stage.fault("name", format!("there are two stages {name:?}"), "each stage once");
        }
        stages.push(StageDefinition { name, throttle: limit(&stage.section("throttle")) });
    }
    if stages.is_empty() {
        stages.push(StageDefinition { name: "$default".to_owned(), throttle: None });
    }
    let mut routes: Vec<RouteDefinition> = Vec::new();
    for section in section.sections("route") {
        let Some(route) = read_route(&section, authorizers, &stages, timeout) else { continue };
        if let Some(other) = routes.iter().find(|other| other.key.means_the_same(&route.key)) {
            section.fault(
                "route",
                format!("means the same requests as {:?}", other.key.to_string()),
                "each route once",
            );
        }
        routes.push(route);
    }
    routes.sort_by(|a, b| a.key.precedence(&b.key));
    let base = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    Some(ApiDefinition { name: name?, base, stages, routes })
}

fn read_route(
    section: &Section,
    authorizers: &[&str],
    stages: &[StageDefinition],
    timeout: Duration,
) -> Option<RouteDefinition> {
    let text = section.required::<String>("route");
    let key = text.and_then(|text| match RouteKey::parse(&text) {
        Ok(key) => Some(key),
        Err(error) => {
            section.fault("route", format!("is {text:?}: {}", error.0), EXPECTED);
            None
        }
    });
    let parameters: Vec<String> = key.iter().flat_map(|key| key.path.iter().flatten()).filter_map(parameter).collect();
    let integration = Integration::read(&section.section("integration"), &parameters, timeout);
    let auth = section.value("auth", "none".to_owned());
    let auth = match (auth.as_str(), auth.strip_prefix("jwt:")) {
        ("none", _) => Auth::None,
        ("api_key", _) => Auth::ApiKey,
        (_, Some(name)) if authorizers.contains(&name) => Auth::Jwt(name.to_owned()),
        (_, Some(name)) => {
            section.fault(
                "auth",
                format!("names {name:?}, but no [[jwt_authorizer]] is called that"),
                one_of(authorizers),
            );
            Auth::None
        }
        (other, None) => {
            section.fault(
                "auth",
                format!("is {other:?}"),
                "\"none\", \"api_key\" or \"jwt:<name of a jwt_authorizer>\"",
            );
            Auth::None
        }
    };
    let only = section.optional::<Vec<String>>("stages");
    for name in only.iter().flatten() {
        if !stages.iter().any(|stage| stage.name == *name) {
            let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
            section.fault("stages", format!("names {name:?}, which is no stage of the API"), one_of(&names));
        }
    }
    let throttle = limit(&section.section("throttle"));
    Some(RouteDefinition { key: key?, integration: integration?, auth, throttle, stages: only })
}

fn parameter(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) | Segment::Greedy(name) => Some(name.clone()),
    }
}

fn one_of(names: &[&str]) -> String {
    if names.is_empty() { "one that is defined".to_owned() } else { format!("one of: {}", names.join(", ")) }
}

fn read_key(section: &Section, apis: &[ApiDefinition]) -> Option<KeyDefinition> {
    let id = section.required::<String>("id");
    let (plain, hash) = (section.secret("key"), section.optional::<String>("sha256"));
    let value = match (plain, hash) {
        // API Gateway: a key has 20 to 128 characters.
        (Some(key), None) if (20..=128).contains(&key.expose().len()) => Some(KeyValue::Plain(key)),
        (Some(_), None) => {
            section.fault("key", "is too short or too long", "a key of 20 to 128 characters");
            None
        }
        (None, Some(hash)) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some(KeyValue::Sha256(hash.to_ascii_lowercase()))
        }
        (None, Some(_)) => {
            section.fault("sha256", "is no SHA-256", "64 hexadecimal digits");
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            section.fault("key", "needs exactly one of key and sha256", "key = \"…\", or sha256 = the key's SHA-256");
            None
        }
    };
    let only = section.optional::<Vec<String>>("apis");
    for name in only.iter().flatten() {
        if !apis.iter().any(|api| api.name == *name) {
            let names: Vec<_> = apis.iter().map(|api| api.name.as_str()).collect();
            section.fault("apis", format!("names {name:?}, which is no API"), one_of(&names));
        }
    }
    Some(KeyDefinition { id: id?, value: value?, apis: only, stages: section.optional("stages") })
}
