//! `[[api]]` with its stages and routes, read.

use std::time::Duration;

use weir_station::config::Section;

use super::{
    definitions::{ApiDefinition, ApiKind, Auth, Cors, Privacy, RouteDefinition, StageDefinition, UnknownRoute},
    integration::Integration,
    lambda::{FunctionDefaults, PayloadVersion},
    limit, logs, privacy, responses,
    traces::read_traces,
};
use crate::route::{EXPECTED, RouteKey, Segment};

/// Names that definitions may give for what is defined elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `[[jwt_authorizer]]`.
    pub jwt: Vec<String>,
    /// `[[cognito_authorizer]]`.
    pub cognito: Vec<String>,
    /// `[[lambda_authorizer]]`.
    pub lambda: Vec<String>,
    /// Those of them that are told of a token alone.
    pub lambda_of_tokens: Vec<String>,
    /// Where functions are, unless they say otherwise.
    pub functions: FunctionDefaults,
    /// Whether there is a file of credentials for signatures.
    pub has_credentials: bool,
    /// What is recorded of those who ask, unless the API says otherwise.
    pub privacy: Privacy,
    /// How long an integration may take, unless its route says otherwise.
    pub timeout: Duration,
}

/// Reads an API.
pub(super) fn read_api(section: &Section, known: &Known) -> Option<ApiDefinition> {
    let name = section.required::<String>("name");
    let kind = read_kind(section);
    let base = read_base(section, name.as_deref().unwrap_or_default());
    let stages = read_stages(section, kind);
    let mut routes: Vec<RouteDefinition> = Vec::new();
    for section in section.sections("route") {
        let Some(route) = read_route(&section, known, &stages, kind) else { continue };
        if let Some(other) = routes.iter().find(|other| other.key.means_the_same(&route.key)) {
            let problem = format!("means the same requests as {:?}", other.key.to_string());
            section.fault("route", problem, "each route once");
        }
        if kind == ApiKind::Rest && route.key.path.is_none() {
            section.fault("route", "is $default, which only HTTP APIs have", "\"ANY /{proxy+}\", or kind = \"http\"");
        }
        check_lambda(&section, kind, &route, known);
        routes.push(route);
    }
    routes.sort_by(|a, b| a.key.precedence(&b.key));
    let unknown_route = read_unknown_route(section, kind);
    let cors = read_cors(&section.section("cors"), kind);
    let id = section.optional("id").or_else(|| name.clone());
    let privacy = section.section("privacy");
    let privacy = if privacy.is_present() { privacy::read(&privacy) } else { known.privacy.clone() };
    let traces = read_traces(&section.section("traces"));
    let responses = responses::read(section, kind);
    let access_log = logs::read(&section.section("access_log"), kind);
    let binary_media_types = section.value("binary_media_types", Vec::new());
    Some(ApiDefinition {
        name: name?,
        id: id?,
        kind,
        base,
        stages,
        routes,
        unknown_route,
        cors,
        privacy,
        traces,
        access_log,
        binary_media_types,
        responses,
    })
}

fn read_kind(section: &Section) -> ApiKind {
    match section.value("kind", "http".to_owned()).as_str() {
        "http" => ApiKind::Http,
        "rest" => ApiKind::Rest,
        other => {
            section.fault("kind", format!("is {other:?}"), "\"http\" or \"rest\"");
            ApiKind::Http
        }
    }
}

/// The segments of `path`; none for `path = "off"`: domains alone lead to it.
fn read_base(section: &Section, name: &str) -> Option<Vec<String>> {
    let path = section.value("path", format!("/{name}"));
    if path == "off" {
        return None;
    }
    if !path.starts_with('/') || path.contains(['{', '}', '?', '#', ' ', '%', '\\']) {
        let expected = "a path such as \"/shop\", \"/\" for all, or \"off\" for an API that only domains lead to";
        section.fault("path", format!("is {path:?}"), expected);
    }
    Some(split(&path))
}

/// The segments of a path that was configured.
pub(super) fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn read_unknown_route(section: &Section, kind: ApiKind) -> UnknownRoute {
    let default = match kind {
        ApiKind::Http => "404",
        ApiKind::Rest => "403",
    };
    match section.value("unknown_route", default.to_owned()).as_str() {
        "404" => UnknownRoute::NotFound,
        "403" => UnknownRoute::Forbidden,
        other => {
            section.fault("unknown_route", format!("is {other:?}"), "\"404\", or \"403\" as REST APIs answer");
            UnknownRoute::NotFound
        }
    }
}

fn read_stages(section: &Section, kind: ApiKind) -> Vec<StageDefinition> {
    let mut stages: Vec<StageDefinition> = Vec::new();
    for stage in section.sections("stage") {
        let Some(name) = stage.required::<String>("name") else { continue };
        if let Some((problem, expected)) = stage_name_fault(&name, kind) {
            stage.fault("name", problem, expected);
        }
        if stages.iter().any(|other| other.name == name) {
            stage.fault("name", format!("there are two stages {name:?}"), "each stage once");
        }
        let variables = stage.texts("variables");
        for (key, value) in &variables {
            // API Gateway's limits: 64 characters, 512 characters.
            if key.len() > 64 || value.len() > 512 {
                stage.fault(
                    "variables",
                    format!("{key:?} is too long"),
                    "names up to 64 and values up to 512 characters",
                );
            }
        }
        let (throttle, route_throttle) = (limit(&stage.section("throttle")), limit(&stage.section("route_throttle")));
        stages.push(StageDefinition { name, variables, throttle, route_throttle });
    }
    if stages.is_empty() {
        if kind == ApiKind::Rest {
            section.fault("stage", "is missing", "at least one [[api.stage]]: REST APIs have no $default stage");
        }
        stages.push(StageDefinition { name: "$default".to_owned(), ..StageDefinition::default() });
    }
    stages
}

/// What is wrong with the name of a stage, and what would be right.
pub(super) fn stage_name_fault(name: &str, kind: ApiKind) -> Option<(String, &'static str)> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if name == "$default" {
        return (kind == ApiKind::Rest)
            .then(|| ("is \"$default\", which only HTTP APIs have".to_owned(), "a name such as \"prod\""));
    }
    (!is_name || name.is_empty() || name.len() > 128)
        .then(|| (format!("is {name:?}"), "letters, digits, - and _, at most 128, or \"$default\""))
}

fn read_cors(section: &Section, kind: ApiKind) -> Option<Cors> {
    if !section.is_present() {
        return None;
    }
    if kind == ApiKind::Rest {
        section.fault("", "is for HTTP APIs", "an OPTIONS route with a mock integration, or kind = \"http\"");
    }
    let list = |key| section.value(key, Vec::<String>::new());
    let cors = Cors {
        allow_origins: list("allow_origins"),
        allow_methods: list("allow_methods"),
        allow_headers: list("allow_headers"),
        expose_headers: list("expose_headers"),
        max_age: section.optional("max_age"),
        allow_credentials: section.value("allow_credentials", false),
    };
    if let Some(problem) = cors.fault() {
        section.fault("allow_credentials", problem, "the origins, methods and headers by name: browsers refuse * then");
    }
    Some(cors)
}

impl Cors {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let lists = [&self.allow_origins, &self.allow_methods, &self.allow_headers, &self.expose_headers];
        let has_wildcard = lists.iter().any(|list| list.iter().any(|item| item == "*"));
        (self.allow_credentials && has_wildcard).then_some("is true beside \"*\"")
    }
}

fn read_route(section: &Section, known: &Known, stages: &[StageDefinition], kind: ApiKind) -> Option<RouteDefinition> {
    let text = section.required::<String>("route");
    let key = text.and_then(|text| match RouteKey::parse(&text) {
        Ok(key) => Some(key),
        Err(error) => {
            section.fault("route", format!("is {text:?}: {}", error.0), EXPECTED);
            None
        }
    });
    let integration = Integration::read(&section.section("integration"), known.timeout, kind, &known.functions);
    let auth = read_auth(section, known);
    let scopes = section.value("scopes", Vec::new());
    if !scopes.is_empty() && !matches!(auth, Auth::Jwt(_) | Auth::Cognito(_)) {
        section.fault("scopes", "needs an authorizer of tokens", "auth = \"jwt:name\" or \"cognito:name\"");
    }
    let only = section.optional::<Vec<String>>("stages");
    for name in only.iter().flatten() {
        if !stages.iter().any(|stage| stage.name == *name) {
            let names: Vec<_> = stages.iter().map(|stage| stage.name.clone()).collect();
            section.fault("stages", format!("names {name:?}, which is no stage of the API"), one_of(&names));
        }
    }
    let throttle = limit(&section.section("throttle"));
    let traces = read_traces(&section.section("traces"));
    let needs_api_key = section.value("api_key_required", false);
    if let (Some(key), Some(integration)) = (&key, &integration) {
        let of_route = |stage: &&StageDefinition| only.as_ref().is_none_or(|only| only.contains(&stage.name));
        for stage in stages.iter().filter(of_route) {
            if let Err((problem, expected)) = integration.check(&stage.variables, &parameters(key)) {
                section.fault("integration.uri", format!("{problem}, in stage {}", stage.name), expected);
                break;
            }
        }
    }
    Some(RouteDefinition {
        key: key?,
        integration: integration?,
        auth,
        scopes,
        needs_api_key,
        throttle,
        stages: only,
        traces,
    })
}

/// What of functions one kind of API alone has.
fn check_lambda(section: &Section, kind: ApiKind, route: &RouteDefinition, known: &Known) {
    let is_2 = matches!(&route.integration, Integration::Lambda(lambda) if lambda.payload == Some(PayloadVersion::V2));
    if kind == ApiKind::Rest && is_2 {
        let expected = "\"1.0\": REST APIs have no other; or kind = \"http\"";
        section.fault("integration.payload_version", "is \"2.0\"", expected);
    }
    if kind == ApiKind::Http && matches!(&route.auth, Auth::Lambda(name) if known.lambda_of_tokens.contains(name)) {
        let expected = "a Lambda authorizer of kind = \"request\": only REST APIs have those of tokens";
        section.fault("auth", "names a Lambda authorizer of kind = \"token\"", expected);
    }
}

fn read_auth(section: &Section, known: &Known) -> Auth {
    let text = section.value("auth", "none".to_owned());
    let named = |kind: &str, names: &[String], name: &str, make: fn(String) -> Auth| {
        if names.iter().any(|own| own == name) {
            return make(name.to_owned());
        }
        section.fault("auth", format!("names {name:?}, but no [[{kind}_authorizer]] is called that"), one_of(names));
        Auth::None
    };
    match (text.as_str(), text.split_once(':')) {
        ("none", _) => Auth::None,
        ("iam", _) if known.has_credentials => Auth::Iam,
        ("iam", _) => {
            section.fault(
                "auth",
                "is \"iam\", but nobody can sign",
                "gateway.iam_credentials_file, which says who can",
            );
            Auth::None
        }
        (_, Some(("jwt", name))) => named("jwt", &known.jwt, name, Auth::Jwt),
        (_, Some(("cognito", name))) => named("cognito", &known.cognito, name, Auth::Cognito),
        (_, Some(("lambda", name))) => named("lambda", &known.lambda, name, Auth::Lambda),
        _ => {
            let expected = "\"none\", \"iam\", \"jwt:name\", \"cognito:name\" or \"lambda:name\"; \
                            api_key_required = true asks for an API key";
            section.fault("auth", format!("is {text:?}"), expected);
            Auth::None
        }
    }
}

/// Names of the parameters of a route.
pub(super) fn parameters(key: &RouteKey) -> Vec<&str> {
    key.path.iter().flatten().filter_map(Segment::name).collect()
}

/// `one of: a, b`.
pub(super) fn one_of(names: &[String]) -> String {
    if names.is_empty() { "one that is defined".to_owned() } else { format!("one of: {}", names.join(", ")) }
}
