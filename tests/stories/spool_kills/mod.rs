//! Gateways that are killed over and over, at the points of the spool's code and at any moment, in front of a collector
//! that is away, stands still, or comes and goes: what a spool had on disk is in the tables once, and the ledger says
//! what became of the rest (I3, I6).
//!
//! Every round has a seed. `just torture-spool ROUNDS FIRST` runs as many as one likes; what fails names its seed.

mod account;
mod lanes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use account::{Account, Figures, Life};
use anyhow::ensure;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use weir_tests::{PATIENCE, Process, free_port};

use crate::pipeline::WEIR;

/// Every step between a batch's way to the disk and the disk forgetting it.
const POINTS: [&str; 4] = ["spool::appended", "spool::synced", "spool::sent", "spool::deleted"];

/// Rounds of the ordinary test run; `WEIR_SPOOL_ROUNDS` and `WEIR_SPOOL_SEED` ask for others.
const ROUNDS: u64 = 12;

/// A segment holds a few batches, and now and then the spool is full.
const SPOOL_BYTES: u64 = 128 << 10;

const AT_A_TIME: usize = 8;
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_point_a_gateway_is_killed_at_what_its_spool_had_is_stored_once_and_the_rest_is_counted() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rounds, first) = (number("WEIR_SPOOL_ROUNDS", ROUNDS), number("WEIR_SPOOL_SEED", 0));
    let (mut hits, mut all) = (BTreeMap::new(), Figures::default());
    for seed in first..first + rounds {
        let round = Round::new(seed).run().await;
        let (ends, figures) = round.unwrap_or_else(|error| panic!("just torture-spool 1 {seed}\n{error:#}"));
        for end in ends {
            *hits.entry(end).or_insert(0) += 1;
        }
        all.add(&figures);
    }
    eprintln!("{rounds} rounds; gateways ended by {hits:?}; {all:?}");
    if rounds >= ROUNDS {
        let missed: Vec<_> = POINTS.iter().filter(|point| !hits.contains_key(**point)).collect();
        assert!(missed.is_empty(), "no gateway ended at {missed:?}");
    }
}

/// When a gateway is killed that is to end at no point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The collector is away, and requests are under way.
    Asking,
    /// The collector is away, and every record is on disk or counted as dropped.
    AtRest,
    /// The collector has just come back.
    Sending,
    /// All is sent.
    Sent,
}

const MOMENTS: [Moment; 4] = [Moment::Asking, Moment::Sending, Moment::Sent, Moment::AtRest];

struct Round {
    seed: u64,
    dice: Rng,
    directory: TempDir,
    collector: Collector,
    account: Account,
    ends: Vec<&'static str>,
}

impl Round {
    fn new(seed: u64) -> Self {
        let collector = Collector { process: None, stands: false };
        let (dice, directory) = (Rng::with_seed(seed), TempDir::new().unwrap());
        Self { seed, dice, directory, collector, account: Account::default(), ends: Vec::new() }
    }

    /// By what its gateways ended, and what came of it.
    async fn run(mut self) -> anyhow::Result<(Vec<&'static str>, Figures)> {
        // Only a spool that drops the newest can be seen to be at rest from outside.
        let policy = if self.seed % 3 == 2 { "drop_oldest" } else { "drop_newest" };
        let configuration = format!(
            "data = \"data\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n\
             [gateway.telemetry]\ncollector = \"http://127.0.0.1:{port}\"\ntimeout = \"300ms\"\nlinger = \"10ms\"\n\
             batch_records = 10\nspool_bytes = \"{SPOOL_BYTES}B\"\nspool_policy = \"{policy}\"\ntrace_ratio = 0.3\n\
             [collector]\ngrpc = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [[api]]\nname = \"a\"\n[[api.stage]]\nname = \"s\"\n[[api.route]]\nroute = \"GET /mock\"\n\
             integration = {{ type = \"mock\", status = 200, body = \"fine\" }}\n",
            port = free_port()?,
        );
        std::fs::write(self.directory.path().join("weir.toml"), configuration)?;
        // The point of a round goes through all of them, so that a few rounds reach each.
        let point = POINTS[usize::try_from(self.seed)? % POINTS.len()];
        for point in [Some(point), Some(POINTS[self.dice.usize(..POINTS.len())]), None] {
            // One that finds its first batch no room is never at rest: its records wait in memory.
            let can_rest = policy == "drop_newest" && lanes::bytes(&self.spool())? < SPOOL_BYTES / 2;
            let moment = MOMENTS[self.dice.usize(..if can_rest { 4 } else { 3 })];
            self.live(point, moment).await?;
        }
        self.live_to_the_end().await?;
        let figures = self.account.check(self.directory.path()).await?;
        Ok((self.ends, figures))
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("data/spool")
    }

    /// A gateway's life, ended at a point of the code or else by SIGKILL.
    async fn live(&mut self, point: Option<&'static str>, moment: Moment) -> anyhow::Result<()> {
        self.collector.leave(&mut self.dice).await?;
        let moment = if point.is_some() { Moment::Sent } else { moment };
        let mut gateway = self.start(point).await?;
        self.drive(&mut gateway, moment).await?;
        let ended_by = gateway.process.ended_by()?;
        let end = match (point, ended_by) {
            (Some(point), Some(SIGABRT)) => point,
            _ => {
                // One that ended by itself ended by an error, and that is none of the faults that are tried here.
                ensure!(gateway.process.is_running()?, "a gateway ended by itself: {}", gateway.process.said());
                gateway.process.kill()?;
                "SIGKILL"
            }
        };
        self.ends.push(end);
        self.account.ended(gateway.life, &self.spool())
    }

    /// Requests while the collector is away, and while it is there again, until it is the moment or the gateway ended.
    async fn drive(&mut self, gateway: &mut Gateway, moment: Moment) -> anyhow::Result<()> {
        for _ in 0..self.dice.usize(1..4) {
            gateway.ask(self.dice.usize(20..80)).await?;
        }
        match moment {
            Moment::Asking => {
                // An end in the midst of it is what is wanted.
                let _ = timeout(Duration::from_millis(self.dice.u64(1..150)), gateway.ask(1_000)).await;
                return Ok(());
            }
            Moment::AtRest => return gateway.until_at_rest().await,
            Moment::Sending | Moment::Sent => {}
        }
        self.collector.come_back(&self.directory).await?;
        if moment == Moment::Sending {
            sleep(Duration::from_millis(self.dice.u64(1..150))).await;
            return Ok(());
        }
        while self.dice.bool() {
            gateway.ask(self.dice.usize(20..80)).await?;
            self.collector.leave(&mut self.dice).await?;
            gateway.ask(self.dice.usize(1..40)).await?;
            self.collector.come_back(&self.directory).await?;
        }
        gateway.until_sent(&self.spool()).await
    }

    async fn live_to_the_end(&mut self) -> anyhow::Result<()> {
        self.collector.come_back(&self.directory).await?;
        let mut gateway = self.start(None).await?;
        gateway.ask(30).await?;
        gateway.until_sent(&self.spool()).await?;
        let exit = gateway.process.terminate().await?;
        ensure!(exit.code == Some(0), "{}", exit.stderr);
        self.account.ended(gateway.life, &self.spool())?;
        self.collector.end().await
    }

    async fn start(&mut self, point: Option<&str>) -> anyhow::Result<Gateway> {
        // How often it passes before: batches are many, segments few.
        let most = match point {
            Some("spool::appended" | "spool::sent") => 12,
            _ => 3,
        };
        let points = match point {
            Some(point) => format!("{point}={}*off->return", self.dice.u32(..most)),
            None => String::new(),
        };
        let (arguments, environment) = (["gateway", "--config", "weir.toml"], [("FAILPOINTS", &*points)]);
        let process = Process::start_with(WEIR, "gateway", self.directory.path(), &arguments, &environment)?;
        Gateway::new(process).await
    }
}

/// A gateway and its clients.
struct Gateway {
    process: Process,
    /// Where it serves; empty when it ended before it listened.
    url: String,
    admin: String,
    client: reqwest::Client,
    life: Life,
}

impl Gateway {
    async fn new(mut process: Process) -> anyhow::Result<Self> {
        let logged = match process.logged("gateway listens").await {
            Err(_) if process.ended_by()?.is_some() => serde_json::Value::Null,
            logged => logged?,
        };
        let text = |name: &str| logged[name].as_str().unwrap_or_default();
        let (url, admin) = (format!("http://{}/a/s/mock", text("address")), format!("http://{}", text("admin")));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let life = Life { source: text("instance").to_owned(), ..Life::default() };
        Ok(Self { process, url, admin, client, life })
    }

    /// Makes so many requests, unless it has ended or ends meanwhile.
    async fn ask(&mut self, count: usize) -> anyhow::Result<()> {
        let mut under_way = JoinSet::new();
        for _ in 0..count {
            if under_way.len() == AT_A_TIME {
                self.life.answered.extend(under_way.join_next().await.and_then(Result::ok).flatten());
            }
            if self.process.ended_by()?.is_some() {
                break;
            }
            let request = self.client.get(&self.url).send();
            self.life.asked += 1;
            under_way.spawn(async move {
                let response = request.await.ok()?;
                let id = response.headers().get("x-amzn-requestid")?.to_str().ok()?.to_owned();
                response.bytes().await.is_ok().then_some(id)
            });
        }
        while let Some(answered) = under_way.join_next().await {
            self.life.answered.extend(answered.ok().flatten());
        }
        let begun = Instant::now();
        while self.life.answered.len() < self.life.asked && self.process.ended_by()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "a living gateway did not answer: {}", self.process.said());
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Until every access record is on disk or dropped.
    async fn until_at_rest(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let [logs, _] = self.counts().await?;
            if logs.spooled + logs.dropped == logs.offered && logs.offered == self.life.answered.len() as u64 {
                self.life.dropped_at_rest = Some(logs.dropped);
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "records stay in memory: {logs:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until all is sent or dropped and its spool is empty, or it has ended.
    async fn until_sent(&mut self, spool: &Path) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.process.ended_by()?.is_none() {
            let is_sent = |counts: &Counts| counts.sent + counts.dropped == counts.offered;
            // An error tells that it is ending.
            if let Ok([logs, traces]) = self.counts().await
                && is_sent(&logs)
                && is_sent(&traces)
                && logs.offered == self.life.answered.len() as u64
                && lanes::is_empty(spool)?
            {
                // What it dropped it may not have told yet.
                self.life.dropped_at_rest = (logs.dropped + traces.dropped == 0).then_some(0);
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "the spool is not sent: {}", self.process.said());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What its self metrics say of access records and of spans.
    async fn counts(&self) -> reqwest::Result<[Counts; 2]> {
        let page = self.client.get(format!("{}/metrics", self.admin)).send().await?.text().await?;
        Ok(["logs", "traces"].map(|signal| {
            let value = |name: &str| {
                let series = format!("weir_gateway_records_{name}_total{{signal=\"{signal}\"}} ");
                page.lines().find_map(|line| line.strip_prefix(&*series)?.parse().ok()).unwrap_or_default()
            };
            let (offered, spooled) = (value("offered"), value("spooled"));
            Counts { offered, spooled, sent: value("sent"), dropped: value("dropped") }
        }))
    }
}

/// Records of one signal.
#[derive(Debug)]
struct Counts {
    offered: u64,
    spooled: u64,
    sent: u64,
    dropped: u64,
}

/// The collector, which comes and goes.
struct Collector {
    process: Option<Process>,
    /// It was stopped as it stood: connections are made, and nobody answers.
    stands: bool,
}

impl Collector {
    async fn leave(&mut self, dice: &mut Rng) -> anyhow::Result<()> {
        match (&self.process, dice.u8(..4)) {
            (Some(process), 0) if !self.stands => {
                process.signal("STOP")?;
                self.stands = true;
                Ok(())
            }
            (Some(_), 1) if !self.stands => self.end().await,
            _ => self.process.take().map_or(Ok(()), |process| {
                self.stands = false;
                process.kill()
            }),
        }
    }

    async fn come_back(&mut self, directory: &TempDir) -> anyhow::Result<()> {
        if let Some(process) = &self.process {
            self.stands = false;
            return process.signal("CONT");
        }
        let arguments = ["collector", "--config", "weir.toml"];
        let mut process = Process::start(WEIR, "collector", directory.path(), &arguments)?;
        process.logged("collector listens").await?;
        self.process = Some(process);
        Ok(())
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let exit = process.terminate().await?;
        ensure!(exit.code == Some(0), "{}", exit.stderr);
        Ok(())
    }
}
