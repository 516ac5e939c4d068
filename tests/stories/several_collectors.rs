//! Several collectors behind one gateway: whichever of them gets a batch, what they tell the ledger adds up to what the
//! gateway counted (I3, I6).

use serde_json::Value;
use weir_tests::{Process, Traffic, Upstream, free_port, until_metrics};

use crate::pipeline::{Stations, WEIR};

const ROUNDS: u64 = 4;
const REQUESTS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_from_one_collector_to_another_is_counted_once_in_all() {
    let upstream = Upstream::start().await.unwrap();
    let stations = Stations::new(&format!("batch_records = 20\n{}", Traffic::definitions(&upstream.url())));
    // The first has its address of the configuration, the second one of its own, and a log.
    let (grpc, admin) = (address(), address());
    let second = [
        ("WEIR_COLLECTOR__GRPC", grpc.as_str()),
        ("WEIR_COLLECTOR__ADMIN", admin.as_str()),
        ("WEIR_COLLECTOR__WAL", "other-wal"),
    ];
    let environments: [&[(&str, &str)]; 2] = [&[], &second];
    let (mut collector, listening) = stations.collector_listening_with(environments[0]).await;
    let (gateway, address, gateway_admin) = gateway(&stations, &[&listening.grpc, &format!("http://{grpc}")]).await;
    for round in 0..ROUNDS {
        Traffic::new(round).send(&address, usize::try_from(REQUESTS).unwrap()).await.unwrap();
        let all = (round + 1) * REQUESTS;
        until_metrics(&gateway_admin, |value| value("weir_gateway_records_sent_total{signal=\"logs\"}") == all)
            .await
            .unwrap();
        // The one that took them goes away, and the other comes.
        assert_eq!(collector.terminate().await.unwrap().code, Some(0));
        let next = environments[usize::try_from((round + 1) % 2).unwrap()];
        collector = stations.collector_listening_with(next).await.0;
    }
    for process in [gateway, collector] {
        assert_eq!(process.terminate().await.unwrap().code, Some(0));
    }
    let directory = stations.directory.path();
    let verified = Process::run(WEIR, directory, &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let sql = "select sum(offered) as offered, sum(stored) as stored, sum(dropped) as dropped, sum(gaps) as gaps \
               from ledger where signal = 'logs'";
    let asked =
        Process::run(WEIR, directory, &["sql", "--data", "data", "--format", "json", sql]).await.unwrap().stdout;
    let total = ROUNDS * REQUESTS;
    let expected = serde_json::json!([{"offered": total, "stored": total, "dropped": 0, "gaps": 0}]);
    assert_eq!(serde_json::from_str::<Value>(&asked).unwrap(), expected);
}

fn address() -> String {
    format!("127.0.0.1:{}", free_port().unwrap())
}

async fn gateway(stations: &Stations, collectors: &[&str]) -> (Process, String, String) {
    let collectors = collectors.join(",");
    let environment = [("WEIR_GATEWAY__TELEMETRY__COLLECTOR", collectors.as_str())];
    let arguments = ["gateway", "--config", "weir.toml"];
    let started = Process::start_with(WEIR, "gateway", stations.directory.path(), &arguments, &environment);
    let mut process = started.unwrap();
    let logged = process.logged("gateway listens").await.unwrap();
    let url = |name: &str| format!("http://{}", logged[name].as_str().unwrap());
    (process, url("address"), url("admin"))
}
