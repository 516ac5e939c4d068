//! What is no OTLP is refused alone; what comes twice is counted once (I3, I10).

use serde_json::{Value, json};
use weir_tests::{ask, ask_number};

use crate::pipeline::Up;

async fn post(up: &Up, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{path}", up.collector_http)).header("content-type", kind).body(body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A message of a sender that numbers its batches: access records with these request ids.
pub(crate) fn logs(sequence: u64, ids: &[&str]) -> String {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let number = |key: &str, value: u64| json!({"key": key, "value": {"intValue": value.to_string()}});
    let record =
        |id: &&str| json!({"timeUnixNano": "1700000000000000000", "attributes": [text("gateway.request.id", id)]});
    json!({"resourceLogs": [{
        "resource": {"attributes": [text("service.name", "elsewhere"), text("service.instance.id", "one"), number("weir.batch.sequence", sequence)]},
        "scopeLogs": [{"logRecords": ids.iter().map(record).collect::<Vec<_>>()}],
    }]})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_otlp_is_refused_and_the_rest_is_taken() {
    let up = Up::start("").await;
    assert_eq!(post(&up, "/v1/logs", "application/x-protobuf", "no protobuf").await.0, 400);
    let (status, body) = post(&up, "/v1/traces", "application/json", "{\"resourceSpans\": 1}").await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().starts_with("not an OTLP traces message in JSON"), "{body}");
    assert_eq!(post(&up, "/v1/logs", "text/plain", "x").await.0, 415);
    assert_eq!(post(&up, "/v1/metrics", "application/json", "{}").await.0, 404);
    assert_eq!(post(&up, "/v1/logs", "application/json", vec![b' '; (16 << 20) + 1]).await.0, 413);

    assert_eq!(post(&up, "/v1/logs", "application/json", logs(1, &["a", "b"])).await, (200, json!({})));
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"name": "lost"}, {"name": "kept", "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"},
    ]}]}]});
    let (status, body) = post(&up, "/v1/traces", "application/json", spans.to_string()).await;
    assert_eq!((status, &body["partialSuccess"]["rejectedSpans"]), (200, &json!("1")));
    assert_eq!(ask_number(&up.query, "select count(*) from requests where api = 'elsewhere'").await.unwrap(), 2);
    assert_eq!(ask(&up.query, "select name from spans").await.unwrap(), [json!({"name": "kept"})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_twice_is_counted_once_across_a_restart_too() {
    let up = Up::start("").await;
    for sequence in [1, 2, 2, 1] {
        assert_eq!(post(&up, "/v1/logs", "application/json", logs(sequence, &["a", "b", "c"])).await.0, 200);
    }
    assert_eq!(up.process.terminate().await.unwrap().code, Some(0));
    let up = Up::start_in(up.directory).await;
    assert_eq!(post(&up, "/v1/logs", "application/json", logs(2, &["a", "b", "c"])).await.0, 200);
    assert_eq!(ask_number(&up.query, "select count(*) from requests").await.unwrap(), 6);
    let ledger = "select sum(received) as received, sum(duplicate) as duplicate, sum(stored) as stored from ledger";
    let ledger = ask(&up.query, ledger).await.unwrap();
    assert_eq!(ledger, [json!({"received": 15, "duplicate": 9, "stored": 6})]);
}
