//! The access-log line: one record as one line of JSON, for a file or a terminal.
//!
//! The names are the columns of the table `requests`, so that one question fits both. What a record does not say is
//! left out of its line.

use serde_json::{Map, Value};

use crate::{AccessRecord, CacheStatus};

/// The record as one line of JSON, without the line's end.
#[must_use]
pub fn json(record: &AccessRecord) -> String {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        if !(value.is_null() || value.as_str().is_some_and(str::is_empty)) {
            line.insert(name.to_owned(), value);
        }
    };
    put("time", time(record.time_us).into());
    put("request_id", record.request_id.as_str().into());
    put("api", record.api.as_str().into());
    put("stage", record.stage.as_str().into());
    put("route", record.route.as_str().into());
    put("method", record.method.as_str().into());
    put("path", record.path.as_str().into());
    put("protocol", record.protocol.as_deref().into());
    put("domain", record.domain.as_deref().into());
    put("status", record.status.into());
    put("outcome", record.outcome.as_str().into());
    put("throttle_scope", record.throttle_scope.map(|scope| scope.as_str()).into());
    put("latency_us", record.latency_us.into());
    put("integration_latency_us", record.integration_latency_us.into());
    put("authorizer_latency_us", record.authorizer_latency_us.into());
    put("gateway_latency_us", record.gateway_latency_us().into());
    put("integration_status", record.integration_status.into());
    put("authorizer_status", record.authorizer_status.into());
    put("request_bytes", record.request_bytes.into());
    put("response_bytes", record.response_bytes.into());
    put("client_address", record.client_address.as_deref().into());
    put("user_agent", record.user_agent.as_deref().into());
    put("principal", record.principal.as_deref().into());
    put("api_key_id", record.api_key_id.as_deref().into());
    put("usage_plan", record.usage_plan.as_deref().into());
    put("cache", (record.cache != CacheStatus::None).then(|| record.cache.as_str()).into());
    put("canary", record.canary.then_some(true).into());
    put("trace_id", record.trace_id.map(|id| id.to_string()).into());
    put("span_id", record.span_id.map(|id| id.to_string()).into());
    put("trace_kept", record.trace_kept.into());
    put("error_message", record.error_message.as_deref().into());
    if !record.attributes.is_empty() {
        let attributes = record.attributes.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        put("attributes", Value::Object(attributes.collect()));
    }
    Value::Object(line).to_string()
}

/// RFC 3339, microseconds, UTC.
fn time(time_us: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_micros(time_us)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, ThrottleScope};

    #[test]
    fn a_line_holds_what_the_record_says_and_nothing_else() {
        let record = AccessRecord {
            time_us: 1_700_000_000_000_001,
            request_id: "r1".into(),
            api: "shop".into(),
            method: "GET".into(),
            path: "/a \"b\"\n".into(),
            status: Some(429),
            outcome: Outcome::Throttled,
            throttle_scope: Some(ThrottleScope::Route),
            trace_kept: Some(false),
            latency_us: 120,
            authorizer_latency_us: Some(20),
            ..Default::default()
        };
        let expected = concat!(
            r#"{"api":"shop","authorizer_latency_us":20,"gateway_latency_us":100,"latency_us":120,"method":"GET","#,
            r#""outcome":"throttled","path":"/a \"b\"\n","request_bytes":0,"request_id":"r1","response_bytes":0,"#,
            r#""status":429,"throttle_scope":"route","time":"2023-11-14T22:13:20.000001Z","trace_kept":false}"#,
        );
        assert_eq!(json(&record), expected);
    }
}
