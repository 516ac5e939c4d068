//! `RateLimit-Policy` and `RateLimit` as structured fields (draft-ietf-httpapi-ratelimit-headers-10): what a client may
//! ask for, and what is left of it. API Gateway has none of them.
//!
//! A policy's name is the scope of its limit, or `quota`. For a bucket, `q` is its burst, `w` the seconds in which an
//! empty one fills, `r` its tokens, and `t` the seconds until it is full, or, when it has no token, until there is one.
//! For a quota, `q` is its limit, `w` the present period's length, `r` what is left, `t` the seconds until the next
//! period. The account's limit is told only when it refused: it is about all clients together.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Clock, Exceeded, PlanEntry, RouteLimits, Throttled,
    bucket::Limit,
    period::{DAY_S, day_of},
};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Which responses bear the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// None.
    Off,
    /// Those that a limit refused, which name that limit.
    #[default]
    Throttled,
    /// All of requests that a limit holds for, which name all limits.
    Always,
}

impl RateLimitHeaders {
    /// Whether no response says it.
    pub(crate) fn is_off(self) -> bool {
        self == Self::Off
    }

    /// Whether each response says it.
    pub(crate) fn is_always(self) -> bool {
        self == Self::Always
    }
}

/// The two fields of one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    policy: String,
    left: String,
}

/// Whole seconds, rounded up, at least one: a client that waits so long does not come too early.
pub(crate) fn seconds(ns: u64) -> u64 {
    ns.div_ceil(SECOND_NS).max(1)
}

impl Fields {
    /// Those of a refusal.
    pub(crate) fn of_throttled(throttled: &Throttled, clock: &impl Clock) -> Self {
        let mut fields = Self::default();
        let t = seconds(throttled.retry_after_ns);
        match throttled.by {
            Exceeded::Rate(scope, limit) => fields.add(scope.as_str(), limit.burst.into(), window(limit), 0, t),
            Exceeded::Quota(quota) => {
                // The period that ends when the client may come again.
                let last_day = day_of(clock.unix_s() + t).saturating_sub(1);
                let span = quota.period.span(last_day);
                fields.add("quota", quota.limit, u64::from(span.end - span.start) * DAY_S, 0, t);
            }
        }
        fields
    }

    /// Those of a request that passed.
    pub(crate) fn of_passed(route: &RouteLimits, plan: Option<&PlanEntry>, clock: &impl Clock) -> Self {
        let mut fields = Self::default();
        let now_ns = clock.monotonic_ns();
        // Not the last one: the account's.
        for (scope, bucket) in route.buckets(plan).into_iter().take(4) {
            let Some(bucket) = bucket else { continue };
            let (limit, level) = (bucket.limit(), bucket.level(now_ns));
            let wait_ns = bucket.look(now_ns).err().unwrap_or(level.full_in_ns);
            let t = wait_ns.div_ceil(SECOND_NS);
            fields.add(scope.as_str(), limit.burst.into(), seconds(bucket.window_ns()), level.tokens.into(), t);
        }
        if let Some(quota) = plan.and_then(|plan| plan.quota.as_ref()) {
            let unix_s = clock.unix_s();
            let used = quota.counter.used(day_of(unix_s));
            let span = quota.counter.period.span(used.start);
            let left = quota.limit.saturating_sub(used.requests);
            let t = (u64::from(span.end) * DAY_S).saturating_sub(unix_s);
            fields.add("quota", quota.limit, u64::from(span.end - span.start) * DAY_S, left, t);
        }
        fields
    }

    /// Puts them into a response; nothing when no limit is told.
    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        if self.policy.is_empty() {
            return;
        }
        // Names and numbers always make a value.
        if let (Ok(policy), Ok(left)) = (HeaderValue::from_str(&self.policy), HeaderValue::from_str(&self.left)) {
            headers.insert(POLICY, policy);
            headers.insert(LEFT, left);
        }
    }

    fn add(&mut self, name: &str, q: u64, w: u64, r: u64, t: u64) {
        let comma = if self.policy.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(self.policy, "{comma}\"{name}\";q={q};w={w}");
        let _ = write!(self.left, "{comma}\"{name}\";r={r};t={t}");
    }
}

/// Seconds in which an empty bucket fills.
fn window(limit: Limit) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, which is meant; both are positive"
    )]
    let seconds = (f64::from(limit.burst) / limit.rate).ceil() as u64;
    seconds.max(1)
}
