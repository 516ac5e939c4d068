//! A collector that is sent too much, too slowly, or by too many: each is refused alone, what is good is taken meanwhile,
//! and memory stays within its bound (I7, I10).

use std::{io::Write, time::Duration};

use reqwest::{Client, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use weir_tests::{PATIENCE, Process, until_metrics};

use crate::{
    bad_input::logs,
    pipeline::{Listening, Stations},
};

/// What the whole process may take: `memory` of the default configuration.
const MEMORY_BYTES: u64 = 256 << 20;

const LOGS: &str = "opentelemetry.proto.collector.logs.v1.LogsService/Export";

async fn collector(more: &str) -> (Stations, Process, Listening) {
    let stations = Stations::new(&format!("[collector.sender_limit]\n{more}"));
    let (process, listening) = stations.collector_listening().await;
    (stations, process, listening)
}

fn http1() -> Client {
    Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

fn http2() -> Client {
    Client::builder().no_proxy().timeout(PATIENCE).http2_prior_knowledge().build().unwrap()
}

async fn post(client: &Client, url: &str, compression: &str, body: Vec<u8>) -> Response {
    let request = client.post(format!("{url}/v1/logs")).header("content-type", "application/json");
    request.header("content-encoding", compression).body(body).send().await.unwrap()
}

/// A unary call; the status of a refusal stands in the head of its answer.
async fn call(client: &Client, url: &str, compression: &str, message: &[u8]) -> Response {
    let mut body = vec![u8::from(compression != "identity")];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let request = client.post(format!("{url}/{LOGS}")).header("content-type", "application/grpc");
    request.header("grpc-encoding", compression).header("te", "trailers").body(body).send().await.unwrap()
}

fn grpc_status(response: &Response) -> Option<&str> {
    Some(response.headers().get("grpc-status")?.to_str().unwrap())
}

fn gzip(size: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..size >> 20).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

fn zstd(size: usize, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_log)).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..size >> 20).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

/// Good messages go on while something else is tried, on a connection that was there before; each of them is taken.
async fn while_good_ones_go<T>(listening: &Listening, other: impl Future<Output = T>) -> T {
    let client = http1();
    let send = async |sequence| {
        let answer = post(&client, &listening.http, "identity", logs(sequence, &["a"]).into_bytes()).await;
        assert_eq!(answer.status(), StatusCode::OK, "a good message, {sequence}");
    };
    send(1).await;
    let good = async {
        for sequence in 2.. {
            send(sequence).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = good => unreachable!("good messages go on for ever"),
        done = other => done,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_alone_and_memory_stays_within_its_bound() {
    let (_stations, process, listening) = collector("").await;
    // What unfolds to a gibibyte is small on the wire.
    let bombs = [("gzip", gzip(1 << 30)), ("zstd", zstd(1 << 30, 20)), ("zstd", zstd(1 << 20, 27))];
    let expected = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST];
    while_good_ones_go(&listening, async {
        let mut senders = JoinSet::new();
        for (index, (compression, bomb)) in bombs.iter().cycle().take(24).cloned().enumerate() {
            let (http, grpc) = (listening.http.clone(), listening.grpc.clone());
            senders.spawn(async move {
                let answer = post(&http1(), &http, compression, bomb.clone()).await;
                // A bomb that finds no room while others unfold is told to come again: it would get no further.
                let refused = [expected[index % 3], StatusCode::TOO_MANY_REQUESTS].contains(&answer.status());
                assert!(refused, "{} for {compression}", answer.status());
                let answer = call(&http2(), &grpc, compression, &bomb).await;
                assert!(matches!(grpc_status(&answer), Some("3" | "8")), "{answer:?}");
            });
        }
        while let Some(ended) = senders.join_next().await {
            ended.unwrap();
        }
        let large = vec![b' '; 64 << 20];
        let request = http1().post(format!("{}/v1/logs", listening.http)).header("content-type", "application/json");
        // Who goes on writing for too long is cut off, and may not see the answer.
        let answer = request.body(large.clone()).send().await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(grpc_status(&call(&http2(), &listening.grpc, "identity", &large).await), Some("3"));
    })
    .await;
    until_metrics(&listening.admin, |value| {
        let refused = |reason| value(&format!("weir_collector_refused_total{{reason=\"{reason}\"}}"));
        value("weir_collector_in_flight_bytes") == 0
            && refused("too_large") > 0
            && refused("malformed") > 0
            && refused("too_large") + refused("malformed") + refused("in_flight") == 50
    })
    .await
    .unwrap();
    let peak_bytes = process.peak_memory_bytes().unwrap();
    assert!(peak_bytes < MEMORY_BYTES, "{} MiB at the peak", peak_bytes >> 20);
    let examples = process.said().lines().filter(|line| line.contains("a message was refused")).count();
    assert!((2..=3).contains(&examples), "{examples} examples of two or three reasons");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_and_idle_connections_do_not_keep_others_out() {
    let stations = Stations::new("");
    let bounds = [
        ("WEIR_COLLECTOR__CONNECTIONS", "64"),
        ("WEIR_COLLECTOR__MESSAGE_TIMEOUT", "5s"),
        ("WEIR_COLLECTOR__IDLE_TIMEOUT", "5s"),
    ];
    let (_process, listening) = stations.collector_listening_with(&bounds).await;
    while_good_ones_go(&listening, async {
        let address = listening.http.strip_prefix("http://").unwrap();
        let mut slow = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16000000\r\n\r\n{";
            stream.write_all(head.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        // Each has room for its first part: from here on they are busy, and do not give way.
        until_metrics(&listening.admin, |value| value("weir_collector_in_flight_bytes") >= 8 << 20).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        for mut stream in slow {
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "it was closed without an answer");
            }
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
        }
        until_metrics(&listening.admin, |value| {
            let displaced = "weir_collector_closed_connections_total{listener=\"http\",reason=\"displaced\"}";
            value(displaced) >= 200
                && value("weir_collector_refused_total{reason=\"slow\"}") == 8
                // Only that of the good messages is left.
                && value("weir_collector_connections{listener=\"http\"}") == 1
        })
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_beyond_its_limit_is_told_when_to_come_again() {
    let (_stations, process, listening) = collector("records_per_s = 10").await;
    let ids: Vec<_> = (0..400).map(|id| id.to_string()).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let first = post(&http1(), &listening.http, "identity", logs(1, &ids).into_bytes()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let refused = post(&http1(), &listening.http, "identity", logs(2, &["a"]).into_bytes()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((20..=38).contains(&retry_after), "{retry_after} s for 380 records too many at 10 a second");
    assert!(refused.text().await.unwrap().contains("its limit of records a second"));
    let refused = call(&http2(), &listening.grpc, "identity", b"").await;
    assert_eq!(grpc_status(&refused), Some("8"));
    assert!(refused.headers().contains_key("grpc-status-details-bin"), "RetryInfo");
    let by_sender = "weir_collector_sender_refused_total{sender=\"127.0.0.1\"}";
    until_metrics(&listening.admin, |value| value(by_sender) == 2).await.unwrap();
    assert!(process.said().contains("\"sender\":\"127.0.0.1\""));
}
