//! What is served, ready to be looked up: the definitions with their routers, buckets, keys and authorizers.
//!
//! What always holds: it never changes. A new configuration makes a new one, whole, and requests that are under way go
//! on with theirs.

mod find;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub(crate) use find::Found;
use weir_station::watched::FileFault;

use crate::{
    auth::{
        Guard,
        cognito::CognitoAuthorizer,
        jwt::{JwtAuthorizer, KeySetError},
        lambda::LambdaAuthorizer,
    },
    config::{
        Config,
        definitions::{ApiDefinition, ApiKind, Auth, Definitions, RouteDefinition, StageDefinition, UnknownRoute},
        logs::AccessLogDefinition,
    },
    cors::Cors,
    integration::{Integration, Upstreams},
    limits::{CountsError, Definition, Limits, RouteLimit, RouteLimits, StageLimits, headers::RateLimitHeaders},
    privacy::Privacy,
    responses::{self, GatewayResponse},
    route::RouteKey,
    router::Router,
    sigv4::CredentialStore,
};

/// The stage that needs no segment in the path.
pub(crate) const DEFAULT_STAGE: &str = "$default";

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Serving {
    apis: Vec<ServedApi>,
    /// Those with a path of their own: indices into `apis`, the longest base first.
    by_path: Vec<(Vec<String>, usize)>,
    domains: Vec<Domain>,
    upstreams: Upstreams,
    /// Which responses say what the limits are.
    pub rate_limit_headers: RateLimitHeaders,
    /// Throttling, keys, usage plans.
    pub limits: Limits,
    /// What is recorded of those whose requests belong to no API.
    pub privacy: Privacy,
    /// The largest request body, bytes.
    pub body_limit_bytes: u64,
}

#[derive(Debug)]
struct ServedApi {
    api: Arc<Api>,
    stages: Vec<ServedStage>,
}

#[derive(Debug)]
struct ServedStage {
    stage: Arc<Stage>,
    router: Router<Route>,
}

#[derive(Debug)]
struct Domain {
    /// `api.example.com`, or `.example.com` for all hosts below it.
    name: String,
    /// Base path, the same as `$context` shows it, and the indices of API and stage. The longest base first.
    mappings: Vec<(Vec<String>, Arc<str>, usize, usize)>,
}

/// An API, as far as requests need to know it.
#[derive(Debug)]
pub(crate) struct Api {
    /// Its name.
    pub name: String,
    /// `$context.apiId`.
    pub id: String,
    /// Its kind.
    pub kind: ApiKind,
    /// `$context.accountId`.
    pub account_id: String,
    /// The region in ARNs.
    pub region: String,
    /// What a request without a route gets.
    pub unknown_route: UnknownRoute,
    /// Cross-origin requests.
    pub cors: Option<Cors>,
    /// What is recorded of those who ask.
    pub privacy: Privacy,
    /// What it says in place of the gateway's own words.
    pub responses: Vec<GatewayResponse>,
    /// Whether one of those speaks of the request's headers.
    pub responses_ask_for_headers: bool,
    /// Its access log.
    pub access_log: Option<AccessLogDefinition>,
    /// Media types whose bodies are binary (REST APIs).
    pub binary_media_types: Vec<String>,
}

/// A stage, as far as requests need to know it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its API.
    pub api: Arc<Api>,
    /// Its name.
    pub name: String,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// `$context.deploymentId`: which state of the configuration it is.
    pub deployment_id: String,
}

/// A route in a stage.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its stage.
    pub stage: Arc<Stage>,
    /// What it is found by.
    pub key: RouteKey,
    /// `$context.resourceId`.
    pub resource_id: String,
    /// What stands before it.
    pub guard: Guard,
    /// Scopes, one of which a token must bear; none for no scope.
    pub scopes: Vec<String>,
    /// Whether a client needs an API key.
    pub needs_api_key: bool,
    /// What answers it.
    pub integration: Integration,
    /// The share of its traces that are kept whatever becomes of them.
    pub trace_ratio: f64,
    /// A request that takes as long is slow, microseconds.
    pub slow_us: u64,
    /// The limits that hold for it.
    pub limits: RouteLimits,
}

/// What cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// An authorizer's keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// A file of certificates or credentials cannot be used.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A function's calls are to be signed with credentials that nobody has.
    #[error("a Lambda function names the credentials {0:?}; gateway.iam_credentials_file has no section of that name")]
    NoCredentials(String),
    /// The counts of quotas cannot be used.
    #[error(transparent)]
    Counts(#[from] CountsError),
}

impl Serving {
    /// Makes everything ready, with what of the previous configuration goes on: connections, levels of buckets, counts.
    ///
    /// # Errors
    /// When a file cannot be used. Nothing of the previous configuration has changed then.
    pub(crate) fn new(config: &Config, previous: Option<&Self>) -> Result<Self, ServingError> {
        let definitions = &config.definitions;
        let limits = Limits::new(
            &Definition { account: config.account, stages: &stage_limits(definitions), plans: &definitions.plans },
            previous.map(|previous| &previous.limits),
        )?;
        let credentials = definitions.credentials.as_deref().map(CredentialStore::open).transpose()?.map(Arc::new);
        let jwt = definitions.jwt_authorizers.iter().map(|own| {
            let authorizer = JwtAuthorizer::new(own.clone())?;
            Ok::<_, KeySetError>((own.name.clone(), Arc::new(authorizer)))
        });
        let cognito = definitions.cognito_authorizers.iter().map(|own| {
            let authorizer = CognitoAuthorizer::new(own.clone())?;
            Ok::<_, KeySetError>((own.name.clone(), Arc::new(authorizer)))
        });
        let mut upstreams = Upstreams::new(&definitions.services, previous.map(|previous| &previous.upstreams));
        let lambda = definitions.lambda_authorizers.iter().map(|own| {
            let authorizer = LambdaAuthorizer::new(own.clone(), &mut upstreams, credentials.as_ref())?;
            Ok::<_, ServingError>((own.name.clone(), Arc::new(authorizer)))
        });
        let lambda = lambda.collect::<Result<_, _>>()?;
        let mut making = Making {
            config,
            jwt: jwt.collect::<Result<_, _>>()?,
            cognito: cognito.collect::<Result<_, _>>()?,
            lambda,
            credentials,
            limits,
            upstreams,
            // Which state of the configuration it is: the same for the same.
            deployment_id: format!("{:08x}", crc32c::crc32c(format!("{definitions:?}").as_bytes())),
        };
        let apis = definitions.apis.iter().map(|api| making.api(api)).collect::<Result<Vec<_>, _>>()?;
        let bases = definitions.apis.iter().enumerate().filter_map(|(index, api)| Some((api.base.clone()?, index)));
        let mut by_path: Vec<_> = bases.collect();
        by_path.sort_by_key(|(base, _)| std::cmp::Reverse(base.len()));
        let domains = find::domains(&definitions.domains, &apis);
        let Making { limits, mut upstreams, .. } = making;
        upstreams.forget_unused();
        Ok(Self {
            apis,
            by_path,
            domains,
            upstreams,
            rate_limit_headers: definitions.plans.headers,
            limits,
            privacy: Privacy::new(&definitions.privacy),
            body_limit_bytes: config.body_limit.0,
        })
    }
}

/// The limits of every stage and its routes.
fn stage_limits(definitions: &Definitions) -> Vec<StageLimits> {
    let stages = definitions.apis.iter().flat_map(|api| api.stages.iter().map(move |stage| (api, stage)));
    let limits = stages.map(|(api, stage)| StageLimits {
        api: api.name.clone(),
        stage: stage.name.clone(),
        throttle: stage.throttle,
        default_route_throttle: stage.route_throttle,
        routes: api
            .routes_of(stage)
            .map(|route| RouteLimit { route: route.key.to_string(), throttle: route.throttle })
            .collect(),
    });
    limits.collect()
}

/// What is needed while everything is being made ready.
struct Making<'c> {
    config: &'c Config,
    jwt: HashMap<String, Arc<JwtAuthorizer>>,
    cognito: HashMap<String, Arc<CognitoAuthorizer>>,
    lambda: HashMap<String, Arc<LambdaAuthorizer>>,
    credentials: Option<Arc<CredentialStore>>,
    limits: Limits,
    upstreams: Upstreams,
    deployment_id: String,
}

impl Making<'_> {
    fn api(&mut self, definition: &ApiDefinition) -> Result<ServedApi, ServingError> {
        let definitions = &self.config.definitions;
        let api = Arc::new(Api {
            name: definition.name.clone(),
            id: definition.id.clone(),
            kind: definition.kind,
            account_id: definitions.account_id.clone(),
            region: definitions.region.clone(),
            unknown_route: definition.unknown_route,
            cors: definition.cors.as_ref().map(Cors::new),
            privacy: Privacy::new(&definition.privacy),
            responses_ask_for_headers: responses::ask_for_headers(&definition.responses),
            responses: definition.responses.clone(),
            access_log: definition.access_log.clone(),
            binary_media_types: definition.binary_media_types.clone(),
        });
        let stages = definition.stages.iter().map(|stage| self.stage(&api, definition, stage));
        let stages = stages.collect::<Result<_, _>>()?;
        Ok(ServedApi { api, stages })
    }

    fn stage(
        &mut self,
        api: &Arc<Api>,
        definition: &ApiDefinition,
        own: &StageDefinition,
    ) -> Result<ServedStage, ServingError> {
        let stage = Arc::new(Stage {
            api: Arc::clone(api),
            name: own.name.clone(),
            variables: own.variables.clone(),
            deployment_id: self.deployment_id.clone(),
        });
        let routes = definition.routes_of(own).map(|route| {
            let served = self.route(&stage, definition, own, route)?;
            Ok::<_, ServingError>((&route.key, Arc::new(served)))
        });
        let router = Router::new(definition.kind, routes.collect::<Result<Vec<_>, _>>()?);
        Ok(ServedStage { stage, router })
    }

    fn route(
        &mut self,
        stage: &Arc<Stage>,
        api: &ApiDefinition,
        own: &StageDefinition,
        route: &RouteDefinition,
    ) -> Result<Route, ServingError> {
        let telemetry = &self.config.telemetry;
        let slow = route.traces.slow.or(api.traces.slow).unwrap_or(telemetry.slow);
        let limits = self.limits.route(&api.name, &own.name, &route.key.to_string());
        Ok(Route {
            stage: Arc::clone(stage),
            key: route.key.clone(),
            resource_id: resource_id(&route.key),
            guard: self.guard(&route.auth),
            scopes: route.scopes.clone(),
            needs_api_key: route.needs_api_key,
            integration: Integration::new(
                &route.integration,
                &own.variables,
                &mut self.upstreams,
                self.credentials.as_ref(),
            )?,
            trace_ratio: route.traces.ratio.or(api.traces.ratio).unwrap_or(telemetry.trace_ratio),
            slow_us: u64::try_from(slow.as_micros()).unwrap_or(u64::MAX),
            limits: limits.expect("limits are made of the same definitions"),
        })
    }

    /// What stands before a route. The configuration names only what it defines.
    fn guard(&self, auth: &Auth) -> Guard {
        const DEFINED: &str = "the configuration names only authorizers that it defines";
        match auth {
            Auth::None => Guard::Open,
            Auth::Iam => Guard::Iam(Arc::clone(self.credentials.as_ref().expect(DEFINED))),
            Auth::Jwt(name) => Guard::Jwt(Arc::clone(&self.jwt[name])),
            Auth::Cognito(name) => Guard::Cognito(Arc::clone(&self.cognito[name])),
            Auth::Lambda(name) => Guard::Lambda(Arc::clone(&self.lambda[name])),
        }
    }
}

/// The id of a route's resource: the same for the same path, whatever the method.
fn resource_id(key: &RouteKey) -> String {
    format!("{:08x}", crc32c::crc32c(key.template.as_bytes()))
}
