//! The gateway serves on without a collector; what it had to drop is in the ledger (I6).

use weir_tests::{Traffic, Upstream, ask, ask_number, until_number};

use crate::pipeline::Stations;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_without_a_collector_is_counted_in_the_ledger() {
    const REQUESTS: u64 = 300;
    let upstream = Upstream::start().await.unwrap();
    let config = format!("queue_records = 100\nbatch_records = 50\n{}", Traffic::definitions(&upstream.url()));
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
