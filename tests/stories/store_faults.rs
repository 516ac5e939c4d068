//! An object store that fails, in every way that one does: what is acknowledged meanwhile is committed when it is back,
//! without anybody's help, once (I1, I3).

use std::{path::Path, time::Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use weir_tests::{Fault, ObjectStore, Process, Rule, StoreProxy, until_metrics};

use crate::{
    pipeline::WEIR,
    torture::{RECORDS, Sender},
};

/// A flush is due as soon as there is anything.
const SOON: &str = "flush_interval = \"100ms\"\n";

/// These stories run one after the other: many S3 servers at once are too much for a small machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A collector whose tables are in a bucket behind the proxy.
struct Behind {
    directory: TempDir,
    proxy: StoreProxy,
    _store: ObjectStore,
    _alone: MutexGuard<'static, ()>,
}

/// A running collector.
struct Running {
    process: Process,
    url: String,
    admin: String,
}

impl Behind {
    async fn new(collector_keys: &str) -> Self {
        let alone = ALONE.lock().await;
        let store = ObjectStore::start().await.unwrap();
        let proxy = StoreProxy::start(store.endpoint()).await.unwrap();
        let behind = Self { directory: TempDir::new().unwrap(), proxy, _store: store, _alone: alone };
        behind.configure("", collector_keys);
        behind
    }

    /// Writes the configuration that the next start reads.
    fn configure(&self, store_keys: &str, collector_keys: &str) {
        let configuration = format!(
            "data = \"data\"\n{}{store_keys}[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
             admin = \"127.0.0.1:0\"\n{collector_keys}",
            ObjectStore::section_by_way_of(&self.proxy.endpoint())
        );
        std::fs::write(self.path().join("weir.toml"), configuration).unwrap();
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn start(&self) -> Process {
        Process::start(WEIR, "collector", self.path(), &["collector", "--config", "weir.toml"]).unwrap()
    }

    async fn collector(&self) -> Running {
        let mut process = self.start();
        let line = process.logged("collector listens").await.unwrap();
        let url = |name: &str| format!("http://{}", line[name].as_str().unwrap());
        Running { url: format!("{}/v1/logs", url("http")), admin: url("admin"), process }
    }

    /// Ends the collector; then everything that was sent is in the tables, once, and the ledger agrees.
    async fn end(&self, collector: Running, batches: u64) {
        let exit = collector.process.terminate().await.unwrap();
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        let verify = ["verify", "--settled", "--config", "weir.toml"];
        let verified = Process::run(WEIR, self.path(), &verify).await.unwrap();
        assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
        let sql = "select count(*) as n, count(distinct request_id) as ids, \
                   (select sum(requests) from metrics) as counted, (select sum(stored) from ledger) as stored from requests";
        let asked = ["sql", "--config", "weir.toml", "--format", "json", sql];
        let asked = Process::run(WEIR, self.path(), &asked).await.unwrap();
        let rows: Vec<Value> = serde_json::from_str(&asked.stdout).unwrap_or_else(|_| panic!("{}", asked.stderr));
        let total = batches * RECORDS as u64;
        let expected = serde_json::json!({"n": total, "ids": total, "counted": total, "stored": total});
        assert_eq!(rows, [expected]);
    }
}

impl Running {
    /// Until nothing waits for the store any more.
    async fn until_committed(&self) {
        let waiting = ["weir_collector_pending_records", "weir_collector_lag_messages"];
        until_metrics(&self.admin, |value| waiting.iter().all(|series| value(series) == 0)).await.unwrap();
    }
}

const LOG: &str = "_delta_log";

/// What is tried in turn: the fault, and how many of it before the store is well again.
fn faults() -> Vec<(&'static str, Rule, u64)> {
    let every = |method, contains, fault| Rule::every(method, contains, fault);
    let times = |count, method, contains, fault| Rule { count, ..Rule::every(method, contains, fault) };
    vec![
        ("403: the credentials have expired", every(None, "", Fault::Answer(403, "ExpiredToken")), 3),
        ("404: the bucket is gone", every(None, "", Fault::Answer(404, "NoSuchBucket")), 3),
        ("500", every(None, "", Fault::Answer(500, "InternalError")), 6),
        ("503: slow down", every(None, "", Fault::Answer(503, "SlowDown")), 6),
        ("connections are reset", every(None, "", Fault::Reset), 6),
        ("files cannot be stored", every(Some("PUT"), "part-", Fault::Answer(500, "InternalError")), 6),
        ("answers to stored files are lost", times(5, Some("PUT"), "part-", Fault::DropAnswer), 5),
        ("answers to one commit are lost", times(1, Some("PUT"), LOG, Fault::DropAnswer), 1),
        ("answers to commits are lost", every(Some("PUT"), LOG, Fault::DropAnswer), 12),
        ("the log cannot be listed", every(Some("GET"), "list-type", Fault::Answer(503, "SlowDown")), 4),
        ("answers are cut", every(Some("GET"), "", Fault::CutAnswer), 6),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_in_every_way_in_turn_loses_nothing_and_doubles_nothing() {
    const BATCHES: u64 = 10;
    // Lists are maintenance's to ask for: a collector that has its log does not.
    let behind = Behind::new(&format!("{SOON}[maintenance]\ninterval = \"1s\"\n")).await;
    let mut collector = behind.collector().await;
    let sender = Sender::new("faults".to_owned());
    let mut sent = 0;
    let mut send = async |url: &str| {
        sent += BATCHES;
        // It is acknowledged whatever the store does.
        sender.send_until(url, sent).await.unwrap();
        sent
    };
    for (name, rule, count) in faults() {
        send(&collector.url).await;
        collector.until_committed().await;
        // What is cut is asked for only when the log is new to whoever reads it.
        if rule.fault == Fault::CutAnswer {
            collector.process.kill().unwrap();
            behind.proxy.set([rule]);
            collector = behind.collector().await;
        } else {
            behind.proxy.set([rule]);
        }
        send(&collector.url).await;
        behind.proxy.until_faults(count).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(collector.process.is_running().unwrap(), "{name}: {}", collector.process.said());
        let well = Instant::now();
        behind.proxy.set([]);
        send(&collector.url).await;
        collector.until_committed().await;
        eprintln!("{name}: all committed {:.1} s after the store was well", well.elapsed().as_secs_f64());
    }
    behind.end(collector, sender.answered()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_was_shown_an_old_log_ends_before_it_commits_anything_twice() {
    let behind = Behind::new(SOON).await;
    let sender = Sender::new("stale".to_owned());
    for batches in [10, 20] {
        let collector = behind.collector().await;
        sender.send_until(&collector.url, batches).await.unwrap();
        collector.until_committed().await;
        collector.process.kill().unwrap();
    }
    // Lists are as they were at the last start: what was committed since is read from the write-ahead log again.
    behind.proxy.set([Rule::every(Some("GET"), "list-type", Fault::Stale)]);
    let collector = behind.collector().await;
    sender.send_until(&collector.url, 30).await.unwrap();
    behind.proxy.until_faults(20).await.unwrap();
    behind.proxy.set([]);
    let exit = collector.process.wait().await.unwrap();
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("an earlier commit came through late"), "{}", exit.stderr);
    let collector = behind.collector().await;
    collector.until_committed().await;
    behind.end(collector, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_starts_without_its_store_takes_messages_and_commits_them_later() {
    let behind = Behind::new(SOON).await;
    // The very first start wants to see the store, so that what is wrong in the configuration is said at once.
    let sender = Sender::new("start".to_owned());
    let collector = behind.collector().await;
    sender.send_until(&collector.url, 10).await.unwrap();
    collector.process.kill().unwrap();
    behind.proxy.set([Rule::every(None, "", Fault::Reset)]);
    let collector = behind.collector().await;
    sender.send_until(&collector.url, 20).await.unwrap();
    behind.proxy.until_faults(6).await.unwrap();
    behind.proxy.set([]);
    collector.until_committed().await;
    behind.end(collector, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_is_given_up_and_what_it_was_asked_is_asked_again() {
    let behind = Behind::new(SOON).await;
    let collector = behind.collector().await;
    let sender = Sender::new("hung".to_owned());
    sender.send_until(&collector.url, 10).await.unwrap();
    collector.until_committed().await;
    collector.process.kill().unwrap();
    // Only now so short a time: a very first start ends when its store does not answer in it, as on a busy machine.
    behind.configure("request_timeout = \"1s\"\n", SOON);
    let collector = behind.collector().await;
    behind.proxy.set([Rule::every(None, "", Fault::Hang)]);
    sender.send_until(&collector.url, 20).await.unwrap();
    behind.proxy.until_faults(6).await.unwrap();
    behind.proxy.set([]);
    collector.until_committed().await;
    // Those who look at the end begin anew, and must not give up so soon.
    behind.configure("", SOON);
    behind.end(collector, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_gets_everything_in_its_time() {
    const BYTES_PER_SECOND: u32 = 200 << 10;
    let behind = Behind::new(SOON).await;
    let collector = behind.collector().await;
    behind.proxy.set([Rule::every(None, "", Fault::Throttle(BYTES_PER_SECOND))]);
    let sender = Sender::incompressible("slow".to_owned(), 1_000);
    sender.send_until(&collector.url, 100).await.unwrap();
    collector.until_committed().await;
    behind.proxy.set([]);
    behind.end(collector, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_in_parts_and_one_that_fails_is_sent_again() {
    // One flush, of more than two parts.
    let behind = Behind::new("flush_interval = \"1h\"\nmemory = \"1GiB\"\nflush_size = \"128MiB\"\n").await;
    let collector = behind.collector().await;
    let part = |number, fault| Rule { count: 1, ..Rule::every(Some("PUT"), number, fault) };
    behind
        .proxy
        .set([part("partNumber=1&", Fault::Answer(500, "InternalError")), part("partNumber=2&", Fault::DropAnswer)]);
    let sender = Sender::incompressible("large".to_owned(), 4_000);
    // Half of it is of another day, and in another file.
    sender.send_until(&collector.url, 400).await.unwrap();
    behind.end(collector, 400).await;
    assert_eq!(behind.proxy.faults(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_refused_with_the_reason() {
    let behind = Behind::new(SOON).await;
    behind.proxy.set([Rule::every(Some("PUT"), "", Fault::IgnoreCondition)]);
    let exit = behind.start().wait().await.unwrap();
    assert_ne!(exit.code, Some(0));
    assert!(exit.stderr.contains("ignores `If-None-Match: *`"), "{}", exit.stderr);
}
