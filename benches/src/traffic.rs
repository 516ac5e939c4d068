//! Made-up traffic: access records as a gateway of 20 routes writes them, from a seed.

use weir_record::{AccessRecord, Outcome, SpanId, TraceId};

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const STATUSES: [u16; 8] = [200, 200, 200, 200, 201, 304, 404, 502];
const USER_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "curl/8.5.0",
];

/// Records of requests that arrived one millisecond after the other, from this time on.
pub(crate) fn records(random: &mut fastrand::Rng, count: usize, time_us: i64) -> Vec<AccessRecord> {
    (time_us..).step_by(1_000).take(count).map(|time_us| record(random, time_us)).collect()
}

fn record(random: &mut fastrand::Rng, time_us: i64) -> AccessRecord {
    let route = random.usize(0..20);
    let status = STATUSES[random.usize(..STATUSES.len())];
    let integration_us = random.u64(500..40_000);
    AccessRecord {
        time_us,
        request_id: format!("{:032x}", random.u128(..)),
        api: "shop".to_owned(),
        stage: "prod".to_owned(),
        route: format!("/v1/resource{route}/{{id}}"),
        method: METHODS[route % METHODS.len()].to_owned(),
        path: format!("/v1/resource{route}/{}", random.u32(0..1_000_000)),
        protocol: Some("1.1".to_owned()),
        domain: Some("api.example.com".to_owned()),
        status: Some(status),
        outcome: Outcome::Ok,
        latency_us: integration_us + random.u64(50..300),
        integration_latency_us: Some(integration_us),
        integration_status: Some(status),
        request_bytes: random.u64(0..4_096),
        response_bytes: random.u64(100..65_536),
        client_address: Some(format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..))),
        user_agent: Some(USER_AGENTS[random.usize(..USER_AGENTS.len())].to_owned()),
        principal: Some(format!("user-{}", random.u32(0..50_000))),
        trace_id: TraceId::from_slice(&random.u128(1..).to_be_bytes()),
        span_id: SpanId::from_slice(&random.u64(1..).to_be_bytes()),
        ..AccessRecord::default()
    }
}
