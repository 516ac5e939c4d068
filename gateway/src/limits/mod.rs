//! Throttling, usage plans and quotas: whether a request may pass, and which limit says that it may not.
//!
//! A request passes the limits in API Gateway's order ("Throttle requests to your REST APIs" in its developer guide):
//! the quota of its key, then the token buckets of plan and route, plan, route, stage and account. The first that is
//! exceeded refuses it. Buckets of plans are each key's own, together over all stages of the plan; buckets of routes are
//! each stage's own.
//!
//! What always holds, on all cores at once: in no span of time `t` do more than `burst + rate · t` requests pass a
//! bucket, and in no period more than the limit pass a quota. A refused request takes nothing: all limits are looked at
//! before any is taken from. Only when another core takes the last token in between is something taken and given back;
//! while that lasts (nanoseconds), a third request may be refused for want of it, and what comes back is less by what it
//! is worth in that time ([`bucket::TokenBucket::give_back`]). So nothing waits for a lock.

pub(crate) mod book;
pub(crate) mod bucket;
mod build;
mod file;
pub(crate) mod headers;
pub(crate) mod period;
pub(crate) mod quota;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use weir_record::{Outcome, ThrottleScope};
use weir_station::metrics::Text;

use self::{
    book::QuotaBook,
    bucket::{Limit, TokenBucket},
    period::{DAY_S, day_of},
    quota::{Counter, Denied, Quota},
};
pub(crate) use self::{
    build::{Definition, RouteLimit, StageLimits},
    file::CountsError,
};
use crate::{auth::key::ApiKeys, refusal::Refusal};

/// Clocks, so that tests have their own.
pub(crate) trait Clock {
    /// Nanoseconds on a clock that never runs backwards.
    fn monotonic_ns(&self) -> u64;
    /// Seconds since 1 January 1970, UTC.
    fn unix_s(&self) -> u64;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(BEGUN.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix_s(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// All limits of one configuration, and the keys that they apply to.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Limits of each API's stages' routes.
    routes: HashMap<RouteName, RouteLimits>,
    /// Every bucket, so that the next configuration can go on with it.
    buckets: HashMap<BucketName, Arc<TokenBucket>>,
    /// The keys.
    keys: ApiKeys,
    /// Every quota, for the metrics.
    quotas: Vec<KeyQuota>,
    /// There is none until a plan has a quota.
    book: Option<Arc<QuotaBook>>,
    counts: Arc<Counts>,
}

/// An API, a stage, and a route in it.
type RouteName = (Arc<str>, Arc<str>, Arc<str>);

/// What a bucket is for: the same in the next configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum BucketName {
    Account,
    Stage(Arc<str>, Arc<str>),
    Route(RouteName),
    /// Plan and key.
    Plan(Arc<str>, Arc<str>),
    /// Plan, key, and route.
    PlanRoute(Arc<str>, Arc<str>, RouteName),
}

/// Requests that were refused, over all configurations.
#[derive(Debug, Default)]
struct Counts {
    throttled: [AtomicU64; ThrottleScope::ALL.len()],
    quota_exceeded: AtomicU64,
}

/// A stage of an API, by its number in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StageId(u32);

impl StageId {
    /// The stage at this place.
    #[cfg(test)]
    pub(crate) fn at(place: u32) -> Self {
        Self(place)
    }

    /// Its place among the stages.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The limits that hold for a route in a stage, whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct RouteLimits {
    /// The stage.
    pub stage_id: StageId,
    /// The route's place in its stage.
    route_id: u32,
    route: Option<Arc<TokenBucket>>,
    stage: Option<Arc<TokenBucket>>,
    account: Option<Arc<TokenBucket>>,
}

/// What a usage plan allows one key in one stage.
#[derive(Debug)]
pub(crate) struct PlanEntry {
    /// Name of the plan.
    pub plan: Arc<str>,
    bucket: Option<Arc<TokenBucket>>,
    /// By the route's place in the stage; few.
    routes: Box<[(u32, Arc<TokenBucket>)]>,
    quota: Option<KeyQuota>,
}

/// A quota, and how much of it a key has used.
#[derive(Clone, Debug)]
pub(crate) struct KeyQuota {
    limit: u64,
    counter: Arc<Counter>,
}

/// A limit that refused a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Throttled {
    /// Which.
    pub by: Exceeded,
    /// Nanoseconds until a token comes, or the quota's next period.
    pub retry_after_ns: u64,
}

/// A limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exceeded {
    /// A token bucket.
    Rate(ThrottleScope, Limit),
    /// A quota.
    Quota(Quota),
}

/// Why a request does not pass, or not yet.
#[derive(Debug)]
enum Stop<'p> {
    Throttled(Throttled),
    /// The disk must know of it first.
    NoReservation(&'p KeyQuota),
}

impl Throttled {
    /// The scope of the rate limit; none for a quota.
    #[cfg(test)]
    fn scope(&self) -> Option<ThrottleScope> {
        match self.by {
            Exceeded::Rate(scope, _) => Some(scope),
            Exceeded::Quota(_) => None,
        }
    }

    /// The answer to the client: 429, with `retry-after`.
    pub(crate) fn refusal(&self) -> Refusal {
        match self.by {
            Exceeded::Rate(scope, _) => Refusal::throttled(scope, self.retry_after_ns),
            Exceeded::Quota(_) => Refusal {
                retry_after_seconds: Some(headers::seconds(self.retry_after_ns)),
                ..Refusal::new(Outcome::QuotaExceeded)
            },
        }
    }
}

impl RouteLimits {
    /// Whether no limit holds, so that there is nothing to ask for requests without a key.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.route.is_none() && self.stage.is_none() && self.account.is_none()
    }

    /// The buckets of a request, in the order in which they are looked at.
    fn buckets<'b>(&'b self, plan: Option<&'b PlanEntry>) -> [(ThrottleScope, Option<&'b TokenBucket>); 5] {
        let of_route = |plan: &'b PlanEntry| plan.routes.iter().find(|(route, _)| *route == self.route_id);
        [
            (ThrottleScope::PlanRoute, plan.and_then(of_route).map(|(_, bucket)| &**bucket)),
            (ThrottleScope::Plan, plan.and_then(|plan| plan.bucket.as_deref())),
            (ThrottleScope::Route, self.route.as_deref()),
            (ThrottleScope::Stage, self.stage.as_deref()),
            (ThrottleScope::Account, self.account.as_deref()),
        ]
    }
}

impl Limits {
    /// The keys.
    pub(crate) fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// The limits of a route in a stage of an API, to be kept beside it; none when the definition did not name it.
    pub(crate) fn route(&self, api: &str, stage: &str, route: &str) -> Option<RouteLimits> {
        self.routes.get(&(api.into(), stage.into(), route.into())).cloned()
    }

    /// Lets a request pass, or not, and counts it. It waits only for a quota's reservation on disk ([`book`]), which
    /// most requests find done.
    ///
    /// # Errors
    /// The limit that refuses it.
    pub(crate) async fn admit(
        &self,
        route: &RouteLimits,
        plan: Option<&PlanEntry>,
        clock: &impl Clock,
    ) -> Result<(), Throttled> {
        let mut waives = false;
        loop {
            match self.check(route, plan, clock, waives) {
                Ok(()) => return Ok(()),
                Err(Stop::Throttled(throttled)) => {
                    self.counts.add(&throttled);
                    return Err(throttled);
                }
                Err(Stop::NoReservation(quota)) => {
                    waives = match &self.book {
                        Some(book) => !book.wait(&quota.counter, quota.limit).await,
                        None => true,
                    };
                }
            }
        }
    }

    fn check<'p>(
        &self,
        route: &RouteLimits,
        plan: Option<&'p PlanEntry>,
        clock: &impl Clock,
        waives: bool,
    ) -> Result<(), Stop<'p>> {
        let quota = plan.and_then(|plan| plan.quota.as_ref());
        if quota.is_none() && plan.is_none() && route.is_unlimited() {
            return Ok(());
        }
        let now_ns = clock.monotonic_ns();
        let buckets = route.buckets(plan);
        let unix_s = if quota.is_some() { clock.unix_s() } else { 0 };
        if let Some(quota) = quota {
            quota.counter.look(quota.limit, day_of(unix_s)).map_err(|until| quota.exceeded(until, unix_s))?;
        }
        for (scope, bucket) in buckets {
            let Some(bucket) = bucket else { continue };
            bucket.look(now_ns).map_err(|wait_ns| rate(scope, bucket, wait_ns))?;
        }
        let used = match quota {
            Some(quota) => Some((quota, self.count(quota, unix_s, waives)?)),
            None => None,
        };
        let mut tokens = [None; 5];
        for (index, (scope, bucket)) in buckets.into_iter().enumerate() {
            let Some(bucket) = bucket else { continue };
            match bucket.try_take(now_ns) {
                Ok(token) => tokens[index] = Some(token),
                Err(wait_ns) => {
                    for ((_, bucket), token) in buckets.into_iter().zip(tokens) {
                        if let (Some(bucket), Some(token)) = (bucket, token) {
                            bucket.give_back(token, || clock.monotonic_ns());
                        }
                    }
                    if let Some((quota, used)) = used {
                        quota.counter.give_back(used);
                    }
                    return Err(rate(scope, bucket, wait_ns));
                }
            }
        }
        Ok(())
    }

    /// Counts a request in its key's quota.
    fn count<'p>(&self, quota: &'p KeyQuota, unix_s: u64, waives: bool) -> Result<quota::Used, Stop<'p>> {
        match quota.counter.try_use(quota.limit, day_of(unix_s), waives) {
            Ok(used) => {
                if let Some(book) = self.book.as_ref().filter(|_| used.is_low) {
                    book.want(&quota.counter, quota.limit);
                }
                Ok(used)
            }
            Err(Denied::UsedUp { until }) => Err(quota.exceeded(until, unix_s)),
            Err(Denied::NoReservation) => Err(Stop::NoReservation(quota)),
        }
    }

    /// Ends the quotas: what is used is on disk. To be called once, when no request is under way any more.
    pub(crate) fn close(&self) {
        if let Some(book) = &self.book {
            book.close();
        }
    }

    /// What was refused, and what is left of each quota.
    pub(crate) fn render(&self, text: &mut Text, clock: &impl Clock) {
        let (name, help) =
            ("weir_gateway_throttled_total", "Requests that a rate or burst limit refused, by its scope.");
        for (scope, count) in ThrottleScope::ALL.iter().zip(&self.counts.throttled) {
            text.counter_with(name, help, &[("scope", scope.as_str())], count.load(Relaxed));
        }
        let name = "weir_gateway_quota_exceeded_total";
        text.counter(name, "Requests beyond a quota.", self.counts.quota_exceeded.load(Relaxed));
        let failures = self.book.as_ref().map_or(0, |book| book.failures());
        text.counter("weir_gateway_quota_write_errors_total", "Writes of quota counts that failed.", failures);
        let day = day_of(clock.unix_s());
        for quota in &self.quotas {
            let labels = [("plan", &*quota.counter.plan), ("key", &*quota.counter.key)];
            let left = quota.limit.saturating_sub(quota.counter.used(day).requests);
            let help = "Requests that a key may still make in the present period of its plan's quota.";
            text.gauge_with("weir_gateway_quota_remaining", help, &labels, left);
        }
    }
}

impl KeyQuota {
    fn exceeded(&self, until: u32, unix_s: u64) -> Stop<'static> {
        let quota = Quota { limit: self.limit, period: self.counter.period };
        let wait_s = (u64::from(until) * DAY_S).saturating_sub(unix_s);
        Stop::Throttled(Throttled {
            by: Exceeded::Quota(quota),
            retry_after_ns: wait_s.saturating_mul(headers::SECOND_NS),
        })
    }
}

fn rate(scope: ThrottleScope, bucket: &TokenBucket, wait_ns: u64) -> Stop<'static> {
    Stop::Throttled(Throttled { by: Exceeded::Rate(scope, bucket.limit()), retry_after_ns: wait_ns })
}

impl Counts {
    fn add(&self, throttled: &Throttled) {
        let count = match throttled.by {
            Exceeded::Rate(scope, _) => &self.throttled[scope as usize],
            Exceeded::Quota(_) => &self.quota_exceeded,
        };
        count.fetch_add(1, Relaxed);
    }
}
