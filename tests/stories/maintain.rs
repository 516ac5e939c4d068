//! Tables that several maintain at once, while they grow and while they are asked, stay exact (I3, I4, I9).

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use tempfile::TempDir;
use weir_tests::{ObjectStore, Process, ask_number};

use crate::{
    pipeline::{FREE_PORTS, WEIR},
    torture::{BATCHES, RECORDS, Sender, listening},
};

#[tokio::test(flavor = "multi_thread")]
async fn three_that_maintain_tables_on_an_object_store_while_they_grow_keep_them_exact() {
    let store = ObjectStore::start().await.unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let often = "interval = \"100ms\"\nvacuum_interval = \"100ms\"";
    let config = format!("data = \"data\"\n{FREE_PORTS}[maintenance]\n{often}\n{}", store.section());
    fs::write(path.join("weir.toml"), config).unwrap();
    let flush = [("WEIR_COLLECTOR__FLUSH_INTERVAL", "100ms")];
    let arguments = ["collector", "--config", "weir.toml"];
    let mut collector = Process::start_with(WEIR, "collector", path, &arguments, &flush).unwrap();
    let admin = collector.logged("collector listens").await.unwrap()["admin"].as_str().unwrap().to_owned();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let collectors = [("WEIR_QUERY__COLLECTORS", format!("http://{admin}"))];
    let collectors = collectors.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut query = Process::start_with(WEIR, "serve", path, &["serve", "--config", "weir.toml"], &collectors).unwrap();
    let query_url = query.logged("query listens for SQL over HTTP").await.unwrap();
    let query_url = format!("http://{}", query_url["address"].as_str().unwrap());

    let (sender, done) = (Sender::new("maintained".to_owned()), AtomicBool::new(false));
    let sending = async {
        sender.send_until(&url, BATCHES).await.unwrap();
        // Commits and merges go on for a while.
        tokio::time::sleep(Duration::from_millis(500)).await;
        done.store(true, SeqCst);
    };
    let maintaining = async || {
        while !done.load(SeqCst) {
            let exit =
                Process::run(WEIR, path, &["maintain", "--once", "--all", "--config", "weir.toml"]).await.unwrap();
            assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        }
    };
    let asking = async {
        while !done.load(SeqCst) {
            let least = sender.answered() * RECORDS as u64;
            let found = ask_number(&query_url, "select count(*) from requests").await.unwrap();
            // One batch may be on its way to be answered.
            let most = (sender.answered() + 1) * RECORDS as u64;
            assert!((least..=most).contains(&found), "{found}, not {least} to {most}");
            let counted = ask_number(&query_url, "select sum(requests) from metrics").await.unwrap_or(0);
            assert!(counted >= found, "{counted} counted of {found}");
        }
    };
    tokio::join!(sending, maintaining(), maintaining(), asking);

    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    query.terminate().await.unwrap();
    let exit =
        Process::run(WEIR, path, &["maintain", "--once", "--all", "--json", "--config", "weir.toml"]).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let question = "select count(*) as n, count(distinct request_id) as ids, (select sum(requests) from metrics) as counted, \
                    (select sum(sketch_count(latency)) from metrics) as timed from requests";
    let collectors = Process::start_with(
        WEIR,
        "serve",
        path,
        &["serve", "--config", "weir.toml"],
        &[("WEIR_QUERY__COLLECTORS", "")],
    );
    let mut query = collectors.unwrap();
    let query_url = query.logged("query listens for SQL over HTTP").await.unwrap();
    let rows = weir_tests::ask(&format!("http://{}", query_url["address"].as_str().unwrap()), question).await.unwrap();
    let total = BATCHES * RECORDS as u64;
    assert_eq!(rows[0], serde_json::json!({"n": total, "ids": total, "counted": total, "timed": total}));
}
