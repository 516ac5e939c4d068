use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::ipc::writer::StreamWriter;
use axum::{
    Json, Router,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use weir_lake::Table;
use weir_station::credentials::{Credentials, CredentialsConfig};

use crate::{
    collector::HttpCollector,
    error::QueryError,
    pending::PendingSource,
    session::Options,
    testing::{COMMITTED, DAY_US, FakeCollector, TestLake, csv, request_rows, span_rows, value},
};

/// For collectors that ask for nothing.
fn plain() -> Arc<Credentials> {
    Arc::new(Credentials::open(&CredentialsConfig::default(), &[], b"http/1.1").unwrap())
}

const COUNT: &str = "SELECT count(*), count(DISTINCT request_id) FROM requests";
const BOTH: &str = "SELECT (SELECT count(*) FROM requests) AS requests, (SELECT count(*) FROM spans) AS spans";

#[tokio::test(flavor = "multi_thread")]
async fn committed_and_pending_rows_are_all_there_once() {
    let test = TestLake::open().await;
    let collector = FakeCollector::new(&test.lake, "writer-1");
    let engine = test.engine_with(vec![Arc::clone(&collector) as Arc<dyn PendingSource>]);
    collector.take(Table::Requests, request_rows(&[DAY_US, DAY_US + 1]));
    assert_eq!(value(&engine, COUNT).await, "2,2");
    collector.flush(Table::Requests).await;
    assert_eq!(value(&engine, COUNT).await, "2,2");
    collector.take(Table::Requests, request_rows(&[DAY_US + 2]));
    assert_eq!(value(&engine, COUNT).await, "3,3");
    assert_eq!(csv(&engine, COUNT, COMMITTED).await.unwrap().lines().nth(1), Some("2,2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_commits_while_it_is_asked_is_asked_again() {
    let test = TestLake::open().await;
    let (one, other) = (FakeCollector::new(&test.lake, "writer-1"), FakeCollector::new(&test.lake, "writer-2"));
    let engine = test.engine_with(vec![Arc::clone(&one) as _, Arc::clone(&other) as _]);
    one.take(Table::Requests, request_rows(&[DAY_US + 1]));
    other.take(Table::Requests, request_rows(&[DAY_US + 2, DAY_US + 3]));
    assert_eq!(value(&engine, COUNT).await, "3,3");
    other.commit_at_the_next_questions(1);
    assert_eq!(value(&engine, COUNT).await, "4,4");
    one.flush(Table::Requests).await;
    assert_eq!(value(&engine, COUNT).await, "4,4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_always_ahead_ends_the_statement() {
    let test = TestLake::open().await;
    let collector = FakeCollector::new(&test.lake, "writer-1");
    let engine = test.engine_with(vec![Arc::clone(&collector) as Arc<dyn PendingSource>]);
    collector.commit_at_the_next_questions(usize::MAX);
    let error = csv(&engine, COUNT, Options::default()).await.unwrap_err();
    assert!(matches!(error, QueryError::NoConsistentCut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_collector_under_two_names_is_refused() {
    let test = TestLake::open().await;
    let (one, other) = (FakeCollector::new(&test.lake, "writer-1"), FakeCollector::new(&test.lake, "writer-1"));
    let engine = test.engine_with(vec![one, other]);
    let error = csv(&engine, COUNT, Options::default()).await.unwrap_err().to_string();
    assert!(error.contains("writer-1 and writer-1 are one collector"), "{error}");
}

/// Whatever is taken, committed and asked in whatever order: every acknowledged row is in the answer, once.
#[tokio::test(flavor = "multi_thread")]
async fn every_history_is_counted_exactly() {
    for seed in 1..=4_u64 {
        let test = TestLake::open().await;
        let collectors = ["writer-1", "writer-2"].map(|writer| FakeCollector::new(&test.lake, writer));
        let sources = collectors.iter().map(|collector| Arc::clone(collector) as Arc<dyn PendingSource>);
        let engine = test.engine_with(sources.collect());
        let (mut dice, mut requests, mut spans) = (seed, 0, 0);
        for _ in 0..30 {
            // xorshift64: the same history each time.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let collector = &collectors[usize::from(dice & 1 == 1)];
            match (dice >> 8) % 5 {
                0 => {
                    collector.take(Table::Requests, request_rows(&[DAY_US + requests, DAY_US + requests + 1]));
                    requests += 2;
                }
                1 => {
                    collector.take(Table::Spans, span_rows(3));
                    spans += 3;
                }
                2 => collector.flush(Table::Requests).await,
                3 => collector.flush(Table::Spans).await,
                _ => {
                    assert_eq!(value(&engine, COUNT).await, format!("{requests},{requests}"), "seed {seed}");
                    assert_eq!(value(&engine, BOTH).await, format!("{requests},{spans}"), "seed {seed}");
                }
            }
        }
        assert_eq!(value(&engine, COUNT).await, format!("{requests},{requests}"), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_rows_have_the_date_of_their_time() {
    let test = TestLake::open().await;
    let collector = FakeCollector::new(&test.lake, "writer-1");
    let engine = test.engine_with(vec![Arc::clone(&collector) as Arc<dyn PendingSource>]);
    test.commit(&[DAY_US - 1], 1).await;
    collector.take(Table::Requests, request_rows(&[DAY_US - 2, DAY_US]));
    let dates = "SELECT date, count(*) AS n FROM requests GROUP BY date ORDER BY date";
    let expected = "date,n\n2026-11-22,2\n2026-11-23,1\n";
    assert_eq!(csv(&engine, dates, Options::default()).await.unwrap(), expected);
    let sql = "SELECT count(*) FROM requests WHERE date = '2026-11-23' AND attributes['x'] IS NULL";
    assert_eq!(value(&engine, sql).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_named_with_the_way_out() {
    let test = TestLake::open().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let collector = HttpCollector::new(&format!("http://{nobody}/"), 1 << 20, plain()).unwrap();
    let engine = test.engine_with(vec![Arc::new(collector)]);
    let error = csv(&engine, COUNT, Options::default()).await.unwrap_err();
    assert_eq!(error.code(), "collector_unreachable");
    for part in [&nobody.to_string(), "fresh=false", "--committed-only"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(csv(&engine, COUNT, COMMITTED).await.unwrap().lines().nth(1), Some("0,0"));
    assert_eq!(value(&engine, "SELECT 1 + 1").await, "2");
}

/// A collector's admin address that answers `/pending` with this.
async fn admin(answer: fn(&Value) -> (StatusCode, Vec<u8>)) -> (SocketAddr, JoinSet<()>) {
    let pending = move |Json(question): Json<Value>| async move { answer(&question).into_response() };
    let writer = || async { Json(json!({"writer": "writer-1"})) };
    let router = Router::new().route("/writer", get(writer)).route("/pending", post(pending));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

fn framed(index: u8, rows: &arrow::array::RecordBatch) -> Vec<u8> {
    let mut stream = StreamWriter::try_new(Vec::new(), rows.schema_ref()).unwrap();
    stream.write(rows).unwrap();
    let stream = stream.into_inner().unwrap();
    [&[index][..], &(stream.len() as u64).to_le_bytes(), &stream].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_rows_come_over_http() {
    let test = TestLake::open().await;
    test.lake.table(Table::Requests).append(&[request_rows(&[DAY_US])], "writer-1", 12).await.unwrap();
    let (address, _admin) = admin(|question| match question["tables"]["requests"].as_i64() {
        Some(12) => {
            let empty = [&[1][..], &0_u64.to_le_bytes()].concat();
            (StatusCode::OK, [framed(0, &request_rows(&[DAY_US + 1, DAY_US + 2])), empty].concat())
        }
        _ => (StatusCode::BAD_REQUEST, Vec::new()),
    })
    .await;
    let engine =
        test.engine_with(vec![Arc::new(HttpCollector::new(&format!("http://{address}"), 1 << 20, plain()).unwrap())]);
    assert_eq!(value(&engine, COUNT).await, "3,3");
    assert_eq!(value(&engine, BOTH).await, "3,0");
    assert_eq!(engine.reserved_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_torn_strange_or_too_large_is_refused() {
    let test = TestLake::open().await;
    type Answer = fn(&Value) -> (StatusCode, Vec<u8>);
    let cases: [(Answer, usize, &str); 6] = [
        (|_| (StatusCode::OK, vec![9, 0]), 1 << 20, "there is no table number 9"),
        (|_| (StatusCode::OK, vec![0, 1, 0]), 1 << 20, "ends within a length"),
        (|_| (StatusCode::OK, [&[0][..], &u64::MAX.to_le_bytes()].concat()), 1 << 20, "but 0 follow"),
        (|_| (StatusCode::OK, framed(1, &span_rows(1))), 1 << 20, "spans, which was not asked for"),
        (|_| (StatusCode::OK, framed(0, &span_rows(1))), 1 << 20, "the columns of requests are not ours"),
        (|_| (StatusCode::OK, framed(0, &request_rows(&[1]))), 100, "more than 100 bytes pending"),
    ];
    for (answer, limit_bytes, reason) in cases {
        let (address, _admin) = admin(answer).await;
        let collector = HttpCollector::new(&format!("http://{address}"), limit_bytes, plain()).unwrap();
        let engine = test.engine_with(vec![Arc::new(collector)]);
        let error = csv(&engine, COUNT, Options::default()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_over_http_takes_a_newer_snapshot() {
    let test = TestLake::open().await;
    let (address, _admin) = admin(|question| match question["tables"]["requests"].as_i64() {
        Some(7) => (StatusCode::OK, framed(0, &request_rows(&[DAY_US + 1]))),
        _ => (StatusCode::GONE, br#"{"committed":{"requests":7}}"#.to_vec()),
    })
    .await;
    let engine =
        test.engine_with(vec![Arc::new(HttpCollector::new(&format!("http://{address}"), 1 << 20, plain()).unwrap())]);
    assert!(csv(&engine, COUNT, Options::default()).await.is_err(), "never committed, always gone");
    test.lake.table(Table::Requests).append(&[request_rows(&[DAY_US])], "writer-1", 7).await.unwrap();
    assert_eq!(value(&engine, COUNT).await, "2,2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_reads_its_log_is_waited_for() {
    static QUESTIONS: AtomicUsize = AtomicUsize::new(0);
    let test = TestLake::open().await;
    let (address, _admin) = admin(|_| match QUESTIONS.fetch_add(1, Ordering::SeqCst) {
        0..3 => (StatusCode::SERVICE_UNAVAILABLE, br#"{"lags":{"loaded":4,"newest":9}}"#.to_vec()),
        _ => (StatusCode::OK, framed(0, &request_rows(&[DAY_US]))),
    })
    .await;
    let engine =
        test.engine_with(vec![Arc::new(HttpCollector::new(&format!("http://{address}"), 1 << 20, plain()).unwrap())]);
    assert_eq!(value(&engine, COUNT).await, "1,1");
    assert_eq!(QUESTIONS.load(Ordering::SeqCst), 4);
}
