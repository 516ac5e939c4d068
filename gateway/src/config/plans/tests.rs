use weir_station::config::Faults;

use super::*;

const KEY_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

fn read(text: &str) -> (Plans, Result<(), Faults>) {
    let document = Document::parse(text, Vec::new()).unwrap();
    let routes = vec!["GET /users/{id}".to_owned(), "$default".to_owned()];
    let served = ["prod", "dev"].map(|stage| ServedStage { api: "shop", stage, routes: routes.clone() });
    let plans = Plans::read(&document, &document.section("gateway"), &served, Path::new("data"));
    (plans, document.finish(&[]).map(|_| ()))
}

#[test]
fn keys_and_plans_are_read_with_all_that_they_can_have() {
    let (plans, faults) = read(&format!(
        r#"
        [gateway]
        rate_limit_headers = "always"
        [[api_key]]
        id = "k1"
        key = "{KEY_A}"
        [[api_key]]
        id = "k2"
        name = "Second"
        description = "For tests"
        enabled = false
        sha256 = "{}"
        [[usage_plan]]
        name = "basic"
        throttle = {{ rate = 10, burst = 20 }}
        quota = {{ limit = 1000, period = "week", offset = 1 }}
        stages = [
          {{ api = "shop", stage = "prod", throttle = {{ "GET /users/{{id}}" = {{ rate = 1.5, burst = 2 }} }} }},
          {{ api = "shop", stage = "dev" }},
        ]
        keys = ["k1", "k2"]
        "#,
        "Ab".repeat(32)
    ));
    faults.unwrap();
    assert_eq!(plans.headers, RateLimitHeaders::Always);
    assert_eq!(plans.quota_directory, Path::new("data/quotas"));
    let key = |id: &str, name: Option<&str>, description: Option<&str>, is_enabled, hash| ApiKeyDefinition {
        id: id.to_owned(),
        name: name.map(str::to_owned),
        description: description.map(str::to_owned),
        is_enabled,
        hash,
    };
    assert_eq!(
        plans.keys,
        [
            key("k1", None, None, true, KeyHash::of_key(KEY_A).unwrap()),
            key("k2", Some("Second"), Some("For tests"), false, KeyHash::from_hex(&"ab".repeat(32)).unwrap()),
        ]
    );
    let stage = |stage: &str, routes| PlanStage { api: "shop".to_owned(), stage: stage.to_owned(), routes };
    let route = ("GET /users/{id}".to_owned(), Limit { rate: 1.5, burst: 2 });
    let expected = UsagePlan {
        name: "basic".to_owned(),
        throttle: Some(Limit { rate: 10.0, burst: 20 }),
        quota: Some(Quota { limit: 1_000, period: Period::Week { offset: 1 } }),
        stages: vec![stage("prod", vec![route]), stage("dev", vec![])],
        keys: vec!["k1".to_owned(), "k2".to_owned()],
    };
    assert_eq!(plans.plans, [expected]);
}

#[test]
fn nothing_configured_is_nothing_limited() {
    let (plans, faults) = read("");
    faults.unwrap();
    assert!(plans.keys.is_empty() && plans.plans.is_empty());
    assert_eq!(plans.headers, RateLimitHeaders::Throttled);
}

/// A text has this fault, and its key is not shown.
#[track_caller]
fn is_told(text: &str, fault: &str) {
    let told = read(text).1.expect_err(text).to_string();
    assert!(told.contains(fault), "{text}\n{told}");
    assert!(!told.contains(KEY_A), "{told}");
}

#[test]
fn each_fault_of_a_key_is_told_where_it_is_and_no_key_is_shown() {
    let key = format!("[[api_key]]\nid = \"k\"\nkey = \"{KEY_A}\"\n");
    for (text, fault) in [
        (
            "[[api_key]]\nid = \"k\"\nkey = \"short\"\n".to_owned(),
            "api_key[0].key: API Key value should be at least 20",
        ),
        (
            format!("[[api_key]]\nid = \"k\"\nkey = \"{}\"\n", "x".repeat(129)),
            "api_key[0].key: API Key value exceeds maximum size of 128 characters",
        ),
        (format!("[[api_key]]\nid = \"k\"\nkey = \"{KEY_A} \"\n"), "api_key[0].key: has a character"),
        ("[[api_key]]\nid = \"k\"\nsha256 = \"ab\"\n".to_owned(), "api_key[0].sha256: is no SHA-256"),
        ("[[api_key]]\nid = \"k\"\n".to_owned(), "api_key[0].key: needs exactly one of key and sha256"),
        (format!("[[api_key]]\nkey = \"{KEY_A}\"\n"), "api_key[0].id: missing"),
        (format!("{key}name = \"{}\"\n", "n".repeat(1_025)), "api_key[0].name: Invalid API Key name, can be at most"),
        (
            format!("{key}[[api_key]]\nid = \"k\"\nkey = \"{KEY_A}b\"\n"),
            "api_key[1].id: there are two keys with the id \"k\"",
        ),
        (
            format!("{key}[[api_key]]\nid = \"other\"\nkey = \"{KEY_A}\"\n"),
            "api_key[1].id: the key \"other\" is the same as another one",
        ),
        (format!("{key}apis = [\"shop\"]\n"), "api_key[0].apis: unknown key"),
    ] {
        is_told(&text, fault);
    }
}

#[test]
fn each_fault_of_a_plan_is_told_where_it_is() {
    let key = format!("[[api_key]]\nid = \"k\"\nkey = \"{KEY_A}\"\n");
    let plan = |rest: &str| format!("{key}[[usage_plan]]\nname = \"p\"\n{rest}\n");
    let stage = "stages = [{ api = \"shop\", stage = \"prod\" }]\nkeys = [\"k\"]";
    let many: String = (0..21).map(|route| format!("\"{route}\" = {{ rate = 1, burst = 1 }}, ")).collect();
    for (text, fault) in [
        ("[[usage_plan]]\n".to_owned(), "usage_plan[0].name: missing"),
        (plan("[[usage_plan]]\nname = \"p\""), "usage_plan[1].name: there are two plans \"p\""),
        (plan("throttle = { rate = 0, burst = 1 }"), "usage_plan[0].throttle.rate: is 0"),
        (plan("quota = { limit = 0, period = \"day\" }"), "usage_plan[0].quota.limit: is 0"),
        (plan("quota = { limit = 99999999999999, period = \"day\" }"), "usage_plan[0].quota.limit: is 9999"),
        (plan("quota = { limit = 9, period = \"year\" }"), "usage_plan[0].quota.period: is \"year\""),
        (plan("quota = { limit = 9 }"), "usage_plan[0].quota.period: missing"),
        (plan("quota = { limit = 9, period = \"day\", offset = 1 }"), "usage_plan[0].quota.offset: is 1, of a day"),
        (plan("quota = { limit = 9, period = \"week\", offset = 7 }"), "usage_plan[0].quota.offset: is 7, of a week"),
        (plan("quota = { limit = 9, period = \"month\", offset = 28 }"), "usage_plan[0].quota.offset: is 28"),
        (
            plan("stages = [{ api = \"shop\", stage = \"test\" }]"),
            "usage_plan[0].stages[0].stage: there is no stage \"test\" of an API \"shop\"; expected a stage that is served: \"prod\" of \"shop\", \"dev\"",
        ),
        (
            plan("stages = [{ api = \"shop\", stage = \"prod\", throttle = { \"GET /\" = { rate = 1, burst = 1 } } }]"),
            "usage_plan[0].stages[0].throttle: limits \"GET /\", which is no route of this stage; expected a route as it is written: GET /users/{id}, $default",
        ),
        (
            plan("stages = [{ api = \"shop\", stage = \"prod\" }, { api = \"shop\", stage = \"prod\" }]"),
            "usage_plan[0].stages[1].stage: is in this plan twice",
        ),
        (
            plan(&format!("stages = [{{ api = \"shop\", stage = \"prod\", throttle = {{ {many} }} }}]")),
            "usage_plan[0].stages[0].throttle: limits 21 routes; expected at most 20",
        ),
        (plan("keys = [\"k\", \"k\"]"), "usage_plan[0].keys: names \"k\" twice"),
        (plan("keys = [\"other\"]"), "usage_plan[0].keys: names \"other\", which is no key"),
        (
            plan(&format!("{stage}\n[[usage_plan]]\nname = \"q\"\n{stage}")),
            "usage_plan[1].keys: the key \"k\" is in the plan \"p\" of one of these stages too",
        ),
        (
            (0..11)
                .fold(key.clone(), |text, plan| format!("{text}[[usage_plan]]\nname = \"{plan}\"\nkeys = [\"k\"]\n")),
            "usage_plan[10].keys: the key \"k\" is in more than 10 plans",
        ),
        ("[gateway]\nrate_limit_headers = \"some\"\n".to_owned(), "gateway.rate_limit_headers: is \"some\""),
        ("[gateway]\nkeys_file = \"no/such/file\"\n".to_owned(), "gateway.keys_file: no/such/file cannot be read"),
    ] {
        is_told(&text, fault);
    }
}

#[test]
fn the_file_of_keys_joins_the_plans_that_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.csv");
    let config = format!(
        "[gateway]\nkeys_file = {path:?}\n[[api_key]]\nid = \"k\"\nkey = \"{KEY_A}\"\n\
         [[usage_plan]]\nname = \"basic\"\nkeys = [\"k\", \"b\"]\n[[usage_plan]]\nname = \"gold\"\n"
    );
    std::fs::write(&path, format!("key,name,usageplanIds\n{KEY_A}b,b,\"basic,gold\"\n{KEY_A}c,c,gold\n")).unwrap();
    let (plans, faults) = read(&config);
    faults.unwrap();
    assert_eq!(plans.keys.len(), 3);
    let keys: Vec<_> = plans.plans.iter().map(|plan| plan.keys.join(" ")).collect();
    assert_eq!(keys, ["k b", "b c"]);

    std::fs::write(&path, format!("key,name,usageplanIds\n{KEY_A}b,b,silver\n{KEY_A},d,\n{KEY_A}e,k,\n")).unwrap();
    let told = read(&config).1.unwrap_err().to_string();
    for fault in [
        "gateway.keys_file: line 2: names \"silver\", which is no [[usage_plan]]",
        "gateway.keys_file: line 3: the key \"d\" is the same as another one",
        "gateway.keys_file: line 4: there are two keys with the id \"k\"",
    ] {
        assert!(told.contains(fault), "{told}");
    }
}
