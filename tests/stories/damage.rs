//! Bytes of the tables that changed on their disk: they are found and named, and the collector goes on (I10).

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use weir_tests::{Exit, Process};

use crate::{
    pipeline::WEIR,
    torture::{BATCHES, RECORDS, Sender, listening},
};

/// Flushes and merges all the time.
const CONFIGURATION: &str = "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                             admin = \"127.0.0.1:0\"\nflush_interval = \"40ms\"\n[maintenance]\ninterval = \"100ms\"\n";

async fn weir(directory: &Path, arguments: &[&str]) -> Exit {
    Process::run(WEIR, directory, &[arguments, &["--data", "data"]].concat()).await.unwrap()
}

fn collector(directory: &Path) -> Process {
    Process::start(WEIR, "collector", directory, &["collector", "--config", "weir.toml"]).unwrap()
}

/// A stopped collector's directory with this many batches committed.
async fn committed(sender: &Sender, batches: u64) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("weir.toml"), CONFIGURATION).unwrap();
    let mut collector = collector(directory.path());
    let url = listening(&mut collector).await.unwrap().unwrap();
    sender.send_until(&url, batches).await.unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    directory
}

/// The largest live file of `requests`, or another one of the files below.
fn largest(directory: &Path, extension: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push((entry.metadata().unwrap().len(), path));
            }
        }
    }
    found.into_iter().max().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_data_file_is_named_by_verify_and_by_statements_and_stops_no_collector() {
    let sender = Sender::new("damaged".to_owned());
    let directory = committed(&sender, 1).await;
    let path = directory.path();
    let file = largest(&path.join("data/tables/requests"), "parquet");
    let (whole, name) = (fs::read(&file).unwrap(), file.file_name().unwrap().to_str().unwrap());
    assert_eq!(weir(path, &["verify"]).await.code, Some(0));
    let end = whole.len();
    // The first page's header, pages, the footer, its length; and files cut short.
    let places = [5, end / 8, end / 4, end / 2, end - 3_000, end - 500, end - 60, end - 6];
    let flipped = places.map(|place| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        bytes
    });
    for (number, bytes) in flipped.into_iter().chain([whole[..end - 1].to_vec(), whole[..end / 2].to_vec()]).enumerate()
    {
        fs::write(&file, bytes).unwrap();
        let exit = weir(path, &["verify"]).await;
        assert_eq!(exit.code, Some(1), "{number}: {}{}", exit.stdout, exit.stderr);
        assert!(exit.stderr.contains(name), "{number}: {}", exit.stderr);
        let exit = weir(path, &["sql", "--format", "csv", "select * from requests"]).await;
        // What decompresses all the same is answered: that is why verify reads checksums.
        let is_told = exit.code == Some(1) && exit.stderr.contains(name);
        assert!(exit.code == Some(0) || is_told, "{number}: {:?} {}", exit.code, exit.stderr);
    }

    let mut running = collector(path);
    let url = listening(&mut running).await.unwrap().unwrap();
    sender.send_until(&url, BATCHES).await.unwrap();
    running.logged("flushed").await.unwrap();
    let exit = running.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let exit = weir(path, &["sql", "--format", "csv", "select count(*) as n from requests"]).await;
    assert_eq!((exit.code, exit.stdout), (Some(0), format!("n\n{}\n", BATCHES * RECORDS as u64)), "{}", exit.stderr);
    assert!(file.exists(), "no merge took what is damaged for good");
    fs::write(&file, whole).unwrap();
    assert_eq!(weir(path, &["verify", "--settled"]).await.code, Some(0), "nothing else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_commit_is_told_and_a_collector_takes_messages_until_it_is_mended() {
    let sender = Sender::new("commit".to_owned());
    let directory = committed(&sender, 10).await;
    let path = directory.path();
    let commit = path.join("data/tables/requests/_delta_log/00000000000000000001.json");
    let whole = fs::read(&commit).unwrap();
    let begin_flipped = [&[whole[0] ^ 0x40], &whole[1..]].concat();
    for bytes in [begin_flipped, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(&commit, bytes).unwrap();
        for command in [&["verify"][..], &["sql", "select count(*) from requests"]] {
            let exit = weir(path, command).await;
            assert!(matches!(exit.code, Some(1 | 2)), "{command:?}: {}", exit.stdout);
            let told = "cannot read the log of the table requests: 00000000000000000001.json is damaged";
            assert!(exit.stderr.contains(told), "{command:?}: {}", exit.stderr);
            assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
        }
    }
    let mut running = collector(path);
    let url = listening(&mut running).await.unwrap().unwrap();
    sender.send_until(&url, BATCHES).await.unwrap();
    let said = "the tables cannot be opened; messages are kept in the log, trying again";
    let line = running.logged(said).await.unwrap();
    assert!(line["error"].as_str().unwrap().contains("requests"), "{line}");
    fs::write(&commit, whole).unwrap();
    running.logged("flushed").await.unwrap();
    let exit = running.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let exit = weir(path, &["verify", "--settled"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains(&format!("{} requests", BATCHES * RECORDS as u64)), "{}", exit.stdout);
}
