//! An API's document as definitions: `openapi = "shop.yaml"` in `[[api]]`.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use weir_station::{
    config::{Fault, Section},
    tls::ClientTlsConfig,
};

use super::{
    BasePath, Hints, Imported, ImportedAuth, ImportedAuthorizer, ImportedIntegration, ImportedRoute, MOST_BYTES, import,
};
use crate::{
    config::{
        apis::{Known, parameters},
        authorizers::{CognitoDefinition, JwtDefinition},
        definitions::{ApiKind, Auth, Cors, RouteDefinition, StageDefinition, TraceDefinition},
        integration::{HttpProxy, Integration, Mock},
    },
    responses::GatewayResponse,
};

/// What an API's document defines.
#[derive(Debug)]
pub(in crate::config) struct FromDocument {
    /// Routes.
    pub routes: Vec<RouteDefinition>,
    /// Cross-origin requests.
    pub cors: Option<Cors>,
    /// Gateway responses.
    pub responses: Vec<GatewayResponse>,
    /// Whether domains alone lead to the API.
    pub disables_default_endpoint: bool,
}

/// What documents bring along, besides their APIs.
#[derive(Debug, Default)]
pub(in crate::config) struct Brought {
    /// JWT authorizers.
    pub jwt: Vec<JwtDefinition>,
    /// Cognito authorizers.
    pub cognito: Vec<CognitoDefinition>,
    /// The documents' files.
    pub files: Vec<PathBuf>,
}

/// Reads the document that `openapi` names, and what `[api.integration]` says of all its integrations; none when there
/// is none.
pub(in crate::config) fn read_document(
    section: &Section,
    name: &str,
    kind: ApiKind,
    known: &Known,
    stages: &[StageDefinition],
    brought: &mut Brought,
) -> Option<FromDocument> {
    let file = section.optional::<PathBuf>("openapi")?;
    let shown = file.display().to_string();
    let basepath = read_basepath(section);
    let integration = section.section("integration");
    let defaults = Defaults {
        timeout: integration.value("timeout", known.timeout),
        idle_timeout: integration.value("idle_timeout", Duration::from_secs(300)),
        tls: ClientTlsConfig::read(&integration.section("tls")),
        has_credentials: known.has_credentials,
    };
    let fault =
        |fault: Fault| section.fault("openapi", format!("{shown}{}: {}", fault.path, fault.problem), fault.expected);
    let path = section.file(&file);
    brought.files.push(path.clone());
    let is_small = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MOST_BYTES as u64);
    let text = match fs::read(&path) {
        Ok(text) if is_small => text,
        Ok(_) => {
            section.fault("openapi", format!("{shown} is too large"), "a document of at most 6 MiB");
            return None;
        }
        Err(error) => {
            section.fault("openapi", format!("{shown} cannot be read: {error}"), "an OpenAPI 3 document's file");
            return None;
        }
    };
    let hints = Hints { name, kind, basepath, services: &known.services };
    let imported = import(&text, &hints).map_err(|faults| faults.into_iter().for_each(fault)).ok()?;
    let (definitions, faults) = define(imported, &defaults, stages, brought);
    faults.into_iter().for_each(fault);
    Some(definitions)
}

fn read_basepath(section: &Section) -> BasePath {
    match section.value("basepath", "ignore".to_owned()).as_str() {
        "ignore" => BasePath::Ignore,
        "prepend" => BasePath::Prepend,
        "split" => BasePath::Split,
        other => {
            section.fault("basepath", format!("is {other:?}"), "\"ignore\", \"prepend\" or \"split\"");
            BasePath::Ignore
        }
    }
}

/// What a document does not say of integrations, and whether signatures can be checked.
#[derive(Debug)]
pub(super) struct Defaults {
    pub timeout: Duration,
    pub idle_timeout: Duration,
    pub tls: ClientTlsConfig,
    pub has_credentials: bool,
}

/// Makes definitions of what a document says.
pub(super) fn define(
    imported: Imported,
    defaults: &Defaults,
    stages: &[StageDefinition],
    brought: &mut Brought,
) -> (FromDocument, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut fault = |place: &str, problem: &str, expected: &str| {
        let (path, problem, expected) = (place.to_owned(), problem.to_owned(), expected.to_owned());
        faults.push(Fault { path, problem, expected });
    };
    for authorizer in imported.authorizers {
        match authorizer {
            ImportedAuthorizer::Jwt(jwt) => brought.jwt.push(jwt),
            ImportedAuthorizer::Cognito(cognito) => brought.cognito.push(*cognito),
            ImportedAuthorizer::Lambda(lambda) => {
                let place = format!("# authorizer {:?}", lambda.name);
                fault(&place, "is a Lambda function, which the gateway does not ask", "jwt or cognito_user_pools");
            }
        }
    }
    let mut routes = Vec::new();
    for route in imported.routes {
        match define_route(&route, defaults) {
            Ok(definition) => {
                if let Some((problem, expected)) = stage_fault(&definition, stages) {
                    fault(&route.place, &problem, expected);
                }
                routes.push(definition);
            }
            Err((problem, expected)) => fault(&route.place, problem, expected),
        }
    }
    let Imported { cors, disables_default_endpoint, gateway_responses: responses, .. } = imported;
    (FromDocument { routes, cors, responses, disables_default_endpoint }, faults)
}

/// What keeps a route from being made ready in one of the stages.
fn stage_fault(route: &RouteDefinition, stages: &[StageDefinition]) -> Option<(String, &'static str)> {
    stages.iter().find_map(|stage| {
        let (problem, expected) = route.integration.check(&stage.variables, &parameters(&route.key)).err()?;
        Some((format!("its integration's uri {problem}, in stage {}", stage.name), expected))
    })
}

fn define_route(route: &ImportedRoute, defaults: &Defaults) -> Result<RouteDefinition, (&'static str, &'static str)> {
    let auth = match &route.auth {
        ImportedAuth::None => Auth::None,
        ImportedAuth::Iam if defaults.has_credentials => Auth::Iam,
        ImportedAuth::Iam => {
            return Err(("needs signatures, but nobody can sign", "gateway.iam_credentials_file, which says who can"));
        }
        ImportedAuth::Jwt(name) => Auth::Jwt(name.clone()),
        ImportedAuth::Cognito(name) => Auth::Cognito(name.clone()),
        ImportedAuth::Lambda(_) => {
            return Err(("has a Lambda authorizer, which the gateway does not ask", "jwt or cognito_user_pools"));
        }
    };
    let integration = match &route.integration {
        ImportedIntegration::HttpProxy(proxy) => {
            if !proxy.mapping.is_empty() {
                return Err(("maps parameters, which the gateway does not do", "an integration without parameters"));
            }
            let mut tls = defaults.tls.clone();
            tls.server_name = proxy.server_name.clone().or(tls.server_name);
            Integration::HttpProxy(HttpProxy {
                uri: proxy.uri.clone(),
                method: proxy.method.clone(),
                timeout: proxy.timeout_ms.map_or(defaults.timeout, Duration::from_millis),
                idle_timeout: defaults.idle_timeout,
                tls,
            })
        }
        ImportedIntegration::Mock(mock) => Integration::Mock(Mock {
            status: mock.status,
            headers: mock.headers.clone(),
            body: Bytes::from(mock.body.clone()),
            delay: Duration::ZERO,
        }),
        ImportedIntegration::Lambda(_) => {
            return Err(("is a Lambda function, which the gateway does not invoke", "http_proxy or mock"));
        }
    };
    Ok(RouteDefinition {
        key: route.key.clone(),
        integration,
        auth,
        scopes: route.scopes.clone(),
        needs_api_key: route.needs_api_key,
        throttle: None,
        stages: None,
        traces: TraceDefinition::default(),
    })
}
