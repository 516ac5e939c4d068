//! Two collectors with one name: a log's directory was copied, and both go on with the same tables. One of them ends, and what it
//! had acknowledged is in its log; the other goes on; no row is there twice (I3).

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{Exit, PATIENCE, Process};

use crate::{
    pipeline::WEIR,
    torture::{RECORDS, Sender, listening},
};

const BOTH: [&str; 2] = ["one", "two"];

fn configure(directory: &Path, who: &str, flush_interval: &str) {
    let configuration = format!(
        "data = \"{who}\"\n[store]\nlocation = \"tables\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
         admin = \"127.0.0.1:0\"\nflush_interval = \"{flush_interval}\"\n"
    );
    fs::write(directory.join(format!("{who}.toml")), configuration).unwrap();
}

async fn start(directory: &Path, who: &str) -> (Process, String) {
    let arguments = ["collector", "--config", &format!("{who}.toml")];
    let mut collector = Process::start(WEIR, who, directory, &arguments).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    (collector, url)
}

async fn weir(directory: &Path, arguments: &[&str]) -> Exit {
    Process::run(WEIR, directory, arguments).await.unwrap()
}

fn copy(directory: &Path) {
    fs::create_dir_all(directory.join("two")).unwrap();
    let copied = Command::new("cp").args(["-r", "one/wal", "two/"]).current_dir(directory).status().unwrap();
    assert!(copied.success());
}

/// The ids of all requests that the log of a stopped collector holds.
async fn in_log(directory: &Path, who: &str) -> BTreeSet<String> {
    let exit = weir(directory, &["wal", "export", &format!("{who}/wal")]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let messages = exit.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ids = messages.flat_map(|message| {
        let batches = message["batches"].as_array().unwrap().clone();
        let records = batches.into_iter().flat_map(|batch| batch["records"].as_array().unwrap().clone());
        records.map(|record| record["request_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    ids.collect()
}

fn ids(sender: &str, batches: std::ops::RangeInclusive<u64>) -> BTreeSet<String> {
    batches.flat_map(|batch| (0..RECORDS).map(move |index| format!("{sender}-{batch}-{index}"))).collect()
}

/// Both send, until one collector has ended; gives who goes on and how the other ended.
async fn compete(
    mut collectors: [Option<Process>; 2],
    urls: &[String; 2],
    senders: &[Sender; 2],
) -> (usize, Process, Exit) {
    let begun = Instant::now();
    for batch in 11.. {
        for (collector, (url, sender)) in collectors.iter_mut().zip(urls.iter().zip(senders)) {
            // Whoever has ended does not answer.
            let _ = sender.send_until(url, batch).await;
            assert!(
                begun.elapsed() < PATIENCE,
                "both go on: {}",
                collector.as_ref().map(Process::said).unwrap_or_default()
            );
        }
        for ended in 0..2 {
            if !collectors[ended].as_mut().unwrap().is_running().unwrap() {
                let exit = collectors[ended].take().unwrap().wait().await.unwrap();
                return (1 - ended, collectors[1 - ended].take().unwrap(), exit);
            }
        }
    }
    unreachable!("there is no end of batches")
}

async fn one_of_two_ends(directory: &TempDir, collectors: [(Process, String); 2], senders: [Sender; 2]) {
    let path = directory.path();
    let [(one, one_url), (two, two_url)] = collectors;
    let (winner, goes_on, exit) = compete([Some(one), Some(two)], &[one_url, two_url], &senders).await;
    let (winner, loser) = (BOTH[winner], BOTH[1 - winner]);
    let (winners, losers) = (&senders[usize::from(winner == "two")], &senders[usize::from(loser == "two")]);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("another collector writes with a copy of this log"), "{}", exit.stderr);

    // It does not go on by being started again, nor is it read as if it belonged to the tables; it says what to do.
    let config = format!("{loser}.toml");
    for command in [["collector", "--config", &config], ["verify", "--config", &config]] {
        let exit = weir(path, &command).await;
        assert_eq!(exit.code, Some(2), "{}{}", exit.stdout, exit.stderr);
        assert!(exit.stderr.contains("Let one of the two go on alone"), "{}", exit.stderr);
    }
    let kept = in_log(path, loser).await;
    let expected = ids(&format!("by-{loser}"), 11..=losers.answered());
    assert!(losers.answered() > 10 && kept.is_superset(&expected), "{loser} acknowledged what it does not have");

    assert_eq!(goes_on.terminate().await.unwrap().code, Some(0));
    let config = format!("{winner}.toml");
    let verified = weir(path, &["verify", "--config", &config]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let sql = "select request_id from requests";
    let exit = weir(path, &["sql", "--config", &config, "--format", "csv", sql]).await;
    let rows: Vec<String> = exit.stdout.lines().skip(1).map(str::to_owned).collect();
    let expected = &ids("before", 1..=10) | &ids(&format!("by-{winner}"), 1..=winners.answered());
    // The first ten batches of the other were in both logs, or in none.
    let stored: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(stored.len(), rows.len(), "some are there twice");
    assert!(stored.is_superset(&expected), "{winner} acknowledged what is not there");
    assert!(stored.is_disjoint(&ids(&format!("by-{loser}"), 11..=losers.answered())));
}

fn senders() -> [Sender; 2] {
    BOTH.map(|who| Sender::new(format!("by-{who}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_go_on_with_a_stopped_log_and_its_copy_one_ends_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let (path, senders) = (directory.path(), senders());
    configure(path, "one", "1h");
    configure(path, "two", "100ms");
    let (collector, url) = start(path, "one").await;
    Sender::new("before".to_owned()).send_until(&url, 10).await.unwrap();
    for sender in &senders {
        sender.send_until(&url, 10).await.unwrap();
    }
    // Nothing of it is committed: both have it to commit.
    collector.kill().unwrap();
    copy(path);
    configure(path, "one", "100ms");
    let collectors = [start(path, "one").await, start(path, "two").await];
    one_of_two_ends(&directory, collectors, senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_that_runs_and_one_on_a_copy_of_its_log_one_ends_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let (path, senders) = (directory.path(), senders());
    BOTH.into_iter().for_each(|who| configure(path, who, "100ms"));
    let (mut one, url) = start(path, "one").await;
    Sender::new("before".to_owned()).send_until(&url, 10).await.unwrap();
    for sender in &senders {
        sender.send_until(&url, 10).await.unwrap();
    }
    one.logged("flushed").await.unwrap();
    copy(path);
    let two = start(path, "two").await;
    one_of_two_ends(&directory, [(one, url), two], senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_log_goes_on_only_when_somebody_says_that_it_is_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    configure(path, "one", "50ms");
    let sender = Sender::new("backup".to_owned());
    let (collector, url) = start(path, "one").await;
    sender.send_until(&url, 10).await.unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    copy(path);
    let (collector, url) = start(path, "one").await;
    sender.send_until(&url, 20).await.unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    // The machine is lost, and its log of a while ago is all there is.
    configure(path, "two", "50ms");
    let exit = weir(path, &["collector", "--config", "two.toml"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("delete the file `lives`"), "{}", exit.stderr);
    fs::remove_file(path.join("two/wal/lives")).unwrap();
    let (collector, url) = start(path, "two").await;
    sender.send_until(&url, 30).await.unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    let sql = "select count(*) as n, count(distinct request_id) as ids from requests";
    let exit = weir(path, &["sql", "--config", "two.toml", "--format", "csv", sql]).await;
    assert_eq!(exit.stdout, format!("n,ids\n{0},{0}\n", 30 * RECORDS), "{}", exit.stderr);
    let (collector, _) = start(path, "two").await;
    assert_eq!(collector.terminate().await.unwrap().code, Some(0), "it is the log that the tables know now");
}
