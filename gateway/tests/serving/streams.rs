//! Bodies on their way: large ones, and those that break off.

use super::{
    recorded,
    script::{Act, Scripted},
    setting::{Server, Setting},
};

const LARGE: u64 = 200 << 20;

/// What the gateway may take beyond what it took before, KiB: far less than a body, more than its buffers.
const MOST_MORE_KIB: u64 = 32 << 10;

#[tokio::test]
async fn large_bodies_pass_both_ways_in_constant_memory() {
    let server = Scripted::start(|head| {
        if head.starts_with("POST") {
            Act::Swallow(LARGE, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())
        } else {
            Act::Zeros(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"), LARGE)
        }
    })
    .await;
    let setting = Setting::start(&format!("[gateway]\nbody_limit = \"1GiB\"\n{}", recorded(server.address, ""))).await;
    let before = setting.resident_kib();
    let mut stream = setting.open(&format!("POST /a/x HTTP/1.1\r\nhost: h\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    stream.send_zeros(LARGE / 2).await;
    let halfway_up = setting.resident_kib();
    stream.send_zeros(LARGE / 2).await;
    stream.until("\r\n\r\nok").await;
    stream.send("GET /a/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.until_exactly("\r\n\r\n").await;
    stream.skip(LARGE / 2).await;
    let halfway_down = setting.resident_kib();
    stream.skip(LARGE / 2).await;
    for kib in [halfway_up, halfway_down, setting.resident_kib()] {
        assert!(kib < before + MOST_MORE_KIB, "{kib} KiB, {before} KiB before");
    }
    let records = setting.records(2).await;
    assert_eq!((&records[0]["request_bytes"], &records[0]["response_bytes"]), (&LARGE.into(), &2.into()));
    assert_eq!((&records[1]["response_bytes"], &records[1]["outcome"]), (&LARGE.into(), &"ok".into()));
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_is_told_as_such() {
    let server =
        Scripted::start(|_| Act::Zeros(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"), LARGE)).await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    let mut stream = setting.open("GET /a/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.skip(1_000_000).await;
    drop(stream);
    let record = setting.records(1).await.remove(0);
    assert_eq!((&record["outcome"], &record["status"]), (&"client_closed".into(), &200.into()), "{record}");
    assert!(record["response_bytes"].as_u64().unwrap() < LARGE, "{record}");
}

#[tokio::test]
async fn a_client_that_goes_while_both_bodies_are_under_way_is_not_the_servers_fault() {
    let server = Scripted::start(|_| Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.".into())).await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    for _ in 0..10 {
        let mut stream = setting.open("POST /a/x HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nfive.").await;
        stream.until("five.").await;
        drop(stream);
    }
    for record in setting.records(10).await {
        assert_eq!((&record["outcome"], &record["response_bytes"]), (&"client_closed".into(), &5.into()), "{record}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_its_answer_off_is_told_and_the_client_does_not_take_it_for_whole() {
    let server = Scripted::start(|head| {
        let framing = if head.contains("/chunked ") { "transfer-encoding: chunked" } else { "content-length: 10" };
        Act::AnswerAndClose(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nfive.\r\n"))
    })
    .await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    let chunked = setting.get("/a/chunked").await;
    assert!(chunked.contains("five.") && !chunked.ends_with("0\r\n\r\n"), "{chunked}");
    let record = setting.records(1).await.remove(0);
    assert_eq!((&record["outcome"], &record["status"]), (&"integration_reset".into(), &200.into()), "{record}");
}

#[tokio::test]
async fn a_tunnel_has_one_record_at_its_end_with_what_went_through_it() {
    let server = Server::start().await;
    let setting = Setting::start(&recorded(server.address, "")).await;
    let ask = "GET /a/ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    let mut stream = setting.open(ask).await;
    stream.until("HTTP/1.1 101").await;
    stream.send("\u{1}\u{5}hello").await;
    stream.until("hello").await;
    assert_eq!(setting.file("RECORDS"), "");
    drop(stream);
    let record = setting.records(1).await.remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&101.into(), &"ok".into()), "{record}");
    assert_eq!((&record["request_bytes"], &record["response_bytes"]), (&7.into(), &7.into()), "{record}");
}
