//! HTTP/2 in plain text, known before: that it is served, and that floods are bounded.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::setting::{PATIENCE, Setting, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GOAWAY: u8 = 7;

/// A client, whose connection runs beside it.
async fn client(setting: &Setting, tasks: &mut JoinSet<Result<(), h2::Error>>) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(setting.connect().await).await.unwrap();
    tasks.spawn(connection);
    client
}

/// Status and body of the answer.
async fn ask(client: &SendRequest<Bytes>, request: http::request::Builder, body: &[u8]) -> (StatusCode, String) {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut send) = client.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
    if !body.is_empty() {
        send.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    let answer = answer.await.unwrap();
    let status = answer.status();
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend(data);
    }
    (status, String::from_utf8(bytes).unwrap())
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://a{path}"))
}

#[tokio::test]
async fn requests_are_served_side_by_side() {
    let setting = Setting::start("").await;
    let mut tasks = JoinSet::new();
    let client = client(&setting, &mut tasks).await;
    let (slow, quick) = (ask(&client, get("/slow"), b""), ask(&client, get("/mock"), b""));
    let (slow, quick) = tokio::join!(slow, async {
        let quick = quick.await;
        assert_eq!(setting.metric("weir_gateway_requests_received_total").await, 2);
        quick
    });
    assert_eq!((slow.1.as_str(), quick.1.as_str()), ("slow", "mocked"));
    let body = b"0123456789".repeat(20_000);
    let (status, answer) = ask(&client, Request::post("http://a/up"), &body).await;
    assert_eq!((status.as_u16(), answer.as_str()), (200, "up"));
    assert_eq!(setting.seen(), [format!("POST /up {}", body.escape_ascii())]);
    assert_eq!(setting.metric("weir_gateway_http2_connections_total").await, 1);
    setting.ended().await;
}

#[tokio::test]
async fn what_is_too_large_or_ambiguous_is_refused_and_other_streams_go_on() {
    let setting = Setting::start("").await;
    let mut tasks = JoinSet::new();
    let client = client(&setting, &mut tasks).await;
    let long = "a".repeat(9_000);
    let cases = [
        (get(&format!("/{long}")), 414, "uri_too_long"),
        (get("/").header("x", &long).header("y", &long[..4_000]), 431, "headers_too_large"),
        (get("/").header("host", "b"), 400, "host"),
    ];
    for (request, status, reason) in cases {
        let answer = ask(&client, request, b"").await;
        assert_eq!(answer.0.as_u16(), status, "{reason}: {answer:?}");
        assert!(answer.1.starts_with("{\"message\":\""), "{answer:?}");
        setting.until(&format!("weir_gateway_requests_refused_total{{reason=\"{reason}\"}}"), 1).await;
    }
    assert_eq!(ask(&client, get("/mock"), b"").await.1, "mocked");
    setting.ended().await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends these bytes again and again, until the gateway ends the connection; the error code of its GOAWAY, if there is
/// one, and how many bytes it took.
async fn flood(setting: &Setting, mut next: impl FnMut() -> Vec<u8>) -> (Option<u32>, usize) {
    let mut stream = setting.connect().await;
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let (mut sent, mut answer) = (0, Vec::new());
    let write = async {
        loop {
            let bytes = next();
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            sent += bytes.len();
        }
    };
    let read = async { while reader.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
    let both = async {
        tokio::join!(write, read);
    };
    timeout(PATIENCE, both).await.expect("it is ended");
    let mut code = None;
    let mut rest = &answer[..];
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == GOAWAY && rest.len() >= 17 {
            code = Some(u32::from_be_bytes(rest[13..17].try_into().unwrap()));
        }
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    (code, sent)
}

/// Gives the bytes that are sent next.
type Next = Box<dyn FnMut() -> Vec<u8>>;

/// A request's headers in HPACK: GET / by http from a.
const HEADERS: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];

#[tokio::test]
async fn floods_end_the_connection_and_memory_is_bounded() {
    let setting = Setting::start("").await;
    let mut stream_id = 1;
    let mut reset = move || {
        let bytes = [frame(1, 5, stream_id, HEADERS), frame(3, 0, stream_id, &8_u32.to_be_bytes())].concat();
        stream_id += 2;
        bytes
    };
    let before = resident_kib();
    let cases: [(&str, Next); 6] = [
        ("settings", Box::new(|| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100))),
        ("pings", Box::new(|| frame(6, 0, 0, &[7; 8]).repeat(100))),
        ("priorities", Box::new(|| frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(100))),
        ("unknown frames", Box::new(|| frame(99, 0, 0, b"x").repeat(100))),
        ("rapid reset", Box::new(move || (0..100).flat_map(|_| reset()).collect())),
        ("continuations", {
            let mut begun = false;
            Box::new(move || {
                if std::mem::replace(&mut begun, true) {
                    frame(9, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(1_000))
                } else {
                    frame(1, 1, 1, HEADERS)
                }
            })
        }),
    ];
    for (what, next) in cases {
        let (code, sent) = flood(&setting, next).await;
        assert!(code.is_some_and(|code| code != 0) || what == "continuations", "{what}: {code:?} after {sent} bytes");
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    setting.until("weir_gateway_requests_refused_total{reason=\"flood\"}", 4).await;
    // Others are served as before.
    let mut stream = setting.connect().await;
    stream.write_all(b"GET /mock HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "mocked").await;
    setting.ended().await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_and_one_that_is_silent_is_closed() {
    let setting = Setting::start("[gateway.limits]\nidle_timeout = \"300ms\"").await;
    let mut tasks = JoinSet::new();
    let client = client(&setting, &mut tasks).await;
    assert_eq!(ask(&client, get("/mock"), b"").await.1, "mocked");
    let mut silent = setting.connect().await;
    silent.write_all(PREFACE).await.unwrap();
    timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut bytes)).await.unwrap().unwrap();
    setting.until("weir_gateway_connections_closed_total{reason=\"idle\"}", 2).await;
    drop(client);
    setting.ended().await;
}

#[tokio::test]
async fn half_a_preface_has_the_time_of_a_head() {
    let setting = Setting::start("[gateway.limits]\nheader_timeout = \"200ms\"").await;
    let mut stream: TcpStream = setting.connect().await;
    stream.write_all(&PREFACE[..10]).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    setting.until("weir_gateway_requests_refused_total{reason=\"head_timeout\"}", 1).await;
    // In pieces it is one all the same.
    let mut stream = setting.connect().await;
    for piece in PREFACE.chunks(5) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    assert_eq!(header[3], 4, "SETTINGS");
    setting.ended().await;
}
