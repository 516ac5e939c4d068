//! The access record: one for each request, made at the end of the response body, whatever became of the request.

use std::collections::BTreeMap;

use crate::{CacheStatus, Outcome, SpanId, ThrottleScope, TraceId};

/// What is known of one request when it has ended. The columns of the table `requests`, in their order.
///
/// Times are microseconds; sizes are bytes of the body as sent. An empty string means that the sender did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRecord {
    /// Arrival of the request, microseconds since the Unix epoch, UTC.
    pub time_us: i64,
    /// Unique id of the request, also sent to the client as `x-amzn-requestid`.
    pub request_id: String,
    /// Name of the API. For a sender that is no gateway: its `service.name`.
    pub api: String,
    /// Stage of the API, `$default` included. For a sender that is no gateway: its `deployment.environment.name`.
    pub stage: String,
    /// Route template (`/users/{id}`) or `$default`; empty when no route matched.
    pub route: String,
    /// HTTP method as received.
    pub method: String,
    /// Path as received, without the query string.
    pub path: String,
    /// HTTP version: `1.1`, `2`.
    pub protocol: Option<String>,
    /// Host that the client asked for.
    pub domain: Option<String>,
    /// Status that the client got; none when the connection ended before a status was sent.
    pub status: Option<u16>,
    /// Whether the integration's answer was passed on, or why the gateway itself answered.
    pub outcome: Outcome,
    /// The limit that refused, when `outcome` is throttled or quota_exceeded.
    pub throttle_scope: Option<ThrottleScope>,
    /// Arrival to the last byte of the response, as the client saw it.
    pub latency_us: u64,
    /// Time spent waiting for the integration, its body included.
    pub integration_latency_us: Option<u64>,
    /// Time spent in the authorizer.
    pub authorizer_latency_us: Option<u64>,
    /// Status that the integration answered with.
    pub integration_status: Option<u16>,
    /// Status of the authorizer's answer: 200 allowed, 401 or 403 refused, 500 it failed.
    pub authorizer_status: Option<u16>,
    /// Bytes of the request body that were read.
    pub request_bytes: u64,
    /// Bytes of the response body that were sent.
    pub response_bytes: u64,
    /// Address of the client's end of the connection.
    pub client_address: Option<String>,
    /// `User-Agent` of the request.
    pub user_agent: Option<String>,
    /// Who asked: the `sub` of a token.
    pub principal: Option<String>,
    /// Id of the API key; never the key.
    pub api_key_id: Option<String>,
    /// Usage plan that the key belongs to.
    pub usage_plan: Option<String>,
    /// Whether the response cache answered.
    pub cache: CacheStatus,
    /// Whether a canary deployment served the request.
    pub canary: bool,
    /// Trace that the request belongs to.
    pub trace_id: Option<TraceId>,
    /// The gateway's server span in that trace.
    pub span_id: Option<SpanId>,
    /// Whether the trace's spans were kept; none when the sender did not say.
    pub trace_kept: Option<bool>,
    /// What went wrong, in words, for the operator.
    pub error_message: Option<String>,
    /// Whatever else the sender said.
    pub attributes: BTreeMap<String, String>,
}

impl AccessRecord {
    /// The gateway's own share of the latency, so that the phases sum to `latency_us`.
    ///
    /// A sender whose phases overlap (their sum exceeds the total) gets 0.
    #[must_use]
    pub fn gateway_latency_us(&self) -> u64 {
        let elsewhere =
            self.integration_latency_us.unwrap_or(0).saturating_add(self.authorizer_latency_us.unwrap_or(0));
        self.latency_us.saturating_sub(elsewhere)
    }
}
