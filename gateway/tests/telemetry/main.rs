//! The gateway's way to the collector, over real sockets: every record that was offered arrives once, or is counted as
//! dropped, whatever the collector does (I6).

#![allow(clippy::unwrap_used, reason = "a test fails where it breaks off")]

mod fake;

use std::{net::TcpListener, time::Duration};

use fake::{Behaviour, Collector, Gateway};
use tempfile::TempDir;
use tokio::task::JoinSet;

const SPOOLED: &str = "weir_gateway_spool_records";
const DROPPED: &str = "weir_gateway_records_dropped_total";

/// A port for a collector that comes later: of a loopback address that no connection goes out from.
fn free_port() -> u16 {
    TcpListener::bind((fake::HOST, 0)).unwrap().local_addr().unwrap().port()
}

fn to(port: u16, more: &str) -> String {
    format!("collector = \"http://{}:{port}\"\n{more}", fake::HOST)
}

#[tokio::test]
async fn while_the_collector_answers_each_batch_comes_once_and_none_is_spooled() {
    let (directory, mut servers) = (TempDir::new().unwrap(), JoinSet::new());
    let collector = Collector::start(&mut servers, 0, Behaviour::Takes).await;
    let gateway = Gateway::start(directory.path(), &to(collector.address.port(), "")).await;
    gateway.send(100).await;
    assert_eq!(collector.until_balanced(100).await, (100, 0));
    assert_eq!(collector.batches().len(), collector.stored().len());
    assert_eq!(gateway.value("weir_gateway_spool_bytes"), 0);
    gateway.terminate().await;
}

#[tokio::test]
async fn a_gateway_killed_while_the_collector_is_away_sends_its_spool_under_its_old_name() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    for spooled in [100, 200] {
        let gateway = Gateway::start(directory.path(), &to(port, "")).await;
        gateway.send(100).await;
        gateway.until(&[SPOOLED], spooled).await;
        gateway.kill();
    }
    let gateway = Gateway::start(directory.path(), &to(port, "")).await;
    gateway.send(100).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    assert_eq!(collector.until_balanced(300).await, (300, 0));
    let instances: std::collections::BTreeSet<_> =
        collector.stored().into_iter().map(|batch| batch.source.instance).collect();
    assert_eq!(instances.len(), 3);
    gateway.terminate().await;
}

#[tokio::test]
async fn what_a_full_spool_dropped_is_told_after_a_kill() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    let config = to(port, "spool_limit = \"64KiB\"\nspool_policy = \"drop_newest\"");
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(1_000).await;
    gateway.until(&[SPOOLED, DROPPED], 1_000).await;
    let dropped = gateway.value(DROPPED);
    gateway.kill();
    let gateway = Gateway::start(directory.path(), &config).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    let (stored, told) = collector.until_balanced(1_000).await;
    assert!(stored > 0 && told > 0 && told == dropped, "{stored} stored, {told} of {dropped} told");
    gateway.terminate().await;
}

#[tokio::test]
async fn a_full_or_late_collector_gets_everything_once() {
    let (directory, mut servers) = (TempDir::new().unwrap(), JoinSet::new());
    let collector = Collector::start(&mut servers, 0, Behaviour::Full).await;
    let gateway = Gateway::start(directory.path(), &to(collector.address.port(), "timeout = \"300ms\"")).await;
    gateway.send(50).await;
    gateway.until(&["weir_gateway_batches_resent_total"], 2).await;
    collector.behave(Behaviour::Late(Duration::from_millis(400)));
    gateway.until(&["weir_gateway_batches_resent_total"], 5).await;
    collector.behave(Behaviour::Takes);
    assert_eq!(collector.until_balanced(50).await, (50, 0));
    assert!(collector.stored().iter().all(|batch| !batch.source.stamp.unwrap().doubtful));
    gateway.terminate().await;
}

#[tokio::test]
async fn at_the_end_what_no_collector_takes_stays_in_the_spool() {
    let (directory, mut servers, port) = (TempDir::new().unwrap(), JoinSet::new(), free_port());
    let config = to(port, "");
    let gateway = Gateway::start(directory.path(), &config).await;
    gateway.send(100).await;
    gateway.terminate().await;
    let gateway = Gateway::start(directory.path(), &config).await;
    let collector = Collector::start(&mut servers, port, Behaviour::Takes).await;
    assert_eq!(collector.until_balanced(100).await, (100, 0));
    gateway.terminate().await;
}
