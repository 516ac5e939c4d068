//! The walk reads what `prost` reads, and rejects what is broken alone.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    AccessRecord,
    otlp::{ATTRIBUTE_BYTES, ATTRIBUTES_BYTES, MOST_ATTRIBUTES},
};

/// A field of bytes or of a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A message of one resource and one scope with these records.
fn message(logs: &[Vec<u8>]) -> Vec<u8> {
    let scope: Vec<u8> = logs.iter().flat_map(|log| field(2, log)).collect();
    field(1, &field(2, &scope))
}

fn read(bytes: &[u8]) -> Vec<Result<AccessRecord, Rejection>> {
    let (mut read, mut budget) = (Vec::new(), MESSAGE_ROWS_BYTES);
    for view in view_logs(bytes).unwrap() {
        view.for_each(&mut budget, |record| read.push(record.map(|view| AccessRecord::from(&*view))));
    }
    read
}

fn attribute(key: &str, value: any_value::Value) -> Vec<u8> {
    let value = Some(AnyValue { value: Some(value) });
    field(6, &KeyValue { key: key.to_owned(), value, ..Default::default() }.encode_to_vec())
}

fn text(key: &str, text: &str) -> Vec<u8> {
    attribute(key, any_value::Value::StringValue(text.to_owned()))
}

/// Fields that no message of OTLP has, groups among them.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let fields: [&[u8]; 4] =
        [b"\xa0\x06\x05", b"\xa5\x06\x01\x02\x03\x04", b"\xa2\x06\x02hi", b"\xa3\x06\x08\x01\x13\x0a\x01a\x14\xa4\x06"];
    prop::sample::select(fields.map(<[u8]>::to_vec).to_vec())
}

fn value() -> impl Strategy<Value = any_value::Value> {
    use any_value::Value as Wire;
    let leaf = prop_oneof![
        "[a-z0-9é]{0,6}".prop_map(Wire::StringValue),
        prop::sample::select(vec!["200", "ok", "throttled", "true", "hit"])
            .prop_map(|text| Wire::StringValue(text.into())),
        any::<i64>().prop_map(Wire::IntValue),
        (0..1_000i64).prop_map(Wire::IntValue),
        any::<bool>().prop_map(Wire::BoolValue),
        prop::sample::select(vec![0.5, f64::NAN, f64::INFINITY, -0.0]).prop_map(Wire::DoubleValue),
        vec(any::<u8>(), 0..4).prop_map(Wire::BytesValue),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let any = |value| AnyValue { value: Some(value) };
        let pair = move |(key, value)| KeyValue { key, value: Some(any(value)), ..Default::default() };
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(move |values| {
                Wire::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })
            }),
            vec(("[a-c]", inner), 0..3).prop_map(move |pairs| {
                Wire::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            }),
        ]
    })
}

/// A `KeyValue` in pieces, which protobuf merges.
fn pair() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        keys::HTTP_STATUS,
        keys::OUTCOME,
        keys::LATENCY,
        keys::CANARY,
        keys::CACHE,
        keys::API,
        keys::URL_PATH,
        keys::PROTOCOL_VERSION,
        keys::THROTTLE_SCOPE,
        keys::LOG_BODY,
        "x.a",
        "x.b",
    ];
    let key = prop::sample::select(known.to_vec()).prop_map(|key| field(1, key.as_bytes()));
    let value = vec(
        prop_oneof![4 => value().prop_map(|value| AnyValue { value: Some(value) }.encode_to_vec()), 1 => unknown()],
        0..3,
    )
    .prop_map(|pieces| field(2, &pieces.concat()));
    vec(prop_oneof![3 => key, 3 => value, 1 => unknown()], 0..5).prop_map(|pieces| field(6, &pieces.concat()))
}

/// A `LogRecord` in pieces, which protobuf merges.
fn log() -> impl Strategy<Value = Vec<u8>> {
    let head =
        (any::<(u32, u32)>(), vec(any::<u8>(), 0..20), vec(any::<u8>(), 8), "[a-z]{0,4}", prop::option::of(value()));
    let head = head.prop_map(|((time, observed), trace_id, span_id, name, body)| {
        LogRecord {
            time_unix_nano: time.into(),
            observed_time_unix_nano: observed.into(),
            trace_id,
            span_id,
            severity_text: name.clone(),
            severity_number: 9,
            event_name: if name.is_empty() { keys::EVENT_REQUEST.to_owned() } else { name },
            flags: 1,
            dropped_attributes_count: 2,
            body: body.map(|value| AnyValue { value: Some(value) }),
            ..Default::default()
        }
        .encode_to_vec()
    });
    vec(prop_oneof![1 => head, 6 => pair(), 1 => unknown()], 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_walk_reads_what_prost_reads(logs in vec(log(), 0..4), between in unknown()) {
        let mut bytes = message(&logs);
        bytes.extend(&between);
        bytes.extend(field(1, &between));
        bytes.extend(message(&logs));
        // What prost writes again has every field once, in order, and nothing unknown.
        let plain = ExportLogsServiceRequest::decode(&bytes[..]).unwrap().encode_to_vec();
        let of_bytes = read(&bytes);
        prop_assert!(of_bytes.iter().all(Result::is_ok));
        prop_assert_eq!(of_bytes, read(&plain));
    }

    #[test]
    fn bytes_that_prost_takes_the_walk_takes(bytes in vec(any::<u8>(), 0..100), logs in vec(log(), 1..3), at in any::<prop::sample::Index>()) {
        let mut damaged = message(&logs);
        let index = at.index(damaged.len());
        damaged.splice(index..index, bytes.iter().copied().take(3));
        for bytes in [bytes, damaged] {
            if ExportLogsServiceRequest::decode(&bytes[..]).is_ok() {
                prop_assert!(read(&bytes).iter().all(Result::is_ok));
            }
        }
    }

    #[test]
    fn a_torn_message_is_an_error(logs in vec(log(), 1..3), at in any::<prop::sample::Index>()) {
        let bytes = message(&logs);
        let torn = &bytes[..1 + at.index(bytes.len() - 1)];
        prop_assert!(view_logs(torn).is_err());
    }
}

#[test]
fn a_broken_record_is_rejected_alone() {
    let good = text(keys::API, "shop");
    let broken = [
        (b"\x0a".to_vec(), Rejection::Malformed),
        (b"\x08\x01".to_vec(), Rejection::Malformed),
        (field(6, &field(1, b"\xff")), Rejection::InvalidUtf8),
        (field(6, &[field(1, b"k"), field(2, &field(1, b"\xc3"))].concat()), Rejection::InvalidUtf8),
        (
            field(6, &[field(1, b"k"), field(2, &field(5, &field(1, &field(1, b"\xc3"))))].concat()),
            Rejection::InvalidUtf8,
        ),
        (text("k", &"a".repeat(RECORD_BYTES)), Rejection::TooLarge),
    ];
    for (log, reason) in broken {
        let read = read(&message(&[good.clone(), log, good.clone()]));
        assert_eq!(
            read.iter().map(|record| record.as_ref().err().copied()).collect::<Vec<_>>(),
            [None, Some(reason), None]
        );
    }
}

#[test]
fn nesting_is_read_to_its_bound_and_rejected_beyond() {
    let nested = |levels| {
        let innermost = any_value::Value::BoolValue(true);
        let value = (0..levels).fold(innermost, |value, _| {
            any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] })
        });
        read(&message(&[attribute("deep", value)])).remove(0)
    };
    assert_eq!(nested(NESTING).unwrap().attributes["deep"], "[".repeat(NESTING) + "true" + &"]".repeat(NESTING));
    assert_eq!(nested(NESTING + 1), Err(Rejection::TooDeep));
    let bottomless = (0..10_000).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
    let log = field(6, &[field(1, b"k"), field(2, &bottomless)].concat());
    assert_eq!(read(&message(&[log])), [Err(Rejection::TooDeep)]);
}

#[test]
fn ten_thousand_attributes_are_bounded_and_counted() {
    let log: Vec<u8> =
        (0..10_000).flat_map(|number| text(&format!("k{number:05}"), "v")).chain(text(keys::API, "shop")).collect();
    let record = read(&message(&[log])).remove(0).unwrap();
    assert_eq!(record.api, "shop", "a field of ours has its place whatever stands before it");
    assert_eq!(record.attributes.len(), MOST_ATTRIBUTES + 1);
    assert_eq!(record.attributes[keys::LEFT_OUT], (10_000 - MOST_ATTRIBUTES).to_string());

    let log: Vec<u8> = (0..10).flat_map(|number| text(&format!("k{number}"), &"v".repeat(ATTRIBUTE_BYTES))).collect();
    let record = read(&message(&[log])).remove(0).unwrap();
    let bytes: usize = record.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= ATTRIBUTES_BYTES + keys::LEFT_OUT.len() + 2, "{bytes}");
    assert_eq!(record.attributes[keys::LEFT_OUT], "7");
}

#[test]
fn a_long_text_is_cut_between_characters_and_marked() {
    let long = "é".repeat(20_000);
    let log = [text(keys::URL_PATH, &long), text("note", &format!("a{long}")), text(keys::API, &long)].concat();
    let record = read(&message(&[log])).remove(0).unwrap();
    assert_eq!((record.path.len(), record.api.len()), (8_192, 1_024));
    assert_eq!(record.attributes["note"].len(), ATTRIBUTE_BYTES - 1);
    assert_eq!(record.attributes[keys::CUT], "url.path,note,gateway.api");
}

#[test]
fn a_message_of_empty_records_is_bounded() {
    let most = MESSAGE_ROWS_BYTES / ROW_BYTES;
    let read = read(&message(&vec![Vec::new(); most + 5]));
    assert_eq!(read.iter().filter(|record| record.is_ok()).count(), most);
    assert_eq!(read.last(), Some(&Err(Rejection::Expansion)));
}

#[test]
fn times_before_the_epoch_cannot_be_said_and_far_ones_do_not_overflow() {
    let log = LogRecord { time_unix_nano: u64::MAX, ..Default::default() }.encode_to_vec();
    assert_eq!(read(&message(&[log])).remove(0).unwrap().time_us, i64::try_from(u64::MAX / 1_000).unwrap());
    let negative = attribute(keys::LATENCY, any_value::Value::IntValue(-5));
    let record = read(&message(&[negative])).remove(0).unwrap();
    assert_eq!((record.latency_us, record.attributes[keys::LATENCY].as_str()), (0, "-5"));
}

#[test]
fn a_resource_and_its_scope_stand_wherever_they_stand() {
    let scope_logs = ScopeLogs {
        scope: Some(InstrumentationScope { name: "access".into(), ..Default::default() }),
        log_records: vec![LogRecord::default()],
        ..Default::default()
    };
    let service = KeyValue {
        key: keys::SERVICE_NAME.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue("shop".into())) }),
        ..Default::default()
    };
    let resource = Resource { attributes: vec![service], ..Default::default() };
    let logs = ResourceLogs { scope_logs: vec![scope_logs], ..Default::default() };
    let first = ResourceLogs { resource: Some(resource), ..Default::default() }.encode_to_vec();
    let bytes = field(1, &[logs.encode_to_vec(), first].concat());
    let record = read(&bytes).remove(0).unwrap();
    assert_eq!((record.api.as_str(), record.attributes[keys::SCOPE_NAME].as_str()), ("shop", "access"));
}
