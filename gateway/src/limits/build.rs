//! From definitions to limits that are ready to be asked: names are resolved to buckets and counters here, so that no
//! request looks a name up.
//!
//! The next configuration goes on with what the last one had: a bucket whose place and limit are the same keeps its
//! level, and a key's count in a plan is the same counter, whatever becomes of the limit.

use std::{collections::HashMap, sync::Arc};

use super::{
    BucketName, CountsError, KeyQuota, Limits, PlanEntry, RouteLimits, RouteName, StageId,
    book::QuotaBook,
    bucket::{Limit, TokenBucket},
};
use crate::{
    auth::key::{ApiKey, ApiKeys},
    config::plans::{PlanStage, Plans, UsagePlan},
};

/// What limits are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition<'d> {
    /// The limit on all requests together.
    pub account: Option<Limit>,
    /// All stages of all APIs.
    pub stages: &'d [StageLimits],
    /// Keys and plans, checked: they name only each other and stages and routes of these.
    pub plans: &'d Plans,
}

/// A stage of an API and its limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageLimits {
    /// Name of the API.
    pub api: String,
    /// Name of the stage.
    pub stage: String,
    /// The limit on all its requests together.
    pub throttle: Option<Limit>,
    /// The limit on each of its routes that has none of its own.
    pub default_route_throttle: Option<Limit>,
    /// Its routes.
    pub routes: Vec<RouteLimit>,
}

/// A route in a stage and its limit.
#[derive(Clone, Debug)]
pub(crate) struct RouteLimit {
    /// The route, as it is written.
    pub route: String,
    /// The limit on all its requests together.
    pub throttle: Option<Limit>,
}

impl Limits {
    /// Makes limits ready, with the levels and counts of the previous ones. Nothing of the previous ones changes, so
    /// that a configuration which fails elsewhere leaves no trace.
    ///
    /// # Errors
    /// When the first plan with a quota finds no usable file of counts.
    pub(crate) fn new(definition: &Definition<'_>, previous: Option<&Self>) -> Result<Self, CountsError> {
        let book = match previous.and_then(|previous| previous.book.as_ref()) {
            Some(book) => Some(Arc::clone(book)),
            None if definition.plans.plans.iter().any(|plan| plan.quota.is_some()) => {
                Some(QuotaBook::open(&definition.plans.quota_directory)?)
            }
            None => None,
        };
        let mut builder = Builder { buckets: HashMap::new(), previous, book, quotas: Vec::new() };
        let routes = builder.routes(definition);
        let keys = builder.keys(definition, &routes);
        let counts = previous.map(|previous| Arc::clone(&previous.counts)).unwrap_or_default();
        let Builder { buckets, book, quotas, .. } = builder;
        Ok(Self { routes, buckets, keys, quotas, book, counts })
    }
}

struct Builder<'p> {
    buckets: HashMap<BucketName, Arc<TokenBucket>>,
    previous: Option<&'p Limits>,
    book: Option<Arc<QuotaBook>>,
    quotas: Vec<KeyQuota>,
}

impl Builder<'_> {
    fn routes(&mut self, definition: &Definition<'_>) -> HashMap<RouteName, RouteLimits> {
        let account = self.bucket(BucketName::Account, definition.account);
        let mut routes = HashMap::new();
        for (stage_id, own) in (0..).map(StageId).zip(definition.stages) {
            let (api, stage) = (Arc::<str>::from(own.api.as_str()), Arc::<str>::from(own.stage.as_str()));
            let bucket = self.bucket(BucketName::Stage(Arc::clone(&api), Arc::clone(&stage)), own.throttle);
            for (route_id, route) in (0..).zip(&own.routes) {
                let name: RouteName = (Arc::clone(&api), Arc::clone(&stage), route.route.as_str().into());
                let throttle = route.throttle.or(own.default_route_throttle);
                let limits = RouteLimits {
                    stage_id,
                    route_id,
                    route: self.bucket(BucketName::Route(name.clone()), throttle),
                    stage: bucket.clone(),
                    account: account.clone(),
                };
                routes.insert(name, limits);
            }
        }
        routes
    }

    fn keys(&mut self, definition: &Definition<'_>, routes: &HashMap<RouteName, RouteLimits>) -> ApiKeys {
        let plans = definition.plans;
        let mut keys: HashMap<&str, ApiKey> = HashMap::new();
        for key in &plans.keys {
            let own = ApiKey { id: key.id.as_str().into(), is_enabled: key.is_enabled, plans: Vec::new() };
            keys.insert(&key.id, own);
        }
        let mut planned = vec![false; definition.stages.len()];
        for plan in &plans.plans {
            let stages: Vec<_> = plan.stages.iter().filter_map(|own| stage_id(definition, own)).collect();
            stages.iter().for_each(|(id, _)| planned[id.index()] = true);
            let name: Arc<str> = plan.name.as_str().into();
            for id in &plan.keys {
                if let Some(key) = keys.get_mut(id.as_str()) {
                    self.enter(plan, &name, &stages, key, routes);
                }
            }
        }
        let keys = plans.keys.iter().filter_map(|key| Some((key.hash.clone(), keys.remove(key.id.as_str())?)));
        ApiKeys::new(keys.collect(), planned.into())
    }

    /// Enters a key in a plan.
    fn enter(
        &mut self,
        plan: &UsagePlan,
        name: &Arc<str>,
        stages: &[(StageId, &PlanStage)],
        key: &mut ApiKey,
        routes: &HashMap<RouteName, RouteLimits>,
    ) {
        let bucket = self.bucket(BucketName::Plan(Arc::clone(name), Arc::clone(&key.id)), plan.throttle);
        let quota = match (&self.book, plan.quota) {
            (Some(book), Some(quota)) => {
                let counter = book.counter(name, &key.id, quota.period);
                Some(KeyQuota { limit: quota.limit, counter })
            }
            _ => None,
        };
        self.quotas.extend(quota.clone());
        for (stage_id, stage) in stages {
            let (api, stage_name) = (Arc::<str>::from(stage.api.as_str()), Arc::<str>::from(stage.stage.as_str()));
            let mut own = Vec::new();
            for (route, limit) in &stage.routes {
                let route: RouteName = (Arc::clone(&api), Arc::clone(&stage_name), route.as_str().into());
                let Some(limits) = routes.get(&route) else { continue };
                let bucket = BucketName::PlanRoute(Arc::clone(name), Arc::clone(&key.id), route);
                own.extend(self.bucket(bucket, Some(*limit)).map(|bucket| (limits.route_id, bucket)));
            }
            let (plan, bucket, quota) = (Arc::clone(name), bucket.clone(), quota.clone());
            key.plans.push((*stage_id, Arc::new(PlanEntry { plan, bucket, routes: own.into(), quota })));
        }
    }

    /// The bucket of a place: the one that was there, when its limit is the same.
    fn bucket(&mut self, name: BucketName, limit: Option<Limit>) -> Option<Arc<TokenBucket>> {
        let limit = limit?;
        let before = self.previous.and_then(|previous| previous.buckets.get(&name));
        let kept = before.filter(|bucket| bucket.limit() == limit).cloned();
        let bucket = kept.unwrap_or_else(|| Arc::new(TokenBucket::new(limit)));
        self.buckets.insert(name, Arc::clone(&bucket));
        Some(bucket)
    }
}

fn stage_id<'d>(definition: &Definition<'_>, own: &'d PlanStage) -> Option<(StageId, &'d PlanStage)> {
    let is_own = |stage: &StageLimits| stage.api == own.api && stage.stage == own.stage;
    let index = definition.stages.iter().position(is_own)?;
    Some((StageId(u32::try_from(index).ok()?), own))
}
