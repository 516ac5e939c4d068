//! Signatures that others have made: `vectors.jsonl` has requests of the shapes of AWS's test suite as botocore signs
//! them (`gateway/tests/signers/make_vectors.py`).

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Request};
use serde::Deserialize;

use super::*;
use crate::sigv4::canonical;

/// Signatures of AWS's own suite (<https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html>).
const PUBLISHED: [(&str, &str); 3] = [
    ("get-vanilla", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-vanilla-query-order-key-case", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("post-vanilla", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
];

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn vectors() -> Vec<(String, Parts, String)> {
    let lines = include_str!("../vectors.jsonl").lines();
    let vectors = lines.map(|line| {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let mut request = Request::builder().method(vector.method.as_str()).uri(vector.target).body(()).unwrap();
        for (name, value) in &vector.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        (vector.name, request.into_parts().0, vector.body)
    });
    vectors.collect()
}

#[test]
fn what_botocore_signs_holds() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 90);
    for (name, request, body) in vectors {
        let section = if name.ends_with("-with-session-token") { "user/temporary" } else { "user/example" };
        let signer = check(&request, body.as_bytes()).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert!(signer.user_arn().ends_with(section), "{name}");
    }
}

#[test]
fn a_signed_query_with_anything_changed_does_not_hold() {
    for (name, request, _) in vectors().into_iter().filter(|(name, ..)| name.contains("-presigned")) {
        let target = request.uri.to_string();
        let changes = [
            target.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
            target.replace("20150830T123600Z", "20150830T123601Z"),
            target.replace("-SignedHeaders=", "-SignedHeaders=x%3B"),
            target.replace("=AKID", "=BKID"),
            target.replace("X-Amz-Security-Token=6", "X-Amz-Security-Token=7"),
            target.replacen("/?", "/x?", 1),
            format!("{target}&a=b"),
            format!("{target}0"),
        ];
        for changed in changes.iter().filter(|changed| **changed != target) {
            let mut request = request.clone();
            request.uri = changed.parse().unwrap();
            assert!(check(&request, b"").is_err(), "{name}: {changed}");
        }
        assert!(check(&request, b"another").is_err() || name.contains("unsigned"), "{name}");
    }
}

#[test]
fn a_declared_body_is_held_to_it_and_the_signature_proven_before() {
    let begun = |name: &str| {
        let (_, request, body) = vectors().into_iter().find(|(own, ..)| own == name).unwrap();
        let message = Message::of(&request.method, &request.uri, &request.headers);
        (begin(&message, &EXPECTED, &identities(), moment_of_examples()).unwrap(), body)
    };
    for body in ["whatever", "whatever else"] {
        let (Claim::NeedsBody(pending), declared) = begun("put-declared-payload") else { panic!("no body is needed") };
        assert!(pending.is_proven());
        assert_eq!(pending.finish(&sha256(body.as_bytes())).is_ok(), body == declared);
    }
    assert!(matches!(begun("post-json"), (Claim::NeedsBody(pending), _) if !pending.is_proven()));
    assert!(matches!(begun("put-unsigned-payload"), (Claim::Holds(_), _)));
}

#[test]
fn signatures_are_those_of_aws() {
    let vectors: HashMap<_, _> = vectors().into_iter().map(|(name, request, _)| (name, request)).collect();
    for (name, signature) in PUBLISHED {
        let theirs = vectors[name].headers["authorization"].to_str().unwrap();
        assert!(theirs.ends_with(signature), "{name}");
        let text = format!("{} {}\nhost:example.amazonaws.com", vectors[name].method, vectors[name].uri);
        assert_eq!(signed(&text, b"", "example").headers["authorization"], theirs, "{name}");
    }
}

#[test]
fn paths_are_normalised_and_escaped_once_more() {
    for (path, expected) in [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a//b//", "/a/b/"),
        ("/./a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/b/../..", "/"),
        ("/a/b/..", "/a"),
        ("/a/..b/...", "/a/..b/..."),
        ("/a%20b", "/a%2520b"),
        ("/%2e%2e/a", "/%252e%252e/a"),
        ("/ሴ", "/%E1%88%B4"),
        ("/a:b~c", "/a%3Ab~c"),
        ("*", "/%2A"),
    ] {
        let mut canonical = Vec::new();
        canonical::path(&mut canonical, path);
        assert_eq!(String::from_utf8(canonical).unwrap(), expected, "{path}");
    }
}

#[test]
fn queries_are_sorted_and_spelled_in_one_way() {
    for (query, expected) in [
        ("", ""),
        ("&&", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=10&a", "a=&a=10&a=2"),
        ("ab=1&a=2&a-b=3&A=4", "A=4&a=2&a-b=3&ab=1"),
        ("a=b=c", "a=b%3Dc"),
        ("a=%7e%41&b=%e1%88%b4", "a=~A&b=%E1%88%B4"),
        ("a=x+y&b=x%20y&c=x%2By", "a=x%20y&b=x%20y&c=x%2By"),
        ("a=100%&b=%zz&c=%2", "a=100%25&b=%25zz&c=%252"),
        ("a=1&X-Amz-Signature=f&b=2", "a=1&b=2"),
        ("%ff=%00", "%FF=%00"),
    ] {
        let mut canonical = Vec::new();
        canonical::Query::parse(query).write(&mut canonical);
        assert_eq!(String::from_utf8(canonical).unwrap(), expected, "{query}");
    }
}
