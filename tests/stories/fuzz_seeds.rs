//! What the fuzz targets begin with: messages, files and answers as our own encoders write them, and some of others.
//!
//! `WEIR_SEEDS=write cargo test --test stories fuzz_seeds` writes them anew when a format has changed. Checksums that a
//! fuzzer cannot find are left at zero in them; the targets put the right ones in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use weir_collector::{
    Signal,
    sources::Sources,
    wal::{Wal, WalConfig},
};
use weir_lake::{
    Sketch, Table,
    ledger::{self, LedgerRow},
    pending, requests,
};
use weir_record::{
    AccessRecord, BatchStamp, CacheStatus, Outcome, Source, Span, SpanId, SpanKind, SpanStatus, ThrottleScope, TraceId,
    otlp,
};

const TIME_US: i64 = 1_700_000_000_000_000;

/// A message of logs as other senders write them.
const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1700000000000000000","severityNumber":9,
"body":{"stringValue":"GET /cart"},"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef",
"attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"http.response.status_code",
"value":{"intValue":"200"}},{"key":"tags","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5},
{"bytesValue":"aGk="}]}}},{"key":"more","value":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"1"}}]}}}]}]}]}]}"#;

/// A message of traces as other senders write them.
const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
"scopeSpans":[{"spans":[{"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef",
"parentSpanId":"fedcba9876543210","name":"GET /cart","kind":2,"startTimeUnixNano":"1700000000000000000",
"endTimeUnixNano":"1700000000001000000","status":{"code":2,"message":"no"},"events":[{"timeUnixNano":
"1700000000000500000","name":"e","attributes":[{"key":"k","value":{"stringValue":"v"}}]}],"links":[{"traceId":
"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef"}]}]}]}]}"#;

#[test]
fn the_seeds_of_the_fuzz_targets_are_what_our_own_encoders_write() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for ((target, name), bytes) in seeds() {
        let path: PathBuf = directory.join(target).join(name);
        if std::env::var_os("WEIR_SEEDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == bytes, "{}: WEIR_SEEDS=write cargo test --test stories fuzz_seeds", path.display());
    }
}

fn seeds() -> BTreeMap<(&'static str, &'static str), Vec<u8>> {
    let (records, spans) = ([record(), AccessRecord::default()], [span()]);
    let pending_tables = [
        (Table::Requests, vec![requests::batch(&records, "a", TIME_US)]),
        (Table::Ledger, vec![ledger::batch(&[LedgerRow { source: "a".into(), stored: 2, ..LedgerRow::default() }])]),
    ];
    BTreeMap::from([
        (("otlp_logs", "gateway"), otlp::encode_logs(&source(1), &records)),
        (("otlp_logs", "foreign"), otlp::logs_json_to_protobuf(LOGS.as_bytes()).unwrap()),
        (("otlp_traces", "gateway"), otlp::encode_traces(&source(1), &spans)),
        (("otlp_traces", "foreign"), otlp::traces_json_to_protobuf(TRACES.as_bytes()).unwrap()),
        (("otlp_json", "logs"), LOGS.into()),
        (("otlp_json", "traces"), TRACES.into()),
        (("sketch", "empty"), Sketch::new().to_bytes()),
        (("sketch", "one"), sketch(1)),
        (("sketch", "many"), sketch(60)),
        (("sources_note", "in_order"), note(&[1, 2, 3])),
        (("sources_note", "ahead"), note(&[1, 5, 9])),
        (("wal_segment", "frames"), frames()),
        (("spool_lane", "two_segments"), lane()),
        (("pending_answer", "ledger"), pending::encode(&pending_tables[1..]).unwrap()),
        (("pending_answer", "both"), pending::encode(&pending_tables).unwrap()),
    ])
}

fn source(sequence: u64) -> Source {
    let stamp = BatchStamp { sequence, offered: sequence * 10, dropped: 1, doubtful: false, elsewhere: None };
    Source { service: "weir-gateway".into(), instance: "a".into(), stamp: Some(stamp) }
}

fn record() -> AccessRecord {
    AccessRecord {
        time_us: TIME_US,
        request_id: "0193d1f0-0000-7000-8000-000000000000".into(),
        api: "shop".into(),
        stage: "prod".into(),
        route: "/users/{id}".into(),
        method: "GET".into(),
        path: "/users/1".into(),
        protocol: Some("1.1".into()),
        domain: Some("localhost".into()),
        status: Some(429),
        outcome: Outcome::Throttled,
        throttle_scope: ThrottleScope::ALL.first().copied(),
        latency_us: 1_500,
        integration_latency_us: Some(1_000),
        authorizer_latency_us: Some(100),
        integration_status: Some(200),
        authorizer_status: Some(200),
        request_bytes: 10,
        response_bytes: 20,
        client_address: Some("127.0.0.1".into()),
        user_agent: Some("curl".into()),
        principal: Some("me".into()),
        api_key_id: Some("k".into()),
        usage_plan: Some("free".into()),
        cache: CacheStatus::default(),
        canary: true,
        trace_id: TraceId::from_slice(&[1; 16]),
        span_id: SpanId::from_slice(&[2; 8]),
        trace_kept: Some(true),
        error_message: Some("no".into()),
        attributes: BTreeMap::from([("k".into(), "v".into())]),
    }
}

fn span() -> Span {
    Span {
        time_us: TIME_US,
        duration_us: 1_500,
        trace_id: TraceId::from_slice(&[1; 16]).unwrap(),
        span_id: SpanId::from_slice(&[2; 8]).unwrap(),
        parent_span_id: SpanId::from_slice(&[3; 8]),
        trace_state: Some("a=b".into()),
        name: "GET /users/{id}".into(),
        kind: SpanKind::Server,
        status: SpanStatus::default(),
        status_message: Some("no".into()),
        service: "weir-gateway".into(),
        api: Some("shop".into()),
        stage: Some("prod".into()),
        attributes: BTreeMap::from([("k".into(), "v".into())]),
        events: None,
        links: None,
    }
}

fn sketch(values: u64) -> Vec<u8> {
    let mut sketch = Sketch::new();
    (1..=values).for_each(|value| sketch.record_n(value * value * value, value));
    sketch.to_bytes()
}

fn note(sequences: &[u64]) -> Vec<u8> {
    let mut sources = Sources::default();
    for sequence in sequences {
        sources.take(Signal::Logs, &source(*sequence));
    }
    sources.to_note()
}

/// What a log has behind its head, with markers and checksums of zeros: the identity is the target's.
fn frames() -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let identity = "00000000-0000-0000-0000-000000000000 0000000000000000 b782e81a\n";
    fs::write(directory.path().join("writer-id"), identity).unwrap();
    let config = WalConfig { directory: directory.path().into(), segment_bytes: 1 << 20, budget_bytes: 1 << 30 };
    let (mut wal, _) = Wal::open(config).unwrap();
    let segment = directory.path().join("00000000000000000001.wal");
    let head = fs::read(&segment).unwrap().len();
    let mut frames = Vec::new();
    for body in ["first", "second", ""] {
        wal.append(Signal::Logs.frame_kind(), TIME_US, body.as_bytes()).unwrap();
        wal.sync().unwrap();
        let written = fs::read(&segment).unwrap();
        let mut frame = written[head + frames.len()..].to_vec();
        frame[8..12].fill(0);
        frames.extend(frame);
    }
    frames
}

/// A state and two segments, as the target takes them apart.
fn lane() -> Vec<u8> {
    let state =
        r#"00000000{"sequence":5,"offered":50,"dropped":3,"dropped_numbered":0,"numbered":40,"done_sequence":1,"#;
    let more = r#""done_numbered":10,"in_hand":0,"in_hand_sequence":0,"sent_to":["127.0.0.1:4317"]}"#;
    let batch = |sequence: u64| {
        let message = otlp::encode_logs(&source(sequence), &[AccessRecord::default()]);
        let counters = [sequence, 10, sequence * 10, 0, sequence * 10].map(u64::to_le_bytes).concat();
        let length = u32::try_from(counters.len() + message.len()).unwrap();
        [&length.to_le_bytes()[..], &[0; 4], &counters, &message].concat()
    };
    let border = b"\n----\n";
    let (first, second) = ([batch(1), batch(2)].concat(), [batch(3), batch(4), batch(5)].concat());
    [state.as_bytes(), more.as_bytes(), border, &first, border, &second].concat()
}
