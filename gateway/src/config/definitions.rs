//! What the gateway serves, as it was configured: APIs with their stages and routes, and the domains they are reached
//! under. `[[api]]` in TOML and an OpenAPI document come to the same definitions.
//!
//! What always holds: names that one definition gives for another (an authorizer, a stage, a service) stand for
//! something that is defined; integrations make a URI in every stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use weir_station::{
    config::{Document, Section},
    tls::IdentityFiles,
};

use super::{
    apis::{Known, read_api},
    authorizers::{CognitoDefinition, JwtDefinition, read_cognito, read_jwt},
    domains::{read_domain, read_service},
    integration::Integration,
    lambda::{FunctionDefaults, LambdaAuthorizerDefinition},
    logs::AccessLogDefinition,
    plans::{Plans, ServedStage},
    privacy,
};
use crate::{limits::bucket::Limit, responses::GatewayResponse, route::RouteKey};

/// Everything that is served.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// `$context.accountId`.
    pub account_id: String,
    /// The region in ARNs and signatures.
    pub region: String,
    /// What is recorded of those who ask, unless their API says otherwise.
    pub privacy: Privacy,
    /// The APIs.
    pub apis: Vec<ApiDefinition>,
    /// The domains.
    pub domains: Vec<DomainDefinition>,
    /// The private services.
    pub services: Vec<ServiceDefinition>,
    /// The API keys and usage plans.
    pub plans: Plans,
    /// The JWT authorizers.
    pub jwt_authorizers: Vec<JwtDefinition>,
    /// The Cognito authorizers.
    pub cognito_authorizers: Vec<CognitoDefinition>,
    /// The Lambda authorizers.
    pub lambda_authorizers: Vec<LambdaAuthorizerDefinition>,
    /// Who may sign requests: a file of credentials.
    pub credentials: Option<PathBuf>,
    /// Files besides the configuration's own that definitions stand in.
    pub files: Vec<PathBuf>,
}

impl Definitions {
    pub(super) fn read(document: &Document, gateway: &Section, data: &Path) -> Self {
        let jwt_authorizers: Vec<_> = document.sections("jwt_authorizer").iter().filter_map(read_jwt).collect();
        let cognito = document.sections("cognito_authorizer");
        let cognito_authorizers: Vec<_> = cognito.iter().filter_map(read_cognito).collect();
        let credentials: Option<PathBuf> = gateway.optional("iam_credentials_file");
        let region = gateway.value("region", "us-east-1".to_owned());
        let functions = FunctionDefaults { region: region.clone(), has_credentials: credentials.is_some() };
        let lambda = document.sections("lambda_authorizer");
        let lambda = lambda.iter().filter_map(|section| LambdaAuthorizerDefinition::read(section, &functions));
        let lambda_authorizers: Vec<_> = lambda.collect();
        let privacy = privacy::read(&gateway.section("privacy"));
        let known = Known {
            privacy: privacy.clone(),
            jwt: jwt_authorizers.iter().map(|authorizer| authorizer.name.clone()).collect(),
            cognito: cognito_authorizers.iter().map(|authorizer| authorizer.name.clone()).collect(),
            lambda: lambda_authorizers.iter().map(|own| own.name.clone()).collect(),
            lambda_of_tokens: lambda_authorizers
                .iter()
                .filter(|own| own.is_token)
                .map(|own| own.name.clone())
                .collect(),
            functions,
            has_credentials: credentials.is_some(),
            timeout: gateway.value("integration_timeout", Duration::from_secs(29)),
        };
        let (mut seen, mut apis) = (BTreeSet::new(), Vec::new());
        for section in document.sections("api") {
            let Some(api) = read_api(&section, &known) else { continue };
            let path = api.base.as_ref().map(|base| format!("path /{}", base.join("/")));
            let names = [Some(format!("name {:?}", api.name)), Some(format!("id {:?}", api.id)), path];
            for name in names.into_iter().flatten().filter(|name| !seen.insert(name.clone())) {
                section.fault(
                    "name",
                    format!("another API has the {name}"),
                    "a name, id and path of its own for each API",
                );
            }
            apis.push(api);
        }
        let plans = Plans::read(document, gateway, &served(&apis), data);
        let files = plans.keys_file.iter().chain(&credentials).cloned().collect();
        let domains = document.sections("domain").iter().filter_map(|section| read_domain(section, &apis)).collect();
        let services = document.sections("service").iter().filter_map(read_service).collect();
        Self {
            account_id: gateway.value("account_id", "000000000000".to_owned()),
            region,
            privacy,
            apis,
            domains,
            services,
            plans,
            jwt_authorizers,
            cognito_authorizers,
            lambda_authorizers,
            credentials,
            files,
        }
    }
}

/// Every stage with its routes: what usage plans may name.
fn served(apis: &[ApiDefinition]) -> Vec<ServedStage<'_>> {
    let stages = apis.iter().flat_map(|api| api.stages.iter().map(move |stage| (api, stage)));
    let routes = |api: &ApiDefinition, stage: &StageDefinition| {
        api.routes_of(stage).map(|route| route.key.to_string()).collect()
    };
    stages.map(|(api, stage)| ServedStage { api: &api.name, stage: &stage.name, routes: routes(api, stage) }).collect()
}

impl ApiDefinition {
    /// The routes that a stage has.
    pub(crate) fn routes_of<'d>(&'d self, stage: &'d StageDefinition) -> impl Iterator<Item = &'d RouteDefinition> {
        let has = |route: &&RouteDefinition| route.stages.as_ref().is_none_or(|only| only.contains(&stage.name));
        self.routes.iter().filter(has)
    }
}

/// The two kinds of API that differ in routing, errors and events:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-vs-rest.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiKind {
    /// An HTTP API.
    #[default]
    Http,
    /// A REST API.
    Rest,
}

/// An API.
#[derive(Clone, Debug)]
pub struct ApiDefinition {
    /// Its name: what records call it.
    pub name: String,
    /// `$context.apiId`; its name unless configured.
    pub id: String,
    /// Its kind.
    pub kind: ApiKind,
    /// Segments of the path that it is served under, where no domain maps to it; none when it is reached by domains
    /// alone.
    pub base: Option<Vec<String>>,
    /// Its stages.
    pub stages: Vec<StageDefinition>,
    /// Its routes, in the order in which they are tried.
    pub routes: Vec<RouteDefinition>,
    /// What a request without a route gets.
    pub unknown_route: UnknownRoute,
    /// Cross-origin requests that the gateway itself answers (HTTP APIs).
    pub cors: Option<Cors>,
    /// What is recorded of those who ask.
    pub privacy: Privacy,
    /// Which traces are kept; routes may say otherwise.
    pub traces: TraceDefinition,
    /// Its access log, beside the records.
    pub access_log: Option<AccessLogDefinition>,
    /// Media types whose bodies functions get and give as bytes, in base64: `image/png`, `image/*`, `*/*`.
    pub binary_media_types: Vec<String>,
    /// What it says in place of the gateway's own words (REST APIs).
    pub(crate) responses: Vec<GatewayResponse>,
}

/// What a request without a route gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRoute {
    /// 404 `Not Found`, as HTTP APIs.
    NotFound,
    /// 403 `Missing Authentication Token`, as REST APIs.
    Forbidden,
}

/// A stage of an API.
#[derive(Clone, Debug, Default)]
pub struct StageDefinition {
    /// Its name; `$default` needs no segment in the path.
    pub name: String,
    /// Stage variables.
    pub variables: BTreeMap<String, String>,
    /// The limit on all its requests together.
    pub throttle: Option<Limit>,
    /// The limit on each route that has none of its own.
    pub route_throttle: Option<Limit>,
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
    /// One of these a token must bear; none for no scope.
    pub scopes: Vec<String>,
    /// Whether a client needs an API key of a usage plan of the stage.
    pub needs_api_key: bool,
    /// The limit on its requests, in each stage.
    pub throttle: Option<Limit>,
    /// The stages that have it; none for all.
    pub stages: Option<Vec<String>>,
    /// Which of its traces are kept, where it is not as the API says.
    pub traces: TraceDefinition,
}

/// What a client must prove itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// A signature (AWS Signature Version 4).
    Iam,
    /// A token that the JWT authorizer of this name takes.
    Jwt(String),
    /// A token of a user pool that the Cognito authorizer of this name takes.
    Cognito(String),
    /// What the Lambda authorizer of this name says.
    Lambda(String),
}

/// Which traces are kept, besides those of errors: none says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TraceDefinition {
    /// The share of traces that are kept whatever becomes of them.
    pub ratio: Option<f64>,
    /// Requests that take as long are slow: their traces are kept.
    pub slow: Option<Duration>,
}

/// How an HTTP API answers cross-origin requests:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may ask: `https://example.com`, `https://*`, `*`.
    pub allow_origins: Vec<String>,
    /// Methods that they may use; `*` for all.
    pub allow_methods: Vec<String>,
    /// Headers that they may send; `*` for all.
    pub allow_headers: Vec<String>,
    /// Headers of the response that they may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer.
    pub max_age: Option<Duration>,
    /// Whether they may send cookies and credentials.
    pub allow_credentials: bool,
}

/// What is recorded of those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Of the client's address.
    pub client_address: AddressPrivacy,
    /// Names of the query parameters that are recorded, with their values; none of the others is.
    pub query: Vec<String>,
    /// Whether `User-Agent` is recorded.
    pub user_agent: bool,
    /// Of who asked.
    pub principal: PrincipalPrivacy,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            client_address: AddressPrivacy::Full,
            query: Vec::new(),
            user_agent: true,
            principal: PrincipalPrivacy::Plain,
        }
    }
}

/// What is recorded of a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPrivacy {
    /// All of it.
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6.
    Network,
    /// Nothing.
    None,
}

/// What is recorded of who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalPrivacy {
    /// Who it was.
    Plain,
    /// A hash under this key (HMAC-SHA-256): the same for the same one, and no more.
    Hash(weir_station::config::Secret),
    /// Nothing.
    None,
}

/// A domain that clients ask for, and the APIs under its paths:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-custom-domains.html>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainDefinition {
    /// Its name in lower case: `api.example.com`, or `*.example.com`.
    pub name: String,
    /// Its certificate and key; none for the listener's own.
    pub identity: Option<IdentityFiles>,
    /// Its mappings.
    pub mappings: Vec<MappingDefinition>,
}

/// A base path of a domain, and what is served under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingDefinition {
    /// Segments of the base path; none for all that no other mapping has.
    pub base: Vec<String>,
    /// The API.
    pub api: String,
    /// Its stage.
    pub stage: String,
}

/// A private service: servers of which any may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// Its name: the host of an integration's URI.
    pub name: String,
    /// Its servers, `host:port`.
    pub endpoints: Vec<http::uri::Authority>,
    /// Failures in a row after which a server is left out.
    pub failures: u32,
    /// How long it is left out.
    pub ejection: Duration,
}
