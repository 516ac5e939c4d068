//! How much a client may send, how slowly, on how many connections.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::setting::{PATIENCE, Setting, rest, until};

const REQUEST: &[u8] = b"GET /mock HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn what_is_too_large_is_told_and_counted() {
    let setting = Setting::start("").await;
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(8_192));
    let answer = setting.send(target.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{answer}");
    assert!(answer.ends_with("{\"message\":\"Request URI Too Long\"}"), "{answer}");
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(10_300));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(100));
    for head in [large, many, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(500_000))] {
        let answer = setting.send(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        assert!(answer.ends_with("{\"message\":\"Request Header Fields Too Large\"}"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    for (reason, count) in [("uri_too_long", 1), ("headers_too_large", 2), ("too_many_headers", 1)] {
        setting.until(&format!("weir_gateway_requests_refused_total{{reason=\"{reason}\"}}"), count).await;
    }
    setting.ended().await;
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_refused_however_it_trickles() {
    let setting = Setting::start("[gateway.limits]\nheader_timeout = \"200ms\"").await;
    let mut stream = setting.connect().await;
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    };
    let ((), answer) = tokio::join!(trickle, read);
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.ends_with("{\"message\":\"Request Timeout\"}"), "{answer}");
    setting.until("weir_gateway_requests_refused_total{reason=\"head_timeout\"}", 1).await;
    setting.ended().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_broken_off() {
    let setting = Setting::start("[gateway.limits]\nbody_timeout = \"200ms\"").await;
    let mut stream = setting.connect().await;
    stream.write_all(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        for _ in 0..1_000 {
            if writer.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody minds");
    };
    let read = async {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    };
    tokio::select! {
        answer = read => assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}"),
        () = trickle => {}
    }
    setting.until("weir_gateway_requests_refused_total{reason=\"body_timeout\"}", 1).await;
    assert_eq!(setting.seen(), Vec::<String>::new());
    setting.ended().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_rested_or_not() {
    let setting = Setting::start("[gateway.limits]\nidle_timeout = \"2s\"\nheader_timeout = \"100ms\"").await;
    let mut silent = setting.connect().await;
    let mut used = setting.connect().await;
    for _ in 0..4 {
        // Longer than it takes to rest, so that it is woken each time.
        tokio::time::sleep(Duration::from_millis(150)).await;
        used.write_all(REQUEST).await.unwrap();
        assert!(until(&mut used, "mocked").await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut used).await, "");
    setting.until("weir_gateway_connections_closed_total{reason=\"idle\"}", 2).await;
    setting.ended().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let setting = Setting::start("[gateway.limits]\nwrite_timeout = \"300ms\"\nrequests_per_connection = 0").await;
    let mut stream = setting.connect().await;
    // Far more answers than the sockets' buffers hold.
    let requests = REQUEST.repeat(1_000);
    let write = async { while stream.write_all(&requests).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, write).await.expect("it is cut off");
    setting.until("weir_gateway_connections_closed_total{reason=\"write\"}", 1).await;
    setting.ended().await;
}

#[tokio::test]
async fn at_the_bound_an_idle_connection_gives_way_and_a_busy_one_does_not() {
    let setting = Setting::start("[gateway.limits]\nconnections = 3").await;
    let mut busy = setting.connect().await;
    busy.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut proven = setting.connect().await;
    proven.write_all(REQUEST).await.unwrap();
    until(&mut proven, "mocked").await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(setting.connect().await);
    }
    let mut last = setting.connect().await;
    last.write_all(REQUEST).await.unwrap();
    until(&mut last, "mocked").await;
    for stream in &mut idle {
        assert_eq!(rest(stream).await, "");
    }
    setting.until("weir_gateway_connections_closed_total{reason=\"displaced\"}", 20).await;
    proven.write_all(REQUEST).await.unwrap();
    until(&mut proven, "mocked").await;
    let mut others = Vec::new();
    for stream in [&mut proven, &mut last] {
        stream.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    }
    setting.until("weir_gateway_requests_received_total", 6).await;
    others.push(setting.connect().await);
    assert_eq!(rest(&mut others[0]).await, "");
    setting.until("weir_gateway_connections_closed_total{reason=\"full\"}", 1).await;
    drop((busy, proven, last));
    setting.ended().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_connection_so_many_requests() {
    let limits = "[gateway.limits]\nconnections_per_address = 2\nrequests_per_connection = 2";
    let setting = Setting::start(limits).await;
    let (mut first, _second) = (setting.connect().await, setting.connect().await);
    first.write_all(REQUEST).await.unwrap();
    until(&mut first, "mocked").await;
    let mut third = setting.connect().await;
    assert_eq!(rest(&mut third).await, "");
    setting.until("weir_gateway_connections_closed_total{reason=\"address\"}", 1).await;
    first.write_all(REQUEST).await.unwrap();
    let answer = rest(&mut first).await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("mocked"), "{answer}");
    setting.until("weir_gateway_connections_closed_total{reason=\"requests\"}", 1).await;
    setting.until("weir_gateway_connections ", 1).await;
    let mut fourth = setting.connect().await;
    fourth.write_all(REQUEST).await.unwrap();
    until(&mut fourth, "mocked").await;
    setting.ended().await;
}

#[tokio::test]
async fn bodies_pass_through_that_are_larger_than_any_buffer() {
    let setting = Setting::start("").await;
    let body = "0123456789abcdef".repeat(1 << 16);
    let mut stream = setting.connect().await;
    let head = format!("POST /big HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    until(&mut stream, "up").await;
    stream.write_all(b"POST /big HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for chunk in body.as_bytes().chunks(10_007) {
        let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut stream, "up").await;
    let expected = format!("POST /big {body}");
    assert!(setting.seen().iter().all(|seen| *seen == expected));
    setting.ended().await;
}
