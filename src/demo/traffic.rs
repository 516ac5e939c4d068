//! What the demo's clients ask for, and when: lifelike, and the same for the same seed.
//!
//! Modelled on a real access log and a real arrival curve. Paths are asked for as by Zipf's law, a few far more often
//! than the rest; one request in eight is a crawler's; sizes are log-normal with a long tail; arrivals are random
//! around a level that drifts between two thirds and four thirds, with short bursts of three times the level.

use std::time::Duration;

use fastrand::Rng;

/// What a client proves itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nothing.
    None,
    /// The demo's API key.
    ApiKey,
    /// A key that nobody gave out.
    WrongApiKey,
    /// A token that holds.
    Token,
    /// A token past its time.
    ExpiredToken,
}

/// One request of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// How long after the one before it.
    pub(crate) after: Duration,
    /// HTTP method.
    pub(crate) method: &'static str,
    /// Path and query, from the gateway's root.
    pub(crate) path: String,
    /// What the client proves itself with.
    pub(crate) credential: Credential,
    /// `User-Agent`.
    pub(crate) agent: &'static str,
    /// Bytes of the body.
    pub(crate) body_bytes: usize,
}

/// The plan, request after request, without end.
#[derive(Debug)]
pub(crate) struct Traffic {
    random: Rng,
    rate: f64,
    level: f64,
    /// Requests until a burst begins, or, during one, until it ends.
    until_turn: u32,
    in_burst: bool,
}

const AGENTS: [(u32, &str); 9] = [
    (
        30,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/144.0.0.0 Safari/537.36",
    ),
    (
        20,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
    ),
    (12, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0"),
    (9, "okhttp/5.1.0"),
    (7, "python-requests/2.33.0"),
    (5, "curl/8.16.0"),
    (8, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    (4, "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"),
    (3, "UniversalFeedParser/6.0"),
];

const ARTICLES: [&str; 12] = [
    "dynamic-dns",
    "grok-patterns",
    "ssh-multiplexing",
    "week-of-unix-tools",
    "xdotool-tips",
    "logging-at-scale",
    "a-tale-of-two-queues",
    "latency-is-not-an-average",
    "jquery-mobile",
    "boot-a-laptop",
    "regex-golf",
    "why-weirs",
];

const FILES: [&str; 10] = [
    "images/logo.png",
    "reset.css",
    "style2.css",
    "favicon.ico",
    "images/web/2026/banner.png",
    "presentations/monitoring.pdf",
    "presentations/images/kibana-search.png",
    "robots.txt",
    "downloads/xdotool-3.tar.gz",
    "videos/intro.mp4",
];

impl Traffic {
    /// The plan of a seed, at this many requests a second on average.
    pub(crate) fn new(seed: u64, rate: u32) -> Self {
        let mut random = Rng::with_seed(seed);
        let until_turn = random.u32(rate.saturating_mul(20).max(1)..=rate.saturating_mul(60).max(1));
        Self { random, rate: f64::from(rate.max(1)), level: 1.0, until_turn, in_burst: false }
    }

    /// Time until the next request: exponential around the level, which drifts and now and then bursts.
    fn gap(&mut self) -> Duration {
        self.until_turn = self.until_turn.saturating_sub(1);
        if self.until_turn == 0 {
            self.in_burst = !self.in_burst;
            let seconds = if self.in_burst { 3.0 + 3.0 * self.random.f64() } else { 20.0 + 100.0 * self.random.f64() };
            self.until_turn = to_count(seconds * self.rate);
        }
        // A level with memory: about a minute's worth of requests pull it back to 1.
        let pull = (1.0 - self.level) / (60.0 * self.rate);
        let push = (self.random.f64() - 0.5) / (12.0 * self.rate.sqrt());
        self.level = (self.level + pull + push).clamp(0.65, 1.35);
        let burst = if self.in_burst { 3.0 } else { 1.0 };
        let mean = 1.0 / (self.rate * self.level * burst);
        Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() * mean)
    }

    /// An index below `count`; the first ones far more often.
    fn popular(&mut self, count: usize) -> usize {
        let scale = to_count(f64::from(u32::try_from(count).unwrap_or(u32::MAX)).powf(self.random.f64()));
        (scale as usize).saturating_sub(1).min(count - 1)
    }

    fn agent(&mut self) -> &'static str {
        let total = AGENTS.iter().map(|(weight, _)| weight).sum();
        let mut pick = self.random.u32(0..total);
        for (weight, agent) in AGENTS {
            if pick < weight {
                return agent;
            }
            pick -= weight;
        }
        AGENTS[0].1
    }

    fn stage(&mut self) -> &'static str {
        if self.random.u8(0..100) < 88 { "prod" } else { "dev" }
    }

    /// Method, path below the stage, credential and bytes of the body.
    fn shop(&mut self) -> (&'static str, String, Credential, usize) {
        let product = self.popular(400) + 1;
        match self.random.u8(0..100) {
            0..22 => ("GET", format!("products?page={}", self.popular(30) + 1), Credential::None, 0),
            22..52 => ("GET", format!("products/{product}"), Credential::None, 0),
            52..62 => ("GET", format!("products/{product}/reviews"), Credential::None, 0),
            62..72 => ("GET", format!("search?q={}", ARTICLES[self.popular(ARTICLES.len())]), Credential::None, 0),
            72..78 => ("POST", "orders".to_owned(), self.key(), 200 + self.random.usize(0..1_800)),
            78..84 => ("GET", format!("orders/{}", 10_000 + self.popular(5_000)), self.key(), 0),
            84..92 => ("GET", "account".to_owned(), self.token(), 0),
            92..96 => ("POST", "payments".to_owned(), Credential::None, 300 + self.random.usize(0..200)),
            96..98 => ("GET", "reports/daily".to_owned(), Credential::None, 0),
            _ => ("GET", format!("wp-login-{}.php", self.random.u8(0..20)), Credential::None, 0),
        }
    }

    fn media(&mut self) -> (&'static str, String, Credential, usize) {
        match self.random.u8(0..100) {
            0..35 => ("GET", format!("articles/{}", ARTICLES[self.popular(ARTICLES.len())]), Credential::None, 0),
            35..82 => ("GET", format!("files/{}", FILES[self.popular(FILES.len())]), Credential::None, 0),
            82..84 => ("HEAD", format!("files/{}", FILES[self.popular(FILES.len())]), Credential::None, 0),
            84..94 => ("GET", ["feeds/rss", "feeds/atom"][self.popular(2)].to_owned(), Credential::None, 0),
            94..98 => ("GET", "status".to_owned(), Credential::None, 0),
            _ => ("DELETE", format!("articles/{}", ARTICLES[self.popular(ARTICLES.len())]), Credential::None, 0),
        }
    }

    fn key(&mut self) -> Credential {
        match self.random.u8(0..100) {
            0..90 => Credential::ApiKey,
            90..96 => Credential::WrongApiKey,
            _ => Credential::None,
        }
    }

    fn token(&mut self) -> Credential {
        match self.random.u8(0..100) {
            0..85 => Credential::Token,
            85..94 => Credential::ExpiredToken,
            _ => Credential::None,
        }
    }
}

impl Iterator for Traffic {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let after = self.gap();
        let is_shop = self.random.u8(0..100) < 60;
        let stage = self.stage();
        let (method, below, credential, body_bytes) = if is_shop { self.shop() } else { self.media() };
        let api = if is_shop { "shop" } else { "media" };
        let path = format!("/{api}/{stage}/{below}");
        Some(Planned { after, method, path, credential, agent: self.agent(), body_bytes })
    }
}

fn to_count(number: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, which is meant"
    )]
    let count = number as u32;
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_requests_and_another_gives_others() {
        let plan = |seed| Traffic::new(seed, 200).take(500).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn the_rate_is_met_on_average_and_every_kind_of_request_occurs() {
        let plan: Vec<_> = Traffic::new(1, 1_000).take(300_000).collect();
        let seconds: f64 = plan.iter().map(|planned| planned.after.as_secs_f64()).sum();
        let rate = 300_000.0 / seconds;
        assert!((850.0..1_350.0).contains(&rate), "{rate} requests/s");
        for below in
            ["/shop/dev/search", "/shop/prod/orders", "/shop/prod/account", "/media/prod/files/", "/media/dev/status"]
        {
            assert!(plan.iter().any(|planned| planned.path.starts_with(below)), "nobody asks for {below}");
        }
    }
}
