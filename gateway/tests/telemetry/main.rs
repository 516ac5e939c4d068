//! The gateway's way to the collector, over real sockets: every record that was offered arrives once, or is counted as
//! dropped, or is named doubtful, whatever the collector does (I6).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails where it breaks off")]

mod fake;

use std::{fs, net::TcpListener, path::Path, time::Duration};

use fake::{Behaviour, Collector, Gateway};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A port that a collector can come to later: none that the system gives to others meanwhile.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn to(port: u16, more: &str) -> String {
    format!("collector = \"http://127.0.0.1:{port}\"\n{more}")
}

#[tokio::test]
async fn while_the_collector_answers_nothing_touches_the_disk() {
    let (directory, mut servers) = (TempDir::new().unwrap(), JoinSet::new());
    let collector = Collector::start(&mut servers, 0, Behaviour::Takes).await;
    let gateway = Gateway::start(directory.path(), &to(collector.address.port(), "")).await;
    gateway.send(100).await;
    assert_eq!(collector.until_balanced(100).await, (100, 0));
    assert_eq!(collector.batches().len(), collector.stored().len());
    let spool = std::fs::read_dir(directory.path().join("weir-data/spool")).unwrap();
    assert_eq!(spool.count(), 0);
    gateway.terminate().await;
}

#[tokio::test]
async fn a_gateway_killed_while_the_collector_is_away_sends_its_spool_under_its_old_name() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    for _ in 0..2 {
        let gateway = Gateway::start(directory.path(), &to(port, "")).await;
        gateway.send(100).await;
        gateway.until("weir_gateway_records_spooled_total", 100).await;
        gateway.kill();
    }
    let gateway = Gateway::start(directory.path(), &to(port, "")).await;
    gateway.send(100).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    assert_eq!(collector.until_balanced(300).await, (300, 0));
    gateway.until("weir_gateway_records_recovered_total", 200).await;
    let instances: std::collections::BTreeSet<_> =
        collector.stored().into_iter().map(|batch| batch.source.instance).collect();
    assert_eq!(instances.len(), 3);
    gateway.terminate().await;
    assert_eq!(fs::read_dir(directory.path().join("weir-data/spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_full_spool_drops_by_its_policy_and_counts_across_a_kill() {
    for policy in ["drop_newest", "drop_oldest"] {
        let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
        let config = to(port, &format!("spool_bytes = \"64KiB\"\nspool_policy = \"{policy}\""));
        let gateway = Gateway::start(directory.path(), &config).await;
        gateway.send(1_000).await;
        gateway.until("weir_gateway_records_dropped_total", 100).await;
        gateway.kill();
        let gateway = Gateway::start(directory.path(), &config).await;
        let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
        gateway.until("weir_gateway_records_recovered_total", 50).await;
        // The last batch of the killed process tells all. (Its directory may stay: a kill in the middle of a write leaves a
        // torn end, which is set aside.)
        let begun = std::time::Instant::now();
        loop {
            let batches = collector.stored();
            let stored: usize = batches.iter().map(|batch| batch.records.len()).sum();
            // Counters only grow: what was said once holds.
            let stamps = batches.iter().map(|batch| batch.source.stamp.unwrap());
            let (offered, dropped) = stamps
                .fold((0, 0), |(offered, dropped), stamp| (stamp.offered.max(offered), stamp.dropped.max(dropped)));
            if dropped >= 100 && offered == stored as u64 + dropped {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{policy}: {offered}, {dropped}, {stored} stored");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway.terminate().await;
    }
}

#[tokio::test]
async fn a_killed_gateway_that_found_the_spool_full_has_its_records_counted_and_none_that_was_taken_counts_as_dropped()
{
    for behaviour in [None, Some(Behaviour::Silent)] {
        let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
        let config = to(port, "spool_bytes = \"64KiB\"\ntimeout = \"300ms\"");
        let first = Gateway::start(directory.path(), &config).await;
        first.send(1_000).await;
        until_noted(directory.path(), 1_000).await;
        first.kill();
        let collector = match behaviour {
            Some(behaviour) => Some(Collector::start(&mut servers, port, behaviour).await),
            None => None,
        };
        let second = Gateway::start(directory.path(), &config).await;
        second.send(70).await;
        until_noted(directory.path(), 70).await;
        second.kill();
        let third = Gateway::start(directory.path(), &config).await;
        let collector = match collector {
            Some(collector) => collector,
            None => Collector::start(&mut servers, port, Behaviour::Takes).await,
        };
        collector.behave(Behaviour::Takes);
        collector.until_balanced(1_070).await;
        third.terminate().await;
    }
}

/// Waits until a lane's state says that so many records were made.
async fn until_noted(directory: &Path, offered: u64) {
    let begun = std::time::Instant::now();
    loop {
        let lanes = fs::read_dir(directory.join("weir-data/spool")).unwrap();
        let states: Vec<_> =
            lanes.filter_map(|lane| fs::read_to_string(lane.unwrap().path().join("state")).ok()).collect();
        if states.iter().any(|state| state.contains(&format!("\"offered\":{offered},"))) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{states:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_full_or_late_collector_gets_everything_once() {
    let (directory, mut servers) = (TempDir::new().unwrap(), JoinSet::new());
    let collector = Collector::start(&mut servers, 0, Behaviour::Full).await;
    let gateway = Gateway::start(directory.path(), &to(collector.address.port(), "timeout = \"300ms\"")).await;
    gateway.send(50).await;
    gateway.until("weir_gateway_batches_resent_total", 2).await;
    collector.behave(Behaviour::Late(Duration::from_millis(400)));
    gateway.until("weir_gateway_batches_resent_total", 5).await;
    collector.behave(Behaviour::Takes);
    assert_eq!(collector.until_balanced(50).await, (50, 0));
    assert!(collector.stored().iter().all(|batch| !batch.source.stamp.unwrap().doubtful));
    gateway.terminate().await;
}

#[tokio::test]
async fn what_one_collector_may_have_taken_goes_to_another_one_marked_doubtful() {
    let (directory, mut servers) = (TempDir::new().unwrap(), JoinSet::new());
    let silent = Collector::start(&mut servers, 0, Behaviour::Silent).await;
    let other = Collector::start(&mut servers, 0, Behaviour::Takes).await;
    let config = format!(
        "collector = [\"http://{}\", \"http://{}\"]\ntimeout = \"100ms\"\ncollector_deadline = \"300ms\"",
        silent.address, other.address
    );
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(100).await;
    assert_eq!(other.until_balanced(100).await, (100, 0));
    let doubtful: Vec<_> = other.stored().into_iter().filter(|batch| batch.source.stamp.unwrap().doubtful).collect();
    let at_both = silent.stored();
    assert_eq!(at_both.len(), 1, "a batch at a time");
    assert_eq!(doubtful.iter().map(|batch| &batch.records).collect::<Vec<_>>(), [&at_both[0].records]);
    gateway.terminate().await;
}

#[tokio::test]
async fn a_collector_that_has_not_taken_a_batch_leaves_no_doubt() {
    let (directory, mut servers, nobody) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    let full = Collector::start(&mut servers, 0, Behaviour::Full).await;
    let other = Collector::start(&mut servers, 0, Behaviour::Takes).await;
    let config = format!(
        "collector = [\"http://127.0.0.1:{nobody}\", \"http://{}\", \"http://{}\"]",
        full.address, other.address
    );
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(100).await;
    assert_eq!(other.until_balanced(100).await, (100, 0));
    assert!(full.batches().is_empty());
    assert!(other.stored().iter().all(|batch| !batch.source.stamp.unwrap().doubtful));
    gateway.terminate().await;
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_is_counted_and_the_gateway_serves_on() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    fs::write(directory.path().join("file"), "").unwrap();
    let config = to(port, "spool_directory = \"file/spool\"\nqueue_records = 100");
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(300).await;
    gateway.until("weir_gateway_spool_errors_total", 1).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    let (stored, dropped) = collector.until_balanced(300).await;
    assert!(stored >= 100 && dropped > 0, "{stored} {dropped}");
    gateway.terminate().await;
}

#[tokio::test]
async fn at_the_end_what_no_collector_takes_stays_in_the_spool() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    let config = to(port, "shutdown_deadline = \"200ms\"");
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(100).await;
    gateway.terminate().await;
    let gateway = Gateway::start(directory.path(), &config).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    assert_eq!(collector.until_balanced(100).await, (100, 0));
    gateway.terminate().await;
}
