use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Status, headers and body of a response.
type Told = (u16, Vec<(String, String)>, String);

/// A response; or what is wrong.
fn told(payload: &Value, shape: Shape) -> Result<Told, String> {
    let response = read(payload.to_string().as_bytes(), shape, false).map_err(|fault| fault.to_string())?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((response.status().as_u16(), headers, String::from_utf8(response.body().to_vec()).unwrap()))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const JSON_TYPE: (&str, &str) = ("content-type", "application/json");
const TEXT_TYPE: (&str, &str) = ("content-type", "text/plain;charset=UTF-8");

#[test]
fn a_rest_api_takes_these_answers() {
    for (answer, status, headers, body) in [
        (json!({}), 200, pairs(&[JSON_TYPE]), ""),
        (json!({"statusCode": 201, "body": "made"}), 201, pairs(&[JSON_TYPE]), "made"),
        (
            json!({"statusCode": "404", "headers": null, "multiValueHeaders": null, "body": null}),
            404,
            pairs(&[JSON_TYPE]),
            "",
        ),
        (json!({"statusCode": null}), 200, pairs(&[JSON_TYPE]), ""),
        (
            json!({"headers": {"Content-Type": "text/html", "X-Yes": true, "X-No": false, "X-Many": 7}}),
            200,
            pairs(&[("content-type", "text/html"), ("x-many", "7"), ("x-no", "false"), ("x-yes", "true")]),
            "",
        ),
        (
            json!({"headers": {"a": "single", "b": "only"}, "multiValueHeaders": {"A": ["1", "2"], "c": []}}),
            200,
            pairs(&[("a", "1"), ("a", "2"), ("a", "single"), ("b", "only"), JSON_TYPE]),
            "",
        ),
        (json!({"headers": {"Content-Length": "99"}, "body": "x"}), 200, pairs(&[JSON_TYPE]), "x"),
        (json!({"body": "aGVsbG8=", "isBase64Encoded": true}), 200, pairs(&[JSON_TYPE]), "aGVsbG8="),
    ] {
        assert_eq!(told(&answer, Shape::Rest), Ok((status, headers, body.to_owned())), "{answer}");
    }
}

#[test]
fn a_rest_api_takes_no_other_answers() {
    for (answer, why) in [
        (json!("text"), "is no object"),
        (json!(null), "is no object"),
        (json!([1]), "is no object"),
        (json!({"statusCode": 200, "cookies": []}), "has \"cookies\""),
        (json!({"message": "hello"}), "has \"message\""),
        (json!({"statusCode": "ok"}), "statusCode"),
        (json!({"statusCode": 99}), "statusCode"),
        (json!({"statusCode": 101}), "statusCode"),
        (json!({"statusCode": 200.5}), "statusCode"),
        (json!({"headers": ["a"]}), "headers that are no object"),
        (json!({"headers": {"a": ["b"]}}), "that no header may have"),
        (json!({"headers": {"a": "b\r\nc: d"}}), "that no header may have"),
        (json!({"headers": {"a b": "c"}}), "no name of one"),
        (json!({"multiValueHeaders": {"a": "b"}}), "no list"),
        (json!({"body": {"a": 1}}), "body that is no text"),
        (json!({"isBase64Encoded": "yes"}), "isBase64Encoded"),
        (json!({"errorMessage": "boom", "errorType": "Error", "stackTrace": []}), "is an error: boom"),
    ] {
        let fault = told(&answer, Shape::Rest).unwrap_err();
        assert!(fault.contains(why), "{answer}: {fault}");
    }
    for payload in ["", "Task timed out after 3.00 seconds", "{"] {
        for shape in [Shape::Rest, Shape::Http1, Shape::Http2] {
            assert!(read(payload.as_bytes(), shape, false).unwrap_err().to_string().contains("is no JSON"));
        }
    }
}

#[test]
fn a_base64_body_is_decoded_where_the_client_takes_bytes() {
    let answer = json!({"statusCode": 200, "body": "/wD+", "isBase64Encoded": true}).to_string();
    for (shape, decodes, body) in [
        (Shape::Rest, false, &b"/wD+"[..]),
        (Shape::Rest, true, b"\xff\x00\xfe"),
        (Shape::Http1, false, b"\xff\x00\xfe"),
        (Shape::Http2, false, b"\xff\x00\xfe"),
    ] {
        assert_eq!(&read(answer.as_bytes(), shape, decodes).unwrap().body()[..], body);
    }
    let answer = json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}).to_string();
    assert!(read(answer.as_bytes(), Shape::Http2, false).is_err());
}

#[test]
fn an_http_api_with_responses_2_0_infers_what_is_not_said() {
    for (answer, status, headers, body) in [
        (json!({"message": "hello"}), 200, pairs(&[JSON_TYPE]), r#"{"message":"hello"}"#),
        (json!("hello"), 200, pairs(&[JSON_TYPE]), "hello"),
        (json!([1, 2]), 200, pairs(&[JSON_TYPE]), "[1,2]"),
        (json!(null), 200, pairs(&[JSON_TYPE]), "null"),
        (json!({"statusCode": 204}), 204, pairs(&[TEXT_TYPE]), ""),
        (
            json!({"statusCode": 200, "cookies": ["a=1; Secure", "b=2"], "headers": {"x": "y"}, "more": 1, "body": "t"}),
            200,
            pairs(&[TEXT_TYPE, ("set-cookie", "a=1; Secure"), ("set-cookie", "b=2"), ("x", "y")]),
            "t",
        ),
        (
            json!({"errorMessage": "no error", "more": 1}),
            200,
            pairs(&[JSON_TYPE]),
            r#"{"errorMessage":"no error","more":1}"#,
        ),
    ] {
        assert_eq!(told(&answer, Shape::Http2), Ok((status, headers, body.to_owned())), "{answer}");
    }
    for answer in [
        json!({"statusCode": "x"}),
        json!({"statusCode": 200, "cookies": "a"}),
        json!({"statusCode": 200, "cookies": [{}]}),
        json!({"errorMessage": "boom", "errorType": "Error"}),
    ] {
        assert!(told(&answer, Shape::Http2).is_err(), "{answer}");
    }
}

#[test]
fn an_http_api_with_responses_1_0_wants_a_status() {
    assert_eq!(
        told(&json!({"statusCode": 200, "more": 1}), Shape::Http1),
        Ok((200, pairs(&[JSON_TYPE]), String::new()))
    );
    assert!(told(&json!({"message": "x"}), Shape::Http1).unwrap_err().contains("no statusCode"));
}

/// Any JSON, more often than not near a response.
fn answers() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (100_u64..700).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
            Just("cookies".to_owned()),
            Just("errorMessage".to_owned()),
            ".{0,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_answer_is_a_response_with_a_final_status_or_a_fault(answer in answers(), decodes: bool) {
        for shape in [Shape::Rest, Shape::Http1, Shape::Http2] {
            if let Ok(response) = read(answer.to_string().as_bytes(), shape, decodes) {
                prop_assert!((200..600).contains(&response.status().as_u16()));
                prop_assert!(response.headers().contains_key(header::CONTENT_TYPE));
            }
        }
    }

    #[test]
    fn no_bytes_bring_about_a_panic(payload: Vec<u8>) {
        for shape in [Shape::Rest, Shape::Http1, Shape::Http2] {
            let _ = read(&payload, shape, false);
        }
    }
}
