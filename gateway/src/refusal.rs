//! Why the gateway itself answers, and with what: the one place that maps an outcome to HTTP.
//!
//! Statuses, bodies and `x-amzn-errortype` are API Gateway's ("Gateway response types" in its developer guide), save
//! that an unknown path is 404, as in HTTP APIs. What AWS lacks: `retry-after` on 429.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use weir_record::{Outcome, ThrottleScope};

/// A request that the gateway answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub outcome: Outcome,
    /// Which limit, when a limit refused.
    pub throttle_scope: Option<ThrottleScope>,
    /// Seconds until a token comes, when a limit refused.
    pub retry_after_seconds: Option<u64>,
    /// `www-authenticate`, when a token is wanted (RFC 6750).
    pub challenge: Option<String>,
    /// What went wrong, for the operator; the client is not told.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal that has no more to say than why.
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { outcome, throttle_scope: None, retry_after_seconds: None, challenge: None, detail: None }
    }

    /// A refusal with what went wrong, for the operator.
    pub(crate) fn with_detail(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(outcome) }
    }

    /// A limit that refused; a token comes in this many nanoseconds.
    pub(crate) fn throttled(scope: ThrottleScope, wait_ns: u64) -> Self {
        let seconds = wait_ns.div_ceil(1_000_000_000).max(1);
        Self { throttle_scope: Some(scope), retry_after_seconds: Some(seconds), ..Self::new(Outcome::Throttled) }
    }

    /// The answer to the client.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let (status, error_type, message) = answer(self.outcome);
        let mut response = Response::new(Bytes::from(format!("{{\"message\":\"{message}\"}}")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Status, `x-amzn-errortype` and message of an outcome.
fn answer(outcome: Outcome) -> (StatusCode, &'static str, &'static str) {
    match outcome {
        Outcome::Throttled => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Too Many Requests"),
        Outcome::QuotaExceeded => (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "Limit Exceeded"),
        Outcome::Unauthorized | Outcome::ExpiredToken => {
            (StatusCode::UNAUTHORIZED, "UnauthorizedException", "Unauthorized")
        }
        Outcome::AccessDenied => {
            (StatusCode::FORBIDDEN, "AccessDeniedException", "User is not authorized to access this resource")
        }
        Outcome::InvalidApiKey => (StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden"),
        Outcome::InvalidSignature => (StatusCode::FORBIDDEN, "InvalidSignatureException", "Forbidden"),
        Outcome::BadRequestBody => (StatusCode::BAD_REQUEST, "BadRequestException", "Invalid request body"),
        Outcome::BadRequestParameters => (StatusCode::BAD_REQUEST, "BadRequestException", "Invalid request parameters"),
        Outcome::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", "Request Too Long"),
        Outcome::NotFound => (StatusCode::NOT_FOUND, "NotFoundException", "Not Found"),
        Outcome::IntegrationTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "InternalServerErrorException", "Endpoint request timed out")
        }
        Outcome::IntegrationFailure => {
            (StatusCode::GATEWAY_TIMEOUT, "InternalServerErrorException", "Network error communicating with endpoint")
        }
        Outcome::AuthorizerFailure => {
            (StatusCode::INTERNAL_SERVER_ERROR, "AuthorizerFailureException", "Internal Server Error")
        }
        Outcome::ConfigurationError | Outcome::Ok | Outcome::ClientClosed => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerErrorException", "Internal Server Error")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_client_is_told_when_to_come_again() {
        let response = Refusal::throttled(ThrottleScope::Route, 1_000_000_001).response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(&response.body()[..], br#"{"message":"Too Many Requests"}"#);
    }

    #[test]
    fn what_went_wrong_inside_is_not_told_to_the_client() {
        let response = Refusal::with_detail(Outcome::IntegrationFailure, "10.0.0.7 refused").response();
        assert_eq!(response.status(), 504);
        assert!(!String::from_utf8_lossy(response.body()).contains("10.0.0.7"));
    }
}
