//! An API's document as definitions: `openapi = "shop.yaml"` in `[[api]]`.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use weir_station::{
    config::{Fault, Section},
    tls::ClientTlsConfig,
};

use super::{
    BasePath, Hints, Imported, ImportedAuth, ImportedAuthorizer, ImportedIntegration, ImportedLambdaAuthorizer,
    ImportedRoute, MOST_BYTES, import,
};
use crate::{
    auth::lambda::identity::{EXPECTED as EXPECTED_SOURCE, IdentitySource},
    config::{
        apis::{Known, parameters},
        authorizers::{CognitoDefinition, JwtDefinition, Pattern},
        definitions::{ApiKind, Auth, Cors, RouteDefinition, StageDefinition, TraceDefinition},
        integration::{HttpProxy, Integration, Mock},
        lambda::{AUTHORIZER_TIMEOUT, FunctionDefinition, LambdaAuthorizerDefinition, LambdaProxy, PayloadVersion},
        mapping::Mapping,
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
    /// What is binary in a Lambda function's events.
    pub binary_media_types: Vec<String>,
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
    /// Lambda authorizers.
    pub lambda: Vec<LambdaAuthorizerDefinition>,
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
        endpoint: integration.optional("endpoint"),
        credentials: integration.optional("credentials"),
        region: known.functions.region.clone(),
        kind,
        has_credentials: known.has_credentials,
    };
    defaults.check(&integration);
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
    /// The base of the Invoke API's URLs; none for AWS's own.
    pub endpoint: Option<String>,
    /// The section of the file of credentials that calls of functions are signed with.
    pub credentials: Option<String>,
    pub region: String,
    pub kind: ApiKind,
    pub has_credentials: bool,
}

impl Defaults {
    fn check(&self, integration: &Section) {
        if self.credentials.is_some() && !self.has_credentials {
            let expected = "gateway.iam_credentials_file, one of whose sections this names";
            integration.fault("credentials", "names a section of no file", expected);
        }
        if let Err(problem) = self.function("f", self.timeout).endpoint_in(&self.region) {
            let expected = "the base of Lambda's URLs such as \"http://127.0.0.1:3001\"";
            integration.fault("endpoint", problem, expected);
        }
    }

    /// A function of a document, which says no more of it than its name and time.
    fn function(&self, name: &str, timeout: Duration) -> FunctionDefinition {
        FunctionDefinition {
            function: name.to_owned(),
            qualifier: None,
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
            timeout,
        }
    }

    fn lambda_authorizer(&self, own: ImportedLambdaAuthorizer) -> Result<LambdaAuthorizerDefinition, Problem> {
        let refuse = |problem: String, expected| Err((problem, expected));
        if own.is_token && self.kind == ApiKind::Http {
            return refuse("is of type token, which REST APIs alone have".to_owned(), "type: request");
        }
        let identity = own.identity_source.iter().map(|text| IdentitySource::parse(text).ok_or(text));
        let identity = match identity.collect::<Result<Vec<_>, _>>() {
            Ok(identity) => identity,
            Err(text) => return refuse(format!("has the identity source {text:?}"), EXPECTED_SOURCE),
        };
        let validation = match own.identity_pattern.as_deref().map(Pattern::parse).transpose() {
            Ok(validation) => validation,
            Err(error) => {
                return refuse(format!("has an identityValidationExpression: {error}"), "a regular expression");
            }
        };
        let function = self.function(&own.function, AUTHORIZER_TIMEOUT);
        function.check(&BTreeMap::new())?;
        Ok(LambdaAuthorizerDefinition {
            name: own.name,
            function,
            is_token: own.is_token,
            payload: payload(own.is_format_2),
            has_simple_responses: own.has_simple_responses,
            identity,
            validation,
            ttl: Duration::from_secs(own.ttl_seconds),
        })
    }
}

/// What is wrong, and what would be right.
type Problem = (String, &'static str);

fn payload(is_format_2: bool) -> PayloadVersion {
    if is_format_2 { PayloadVersion::V2 } else { PayloadVersion::V1 }
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
                match defaults.lambda_authorizer(lambda) {
                    Ok(lambda) => brought.lambda.push(lambda),
                    Err((problem, expected)) => fault(&place, &problem, expected),
                }
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
            Err((problem, expected)) => fault(&route.place, &problem, expected),
        }
    }
    let Imported { cors, disables_default_endpoint, gateway_responses: responses, binary_media_types, .. } = imported;
    (FromDocument { routes, cors, responses, binary_media_types, disables_default_endpoint }, faults)
}

/// What keeps a route from being made ready in one of the stages.
fn stage_fault(route: &RouteDefinition, stages: &[StageDefinition]) -> Option<(String, &'static str)> {
    stages.iter().find_map(|stage| {
        let (problem, expected) = route.integration.check(&stage.variables, &parameters(&route.key)).err()?;
        Some((format!("its integration's uri {problem}, in stage {}", stage.name), expected))
    })
}

fn define_route(route: &ImportedRoute, defaults: &Defaults) -> Result<RouteDefinition, Problem> {
    let auth = match &route.auth {
        ImportedAuth::None => Auth::None,
        ImportedAuth::Iam if defaults.has_credentials => Auth::Iam,
        ImportedAuth::Iam => {
            let problem = "needs signatures, but nobody can sign".to_owned();
            return Err((problem, "gateway.iam_credentials_file, which says who can"));
        }
        ImportedAuth::Jwt(name) => Auth::Jwt(name.clone()),
        ImportedAuth::Cognito(name) => Auth::Cognito(name.clone()),
        ImportedAuth::Lambda(name) => Auth::Lambda(name.clone()),
    };
    let integration = match &route.integration {
        ImportedIntegration::HttpProxy(proxy) => {
            let mapping = Mapping::parse(defaults.kind, &proxy.mapping.request, &proxy.mapping.responses);
            let mapping = mapping.map_err(|problems| (problems.join("; "), "parameters that API Gateway maps"))?;
            let mut tls = defaults.tls.clone();
            tls.server_name = proxy.server_name.clone().or(tls.server_name);
            Integration::HttpProxy(HttpProxy {
                uri: proxy.uri.clone(),
                method: proxy.method.clone(),
                timeout: proxy.timeout_ms.map_or(defaults.timeout, Duration::from_millis),
                idle_timeout: defaults.idle_timeout,
                tls,
                mapping,
            })
        }
        ImportedIntegration::Mock(mock) => Integration::Mock(Mock {
            status: mock.status,
            headers: mock.headers.clone(),
            body: Bytes::from(mock.body.clone()),
            delay: Duration::ZERO,
        }),
        ImportedIntegration::Lambda(lambda) if !lambda.mapping.is_empty() => {
            let problem = "maps parameters of a Lambda function, whose events have them all".to_owned();
            return Err((problem, "an integration without parameters"));
        }
        ImportedIntegration::Lambda(lambda) => {
            let timeout = lambda.timeout_ms.map_or(defaults.timeout, Duration::from_millis);
            Integration::Lambda(LambdaProxy {
                function: defaults.function(&lambda.function, timeout),
                payload: Some(payload(lambda.is_format_2)),
            })
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
