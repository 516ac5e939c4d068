//! Statements that want everything, beside senders: each statement ends by its limit, with the reason, and no message waits for it
//! or is refused.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use weir_tests::{PATIENCE, ask_number};

use crate::{
    pipeline::Up,
    torture::{BATCHES, RECORDS, Sender},
};

/// Each with the limit that must end it, as the error's code.
const HEAVY: [(&str, &str); 3] = [
    // 8 · 10⁹ comparisons of texts.
    (
        "select count(*) from requests a, requests b, requests c where a.request_id || b.request_id < c.request_id || c.path",
        "timeout",
    ),
    ("select a.*, b.path as other from requests a, requests b order by other, a.request_id", "resources_exhausted"),
    (
        "select a.request_id || b.request_id as id, max(a.path || b.path) from requests a, requests b group by id",
        "resources_exhausted",
    ),
];

async fn answer(query: &str, sql: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let response = client.post(format!("{query}/sql")).body(sql.to_owned()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_want_everything_end_by_their_limits_and_no_message_is_refused_meanwhile() {
    let up = Up::start("memory = \"32MiB\"\nspill = \"64MiB\"\ntimeout = \"3s\"\n").await;
    let url = format!("{}/v1/logs", up.collector_http);
    Sender::new("before".to_owned()).send_until(&url, BATCHES).await.unwrap();
    let (sender, done) = (Sender::new("meanwhile".to_owned()), AtomicBool::new(false));
    let asking = async {
        for (sql, code) in HEAVY {
            let (status, text) = answer(&up.query, sql).await;
            assert!(status != 200 && text.contains(code), "{sql}: {status} {text}");
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
    assert_eq!(ask_number(&up.query, "select count(*) from requests").await.unwrap(), total);
    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}
