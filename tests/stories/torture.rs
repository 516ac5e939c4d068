//! Collectors that are killed over and over, at chosen points of the code and at any moment, under senders that resend
//! until they are answered: everything acknowledged is in the tables once, and the ledger says so (I1, I2, I3).
//!
//! Every round has a seed. `just torture ROUNDS FIRST` runs as many as one likes; what fails names its seed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;
use weir_record::{AccessRecord, BatchStamp, Source, otlp};
use weir_tests::{PATIENCE, Process};

use crate::pipeline::WEIR;

/// Every step between a message's arrival and the log forgetting it, and of maintenance, which goes on beside.
const POINTS: [&str; 13] = [
    "writer::appended",
    "writer::synced",
    "wal::written",
    "wal::segment_created",
    "wal::segments_deleted",
    "flush::sealed",
    "lake::files_stored",
    "lake::committed",
    "flush::table_committed",
    "flush::committed",
    "maintain::outputs_stored",
    "maintain::before_delete",
    "maintain::deleted",
];

/// Rounds of the ordinary test run; `WEIR_TORTURE_ROUNDS` and `WEIR_TORTURE_SEED` ask for others.
const ROUNDS: u64 = 25;

const SENDERS: usize = 3;
pub(crate) const BATCHES: u64 = 100;
pub(crate) const RECORDS: usize = 20;
/// How late a late record comes.
const LATE: Duration = Duration::from_secs(3 * 86_400);
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_point_a_collector_is_killed_at_nothing_is_lost_and_nothing_counted_twice() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rounds, first) = (number("WEIR_TORTURE_ROUNDS", ROUNDS), number("WEIR_TORTURE_SEED", 0));
    let mut hits = BTreeMap::new();
    for seed in first..first + rounds {
        let hit = Round::new(seed).run().await;
        let hit = hit.unwrap_or_else(|error| panic!("just torture 1 {seed}\n{error:#}"));
        for point in hit {
            *hits.entry(point).or_insert(0) += 1;
        }
    }
    eprintln!("{rounds} rounds; the process ended at: {hits:?}");
    if rounds >= ROUNDS {
        let missed: Vec<_> = POINTS.iter().filter(|point| !hits.contains_key(**point)).collect();
        assert!(missed.is_empty(), "no process ended at {missed:?}");
    }
}

pub(crate) struct Round {
    seed: u64,
    pub(crate) dice: Rng,
    pub(crate) directory: TempDir,
    senders: Vec<Sender>,
}

impl Round {
    pub(crate) fn new(seed: u64) -> Self {
        let senders = (0..SENDERS).map(|sender| Sender::new(format!("{seed}-{sender}"))).collect();
        // A segment is full after a few messages, a flush is due as soon as there is anything, and files go when merged.
        let configuration = "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                             admin = \"127.0.0.1:0\"\nwal_segment = \"1MiB\"\nflush_interval = \"40ms\"\n\
                             [maintenance]\ninterval = \"100ms\"\nvacuum_interval = \"100ms\"\nkeep_removed_files = \"100ms\"\n";
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("weir.toml"), configuration).unwrap();
        Self { seed, dice: Rng::with_seed(seed), directory, senders }
    }

    /// The points at which its processes ended.
    async fn run(mut self) -> anyhow::Result<Vec<&'static str>> {
        let mut hits = Vec::new();
        // The point of a round goes through all of them, so that a few rounds reach each.
        let point = POINTS[usize::try_from(self.seed)? % POINTS.len()];
        let chosen = [Some(point), Some(POINTS[self.dice.usize(..POINTS.len())]), None];
        for point in chosen {
            if self.live(point).await? {
                hits.extend(point);
            }
        }
        self.finish().await?;
        Ok(hits)
    }

    /// A last life, in which everything is sent; then, what is in the tables.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        let mut last = self.start_with("")?;
        let url = listening(&mut last).await?.ok_or_else(|| anyhow::anyhow!("the last collector ended by itself"))?;
        for sender in &self.senders {
            sender.send_until(&url, BATCHES).await?;
            sender.resend(&url, &mut self.dice).await?;
        }
        let exit = last.terminate().await?;
        anyhow::ensure!(exit.code == Some(0), "{}", exit.stderr);
        self.check().await
    }

    fn start(&mut self, point: Option<&str>) -> anyhow::Result<Process> {
        // How often it passes before: messages are many, flushes and segments few.
        let most = |point: &str| match point.split_once("::") {
            Some(("writer", _)) => 60,
            Some(("wal", _)) => 2,
            Some(("maintain", _)) => 1,
            _ => 4,
        };
        let points = match point {
            Some(point) => format!("{point}={}*off->return", self.dice.u32(..most(point))),
            None => String::new(),
        };
        self.start_with(&points)
    }

    /// A collector that obeys these points.
    pub(crate) fn start_with(&self, points: &str) -> anyhow::Result<Process> {
        let arguments = ["collector", "--config", "weir.toml"];
        Process::start_with(WEIR, "collector", self.directory.path(), &arguments, &[("FAILPOINTS", points)])
    }

    /// Each sender sends up to this batch, and is answered.
    pub(crate) async fn send_until(&self, batch: u64, url: &str) -> anyhow::Result<()> {
        for sender in &self.senders {
            sender.send_until(url, batch).await?;
        }
        Ok(())
    }

    /// All senders at once, until each is done or not answered, or for so long.
    pub(crate) async fn send_for(&self, moment: Duration, url: &str) {
        let _ = tokio::time::timeout(moment, send_all(&self.senders, url)).await;
    }

    /// One life of a collector, ended at a point of the code or else by SIGKILL; whether it ended at the point.
    async fn live(&mut self, point: Option<&str>) -> anyhow::Result<bool> {
        let mut collector = self.start(point)?;
        if let Some(url) = listening(&mut collector).await? {
            let moment = match point {
                // Senders stop when they are not answered any more, or have sent all.
                Some(_) => PATIENCE,
                None => Duration::from_millis(self.dice.u64(1..150)),
            };
            self.send_for(moment, &url).await;
            // The commits go on when the senders are done, and maintenance after them.
            let patience = match point {
                Some(point) if point.starts_with("maintain::") => Duration::from_millis(1_500),
                Some(_) => Duration::from_millis(100),
                None => Duration::ZERO,
            };
            let deadline = Instant::now() + patience;
            while collector.ended_by()?.is_none() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let ended_by = collector.ended_by()?;
        if ended_by.is_none() {
            // One that ended by itself ended by an error, and that is none of the faults that are tried here.
            anyhow::ensure!(collector.is_running()?, "a collector ended by itself: {}", collector.said());
            collector.kill()?;
        }
        Ok(ended_by == Some(SIGABRT))
    }

    async fn check(&self) -> anyhow::Result<()> {
        let (path, total) = (self.directory.path(), SENDERS as u64 * BATCHES * RECORDS as u64);
        let verified = Process::run(WEIR, path, &["verify", "--settled", "--data", "data"]).await?;
        anyhow::ensure!(verified.code == Some(0), "{}{}", verified.stdout, verified.stderr);
        let sql = "select count(*) as n, count(distinct request_id) as ids, \
                   (select sum(requests) from metrics) as counted, \
                   (select sum(sketch_count(latency)) from metrics) as timed from requests";
        let counts = &self.ask(path, sql).await?[0];
        let expected = serde_json::json!({"n": total, "ids": total, "counted": total, "timed": total});
        anyhow::ensure!(*counts == expected, "{counts}, not {expected}");
        let sql = "select source, sum(offered) as offered, sum(stored) as stored, sum(gaps) as gaps, \
                   sum(received) - sum(stored) - sum(duplicate) - sum(rejected) as unexplained \
                   from ledger group by source order by source";
        for row in self.ask(path, sql).await? {
            let each = BATCHES * RECORDS as u64;
            let expected = serde_json::json!({
                "source": row["source"], "offered": each, "stored": each, "gaps": 0, "unexplained": 0,
            });
            anyhow::ensure!(row == expected, "{row}, not {expected}");
        }
        Ok(())
    }

    async fn ask(&self, directory: &Path, sql: &str) -> anyhow::Result<Vec<Value>> {
        let exit = Process::run(WEIR, directory, &["sql", "--data", "data", "--format", "json", sql]).await?;
        anyhow::ensure!(exit.code == Some(0), "{}", exit.stderr);
        Ok(serde_json::from_str(&exit.stdout)?)
    }
}

/// The address of a collector's OTLP/HTTP; none when it ended before it listened.
pub(crate) async fn listening(collector: &mut Process) -> anyhow::Result<Option<String>> {
    match collector.logged("collector listens").await {
        Ok(line) => Ok(Some(format!("http://{}/v1/logs", line["http"].as_str().unwrap_or_default()))),
        Err(_) if collector.ended_by()?.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All senders at once, until each is done or not answered.
async fn send_all(senders: &[Sender], url: &str) {
    let mut sending = tokio::task::JoinSet::new();
    for sender in senders {
        let (sender, url) = (sender.clone(), url.to_owned());
        sending.spawn(async move {
            // An error means that the collector has ended; the next life gets the batch again.
            let _ = sender.send_until(&url, BATCHES).await;
        });
    }
    while sending.join_next().await.is_some() {}
}

/// A sender with identity: it sends a batch again and again until it is answered, then the next one.
#[derive(Clone)]
pub(crate) struct Sender {
    instance: String,
    /// How many bytes of each record nothing can compress much.
    noise: usize,
    /// The last batch that was answered; shared with the copies that send.
    answered: Arc<AtomicU64>,
    client: reqwest::Client,
}

impl Sender {
    pub(crate) fn new(instance: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { instance, noise: 0, answered: Arc::default(), client }
    }

    /// A sender whose records are large in a file too.
    pub(crate) fn incompressible(instance: String, bytes: usize) -> Self {
        Self { noise: bytes, ..Self::new(instance) }
    }

    /// Batches that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Sends what was not answered, up to this number.
    pub(crate) async fn send_until(&self, url: &str, last: u64) -> anyhow::Result<()> {
        loop {
            let next = self.answered.load(SeqCst) + 1;
            if next > last {
                return Ok(());
            }
            self.send(url, next).await?;
            self.answered.store(next, SeqCst);
        }
    }

    /// Sends some batches once more, as a sender does that never saw the answer.
    async fn resend(&self, url: &str, dice: &mut Rng) -> anyhow::Result<()> {
        for _ in 0..5 {
            self.send(url, dice.u64(1..=BATCHES)).await?;
        }
        Ok(())
    }

    async fn send(&self, url: &str, sequence: u64) -> anyhow::Result<()> {
        let offered = sequence * RECORDS as u64;
        let stamp = BatchStamp { sequence, offered, dropped: 0, doubtful: false, elsewhere: None };
        let source = Source { service: "torture".into(), instance: self.instance.clone(), stamp: Some(stamp) };
        // Half of them late: what maintenance merges, and makes minutes of, while more of it comes.
        let late = if sequence.is_multiple_of(2) { LATE } else { Duration::ZERO };
        let time = SystemTime::now().duration_since(UNIX_EPOCH)? - late;
        let record = |index| AccessRecord {
            time_us: i64::try_from(time.as_micros()).unwrap(),
            request_id: format!("{}-{sequence}-{index}", self.instance),
            route: format!("/{}", index % 3),
            latency_us: 100 + sequence,
            // So that a segment of the log is full soon.
            path: if self.noise == 0 { "x".repeat(2_000) } else { noise(sequence, index, self.noise) },
            ..Default::default()
        };
        let records: Vec<_> = (0..RECORDS).map(record).collect();
        let request = self.client.post(url).header("content-type", "application/x-protobuf");
        let response = request.body(otlp::encode_logs(&source, &records)).send().await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        Ok(())
    }
}

/// The same text for the same record.
fn noise(sequence: u64, index: usize, bytes: usize) -> String {
    let mut dice = Rng::with_seed(sequence * RECORDS as u64 + index as u64);
    std::iter::repeat_with(|| dice.alphanumeric()).take(bytes).collect()
}
