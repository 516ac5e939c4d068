//! `weir wal` shows what a killed collector left, and where it is damaged; it changes nothing.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{Exit, Process};

use crate::{
    pipeline::WEIR,
    torture::{BATCHES, RECORDS, Sender, listening},
};

async fn wal(directory: &Path, arguments: &[&str]) -> Exit {
    Process::run(WEIR, directory, &[&["wal"], arguments].concat()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_newer_version_starts_no_collector_and_is_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let configuration = "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                         admin = \"127.0.0.1:0\"\nflush_interval = \"1h\"\n";
    std::fs::write(path.join("weir.toml"), configuration).unwrap();
    let start = || Process::start(WEIR, "collector", path, &["collector", "--config", "weir.toml"]).unwrap();
    let mut collector = start();
    let url = listening(&mut collector).await.unwrap().unwrap();
    Sender::new("version".to_owned()).send_until(&url, 3).await.unwrap();
    collector.kill().unwrap();
    let segment = path.join("data/wal/00000000000000000001.wal");
    let whole = std::fs::read(&segment).unwrap();
    let mut newer = whole.clone();
    // The digit of the version, and a checksum that covers other bytes.
    (newer[7], newer[28]) = (b'3', !newer[28]);
    std::fs::write(&segment, &newer).unwrap();
    let says_so = |exit: &Exit| exit.stderr.contains("a newer version of Weir wrote it");
    let exit = start().wait().await.unwrap();
    assert!(exit.code == Some(2) && says_so(&exit), "{:?} {}", exit.code, exit.stderr);
    let exit = Process::run(WEIR, path, &["sql", "--data", "data", "select 1"]).await.unwrap();
    assert!(exit.code == Some(2) && says_so(&exit), "{:?} {}", exit.code, exit.stderr);
    assert_eq!(std::fs::read(&segment).unwrap(), newer);
    // That version is started again, so to speak.
    std::fs::write(&segment, whole).unwrap();
    let mut collector = start();
    listening(&mut collector).await.unwrap().unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    let sql = "select count(*) as n from requests";
    let exit = Process::run(WEIR, path, &["sql", "--data", "data", "--format", "csv", sql]).await.unwrap();
    assert_eq!(exit.stdout, format!("n\n{}\n", 3 * RECORDS), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_collectors_log_can_be_looked_into_checked_and_written_out() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let configuration = "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                         admin = \"127.0.0.1:0\"\nwal_segment = \"1MiB\"\nflush_interval = \"1h\"\n";
    std::fs::write(path.join("weir.toml"), configuration).unwrap();
    let mut collector = Process::start(WEIR, "collector", path, &["collector", "--config", "weir.toml"]).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    Sender::new("wal".to_owned()).send_until(&url, BATCHES).await.unwrap();
    let exit = wal(path, &["verify", "data/wal"]).await;
    assert_eq!(exit.code, Some(2), "a log that is written cannot be looked into");
    assert!(exit.stderr.contains("is in use by process"), "{}", exit.stderr);
    collector.kill().unwrap();

    let exit = wal(path, &["verify", "data/wal"]).await;
    assert_eq!((exit.code, exit.stdout.trim()), (Some(0), &*format!("{BATCHES} messages, all intact")));
    let exit = wal(path, &["inspect", "data/wal", "--json"]).await;
    let segments: Vec<Value> = exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(segments.len() > 2, "{}", exit.stdout);
    let frames: u64 = segments.iter().map(|segment| segment["frames"].as_u64().unwrap()).sum();
    assert_eq!(frames, BATCHES);
    let exit = wal(path, &["export", "data/wal", "--after", "10", "--through", "12"]).await;
    let lines: Vec<Value> = exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let positions: Vec<_> = lines.iter().map(|line| line["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, [11, 12]);
    assert_eq!(lines[0]["batches"][0]["records"].as_array().unwrap().len(), RECORDS);

    let damaged = path.join("data/wal").join(segments[1]["segment"].as_str().unwrap());
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let exit = wal(path, &["verify", "data/wal"]).await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("is damaged at byte"), "{}", exit.stderr);
    assert!(exit.stderr.contains(&format!("{} messages are intact", BATCHES - 1)), "{}", exit.stderr);
    assert_eq!(std::fs::read(&damaged).unwrap(), bytes, "nothing was changed");
}
