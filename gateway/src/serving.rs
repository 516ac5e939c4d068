//! What is served, ready to be looked up: the definitions with their buckets, keys and authorizers.

use std::sync::Arc;

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
        apis::{ApiDefinition, StageDefinition},
        integration::Integration,
    },
    refusal::Refusal,
    route::{Parameters, RouteKey, rest_of, segments},
};

/// The stage that needs no segment in the path.
const DEFAULT_STAGE: &str = "$default";

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Longest base first.
    apis: Vec<Api>,
    account: Option<TokenBucket>,
    /// The largest request body, bytes.
    pub body_limit_bytes: u64,
}

#[derive(Debug)]
struct Api {
    name: String,
    base: Vec<String>,
    stages: Vec<Stage>,
}

/// A stage, with the routes that it has.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its name.
    pub name: String,
    bucket: Option<TokenBucket>,
    /// In the order in which they are tried.
    routes: Vec<Route>,
}

/// A route in a stage.
#[derive(Debug)]
pub(crate) struct Route {
    /// What it is found by.
    pub key: RouteKey,
    /// What stands before it.
    pub guard: Guard,
    /// What answers it.
    pub integration: Integration,
    bucket: Option<TokenBucket>,
}

/// What a path and a method mean, as far as they mean something.
#[derive(Debug, Default)]
pub(crate) struct Found<'s, 'p> {
    /// Name of the API.
    pub api: Option<&'s str>,
    /// The stage.
    pub stage: Option<&'s Stage>,
    /// The route and the values of its parameters.
    pub route: Option<(&'s Route, Parameters<'s, 'p>)>,
}

impl Serving {
    /// Makes everything ready.
    ///
    /// # Errors
    /// When an authorizer's key file cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self, KeySetError> {
        let definitions = &config.definitions;
        let authorizers: Vec<_> = definitions
            .authorizers
            .iter()
            .map(|own| JwtAuthorizer::new(own.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let keys = Arc::new(Keys::new(&definitions.keys));
        let mut apis: Vec<_> = definitions.apis.iter().map(|api| Api::new(api, &keys, &authorizers)).collect();
        apis.sort_by_key(|api| std::cmp::Reverse(api.base.len()));
        let account = config.account.map(TokenBucket::new);
        Ok(Self { apis, account, body_limit_bytes: config.body_limit.0 })
    }

    /// Finds what a path and a method mean: the longest base, then the stage named by the next segment or else
    /// `$default`, then the route.
    pub(crate) fn find<'s, 'p>(&'s self, method: &str, path: &'p str) -> Found<'s, 'p> {
        let parts = segments(path);
        let is_under =
            |api: &&Api| api.base.len() <= parts.len() && api.base.iter().zip(&parts).all(|(own, part)| own == part);
        let Some(api) = self.apis.iter().find(is_under) else { return Found::default() };
        let below = api.base.len();
        let named = parts.get(below).and_then(|part| api.stages.iter().find(|stage| stage.name == *part));
        let default = || api.stages.iter().find(|stage| stage.name == DEFAULT_STAGE);
        let found = Found { api: Some(&api.name), stage: None, route: None };
        let (stage, below) = match named {
            Some(stage) => (stage, below + 1),
            None => match default() {
                Some(stage) => (stage, below),
                None => return found,
            },
        };
        let rest = |index| rest_of(path, &parts, below + index);
        let route =
            stage.routes.iter().find_map(|route| Some((route, route.key.matches(method, &parts[below..], rest)?)));
        Found { stage: Some(stage), route, ..found }
    }

    /// Takes a token from each limit in its order: route, stage, account. A refused request takes none.
    pub(crate) fn throttle(&self, stage: &Stage, route: &Route, now_ns: u64) -> Result<(), Refusal> {
        let limits = [
            (ThrottleScope::Route, &route.bucket),
            (ThrottleScope::Stage, &stage.bucket),
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

impl Api {
    fn new(definition: &ApiDefinition, keys: &Arc<Keys>, authorizers: &[Arc<JwtAuthorizer>]) -> Self {
        let stage = |stage: &StageDefinition| {
            let has = |only: &Option<Vec<String>>| only.as_ref().is_none_or(|only| only.contains(&stage.name));
            let routes = definition.routes.iter().filter(|route| has(&route.stages)).map(|route| Route {
                key: route.key.clone(),
                guard: Guard::new(&route.auth, keys, authorizers),
                integration: route.integration.clone(),
                bucket: bucket(route.throttle),
            });
            Stage { name: stage.name.clone(), bucket: bucket(stage.throttle), routes: routes.collect() }
        };
        let stages = definition.stages.iter().map(stage).collect();
        Self { name: definition.name.clone(), base: definition.base.clone(), stages }
    }
}

fn bucket(limit: Option<Limit>) -> Option<TokenBucket> {
    limit.map(TokenBucket::new)
}
