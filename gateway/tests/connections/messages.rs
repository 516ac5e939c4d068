//! Bytes on raw sockets: what has two readings is refused, and nothing after it is interpreted.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::setting::{Setting, rest, until};

/// A request that would be smuggled.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn what_has_two_readings_is_refused_and_nothing_after_it_is_read() {
    let setting = Setting::start("").await;
    let post = |headers: &str, body: &str| format!("POST /x HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}");
    let cases = [
        ("CL and TE", post("content-length: 6\r\ntransfer-encoding: chunked", "0\r\n\r\nX")),
        ("TE and CL", post("transfer-encoding: chunked\r\ncontent-length: 3", "1\r\na\r\n0\r\n\r\n")),
        ("two CLs", post("content-length: 1\r\ncontent-length: 2", "ab")),
        ("the same CL twice", post("content-length: 1\r\ncontent-length: 1", "a")),
        ("a list of CLs", post("content-length: 1, 1", "a")),
        ("CL with a sign", post("content-length: +1", "a")),
        ("CL with a space", post("content-length: 1 1", "a")),
        ("a huge CL", post("content-length: 18446744073709551616", "a")),
        ("chunked, identity", post("transfer-encoding: chunked, identity", "0\r\n\r\n")),
        ("xchunked", post("transfer-encoding: xchunked", "0\r\n\r\n")),
        ("chunked twice", post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n")),
        ("identity", post("transfer-encoding: identity", "a")),
        ("TE in HTTP/1.0", "POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("a space before the colon", post("content-length : 1", "a")),
        ("obs-fold", post("x: 1\r\n folded", "")),
        ("a bare LF", post("x: 1\ny: 2", "")),
        ("bare LFs alone", "GET /x HTTP/1.1\nhost: a\n\n".to_owned()),
        ("a bare CR", post("x: 1\ry: 2", "")),
        ("NUL", post("x: a\0b", "")),
        ("a space before the request", " GET /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("an invalid method", "G@T /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("an invalid target", "GET x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a space in the target", "GET /x y HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("an unknown version", "GET /x HTTP/3.0\r\nhost: a\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /x\r\n\r\n".to_owned()),
        ("another Host than the target's", "GET http://b/x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("two Hosts", post("host: b", "")),
        ("no Host", "GET /x HTTP/1.1\r\n\r\n".to_owned()),
        ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned()),
        ("a name that servers take for another", post("content_length: 5", "")),
        ("half a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned()),
    ];
    for (what, bytes) in &cases {
        let answer = setting.send(format!("{bytes}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{what}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{what}: {answer}");
        assert!(answer.ends_with("\r\n\r\n{\"message\":\"Bad Request\"}"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    }
    assert_eq!(setting.seen(), Vec::<String>::new());
    setting.until("weir_gateway_requests_refused_total{reason=\"framing\"}", 13).await;
    setting.ended().await;
}

#[tokio::test]
async fn a_body_that_breaks_the_rules_breaks_off_and_nothing_after_it_is_read() {
    let setting = Setting::start("").await;
    let bodies = [
        ("extension", "1;a=b\r\na\r\n0\r\n\r\n"),
        ("space after the size", "1 \r\na\r\n0\r\n\r\n"),
        ("overflow", "10000000000000001\r\na\r\n0\r\n\r\n"),
        ("sign", "+1\r\na\r\n0\r\n\r\n"),
        ("prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("zeros", "000000000000000001\r\na\r\n0\r\n\r\n"),
        ("bare LF", "1\na\r\n0\r\n\r\n"),
        ("longer than it says", "1\r\nab\r\n0\r\n\r\n"),
        ("terminator", "1\r\naXX0\r\n\r\n"),
        ("end", "0\r\n\rX"),
        ("folded trailer", "0\r\na: 1\r\n b\r\n\r\n"),
    ];
    for (what, body) in bodies {
        let head = "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = setting.send(format!("{head}{body}{SMUGGLED}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 2"), "{what}: {answer}");
    }
    assert_eq!(setting.seen(), Vec::<String>::new());
    setting.until("weir_gateway_requests_refused_total{reason=\"chunk\"}", bodies.len() as u64).await;
    setting.ended().await;
}

#[tokio::test]
async fn what_is_sound_is_served_however_it_comes() {
    let setting = Setting::start("").await;
    let requests = [
        ("GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a "),
        ("\r\nGET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a?b=c "),
        ("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", "POST /b abc"),
        ("GET /c HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", "GET /c abc"),
        (
            "POST /d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0002\r\nbc\r\n0\r\n\r\n",
            "POST /d abc",
        ),
        ("GET http://a/e HTTP/1.1\r\nhost: a\r\n\r\n", "GET /e "),
        (
            "GET /f HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: x\r\n\r\n",
            "GET /f ",
        ),
        ("GET /g HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "GET /g "),
    ];
    let all: String = requests.iter().map(|(request, _)| *request).collect();
    let expected: Vec<_> = requests.iter().map(|(_, seen)| (*seen).to_owned()).collect();
    for piece in [1, 7, 60, 10_000] {
        let mut stream = setting.connect().await;
        let (mut reader, mut writer) = stream.split();
        let write = async {
            for piece in all.as_bytes().chunks(piece) {
                writer.write_all(piece).await.unwrap();
                if piece.len() < 10 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            writer.write_all(b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        };
        let read = async {
            let mut bytes = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes).await.unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let ((), answers) = tokio::join!(write, read);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), requests.len() + 1, "{piece}: {answers}");
        let seen = setting.seen();
        assert_eq!(seen[..requests.len()], expected, "{piece}");
    }
    setting.ended().await;
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_what_was_sent_before() {
    let setting = Setting::start("").await;
    let good = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\nPOST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    let answers = setting.send(format!("{good}GET / HTTP/1.1\r\nhost : a\r\n\r\n{SMUGGLED}").as_bytes()).await;
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answers}");
    assert_eq!(setting.seen(), ["POST /b x"]);
    setting.ended().await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_and_one_that_is_refused_does_not() {
    let setting = Setting::start("body_limit = \"2B\"").await;
    let head = |length: u32| {
        format!("POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut stream = setting.connect().await;
    stream.write_all(head(2).as_bytes()).await.unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ab").await.unwrap();
    assert!(until(&mut stream, "up").await.starts_with("HTTP/1.1 200 OK"));
    stream.write_all(head(3).as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413"));
    assert_eq!(setting.seen(), ["POST /x ab"]);
    setting.ended().await;
}

#[tokio::test]
async fn http_1_0_is_served_and_closed_unless_it_asks_otherwise() {
    let setting = Setting::start("").await;
    assert!(setting.send(b"GET /mock HTTP/1.0\r\n\r\n").await.ends_with("mocked"));
    let kept = setting.send(b"GET /mock HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /mock HTTP/1.0\r\n\r\n").await;
    assert_eq!(kept.matches("mocked").count(), 2);
    setting.ended().await;
}
