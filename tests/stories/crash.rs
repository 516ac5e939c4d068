//! A collector that is killed in mid-traffic loses nothing and counts nothing twice (I1, I2, I3).

use weir_tests::{Traffic, Upstream, ask, ask_number, until_number};

use crate::pipeline::{Stations, Up, assert_exact};

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_of_the_collector_lose_nothing_and_count_nothing_twice() {
    let upstream = Upstream::start().await.unwrap();
    let stations = Stations::new(&Traffic::definitions(&upstream.url()));
    let mut collector = stations.collector().await;
    let (gateway, address) = stations.gateway().await;
    let (_query, query) = stations.query().await;
    let mut traffic = Traffic::new(4);
    let mut oracle = traffic.send(&address, 200).await.unwrap();
    for _ in 0..3 {
        // Killed while requests are under way, and started again while others are.
        let (answered, killed) = tokio::join!(traffic.send(&address, 600), async { collector.kill() });
        killed.unwrap();
        oracle.add(answered.unwrap());
        let (answered, started) = tokio::join!(traffic.send(&address, 600), stations.collector());
        oracle.add(answered.unwrap());
        collector = started;
    }
    assert_eq!(gateway.terminate().await.unwrap().code, Some(0));
    until_number(&query, "select count(*) from requests", oracle.total()).await.unwrap();
    assert_exact(&query, &oracle).await;
    let ids = ask_number(&query, "select count(distinct request_id) from requests").await.unwrap();
    assert_eq!(ids, oracle.total());
    let ledger = "select sum(offered) as offered, sum(dropped) as dropped, sum(stored) as stored, sum(gaps) as gaps \
                  from ledger where signal = 'logs'";
    let ledger = &ask(&query, ledger).await.unwrap()[0];
    let expected = serde_json::json!({"offered": oracle.total(), "dropped": 0, "stored": oracle.total(), "gaps": 0});
    assert_eq!(*ledger, expected);
    assert!(stations.data().join("tables/requests/_delta_log").is_dir());
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_read_from_the_log_without_a_collector() {
    let upstream = Upstream::start().await.unwrap();
    let up = Up::start(&Traffic::definitions(&upstream.url())).await;
    let oracle = Traffic::new(5).send(&up.gateway, 300).await.unwrap();
    until_number(&up.query, "select count(*) from requests", oracle.total()).await.unwrap();
    up.process.kill().unwrap();
    let arguments = ["sql", "--data", "data", "--format", "csv", "select count(*) as n from requests"];
    let exit = weir_tests::Process::run(crate::pipeline::WEIR, up.directory.path(), &arguments).await.unwrap();
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), &*format!("n\n{}\n", oracle.total())), "{}", exit.stderr);

    let up = Up::start_in(up.directory).await;
    assert_exact(&up.query, &oracle).await;
}
