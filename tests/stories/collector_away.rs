//! The gateway serves on without a collector; what it keeps on disk arrives, and what it had to drop is in the ledger
//! (I6).

use weir_tests::{Traffic, Upstream, ask, ask_number, until_metrics, until_number};

use crate::pipeline::{Stations, assert_exact};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_without_a_collector_is_counted_in_the_ledger() {
    const REQUESTS: u64 = 300;
    let upstream = Upstream::start().await.unwrap();
    let config = format!(
        "spool_directory = \"off\"\nqueue_records = 100\nbatch_records = 50\n{}",
        Traffic::definitions(&upstream.url())
    );
    let stations = Stations::new(&config);
    let (gateway, address) = stations.gateway().await;
    let answered = Traffic::new(6).send(&address, 300).await.unwrap();
    assert_eq!(answered.total(), REQUESTS, "the gateway answers everyone");

    let _collector = stations.collector().await;
    let (_query, query) = stations.query().await;
    let offered = "select sum(offered) from ledger where signal = 'logs'";
    until_number(&query, offered, REQUESTS).await.unwrap();
    assert_eq!(gateway.terminate().await.unwrap().code, Some(0));
    let stored = ask_number(&query, "select count(*) from requests").await.unwrap();
    let ledger = "select sum(dropped) as dropped, sum(stored) as stored from ledger where signal = 'logs'";
    let ledger = &ask(&query, ledger).await.unwrap()[0];
    assert_eq!(ledger["stored"].as_u64(), Some(stored));
    assert_eq!(ledger["dropped"].as_u64(), Some(REQUESTS - stored));
    assert!((100..REQUESTS).contains(&stored), "a queue of 100 kept {stored}");
}

/// Until the gateway has as many access records on disk.
async fn until_spooled(admin: &str, records: u64) {
    until_metrics(admin, |value| value("weir_gateway_records_spooled_total{signal=\"logs\"}") == records)
        .await
        .unwrap();
}

const LEDGER: &str = "select sum(offered) as offered, sum(dropped) as dropped, sum(stored) as stored, sum(gaps) as gaps \
                      from ledger where signal = 'logs'";

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_without_a_collector_sends_what_it_kept_after_its_restart() {
    let upstream = Upstream::start().await.unwrap();
    let stations = Stations::new(&format!("batch_records = 50\n{}", Traffic::definitions(&upstream.url())));
    let (gateway, address, admin) = stations.gateway_with_admin().await;
    let mut oracle = Traffic::new(7).send(&address, 300).await.unwrap();
    until_spooled(&admin, 300).await;
    gateway.kill().unwrap();

    let (gateway, address, admin) = stations.gateway_with_admin().await;
    oracle.add(Traffic::new(8).send(&address, 200).await.unwrap());
    let _collector = stations.collector().await;
    let (_query, query) = stations.query().await;
    until_number(&query, "select count(*) from requests", 500).await.unwrap();
    assert_exact(&query, &oracle).await;
    until_metrics(&admin, |value| value("weir_gateway_spool_bytes") == 0).await.unwrap();
    assert_eq!(gateway.terminate().await.unwrap().code, Some(0));
    let expected = serde_json::json!({"offered": 500, "dropped": 0, "stored": 500, "gaps": 0});
    assert_eq!(ask(&query, LEDGER).await.unwrap()[0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_spool_dropped_is_in_the_ledger_after_a_kill_too() {
    let upstream = Upstream::start().await.unwrap();
    let config = format!("batch_records = 20\nspool_bytes = \"128KiB\"\n{}", Traffic::definitions(&upstream.url()));
    let stations = Stations::new(&config);
    let (gateway, address, admin) = stations.gateway_with_admin().await;
    Traffic::new(9).send(&address, 500).await.unwrap();
    // All of them have found a place, or none.
    let mut kept = 0;
    until_metrics(&admin, |value| {
        kept = value("weir_gateway_records_spooled_total{signal=\"logs\"}");
        kept > 0 && kept + value("weir_gateway_records_dropped_total{signal=\"logs\"}") == 500
    })
    .await
    .unwrap();
    assert!(kept < 500, "128 KiB cannot hold them all");
    gateway.kill().unwrap();

    let (_gateway, _, _) = stations.gateway_with_admin().await;
    let _collector = stations.collector().await;
    let (_query, query) = stations.query().await;
    until_number(&query, "select count(*) from requests", kept).await.unwrap();
    until_number(&query, "select sum(dropped) from ledger where signal = 'logs'", 500 - kept).await.unwrap();
    let expected = serde_json::json!({"offered": 500, "dropped": 500 - kept, "stored": kept, "gaps": 0});
    assert_eq!(ask(&query, LEDGER).await.unwrap()[0], expected);
}
