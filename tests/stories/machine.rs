//! What a machine does to a collector: it stands still, it has no file descriptors left, it gives it no more memory than it
//! was promised to need. Nothing acknowledged is lost by it, and nothing is there twice.

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use weir_tests::{Process, Traffic, Upstream, until_number};

use crate::{
    disk::skipped,
    pipeline::{Stations, WEIR, assert_exact},
    torture::{BATCHES, RECORDS, Sender, listening},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_stands_still_gets_its_batches_again_and_counts_them_once() {
    let upstream = Upstream::start().await.unwrap();
    let config = format!("timeout = \"300ms\"\nbatch_records = 20\n{}", Traffic::definitions(&upstream.url()));
    let stations = Stations::new(&config);
    let collector = stations.collector().await;
    let (gateway, address) = stations.gateway().await;
    let (_query, query) = stations.query().await;
    let mut oracle = Traffic::new(21).send(&address, 100).await.unwrap();
    collector.signal("STOP").unwrap();
    // The gateway gives up on an answer several times meanwhile, and sends the same batch again.
    oracle.add(Traffic::new(22).send(&address, 200).await.unwrap());
    sleep(Duration::from_millis(1_500)).await;
    collector.signal("CONT").unwrap();
    until_number(&query, "select count(*) from requests", 300).await.unwrap();
    assert_eq!(gateway.terminate().await.unwrap().code, Some(0));
    assert_exact(&query, &oracle).await;
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    let verified =
        Process::run(WEIR, stations.directory.path(), &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

/// A collector's configuration on free ports.
const COLLECTOR: &str = "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                         admin = \"127.0.0.1:0\"\nflush_interval = \"200ms\"\n";

async fn assert_there_once(directory: &TempDir, records: u64) {
    let sql = "select count(*) as n, count(distinct request_id) as ids from requests";
    let arguments = ["sql", "--data", "data", "--format", "csv", sql];
    let exit = Process::run(WEIR, directory.path(), &arguments).await.unwrap();
    assert_eq!((exit.code, exit.stdout), (Some(0), format!("n,ids\n{records},{records}\n")), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_without_file_descriptors_goes_on_when_there_are_some() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("weir.toml"), format!("{COLLECTOR}wal_segment = \"1MiB\"\n")).unwrap();
    let limited = format!("ulimit -n 60 && exec {WEIR} collector --config weir.toml");
    let mut collector = Process::start("/bin/sh", "collector", directory.path(), &["-c", &limited]).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("descriptors".to_owned());
    sender.send_until(&url, 10).await.unwrap();
    let address = url.strip_prefix("http://").unwrap().split_once('/').unwrap().0;
    let mut connections = JoinSet::new();
    for _ in 0..100 {
        let address = address.to_owned();
        connections.spawn(async move { TcpStream::connect(address).await });
    }
    let connections = connections.join_all().await;
    sleep(Duration::from_millis(500)).await;
    // It may have to refuse now, but it is there.
    let _ = tokio::time::timeout(Duration::from_secs(1), sender.send_until(&url, 20)).await;
    assert!(collector.is_running().unwrap(), "{}", collector.said());
    drop(connections);
    let sent = tokio::time::timeout(Duration::from_secs(30), async {
        while sender.send_until(&url, BATCHES).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    sent.await.unwrap();
    let exit = collector.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_there_once(&directory, BATCHES * RECORDS as u64).await;
}

/// A limit on the memory of some processes; gone when it is dropped.
struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// `None` where this user may not set one.
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("weir-story-{}", std::process::id());
        // Version 1 of control groups, and version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html).
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        places.into_iter().find_map(|(root, limit)| {
            let group = PathBuf::from(root).join(&name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }

    fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_needs_no_more_memory_than_it_is_promised() {
    const SENDERS: u64 = 16;
    let Some(limit) = MemoryLimit::new(256 << 20) else {
        return skipped("memory cannot be limited: not root, or no control groups?");
    };
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("weir.toml"), COLLECTOR).unwrap();
    let limited = format!("echo $$ > {} && exec {WEIR} collector --config weir.toml", limit.processes().display());
    let mut collector = Process::start("/bin/sh", "collector", directory.path(), &["-c", &limited]).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (sender, url) = (Sender::new(format!("memory-{sender}")), url.clone());
        senders.spawn(async move {
            while let Err(error) = sender.send_until(&url, BATCHES).await {
                // What it has no room for it refuses; what is not answered is sent again.
                assert!(error.to_string().starts_with("429"), "{error}");
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    senders.join_all().await;
    let exit = collector.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_there_once(&directory, SENDERS * BATCHES * RECORDS as u64).await;
}
