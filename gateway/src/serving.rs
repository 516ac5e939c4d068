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
use weir_record::ThrottleScope;

use crate::{
    auth::{
        Guard,
        jwt::{JwtAuthorizer, KeySetError},
        key::Keys,
    },
    bucket::{Limit, TokenBucket},
    config::{
        Config,
        definitions::{
            ApiDefinition, ApiKind, Auth, Cors, Definitions, Privacy, RouteDefinition, StageDefinition, UnknownRoute,
        },
    },
    integration::{Integration, Services},
    refusal::Refusal,
    route::RouteKey,
    router::Router,
};

/// The stage that needs no segment in the path.
const DEFAULT_STAGE: &str = "$default";

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Serving {
    apis: Vec<ServedApi>,
    /// Those with a path of their own: indices into `apis`, the longest base first.
    by_path: Vec<(Vec<String>, usize)>,
    domains: Vec<Domain>,
    account: Option<TokenBucket>,
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
    /// Base path, API and stage: indices. The longest base first.
    mappings: Vec<(Vec<String>, usize, usize)>,
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
    bucket: Option<TokenBucket>,
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
    bucket: Option<TokenBucket>,
}

impl Serving {
    /// Makes everything ready.
    ///
    /// # Errors
    /// When an authorizer's key file cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self, KeySetError> {
        let definitions = &config.definitions;
        let jwt = definitions.jwt_authorizers.iter().map(|own| {
            let authorizer = JwtAuthorizer::new(own.clone())?;
            Ok::<_, KeySetError>((own.name.clone(), Arc::new(authorizer)))
        });
        let making = Making {
            config,
            definitions,
            jwt: jwt.collect::<Result<_, _>>()?,
            keys: Arc::new(Keys::new(&definitions.keys)),
            services: Services::new(&definitions.services),
        };
        let apis: Vec<_> = definitions.apis.iter().map(|api| making.api(api)).collect();
        let bases = definitions.apis.iter().enumerate().filter_map(|(index, api)| Some((api.base.clone()?, index)));
        let mut by_path: Vec<_> = bases.collect();
        by_path.sort_by_key(|(base, _)| std::cmp::Reverse(base.len()));
        let domains = find::domains(&definitions.domains, &apis);
        let account = config.account.map(TokenBucket::new);
        Ok(Self { apis, by_path, domains, account, body_limit_bytes: config.body_limit.0 })
    }

    /// Takes a token from each limit in its order: route, stage, account. A refused request takes none.
    pub(crate) fn throttle(&self, route: &Route, now_ns: u64) -> Result<(), Refusal> {
        let limits = [
            (ThrottleScope::Route, &route.bucket),
            (ThrottleScope::Stage, &route.stage.bucket),
            (ThrottleScope::Account, &self.account),
        ];
        let mut taken = Vec::with_capacity(limits.len());
        for (scope, bucket) in limits {
            let Some(bucket) = bucket else { continue };
            match bucket.try_take(now_ns) {
                Ok(token) => taken.push((bucket, token)),
                Err(wait_ns) => {
                    taken.into_iter().for_each(|(bucket, token)| bucket.give_back(token, || now_ns));
                    return Err(Refusal::throttled(scope, wait_ns));
                }
            }
        }
        Ok(())
    }
}

/// What is needed while everything is being made ready.
struct Making<'c> {
    config: &'c Config,
    definitions: &'c Definitions,
    jwt: HashMap<String, Arc<JwtAuthorizer>>,
    keys: Arc<Keys>,
    services: Services,
}

impl Making<'_> {
    fn api(&self, definition: &ApiDefinition) -> ServedApi {
        let api = Arc::new(Api {
            name: definition.name.clone(),
            id: definition.id.clone(),
            kind: definition.kind,
            account_id: self.definitions.account_id.clone(),
            region: self.definitions.region.clone(),
            unknown_route: definition.unknown_route,
            cors: definition.cors.clone(),
            privacy: definition.privacy.clone(),
            binary_media_types: definition.binary_media_types.clone(),
        });
        let stages = definition.stages.iter().map(|stage| self.stage(&api, definition, stage)).collect();
        ServedApi { api, stages }
    }

    fn stage(&self, api: &Arc<Api>, definition: &ApiDefinition, own: &StageDefinition) -> ServedStage {
        let stage = Arc::new(Stage {
            api: Arc::clone(api),
            name: own.name.clone(),
            variables: own.variables.clone(),
            deployment_id: String::new(),
            bucket: bucket(own.throttle),
        });
        let has = |route: &&RouteDefinition| route.stages.as_ref().is_none_or(|only| only.contains(&own.name));
        let routes = definition.routes.iter().filter(has);
        let routes = routes.map(|route| (&route.key, Arc::new(self.route(&stage, definition, own, route))));
        let router = Router::new(definition.kind, routes);
        ServedStage { stage, router }
    }

    fn route(
        &self,
        stage: &Arc<Stage>,
        api: &ApiDefinition,
        own: &StageDefinition,
        route: &RouteDefinition,
    ) -> Route {
        let telemetry = &self.config.telemetry;
        let slow = route.traces.slow.or(api.traces.slow).unwrap_or(telemetry.slow);
        Route {
            stage: Arc::clone(stage),
            key: route.key.clone(),
            resource_id: resource_id(&route.key),
            guard: self.guard(&route.auth),
            scopes: route.scopes.clone(),
            needs_api_key: route.needs_api_key,
            integration: Integration::new(&route.integration, &own.variables, &self.services),
            trace_ratio: route.traces.ratio.or(api.traces.ratio).unwrap_or(telemetry.trace_ratio),
            slow_us: u64::try_from(slow.as_micros()).unwrap_or(u64::MAX),
            bucket: bucket(route.throttle.or(own.route_throttle)),
        }
    }
}

impl Making<'_> {
    fn guard(&self, auth: &Auth) -> Guard {
        match auth {
            Auth::Jwt(name) => self.jwt.get(name).map_or(Guard::Unknown, |own| Guard::Jwt(Arc::clone(own))),
            Auth::None => Guard::Open,
            Auth::Iam | Auth::Cognito(_) | Auth::Lambda(_) => Guard::Unknown,
        }
    }
}

/// The id of a route's resource: the same for the same path, whatever the method.
fn resource_id(key: &RouteKey) -> String {
    format!("{:08x}", crc32c::crc32c(key.template.as_bytes()))
}

fn bucket(limit: Option<Limit>) -> Option<TokenBucket> {
    limit.map(TokenBucket::new)
}
