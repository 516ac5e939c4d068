//! Statements that want everything, beside senders: each statement ends by its limit, with the reason, and no message waits for it
//! or is refused.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use weir_tests::{PATIENCE, until_number};

use crate::{
    pipeline::{FREE_PORTS, Up},
    torture::{BATCHES, RECORDS, Sender},
};

/// The first are 8 · 10⁹ comparisons of texts, none of which holds; the others do not fit into memory and spill space.
const HEAVY: [&str; 3] = [
    "select count(*) from requests a, requests b, requests c where a.request_id || b.request_id < c.request_id || c.path",
    "select a.*, b.path as other from requests a, requests b order by other, a.request_id",
    "select a.request_id || b.request_id as id, max(a.path || b.path) from requests a, requests b group by id",
];

/// Whichever limit is met first: of time, of memory, of spill space.
const LIMITS: [&str; 2] = ["\"timeout\"", "\"resources_exhausted\""];

async fn answer(query: &str, sql: &str) -> (u16, String) {
    // The limits are the statement's. On a machine with other work it may take long to come to them.
    let client = reqwest::Client::builder().no_proxy().timeout(4 * PATIENCE).build().unwrap();
    let response = client.post(format!("{query}/sql")).body(sql.to_owned()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_want_everything_end_by_their_limits_and_no_message_is_refused_meanwhile() {
    let directory = tempfile::TempDir::new().unwrap();
    let limits = "memory = \"32MiB\"\nspill = \"64MiB\"\ntimeout = \"3s\"\n";
    std::fs::write(directory.path().join("weir.toml"), format!("{FREE_PORTS}{limits}")).unwrap();
    let up = Up::start_in_with(directory, &[("WEIR_COLLECTOR__FLUSH_INTERVAL", "500ms")]).await;
    let url = format!("{}/v1/logs", up.collector_http);
    Sender::new("before".to_owned()).send_until(&url, BATCHES).await.unwrap();
    let (sender, done) = (Sender::new("meanwhile".to_owned()), AtomicBool::new(false));
    let asking = async {
        for sql in HEAVY {
            let (status, text) = answer(&up.query, sql).await;
            assert!(status != 200 && LIMITS.iter().any(|limit| text.contains(limit)), "{sql}: {status} {text}");
        }
        done.store(true, SeqCst);
    };
    let sending = async {
        while !done.load(SeqCst) {
            // Each is acknowledged: the first one that is not fails the story.
            sender.send_until(&url, sender.answered() + 1).await.unwrap();
        }
    };
    tokio::join!(asking, sending);
    let total = (BATCHES + sender.answered()) * RECORDS as u64;
    until_number(&up.query, "select count(*) from requests", total).await.unwrap();
    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}
