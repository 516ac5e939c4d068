mod model;

use http::{HeaderMap, HeaderValue};
use tempfile::TempDir;

use super::{headers::Fields, period::Period, *};
use crate::{
    auth::key::{Admitted, KeyHash},
    config::plans::{ApiKeyDefinition, PlanStage, Plans, UsagePlan},
};

const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
const ROUTE: &str = "GET /users/{id}";
const OTHER: &str = "$default";

/// Noon of 25 November 2026, a Wednesday.
const NOON_S: u64 = 1_795_564_800 + 43_200;

#[derive(Default)]
struct FakeClock {
    ns: AtomicU64,
    unix_s: AtomicU64,
}

impl FakeClock {
    fn new() -> Self {
        Self { ns: AtomicU64::new(1_000_000_000), unix_s: AtomicU64::new(NOON_S) }
    }

    fn advance(&self, ns: u64) {
        self.ns.fetch_add(ns, Relaxed);
    }
}

impl Clock for FakeClock {
    fn monotonic_ns(&self) -> u64 {
        self.ns.load(Relaxed)
    }

    fn unix_s(&self) -> u64 {
        self.unix_s.load(Relaxed)
    }
}

/// Limits of each scope; the plan has the stages `prod` and `dev` of the API `shop`.
#[derive(Clone, Default)]
struct Given {
    plan_route: Option<Limit>,
    plan: Option<Limit>,
    route: Option<Limit>,
    default_route: Option<Limit>,
    stage: Option<Limit>,
    account: Option<Limit>,
    quota: Option<Quota>,
}

struct Gateway {
    limits: Limits,
    clock: FakeClock,
    directory: TempDir,
}

fn limit(burst: u32) -> Limit {
    Limit { rate: 1.0, burst }
}

fn quota(limit: u64) -> Option<Quota> {
    Some(Quota { limit, period: Period::Day })
}

impl Given {
    fn plans(&self, directory: &std::path::Path) -> Plans {
        let key = |id: &str, is_enabled, key: &str| ApiKeyDefinition {
            id: id.to_owned(),
            name: None,
            description: None,
            is_enabled,
            hash: KeyHash::of_key(key).unwrap(),
        };
        let stage = |stage: &str| PlanStage {
            api: "shop".to_owned(),
            stage: stage.to_owned(),
            routes: self.plan_route.map(|limit| (ROUTE.to_owned(), limit)).into_iter().collect(),
        };
        let plan = UsagePlan {
            name: "basic".to_owned(),
            throttle: self.plan,
            quota: self.quota,
            stages: vec![stage("prod"), stage("dev")],
            keys: vec!["k1".to_owned(), "k2".to_owned(), "off".to_owned()],
        };
        let keys = vec![
            key("k1", true, KEY),
            key("k2", true, &format!("{KEY}2")),
            key("off", false, &format!("{KEY}-off")),
            key("free", true, &format!("{KEY}-free")),
        ];
        Plans { keys, plans: vec![plan], quota_directory: directory.to_owned(), ..Plans::default() }
    }

    fn limits(&self, directory: &std::path::Path, previous: Option<&Limits>) -> Limits {
        let stages = ["prod", "dev", "open"].map(|stage| StageLimits {
            api: "shop".to_owned(),
            stage: stage.to_owned(),
            throttle: self.stage,
            default_route_throttle: self.default_route,
            routes: vec![
                RouteLimit { route: ROUTE.to_owned(), throttle: self.route },
                RouteLimit { route: OTHER.to_owned(), throttle: None },
            ],
        });
        let definition =
            Definition { account: self.account, stages: &stages, plans: &self.plans(&directory.join("quotas")) };
        Limits::new(&definition, previous).unwrap()
    }

    fn start(&self) -> Gateway {
        let directory = tempfile::tempdir().unwrap();
        Gateway { limits: self.limits(directory.path(), None), clock: FakeClock::new(), directory }
    }
}

impl Gateway {
    fn key(&self, key: &str, stage: &str) -> Result<Admitted<'_>, Refusal> {
        let route = self.limits.route("shop", stage, ROUTE).unwrap();
        self.limits.keys().admit_value(key.as_bytes(), route.stage_id)
    }

    /// A request with the key `k1`.
    fn ask(&self, stage: &str, route: &str) -> Result<(), Throttled> {
        self.ask_with(KEY, stage, route)
    }

    fn ask_with(&self, key: &str, stage: &str, route: &str) -> Result<(), Throttled> {
        let route = self.limits.route("shop", stage, route).unwrap();
        let plan = self.key(key, stage).unwrap().plan.map(Arc::as_ref);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let admitted = self.limits.admit(&route, plan, &self.clock);
        tokio::task::LocalSet::new().block_on(&runtime, admitted)
    }

    fn scope(&self, stage: &str, route: &str) -> Option<ThrottleScope> {
        self.ask(stage, route).err().map(|throttled| throttled.scope().unwrap())
    }

    fn tokens(&self) -> Vec<u32> {
        let route = self.limits.route("shop", "prod", ROUTE).unwrap();
        let plan = self.key(KEY, "prod").unwrap().plan.map(Arc::as_ref);
        let level = |bucket: &TokenBucket| bucket.level(self.clock.monotonic_ns()).tokens;
        route.buckets(plan).into_iter().filter_map(|(_, bucket)| bucket.map(level)).collect()
    }
}

#[test]
fn the_first_limit_in_the_documented_order_refuses_and_no_other_loses_a_token() {
    let order = [
        ThrottleScope::PlanRoute,
        ThrottleScope::Plan,
        ThrottleScope::Route,
        ThrottleScope::Stage,
        ThrottleScope::Account,
    ];
    for used_up in 1..32_u32 {
        let size = |index: u32| Some(limit(if used_up & (1 << index) == 0 { 10 } else { 1 }));
        let given = Given {
            plan_route: size(0),
            plan: size(1),
            route: size(2),
            stage: size(3),
            account: size(4),
            ..Given::default()
        };
        let gateway = given.start();
        assert_eq!(gateway.scope("prod", ROUTE), None);
        let before = gateway.tokens();
        let first = order[used_up.trailing_zeros() as usize];
        for _ in 0..3 {
            assert_eq!(gateway.scope("prod", ROUTE), Some(first), "{used_up:05b}");
        }
        assert_eq!(gateway.tokens(), before, "{used_up:05b}");
    }
}

#[test]
fn a_limit_of_a_plan_is_each_keys_own_over_all_stages_of_the_plan() {
    let gateway = Given { plan: Some(limit(3)), ..Given::default() }.start();
    assert_eq!(gateway.scope("prod", ROUTE), None);
    assert_eq!(gateway.scope("dev", ROUTE), None);
    assert_eq!(gateway.scope("dev", OTHER), None);
    assert_eq!(gateway.scope("prod", ROUTE), Some(ThrottleScope::Plan));
    assert!(gateway.ask_with(&format!("{KEY}2"), "prod", ROUTE).is_ok(), "another key has its own");
}

#[test]
fn a_limit_of_plan_and_route_is_each_stages_own() {
    let gateway = Given { plan_route: Some(limit(1)), ..Given::default() }.start();
    assert_eq!(gateway.scope("prod", ROUTE), None);
    assert_eq!(gateway.scope("prod", ROUTE), Some(ThrottleScope::PlanRoute));
    assert_eq!(gateway.scope("prod", OTHER), None);
    assert_eq!(gateway.scope("dev", ROUTE), None);
}

#[test]
fn a_route_without_a_limit_has_the_stages_default_for_itself() {
    let given = Given { route: Some(limit(2)), default_route: Some(limit(1)), ..Given::default() };
    let gateway = given.start();
    assert_eq!(gateway.scope("prod", OTHER), None);
    assert_eq!(gateway.scope("prod", OTHER), Some(ThrottleScope::Route));
    assert_eq!(gateway.scope("prod", ROUTE), None);
    assert_eq!(gateway.scope("prod", ROUTE), None);
    assert_eq!(gateway.scope("prod", ROUTE), Some(ThrottleScope::Route));
}

#[test]
fn each_refusal_is_answered_as_documented() {
    let throttled = Given { route: Some(Limit { rate: 0.4, burst: 1 }), ..Given::default() }.start();
    let used_up = Given { quota: quota(1), ..Given::default() }.start();
    for gateway in [&throttled, &used_up] {
        assert!(gateway.ask("prod", ROUTE).is_ok());
    }
    let stranger = throttled.key("bbbbbbbbbbbbbbbbbbbbbb", "prod").unwrap_err();
    let disabled = throttled.key(&format!("{KEY}-off"), "prod").unwrap_err();
    let without_plan = throttled.key(&format!("{KEY}-free"), "prod").unwrap_err();
    let other_stage = throttled.key(KEY, "open").unwrap_err();
    let missing = throttled.limits.keys().admit(&HeaderMap::new(), StageId(0)).unwrap_err();
    let twice: HeaderMap =
        (0..2).map(|_| (http::HeaderName::from_static("x-api-key"), HeaderValue::from_static(KEY))).collect();
    let twice = throttled.limits.keys().admit(&twice, StageId(0)).unwrap_err();
    for (refusal, status, error_type, message, retry_after) in [
        (
            throttled.ask("prod", ROUTE).unwrap_err().refusal(),
            429,
            "TooManyRequestsException",
            "Too Many Requests",
            "3",
        ),
        (used_up.ask("prod", ROUTE).unwrap_err().refusal(), 429, "LimitExceededException", "Limit Exceeded", "43200"),
        (stranger, 403, "ForbiddenException", "Forbidden", ""),
        (disabled, 403, "ForbiddenException", "Forbidden", ""),
        (without_plan, 403, "ForbiddenException", "Forbidden", ""),
        (other_stage, 403, "ForbiddenException", "Forbidden", ""),
        (missing, 403, "ForbiddenException", "Forbidden", ""),
        (twice, 403, "ForbiddenException", "Forbidden", ""),
    ] {
        let response = refusal.of_http_api();
        assert_eq!(response.status(), status, "{refusal:?}");
        assert_eq!(response.headers()["x-amzn-errortype"], error_type);
        assert_eq!(response.body(), &format!("{{\"message\":\"{message}\"}}"));
        let told = response.headers().get("retry-after").map_or("", |value| value.to_str().unwrap());
        assert_eq!(told, retry_after, "{refusal:?}");
        assert!(!format!("{refusal:?}").contains(KEY));
    }
}

#[test]
fn a_key_without_a_plan_opens_only_stages_without_one() {
    let gateway = Given::default().start();
    let free = gateway.key(&format!("{KEY}-free"), "open").unwrap();
    assert_eq!((&**free.id, free.plan.is_none()), ("free", true));
    let planned = gateway.key(KEY, "dev").unwrap();
    assert_eq!((&**planned.id, &*planned.plan.unwrap().plan), ("k1", "basic"));
    assert!(!format!("{:?}", gateway.limits).contains(KEY));
}

#[test]
fn a_quota_is_used_only_by_requests_that_pass() {
    let gateway = Given { quota: quota(3), stage: Some(limit(2)), ..Given::default() }.start();
    assert!(gateway.ask("prod", ROUTE).is_ok());
    assert!(gateway.ask("prod", ROUTE).is_ok());
    for _ in 0..5 {
        assert_eq!(gateway.scope("prod", ROUTE), Some(ThrottleScope::Stage));
    }
    assert!(gateway.ask("dev", ROUTE).is_ok());
    let before = gateway.tokens();
    assert_eq!(gateway.ask("dev", ROUTE).unwrap_err().scope(), None);
    assert_eq!(gateway.tokens(), before, "nor does a request beyond the quota take a token");
    assert!(gateway.ask_with(&format!("{KEY}2"), "dev", ROUTE).is_ok(), "another key has its own quota");
}

#[test]
fn limits_that_stay_the_same_keep_their_level_over_a_reload_and_others_begin_anew() {
    let given = Given {
        route: Some(limit(3)),
        stage: Some(limit(9)),
        plan: Some(limit(9)),
        quota: quota(4),
        ..Given::default()
    };
    let mut gateway = given.start();
    for _ in 0..3 {
        assert!(gateway.ask("prod", ROUTE).is_ok());
    }
    assert_eq!(gateway.scope("prod", ROUTE), Some(ThrottleScope::Route));
    assert_eq!(gateway.tokens(), [6, 0, 6]);
    let reloaded = |given: &Given, gateway: &Gateway| given.limits(gateway.directory.path(), Some(&gateway.limits));
    gateway.limits = reloaded(&given, &gateway);
    assert_eq!(gateway.tokens(), [6, 0, 6]);
    let raised = Given { route: Some(limit(5)), quota: quota(5), ..given };
    gateway.limits = reloaded(&raised, &gateway);
    assert_eq!(gateway.tokens(), [6, 5, 6]);
    assert!(gateway.ask("prod", ROUTE).is_ok());
    assert!(gateway.ask("prod", ROUTE).is_ok());
    assert_eq!(gateway.ask("prod", ROUTE).unwrap_err().scope(), None, "three and two make five");
}

#[test]
fn a_quota_goes_on_after_a_restart() {
    let given = Given { quota: Some(Quota { limit: 50, period: Period::Month { offset: 0 } }), ..Given::default() };
    let mut gateway = given.start();
    gateway.clock.unix_s.store(SystemClock.unix_s(), Relaxed);
    for _ in 0..20 {
        assert!(gateway.ask("prod", ROUTE).is_ok());
    }
    gateway.limits.close();
    drop(std::mem::replace(&mut gateway.limits, Given::default().limits(gateway.directory.path(), None)));
    gateway.limits = given.limits(gateway.directory.path(), None);
    for _ in 0..30 {
        assert!(gateway.ask("dev", ROUTE).is_ok());
    }
    assert!(gateway.ask("dev", ROUTE).is_err());
}

#[test]
fn the_fields_say_what_is_left_of_each_limit_of_the_client() {
    let given = Given {
        plan_route: Some(Limit { rate: 2.0, burst: 1 }),
        plan: Some(Limit { rate: 10.0, burst: 25 }),
        account: Some(limit(1_000)),
        quota: Some(Quota { limit: 100, period: Period::Week { offset: 0 } }),
        ..Given::default()
    };
    let gateway = given.start();
    assert!(gateway.ask("prod", ROUTE).is_ok());
    let route = gateway.limits.route("shop", "prod", ROUTE).unwrap();
    let plan = gateway.key(KEY, "prod").unwrap().plan.map(Arc::as_ref);
    let mut headers = HeaderMap::new();
    Fields::of_passed(&route, plan, &gateway.clock).insert(&mut headers);
    let policy = "\"plan_route\";q=1;w=1, \"plan\";q=25;w=3, \"quota\";q=100;w=604800";
    assert_eq!(headers["ratelimit-policy"], policy);
    // From Wednesday noon to Sunday.
    assert_eq!(headers["ratelimit"], "\"plan_route\";r=0;t=1, \"plan\";r=24;t=1, \"quota\";r=99;t=302400");

    let throttled = gateway.ask("prod", ROUTE).unwrap_err();
    Fields::of_throttled(&throttled, &gateway.clock).insert(&mut headers);
    assert_eq!(headers["ratelimit-policy"], "\"plan_route\";q=1;w=1");
    assert_eq!(headers["ratelimit"], "\"plan_route\";r=0;t=1");

    let quota = Quota { limit: 7, period: Period::Month { offset: 0 } };
    let used_up = Throttled { by: Exceeded::Quota(quota), retry_after_ns: (5 * DAY_S + 43_200) * 1_000_000_000 };
    Fields::of_throttled(&used_up, &gateway.clock).insert(&mut headers);
    assert_eq!(headers["ratelimit-policy"], "\"quota\";q=7;w=2592000");
    assert_eq!(headers["ratelimit"], "\"quota\";r=0;t=475200");

    let mut headers = HeaderMap::new();
    let open = Given::default().start();
    let route = open.limits.route("shop", "open", ROUTE).unwrap();
    Fields::of_passed(&route, None, &open.clock).insert(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn the_metrics_tell_what_was_refused_and_what_is_left() {
    let gateway = Given { stage: Some(limit(1)), quota: quota(2), ..Given::default() }.start();
    assert!(gateway.ask("prod", ROUTE).is_ok());
    assert!(gateway.ask("prod", ROUTE).is_err());
    assert!(gateway.ask("dev", ROUTE).is_ok());
    assert!(gateway.ask("dev", ROUTE).is_err());
    let mut text = Text::new();
    gateway.limits.render(&mut text, &gateway.clock);
    let page = text.finish();
    for line in [
        "weir_gateway_throttled_total{scope=\"stage\"} 1",
        "weir_gateway_throttled_total{scope=\"plan_route\"} 0",
        "weir_gateway_quota_exceeded_total 1",
        "weir_gateway_quota_write_errors_total 0",
        "weir_gateway_quota_remaining{plan=\"basic\",key=\"k1\"} 0",
        "weir_gateway_quota_remaining{plan=\"basic\",key=\"k2\"} 2",
    ] {
        assert!(page.lines().any(|own| own == line), "{line} in\n{page}");
    }
}
