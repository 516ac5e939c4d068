//! Records that come late or from the future, and a whole day that is sent again: each row stands at its own date, once, and metrics
//! follow (I3, I4).

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use weir_record::{AccessRecord, BatchStamp, Source, otlp};
use weir_tests::{Process, ask};

use crate::pipeline::{Up, WEIR};

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const DAY_US: i64 = 24 * HOUR_US;

/// Records of a batch.
const RECORDS: u64 = 20;

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Sends a batch whose records are of these times, one after the other.
async fn send(up: &Up, number: u64, time_us: impl Fn(u64) -> i64) {
    let stamp =
        BatchStamp { sequence: number, offered: number * RECORDS, dropped: 0, doubtful: false, elsewhere: None };
    let source = Source { service: "late".into(), instance: "late".into(), stamp: Some(stamp) };
    let record = |index| AccessRecord {
        time_us: time_us(index),
        request_id: format!("{number}-{index}"),
        route: format!("/{}", index % 3),
        latency_us: 100 + index,
        ..AccessRecord::default()
    };
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.post(format!("{}/v1/logs", up.collector_http)).header("content-type", "application/x-protobuf");
    let response = request.body(otlp::encode_logs(&source, &records)).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
}

async fn rows_by_day(up: &Up) -> BTreeMap<i64, u64> {
    let rows =
        ask(&up.query, "select cast(date as int) as day, count(*) as n from requests group by date").await.unwrap();
    rows.iter().map(|row| (row["day"].as_i64().unwrap(), row["n"].as_u64().unwrap())).collect()
}

async fn assert_verified(up: Up) {
    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let verified = Process::run(WEIR, up.directory.path(), &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_goes_to_its_own_date_and_what_is_a_year_ahead_to_that_of_its_arrival() {
    let up = Up::start("[maintenance]\ninterval = \"100ms\"\n").await;
    let begun_us = now_us();
    let behind = [0, 60 * SECOND_US, HOUR_US, DAY_US, 7 * DAY_US, 399 * DAY_US, -23 * HOUR_US];
    let mut expected = BTreeMap::new();
    for (number, behind_us) in (1..).zip(behind) {
        // Twice, as one sends that never saw the answer.
        for _ in 0..2 {
            send(&up, number, |_| begun_us - behind_us).await;
        }
        *expected.entry((begun_us - behind_us).div_euclid(DAY_US)).or_insert(0) += RECORDS;
    }
    assert_eq!(rows_by_day(&up).await, expected);
    let next = behind.len() as u64 + 1;
    send(&up, next, |_| begun_us + 365 * DAY_US).await;
    let sql = format!("select cast(time as bigint) as time, attributes from requests where request_id = '{next}-0'");
    let row = &ask(&up.query, &sql).await.unwrap()[0];
    assert!((begun_us..=now_us()).contains(&row["time"].as_i64().unwrap()), "{row}");
    assert!(row["attributes"].to_string().contains("weir.time.original"), "{row}");
    let ledger = ask(&up.query, "select sum(stored) as stored, sum(duplicate) as duplicate from ledger").await.unwrap();
    assert_eq!(ledger, [json!({"stored": next * RECORDS, "duplicate": (next - 1) * RECORDS})]);
    assert_verified(up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_day_that_is_sent_again_in_another_order_and_after_a_restart_is_there_once() {
    let mut up = Up::start("[maintenance]\ninterval = \"100ms\"\n").await;
    let day = now_us().div_euclid(DAY_US) - 1;
    let time_us = |number: u64, index: u64| {
        day * DAY_US + (i64::try_from(number).unwrap() - 1) * HOUR_US + i64::try_from(index).unwrap() * SECOND_US
    };
    for number in 1..=24 {
        send(&up, number, |index| time_us(number, index)).await;
    }
    for number in (1..=24).rev() {
        send(&up, number, |index| time_us(number, index)).await;
    }
    assert_eq!(up.process.terminate().await.unwrap().code, Some(0));
    up = Up::start_in(up.directory).await;
    for number in 1..=24 {
        send(&up, number, |index| time_us(number, index)).await;
    }
    let total = 24 * RECORDS;
    assert_eq!(rows_by_day(&up).await, BTreeMap::from([(day, total)]));
    let sql = "select sum(requests) as counted, sum(sketch_count(latency)) as timed from metrics";
    assert_eq!(ask(&up.query, sql).await.unwrap(), [json!({"counted": total, "timed": total})]);
    let ledger = ask(&up.query, "select sum(stored) as stored, sum(duplicate) as duplicate from ledger").await.unwrap();
    assert_eq!(ledger, [json!({"stored": total, "duplicate": 2 * total})]);
    assert_verified(up).await;
}
