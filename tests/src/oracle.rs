//! Seeded traffic, and the exact answer to what was asked of it.
//!
//! The oracle counts what the clients saw: each response is one record, and its status and route say what its record
//! must say. It shares no code with the pipeline.

use std::collections::BTreeMap;

use anyhow::Context;
use fastrand::Rng;
use serde_json::Value;
use tokio::task::JoinSet;

/// A key that the gateway of the stories knows.
const API_KEY: &str = "stories-0123456789-key";

/// What requests are counted by: api, stage, route, method, status, outcome.
pub type Key = (String, String, String, String, u64, String);

/// What the clients saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oracle {
    /// Requests by what they were.
    pub counts: BTreeMap<Key, u64>,
}

impl Oracle {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Adds what others saw.
    pub fn add(&mut self, other: Self) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
    }

    /// The same answer as `requests` gives it.
    ///
    /// # Errors
    /// When a row lacks a column.
    pub fn from_rows(rows: &[Value]) -> anyhow::Result<Self> {
        let mut counts = BTreeMap::new();
        for row in rows {
            let text = |name: &str| row[name].as_str().map(str::to_owned).with_context(|| format!("{name} in {row}"));
            let number = |name: &str| row[name].as_u64().with_context(|| format!("{name} in {row}"));
            let key =
                (text("api")?, text("stage")?, text("route")?, text("method")?, number("status")?, text("outcome")?);
            counts.insert(key, number("count")?);
        }
        Ok(Self { counts })
    }

    /// The question that [`Self::from_rows`] reads the answer of.
    pub const QUESTION: &str = "select api, stage, route, method, status, outcome, count(*) as count from requests \
                                group by api, stage, route, method, status, outcome";

    /// Requests by api, stage, route and method alone, as the cells of `metrics` have them.
    #[must_use]
    pub fn by_cell(&self) -> BTreeMap<[String; 4], BTreeMap<String, u64>> {
        let mut cells: BTreeMap<[String; 4], BTreeMap<String, u64>> = BTreeMap::new();
        for ((api, stage, route, method, status, outcome), count) in &self.counts {
            let cell = cells.entry([api, stage, route, method].map(Clone::clone)).or_default();
            for column in ["requests", &format!("status_{}xx", status / 100), outcome] {
                *cell.entry(column.to_owned()).or_default() += count;
            }
        }
        cells
    }
}

/// Requests of a seed.
#[derive(Debug)]
pub struct Traffic {
    random: Rng,
}

struct Planned {
    method: &'static str,
    path: String,
    key: Option<&'static str>,
    route: &'static str,
    /// The outcome that each status would mean.
    outcome: fn(u16) -> &'static str,
}

impl Traffic {
    /// The traffic of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    /// The APIs that this traffic asks for, with this upstream.
    #[must_use]
    pub fn definitions(upstream: &str) -> String {
        let proxy = |route: &str, path: &str, more: &str| {
            format!(
                "[[api.route]]\nroute = \"{route}\"\nintegration = {{ type = \"http_proxy\", uri = \"{upstream}{path}\" }}\n{more}\n"
            )
        };
        [
            format!("[[api_key]]\nid = \"tester\"\nkey = \"{API_KEY}\"\n"),
            "[[api]]\nname = \"alpha\"\n[[api.stage]]\nname = \"prod\"\n[[api.stage]]\nname = \"dev\"\n".to_owned(),
            proxy("GET /users/{id}", "/users/{id}", ""),
            proxy("ANY /files/{proxy+}", "/files/{proxy}", ""),
            proxy("GET /status/{code}", "/status/{code}", ""),
            proxy("POST /orders", "/orders", "api_key_required = true"),
            proxy("GET /limited", "/limited", "throttle = { rate = 5.0, burst = 10 }"),
            "[[api]]\nname = \"beta\"\n[[api.stage]]\nname = \"prod\"\n".to_owned(),
            "[[api.route]]\nroute = \"GET /mock\"\nintegration = { type = \"mock\", status = 201, body = \"made\" }\n"
                .to_owned(),
            proxy("$default", "/default", ""),
        ]
        .concat()
    }

    fn plan(&mut self) -> Planned {
        fn passed_on(_: u16) -> &'static str {
            "ok"
        }
        let stage = if self.random.bool() { "prod" } else { "dev" };
        let planned = |method, path: String, route| Planned { method, path, key: None, route, outcome: passed_on };
        match self.random.u8(0..9) {
            0 | 1 => planned("GET", format!("/alpha/{stage}/users/{}", self.random.u16(..)), "/users/{id}"),
            2 => planned("PUT", format!("/alpha/{stage}/files/a/b%2Fc/{}", self.random.u8(..)), "/files/{proxy+}"),
            3 => {
                let status = [200, 204, 304, 404, 500, 503][self.random.usize(0..6)];
                planned("GET", format!("/alpha/{stage}/status/{status}"), "/status/{code}")
            }
            4 => Planned {
                key: [None, Some(API_KEY), Some("wrong-0123456789-wrong")][self.random.usize(0..3)],
                outcome: |status| if status == 403 { "invalid_api_key" } else { "ok" },
                ..planned("POST", format!("/alpha/{stage}/orders"), "/orders")
            },
            5 => Planned {
                outcome: |status| if status == 429 { "throttled" } else { "ok" },
                ..planned("GET", format!("/alpha/{stage}/limited"), "/limited")
            },
            6 => Planned { outcome: |_| "not_found", ..planned("GET", format!("/alpha/{stage}/nowhere"), "") },
            7 => planned("GET", "/beta/prod/mock".to_owned(), "/mock"),
            _ => planned("DELETE", "/beta/prod/whatever/it/is".to_owned(), "$default"),
        }
    }

    /// Sends so many requests, several at a time; what came back.
    ///
    /// # Errors
    /// When a request gets no answer.
    pub async fn send(&mut self, gateway: &str, count: usize) -> anyhow::Result<Oracle> {
        const AT_A_TIME: usize = 16;
        let client = reqwest::Client::builder().no_proxy().timeout(crate::PATIENCE).build()?;
        let mut under_way = JoinSet::new();
        let mut oracle = Oracle::default();
        for _ in 0..count {
            if under_way.len() == AT_A_TIME
                && let Some(answered) = under_way.join_next().await
            {
                *oracle.counts.entry(answered??).or_default() += 1;
            }
            let planned = self.plan();
            let method = planned.method.parse()?;
            let mut request = client.request(method, format!("{gateway}{}", planned.path));
            if let Some(key) = planned.key {
                request = request.header("x-api-key", key);
            }
            under_way.spawn(async move {
                let response = request.send().await?;
                let status = response.status().as_u16();
                response.bytes().await?;
                let mut parts = planned.path.split('/').skip(1).map(str::to_owned);
                let (api, stage) = (parts.next().context("no api")?, parts.next().context("no stage")?);
                let (route, method) = (planned.route.to_owned(), planned.method.to_owned());
                anyhow::Ok((api, stage, route, method, status.into(), (planned.outcome)(status).to_owned()))
            });
        }
        while let Some(answered) = under_way.join_next().await {
            *oracle.counts.entry(answered??).or_default() += 1;
        }
        Ok(oracle)
    }
}
