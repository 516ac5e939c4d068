//! Who may ask how much: `[[api_key]]`, `[[usage_plan]]`, and the file of keys that `gateway.keys_file` names.
//!
//! The rules are API Gateway's ("Usage plans and API keys" in its developer guide): a key is in at most one plan of a
//! stage and in at most ten plans; a plan limits at most twenty routes of a stage. Keys are hashed as they are read.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use weir_station::config::{Document, Section};

use super::{keys_file, limit};
use crate::{
    auth::key::KeyHash,
    limits::bucket::Limit,
    limits::{
        headers::RateLimitHeaders,
        period::Period,
        quota::{LARGEST_LIMIT, Quota},
    },
};

/// Plans that a key may be in.
const MOST_PLANS: usize = 10;

/// Routes of a stage that a plan may limit.
const MOST_ROUTES: usize = 20;

/// Keys, plans, and how limits are told.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    /// The keys, each with an id and a value of its own.
    pub keys: Vec<ApiKeyDefinition>,
    /// The plans.
    pub plans: Vec<UsagePlan>,
    /// Which responses say what the limits are.
    pub headers: RateLimitHeaders,
    /// Where the counts of quotas are kept.
    pub quota_directory: PathBuf,
    /// The file of keys, if there is one.
    pub keys_file: Option<PathBuf>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyDefinition {
    /// Its id: what records name it by.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it opens anything.
    pub is_enabled: bool,
    /// What it is known by.
    pub hash: KeyHash,
}

/// A usage plan.
#[derive(Clone, Debug, PartialEq)]
pub struct UsagePlan {
    /// Its name.
    pub name: String,
    /// The limit on each of its keys, over all its stages together.
    pub throttle: Option<Limit>,
    /// How many requests each of its keys may make.
    pub quota: Option<Quota>,
    /// The stages that its keys open.
    pub stages: Vec<PlanStage>,
    /// Ids of its keys.
    pub keys: Vec<String>,
}

/// A stage in a usage plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStage {
    /// Name of the API.
    pub api: String,
    /// Name of the stage.
    pub stage: String,
    /// Limits on each key's requests to a route.
    pub routes: Vec<(String, Limit)>,
}

/// A stage that is served: what a plan may name.
#[derive(Clone, Debug)]
pub(crate) struct ServedStage<'a> {
    /// Name of its API.
    pub api: &'a str,
    /// Its name.
    pub stage: &'a str,
    /// Its routes, as they are written.
    pub routes: Vec<String>,
}

impl Plans {
    /// Reads keys and plans for the stages that are served. The counts are under `data` unless the file says otherwise.
    pub(crate) fn read(document: &Document, gateway: &Section, served: &[ServedStage<'_>], data: &Path) -> Self {
        let headers = match gateway.value("rate_limit_headers", "throttled".to_owned()).as_str() {
            "off" => RateLimitHeaders::Off,
            "throttled" => RateLimitHeaders::Throttled,
            "always" => RateLimitHeaders::Always,
            other => {
                let expected = "\"off\", \"throttled\" (429 only) or \"always\"";
                gateway.fault("rate_limit_headers", format!("is {other:?}"), expected);
                RateLimitHeaders::default()
            }
        };
        let quota_directory = gateway.value("quota_directory", data.join("quotas"));
        let mut known = Known::default();
        let sections = document.sections("api_key");
        sections.iter().for_each(|section| known.read_key(section));
        let mut plans: Vec<_> = document
            .sections("usage_plan")
            .into_iter()
            .filter_map(|section| read_plan(&section, served).map(|plan| (section, plan)))
            .collect();
        for (index, (section, plan)) in plans.iter().enumerate() {
            if plans[..index].iter().any(|(_, other)| other.name == plan.name) {
                section.fault("name", format!("there are two plans {:?}", plan.name), "each plan once");
            }
        }
        let keys_file = gateway.optional::<PathBuf>("keys_file");
        if let Some(path) = &keys_file {
            let fault = |problem: String, expected: &str| gateway.fault("keys_file", problem, expected);
            for row in keys_file::read(path, &fault) {
                for name in &row.plans {
                    match plans.iter_mut().find(|(_, plan)| plan.name == *name) {
                        Some((_, plan)) if plan.keys.contains(&row.key.id) => {}
                        Some((_, plan)) => plan.keys.push(row.key.id.clone()),
                        None => fault(
                            format!("line {}: names {name:?}, which is no [[usage_plan]]", row.line),
                            "names of usage plans in usageplanIds",
                        ),
                    }
                }
                if let Err(problem) = known.add(row.key) {
                    fault(format!("line {}: {problem}", row.line), "an id and a key of its own for each key");
                }
            }
        }
        check_keys(&plans, &known);
        let plans = plans.into_iter().map(|(_, plan)| plan).collect();
        Self { keys: known.keys, plans, headers, quota_directory, keys_file }
    }
}

/// The keys that were read.
#[derive(Default)]
struct Known {
    keys: Vec<ApiKeyDefinition>,
    ids: HashSet<String>,
    hashes: HashSet<KeyHash>,
}

impl Known {
    fn read_key(&mut self, section: &Section) {
        let id = section.required::<String>("id");
        let (plain, digits) = (section.secret("key"), section.optional::<String>("sha256"));
        let hash = match (&plain, digits) {
            (Some(key), None) => KeyHash::of_key(key.expose()).map_err(|error| section.fault("key", error, KEY)).ok(),
            (None, Some(digits)) => {
                let hash = KeyHash::from_hex(&digits);
                if hash.is_none() {
                    section.fault("sha256", "is no SHA-256", "64 hexadecimal digits");
                }
                hash
            }
            (Some(_), Some(_)) | (None, None) => {
                let expected = "key = \"…\", or sha256 = the key's SHA-256";
                section.fault("key", "needs exactly one of key and sha256", expected);
                None
            }
        };
        let (name, description) = (section.optional::<String>("name"), section.optional("description"));
        if let Some(problem) = name.as_deref().and_then(name_problem) {
            section.fault("name", problem, "a shorter name");
        }
        let is_enabled = section.value("enabled", true);
        let (Some(id), Some(hash)) = (id, hash) else { return };
        if let Err(problem) = self.add(ApiKeyDefinition { id, name, description, is_enabled, hash }) {
            section.fault("id", problem, "an id and a key of its own for each key");
        }
    }

    fn add(&mut self, key: ApiKeyDefinition) -> Result<(), String> {
        if key.id.is_empty() {
            return Err("the id is empty".to_owned());
        }
        if !self.ids.insert(key.id.clone()) {
            return Err(format!("there are two keys with the id {:?}", key.id));
        }
        if !self.hashes.insert(key.hash.clone()) {
            return Err(format!("the key {:?} is the same as another one", key.id));
        }
        self.keys.push(key);
        Ok(())
    }
}

/// What a key should look like.
pub(super) const KEY: &str = "a key of 20 to 128 characters, none of them a space or outside of ASCII";

/// What is wrong with the name of a key.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    (name.chars().count() > 1_024).then_some("Invalid API Key name, can be at most 1024 characters.")
}

fn read_plan(section: &Section, served: &[ServedStage<'_>]) -> Option<UsagePlan> {
    let name = section.required::<String>("name");
    let throttle = limit(&section.section("throttle"));
    let quota = read_quota(&section.section("quota"));
    let mut stages: Vec<PlanStage> = Vec::new();
    for own in section.sections("stages") {
        let Some(stage) = read_stage(&own, served) else { continue };
        if stages.iter().any(|other| (&other.api, &other.stage) == (&stage.api, &stage.stage)) {
            own.fault("stage", "is in this plan twice", "each stage once");
        }
        stages.push(stage);
    }
    let mut keys: Vec<String> = Vec::new();
    for key in section.value("keys", Vec::<String>::new()) {
        if keys.contains(&key) {
            section.fault("keys", format!("names {key:?} twice"), "each key once");
        } else {
            keys.push(key);
        }
    }
    Some(UsagePlan { name: name?, throttle, quota, stages, keys })
}

fn read_quota(section: &Section) -> Option<Quota> {
    if !section.is_present() {
        return None;
    }
    let limit = section.required::<u64>("limit");
    let period = section.required::<String>("period");
    let offset = section.value("offset", 0_u32);
    let (period, largest) = match period?.as_str() {
        "day" => (Period::Day, 0),
        "week" => (Period::Week { offset }, 6),
        "month" => (Period::Month { offset }, 27),
        other => {
            section.fault("period", format!("is {other:?}"), "\"day\", \"week\" or \"month\"");
            return None;
        }
    };
    if offset > largest {
        let expected =
            "the day on which a period begins: 0 to 6 from Sunday for weeks, 0 to 27 from the first for months";
        section.fault("offset", format!("is {offset}, of a {}", period.name()), expected);
        return None;
    }
    let limit = limit?;
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        section.fault("limit", format!("is {limit}"), format!("1 to {LARGEST_LIMIT} requests in each period"));
        return None;
    }
    Some(Quota { limit, period })
}

fn read_stage(section: &Section, served: &[ServedStage<'_>]) -> Option<PlanStage> {
    let (api, stage) = (section.required::<String>("api")?, section.required::<String>("stage")?);
    let throttle = section.section("throttle");
    let names = throttle.keys();
    if names.len() > MOST_ROUTES {
        section.fault("throttle", format!("limits {} routes", names.len()), format!("at most {MOST_ROUTES}"));
    }
    let routes: Vec<_> = names.into_iter().map(|route| (limit(&throttle.section(&route)), route)).collect();
    let Some(own) = served.iter().find(|own| own.api == api && own.stage == stage) else {
        let all: Vec<_> = served.iter().map(|own| format!("{:?} of {:?}", own.stage, own.api)).collect();
        let expected = format!("a stage that is served: {}", all.join(", "));
        section.fault("stage", format!("there is no stage {stage:?} of an API {api:?}"), expected);
        return None;
    };
    for (_, route) in routes.iter().filter(|(_, route)| !own.routes.contains(route)) {
        let expected = format!("a route as it is written: {}", own.routes.join(", "));
        section.fault("throttle", format!("limits {route:?}, which is no route of this stage"), expected);
    }
    let routes = routes.into_iter().filter_map(|(limit, route)| Some((route, limit?))).collect();
    Some(PlanStage { api, stage, routes })
}

/// Each key of a plan exists, is in no other plan of the same stage, and not in too many.
fn check_keys(plans: &[(Section, UsagePlan)], known: &Known) {
    let mut plans_of: HashMap<&str, Vec<&UsagePlan>> = HashMap::new();
    for (section, plan) in plans {
        for key in &plan.keys {
            if !known.ids.contains(key) {
                section.fault("keys", format!("names {key:?}, which is no key"), "ids of [[api_key]] or of keys_file");
                continue;
            }
            let others = plans_of.entry(key).or_default();
            let is_in = |other: &&&UsagePlan| {
                let same = |own: &PlanStage| {
                    other.stages.iter().any(|stage| (&stage.api, &stage.stage) == (&own.api, &own.stage))
                };
                plan.stages.iter().any(same)
            };
            if let Some(other) = others.iter().find(is_in) {
                let problem = format!("the key {key:?} is in the plan {:?} of one of these stages too", other.name);
                section.fault("keys", problem, "a key in one plan of each stage");
            }
            others.push(plan);
            if others.len() == MOST_PLANS + 1 {
                section.fault("keys", format!("the key {key:?} is in more than {MOST_PLANS} plans"), "at most 10");
            }
        }
    }
}

#[cfg(test)]
mod tests;
