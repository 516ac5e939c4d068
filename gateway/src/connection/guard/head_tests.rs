//! Heads with one reading, and heads with two.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 10_240, url_bytes: 8_192, headers: 100 };

fn refusal(head: &str) -> Option<Reason> {
    match check(head.as_bytes(), &LIMITS) {
        Ok(_) => None,
        Err(NoHead::Refused(reason)) => Some(reason),
        Err(NoHead::Partial) => panic!("{head:?} is not whole"),
    }
}

#[test]
fn a_sound_head_says_where_its_body_ends() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
        ("GET /a%2fb?c={d}&e=[f] HTTP/1.1\r\nhost:a:80\r\n\r\n", Framing::Length(0)),
        ("POST / HTTP/1.1\r\nHost: [::1]:80\r\ncontent-length: 17\r\n\r\n", Framing::Length(17)),
        ("POST / HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH:\t0 \t\r\n\r\n", Framing::Length(0)),
        ("GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\n", Framing::Length(3)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ("GET http://a/b HTTP/1.1\r\nHost: A\r\n\r\n", Framing::Length(0)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
        ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
        ("GET / HTTP/1.1\r\nHost: a\r\nx_y: caf\u{e9}\r\nempty:\r\n\r\n", Framing::Length(0)),
    ];
    for (head, framing) in cases {
        let len = head.len();
        let expected = Head { len, framing, is_upgrade: false };
        assert_eq!(check(format!("{head}GET").as_bytes(), &LIMITS), Ok(expected), "{head:?}");
        for part in 0..len {
            assert_eq!(check(&head.as_bytes()[..part], &LIMITS), Err(NoHead::Partial), "{head:?} {part}");
        }
    }
    let websocket = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n";
    assert!(check(websocket.as_bytes(), &LIMITS).unwrap().is_upgrade);
    assert!(!check(websocket.replace("WebSocket", "h2c").as_bytes(), &LIMITS).unwrap().is_upgrade);
}

#[test]
fn a_request_line_has_one_reading() {
    let cases = [
        (" GET / HTTP/1.1", Reason::RequestLine),
        ("\r\n\r\nGET / HTTP/1.1", Reason::RequestLine),
        ("\nGET / HTTP/1.1", Reason::RequestLine),
        ("G(T / HTTP/1.1", Reason::RequestLine),
        ("GET  / HTTP/1.1", Reason::RequestLine),
        ("GET\t/ HTTP/1.1", Reason::RequestLine),
        ("GET /a b HTTP/1.1", Reason::Version),
        ("GET / HTTP/1.1 ", Reason::Version),
        ("GET /a#b HTTP/1.1", Reason::RequestLine),
        ("GET /\u{e9} HTTP/1.1", Reason::RequestLine),
        ("GET /\0 HTTP/1.1", Reason::RequestLine),
        ("GET /a\\b HTTP/1.1", Reason::RequestLine),
        ("GET a HTTP/1.1", Reason::RequestLine),
        ("GET * HTTP/1.1", Reason::RequestLine),
        ("GET ftp://a/ HTTP/1.1", Reason::RequestLine),
        ("GET http:///b HTTP/1.1", Reason::RequestLine),
        ("GET /", Reason::RequestLine),
        ("GET / HTTP/1.2", Reason::Version),
        ("GET / HTTP/2.0", Reason::Version),
        ("GET / http/1.1", Reason::Version),
        ("GET / HTTP/1.1\n", Reason::LineEnding),
        ("GET / HTTP/1.1\rX", Reason::LineEnding),
        ("CONNECT a:443 HTTP/1.1", Reason::Connect),
        ("GETGETGETGETGETGETGETGETGETGETGETG / HTTP/1.1", Reason::RequestLine),
    ];
    for (line, reason) in cases {
        assert_eq!(refusal(&format!("{line}\r\nhost: a\r\n\r\n")), Some(reason), "{line:?}");
    }
}

#[test]
fn what_is_ambiguous_or_malformed_in_a_header_is_refused() {
    let cases = [
        ("content-length: 1\r\ntransfer-encoding: chunked", Reason::Framing),
        ("transfer-encoding: chunked\r\ncontent-length: 1", Reason::Framing),
        ("content-length: 1\r\ncontent-length: 2", Reason::Framing),
        ("content-length: 1\r\nContent-Length: 1", Reason::Framing),
        ("content-length: 1, 1", Reason::Framing),
        ("content-length: +1", Reason::Framing),
        ("content-length: -1", Reason::Framing),
        ("content-length: 1 1", Reason::Framing),
        ("content-length: 0x1", Reason::Framing),
        ("content-length: 01", Reason::Framing),
        ("content-length:", Reason::Framing),
        ("content-length: 1000000000000000000", Reason::Framing),
        ("content-length: 18446744073709551617", Reason::Framing),
        ("transfer-encoding: chunked, identity", Reason::Framing),
        ("transfer-encoding: identity, chunked", Reason::Framing),
        ("transfer-encoding: gzip, chunked", Reason::Framing),
        ("transfer-encoding: xchunked", Reason::Framing),
        ("transfer-encoding: \x0bchunked", Reason::Header),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Reason::Framing),
        ("transfer-encoding: identity", Reason::Framing),
        ("transfer-encoding:", Reason::Framing),
        ("content_length: 1", Reason::AmbiguousName),
        ("transfer_encoding: chunked", Reason::AmbiguousName),
        ("X_Forwarded_For: 10.0.0.1", Reason::AmbiguousName),
        ("x-forwarded_for: 10.0.0.1", Reason::AmbiguousName),
        ("content-length : 1", Reason::Header),
        ("x y: 1", Reason::Header),
        (": 1", Reason::Header),
        ("x", Reason::LineEnding),
        ("x(: 1", Reason::Header),
        ("x: 1\r\n folded", Reason::ObsFold),
        ("x: 1\r\n\tfolded", Reason::ObsFold),
        ("x: 1\ny: 2", Reason::LineEnding),
        ("x: 1\ry: 2", Reason::LineEnding),
        ("x: 1\r\r\ny: 2", Reason::LineEnding),
        ("x: 1\n", Reason::LineEnding),
        ("x: a\0b", Reason::Header),
        ("x: a\x7fb", Reason::Header),
        ("host: a", Reason::Host),
        ("HOST: b", Reason::Host),
    ];
    for (header, reason) in cases {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{header}\r\n\r\n");
        assert_eq!(refusal(&head), Some(reason), "{header:?}");
    }
    assert_eq!(refusal("GET / HTTP/1.1\r\n x: 1\r\nhost: a\r\n\r\n"), Some(Reason::Header));
}

#[test]
fn there_is_one_host_and_nothing_contradicts_it() {
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Some(Reason::Host)),
        ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", Some(Reason::Host)),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", Some(Reason::Host)),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: a\r\n\r\n", Some(Reason::Host)),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Some(Reason::Framing)),
    ];
    for (head, reason) in cases {
        assert_eq!(refusal(head), reason, "{head:?}");
    }
}

#[test]
fn what_is_too_large_is_told_as_soon_as_it_is_known() {
    let check = |head: &str| check(head.as_bytes(), &LIMITS).unwrap_err();
    let target = "a".repeat(8_191);
    assert_eq!(check(&format!("GET /{target}")), NoHead::Partial);
    assert_eq!(check(&format!("GET /{target}b")), NoHead::Refused(Reason::UriTooLong));
    assert_eq!(check(&format!("GET /{target}b HTTP/1.1\r\n")), NoHead::Refused(Reason::UriTooLong));
    let many = format!("GET / HTTP/1.1\r\n{}", "x: 1\r\n".repeat(100));
    assert_eq!(check(&many), NoHead::Partial);
    assert_eq!(check(&format!("{many}host: a\r\n")), NoHead::Refused(Reason::TooManyHeaders));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "b".repeat(10_210));
    assert_eq!(check(&large), NoHead::Partial);
    assert_eq!(check(&format!("{large}\r\n\r\n")), NoHead::Refused(Reason::HeadersTooLarge));
    assert_eq!(check(&format!("{large}bbbb")), NoHead::Refused(Reason::HeadersTooLarge));
    assert_eq!(check(&"G".repeat(32)), NoHead::Partial);
    assert_eq!(check(&"G".repeat(33)), NoHead::Refused(Reason::RequestLine));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_is_cut_off_is_never_taken(
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..80),
    ) {
        let head = [b"GET / HTTP/1.1\r\nhost: a\r\n".as_slice(), &bytes].concat();
        if let Ok(Head { len, .. }) = check(&head, &LIMITS) {
            prop_assert!(head[..len].ends_with(b"\r\n\r\n"));
            for part in 0..len {
                prop_assert_eq!(check(&head[..part], &LIMITS), Err(NoHead::Partial));
            }
        }
    }

    #[test]
    fn whatever_is_taken_hyper_takes_too(
        target in "/[!$-;=?-_a-}~]{0,30}",
        name in "[!#$%&'*+.^`|~0-9A-Za-z-]{1,20}",
        value in "[ -~\\t]{0,30}",
    ) {
        let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{name}: {value}\r\n\r\n");
        if check(head.as_bytes(), &LIMITS).is_ok() {
            prop_assert!(target.parse::<http::Uri>().is_ok(), "{}", target);
            prop_assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok());
            prop_assert!(http::HeaderValue::from_bytes(value.trim().as_bytes()).is_ok());
        }
    }
}
