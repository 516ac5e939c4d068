//! Round trips of the wire form, and what decoding does with what is not ours.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{BatchStamp, CacheStatus, Outcome, SpanId, SpanKind, SpanStatus, ThrottleScope, Told, TraceId};

/// 2100-01-01 in microseconds: times beyond it are of no interest, and OTLP's nanoseconds must hold them.
const LATEST_US: i64 = 4_102_444_800_000_000;

fn name() -> impl Strategy<Value = String> {
    "[a-z$][a-z0-9/{}+ é\"-]{0,20}"
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("x\\.[a-z]{1,6}", ".{0,12}", 0..4)
}

prop_compose! {
    fn source()(service in name(), instance in "[a-z0-9-]{1,36}", stamp in any::<Option<(u32, u32, u32, bool, Option<(u32, u32)>)>>()) -> Source {
        let stamp = stamp.map(|(sequence, offered, dropped, doubtful, told)| BatchStamp {
            sequence: sequence.into(), offered: offered.into(), dropped: dropped.into(), doubtful,
            elsewhere: told.map(|(offered, dropped)| Told { sequence: 7, offered: offered.into(), dropped: dropped.into() }),
        });
        Source { service, instance, stamp }
    }
}

prop_compose! {
    fn identity()(
        time_us in 1..LATEST_US, request_id in name(), api in name(), stage in name(), route in name(),
        method in "[A-Z]{0,8}", path in ".{0,30}", protocol in prop::option::of("1\\.1|2"), domain in prop::option::of(name()),
        trace in any::<Option<[u8; 16]>>(), span in any::<Option<[u8; 8]>>(),
    ) -> AccessRecord {
        AccessRecord {
            time_us, request_id, api, stage, route, method, path, protocol, domain,
            trace_id: trace.and_then(|bytes| TraceId::from_slice(&bytes)),
            span_id: span.and_then(|bytes| SpanId::from_slice(&bytes)),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn record()(
        identity in identity(),
        status in any::<Option<u16>>(), outcome in prop::sample::select(Outcome::ALL),
        throttle_scope in prop::option::of(prop::sample::select(ThrottleScope::ALL)),
        (latency, integration, authorizer) in any::<(u32, Option<u32>, Option<u32>)>(),
        statuses in any::<(Option<u16>, Option<u16>)>(), bytes in any::<(u32, u32)>(),
        texts in prop::array::uniform6(prop::option::of(".{0,16}")),
        cache in prop::sample::select(CacheStatus::ALL), (canary, trace_kept) in any::<(bool, Option<bool>)>(), attributes in attributes(),
    ) -> AccessRecord {
        let [client_address, user_agent, principal, api_key_id, usage_plan, error_message] = texts;
        AccessRecord {
            status, outcome, throttle_scope,
            latency_us: latency.into(),
            integration_latency_us: integration.map(Into::into),
            authorizer_latency_us: authorizer.map(Into::into),
            integration_status: statuses.0, authorizer_status: statuses.1,
            request_bytes: bytes.0.into(), response_bytes: bytes.1.into(),
            client_address, user_agent, principal, api_key_id, usage_plan, error_message,
            cache, canary, trace_kept, attributes,
            ..identity
        }
    }
}

prop_compose! {
    fn span()(
        time_us in 1..LATEST_US, duration in any::<u32>(), trace in any::<[u8; 16]>(), id in any::<[u8; 8]>(),
        parent in any::<[u8; 8]>(), name in name(), message in prop::option::of(name()),
        kind in prop::sample::select(&[SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Unspecified]),
        status in prop::sample::select(&[SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error]),
        api in prop::option::of(super::tests::name()), attributes in attributes(),
    ) -> Span {
        let mut trace = trace;
        let mut id = id;
        (trace[0], id[0]) = (1, 1);
        Span {
            time_us, duration_us: duration.into(),
            trace_id: TraceId::from_slice(&trace).unwrap(), span_id: SpanId::from_slice(&id).unwrap(),
            parent_span_id: SpanId::from_slice(&parent),
            trace_state: message.clone(), name, kind, status, status_message: message,
            service: String::new(), api: api.clone(), stage: api, attributes, events: None, links: None,
        }
    }
}

proptest! {
    #[test]
    fn records_decode_to_what_was_encoded(source in source(), records in prop::collection::vec(record(), 0..5)) {
        let decoded = decode_logs(&encode_logs(&source, &records)).unwrap();
        prop_assert_eq!(decoded, vec![Batch { source, records }]);
    }

    #[test]
    fn spans_decode_to_what_was_encoded(source in source(), mut spans in prop::collection::vec(span(), 0..5)) {
        for span in &mut spans {
            span.service.clone_from(&source.service);
        }
        let decoded = decode_traces(&encode_traces(&source, &spans)).unwrap();
        prop_assert_eq!(decoded, vec![Spans { batch: Batch { source, records: spans }, rejected: Vec::new() }]);
    }

    #[test]
    fn the_bytes_are_those_that_prost_would_write(
        source in source(), records in prop::collection::vec(record(), 0..5), spans in prop::collection::vec(span(), 0..5),
    ) {
        prop_assert_eq!(encode_logs(&source, &records), encode::oracle::logs(&source, &records).encode_to_vec());
        prop_assert_eq!(encode_traces(&source, &spans), encode::oracle::traces(&source, &spans).encode_to_vec());
    }

    #[test]
    fn a_message_made_in_place_is_the_same(mut source in source(), length in 0..700_usize, records in prop::collection::vec(any::<u8>(), 0..50)) {
        source.instance = "i".repeat(length);
        let bytes = [vec![0; HEAD_ROOM], records.clone()].concat();
        let (bytes, begin) = message_in_place(&source, bytes);
        prop_assert_eq!(&bytes[begin..], message(&source, &records));
        let (bytes, begin) = message_in_place(&source, Vec::new());
        prop_assert_eq!(&bytes[begin..], message(&source, &[]));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (decode_logs(&bytes), decode_traces(&bytes), logs_json_to_protobuf(&bytes), traces_json_to_protobuf(&bytes));
    }
}

/// As the OpenTelemetry specification writes OTLP/JSON: hexadecimal ids, numbers of 64 bits as texts.
const FOREIGN_LOG: &str = r#"{"resourceLogs":[{
  "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"envoy"}},{"key":"host.name","value":{"stringValue":"h1"}},
                            {"key":"weir.batch.sequence","value":{"intValue":"7"}}]},
  "scopeLogs":[{"scope":{"name":"access"},"logRecords":[{
    "timeUnixNano":"1544712660300000000","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
    "severityText":"INFO","body":{"stringValue":"GET /"},
    "attributes":[{"key":"http.response.status_code","value":{"stringValue":"503"}},{"key":"gateway.outcome","value":{"stringValue":"sideways"}},
                  {"key":"flags","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":0.5},{"boolValue":true}]}}}]}]}]}]}"#;

#[test]
fn a_foreign_log_keeps_everything_it_said() {
    let batches = decode_logs(&logs_json_to_protobuf(FOREIGN_LOG.as_bytes()).unwrap()).unwrap();
    let [batch] = &batches[..] else { panic!("{batches:?}") };
    assert_eq!(batch.source, Source { service: "envoy".into(), instance: String::new(), stamp: None });
    let [record] = &batch.records[..] else { panic!("{batch:?}") };
    assert_eq!(record.api, "envoy");
    assert_eq!(record.status, Some(503));
    assert_eq!(record.outcome, Outcome::Ok, "a name that is not ours does not fit the field");
    assert_eq!(record.time_us, 1_544_712_660_300_000);
    assert_eq!(record.trace_id.unwrap().to_string(), "5b8efff798038103d269b633813fc60c");
    let kept: Vec<_> = record.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let expected = [
        ("flags", "[1,0.5,true]"),
        ("gateway.outcome", "sideways"),
        ("host.name", "h1"),
        ("log.body", "GET /"),
        ("log.severity", "INFO"),
        ("otel.scope.name", "access"),
    ];
    assert_eq!(kept, expected);
}

#[test]
fn a_span_without_ids_is_counted_and_the_others_are_kept() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"lost"},
        {"name":"kept","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","kind":2,
         "startTimeUnixNano":"2000","endTimeUnixNano":"1000","events":[{"timeUnixNano":"5000","name":"e"}]}]}]}]}"#;
    let decoded = decode_traces(&traces_json_to_protobuf(json.as_bytes()).unwrap()).unwrap();
    assert_eq!(decoded[0].rejected, [Rejection::NoIds]);
    let [span] = &decoded[0].batch.records[..] else { panic!("{decoded:?}") };
    assert_eq!((span.name.as_str(), span.kind, span.duration_us), ("kept", SpanKind::Server, 0));
    assert_eq!(span.events.as_deref(), Some(r#"[{"attributes":{},"name":"e","time_us":5}]"#));
}

#[test]
fn what_is_no_otlp_is_named() {
    let error = decode_logs(b"\xff\xff\xff").unwrap_err().to_string();
    assert!(error.starts_with("not an OTLP logs message: "), "{error}");
    let error = traces_json_to_protobuf(b"{\"resourceSpans\":3}").unwrap_err().to_string();
    assert!(error.starts_with("not an OTLP traces message in JSON: "), "{error}");
}
