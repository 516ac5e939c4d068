//! Why the gateway itself answers, and with what: the one place that maps an outcome to HTTP.
//!
//! Statuses, bodies and `x-amzn-errortype` are API Gateway's
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html>), which differ
//! between REST and HTTP APIs. What AWS lacks: `retry-after` on 429.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use weir_record::{Outcome, ThrottleScope};

use crate::{
    config::definitions::{ApiKind, UnknownRoute},
    limits::headers::Fields,
};

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
    /// What the client is told, where it is not the outcome's usual text.
    pub message: Option<String>,
    /// Status and `x-amzn-errortype`, where they are not the outcome's usual ones.
    pub error_type: Option<Box<(StatusCode, &'static str)>>,
    /// What went wrong, for the operator; the client is not told.
    pub detail: Option<String>,
    /// What the limit that refused says of itself, when it is to be told.
    pub limits: Option<Box<Fields>>,
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `x-amzn-errortype`.
    pub error_type: &'static str,
    /// API Gateway's name of the case: `THROTTLED`.
    pub response_type: &'static str,
    /// The member of the body that has the text: access denied is told in a capital letter (the reference's section 6).
    pub key: &'static str,
    /// The text; none for `null`.
    pub message: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal that has no more to say than why.
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            throttle_scope: None,
            retry_after_seconds: None,
            challenge: None,
            message: None,
            error_type: None,
            detail: None,
            limits: None,
        }
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

    /// What the client of such an API is told.
    pub(crate) fn answer(&self, kind: ApiKind, unknown_route: UnknownRoute) -> Answer {
        let mut answer = answer(self.outcome, kind, unknown_route);
        if let Some(message) = &self.message {
            answer.message = Some(Cow::Owned(message.clone()));
        }
        if let Some(told) = &self.error_type {
            (answer.status, answer.error_type) = **told;
        }
        answer
    }

    /// The built-in response of an HTTP API.
    #[cfg(test)]
    pub(crate) fn of_http_api(&self) -> Response<Bytes> {
        self.response(&self.answer(ApiKind::Http, UnknownRoute::NotFound))
    }

    /// The built-in response.
    pub(crate) fn response(&self, answer: &Answer) -> Response<Bytes> {
        let message = serde_json::to_string(&answer.message).unwrap_or_else(|_| "null".to_owned());
        let mut response = Response::new(Bytes::from(format!("{{\"{}\":{message}}}", answer.key)));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(answer.error_type));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

const FORBIDDEN: &str = "ForbiddenException";
const INTERNAL: &str = "InternalServerErrorException";

/// What an outcome means to the client.
fn answer(outcome: Outcome, kind: ApiKind, unknown_route: UnknownRoute) -> Answer {
    let is_rest = kind == ApiKind::Rest;
    let internal = if is_rest { "Internal server error" } else { "Internal Server Error" };
    let (status, error_type, response_type, message) = match outcome {
        Outcome::Throttled => (429, "TooManyRequestsException", "THROTTLED", "Too Many Requests"),
        Outcome::QuotaExceeded => (429, "LimitExceededException", "QUOTA_EXCEEDED", "Limit Exceeded"),
        Outcome::Unauthorized | Outcome::MissingIdentity => {
            (401, "UnauthorizedException", "UNAUTHORIZED", "Unauthorized")
        }
        Outcome::ExpiredToken => {
            let told = if is_rest { "The incoming token has expired" } else { "Unauthorized" };
            (401, "UnauthorizedException", "EXPIRED_TOKEN", told)
        }
        Outcome::AccessDenied if is_rest => {
            (403, "AccessDeniedException", "ACCESS_DENIED", "User is not authorized to access this resource")
        }
        Outcome::AccessDenied => (403, FORBIDDEN, "ACCESS_DENIED", "Forbidden"),
        Outcome::InvalidApiKey => (403, FORBIDDEN, "INVALID_API_KEY", "Forbidden"),
        Outcome::InvalidSignature => (403, "InvalidSignatureException", "INVALID_SIGNATURE", "Forbidden"),
        Outcome::MissingAuthenticationToken => missing_token(),
        Outcome::NotFound if unknown_route == UnknownRoute::Forbidden => missing_token(),
        Outcome::NotFound => (404, "NotFoundException", "RESOURCE_NOT_FOUND", "Not Found"),
        Outcome::UnmappedHost => (403, FORBIDDEN, "DEFAULT_4XX", "Forbidden"),
        Outcome::BadRequest => (400, "BadRequestException", "DEFAULT_4XX", "Bad Request"),
        Outcome::BadRequestBody => (400, "BadRequestException", "BAD_REQUEST_BODY", "Invalid request body"),
        Outcome::BadRequestParameters => {
            (400, "BadRequestException", "BAD_REQUEST_PARAMETERS", "Invalid request parameters")
        }
        Outcome::RequestTimeout => (408, "RequestTimeoutException", "DEFAULT_4XX", "Request Timeout"),
        Outcome::RequestTooLarge => (413, "RequestTooLargeException", "REQUEST_TOO_LARGE", "Request Too Long"),
        Outcome::UriTooLong => (414, "RequestTooLargeException", "DEFAULT_4XX", "URI Too Long"),
        Outcome::HeadersTooLarge => (431, "RequestTooLargeException", "DEFAULT_4XX", "Request Header Fields Too Large"),
        Outcome::IntegrationTimeout if is_rest => (504, INTERNAL, "INTEGRATION_TIMEOUT", "Endpoint request timed out"),
        Outcome::IntegrationFailure | Outcome::IntegrationReset if is_rest => {
            (504, INTERNAL, "INTEGRATION_FAILURE", "Network error communicating with endpoint")
        }
        Outcome::IntegrationTimeout => (503, INTERNAL, "INTEGRATION_TIMEOUT", "Service Unavailable"),
        Outcome::IntegrationFailure | Outcome::IntegrationReset => {
            (503, INTERNAL, "INTEGRATION_FAILURE", "Service Unavailable")
        }
        Outcome::AuthorizerFailure => (500, "AuthorizerFailureException", "AUTHORIZER_FAILURE", internal),
        Outcome::AuthorizerConfigurationError if is_rest => {
            return Answer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error_type: "AuthorizerConfigurationException",
                response_type: "AUTHORIZER_CONFIGURATION_ERROR",
                key: "message",
                message: None,
            };
        }
        Outcome::AuthorizerConfigurationError => {
            (500, "AuthorizerConfigurationException", "AUTHORIZER_CONFIGURATION_ERROR", internal)
        }
        Outcome::ConfigurationError | Outcome::Ok | Outcome::ClientClosed | Outcome::TlsFailure => {
            (500, INTERNAL, "API_CONFIGURATION_ERROR", internal)
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let key = if is_rest && outcome == Outcome::AccessDenied { "Message" } else { "message" };
    Answer { status, error_type, response_type, key, message: Some(Cow::Borrowed(message)) }
}

const fn missing_token() -> (u16, &'static str, &'static str, &'static str) {
    (403, "MissingAuthenticationTokenException", "MISSING_AUTHENTICATION_TOKEN", "Missing Authentication Token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(refusal: &Refusal, kind: ApiKind, unknown: UnknownRoute) -> (u16, String, String) {
        let response = refusal.response(&refusal.answer(kind, unknown));
        let error_type = response.headers()["x-amzn-errortype"].to_str().unwrap().to_owned();
        (response.status().as_u16(), error_type, String::from_utf8(response.body().to_vec()).unwrap())
    }

    #[test]
    fn each_outcome_has_the_answer_that_the_developer_guide_names() {
        let (rest, http) = (ApiKind::Rest, ApiKind::Http);
        for (outcome, kind, status, error_type, body) in [
            (Outcome::Throttled, rest, 429, "TooManyRequestsException", r#"{"message":"Too Many Requests"}"#),
            (Outcome::Throttled, http, 429, "TooManyRequestsException", r#"{"message":"Too Many Requests"}"#),
            (Outcome::QuotaExceeded, rest, 429, "LimitExceededException", r#"{"message":"Limit Exceeded"}"#),
            (Outcome::InvalidApiKey, rest, 403, "ForbiddenException", r#"{"message":"Forbidden"}"#),
            (Outcome::Unauthorized, http, 401, "UnauthorizedException", r#"{"message":"Unauthorized"}"#),
            (
                Outcome::AccessDenied,
                rest,
                403,
                "AccessDeniedException",
                r#"{"Message":"User is not authorized to access this resource"}"#,
            ),
            (Outcome::AccessDenied, http, 403, "ForbiddenException", r#"{"message":"Forbidden"}"#),
            (Outcome::RequestTooLarge, rest, 413, "RequestTooLargeException", r#"{"message":"Request Too Long"}"#),
            (Outcome::NotFound, http, 404, "NotFoundException", r#"{"message":"Not Found"}"#),
            (
                Outcome::IntegrationTimeout,
                rest,
                504,
                "InternalServerErrorException",
                r#"{"message":"Endpoint request timed out"}"#,
            ),
            (
                Outcome::IntegrationFailure,
                rest,
                504,
                "InternalServerErrorException",
                r#"{"message":"Network error communicating with endpoint"}"#,
            ),
            (
                Outcome::IntegrationTimeout,
                http,
                503,
                "InternalServerErrorException",
                r#"{"message":"Service Unavailable"}"#,
            ),
            (
                Outcome::AuthorizerConfigurationError,
                rest,
                500,
                "AuthorizerConfigurationException",
                r#"{"message":null}"#,
            ),
        ] {
            let told = response(&Refusal::new(outcome), kind, UnknownRoute::NotFound);
            assert_eq!(told, (status, error_type.to_owned(), body.to_owned()), "{outcome} {kind:?}");
        }
        let told = response(&Refusal::new(Outcome::NotFound), rest, UnknownRoute::Forbidden);
        assert_eq!(told.0, 403);
        assert_eq!(told.2, r#"{"message":"Missing Authentication Token"}"#);
    }

    #[test]
    fn a_throttled_client_is_told_when_to_come_again() {
        let refusal = Refusal::throttled(ThrottleScope::Route, 1_000_000_001);
        let response = refusal.response(&refusal.answer(ApiKind::Http, UnknownRoute::NotFound));
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn what_went_wrong_inside_is_not_told_to_the_client() {
        let refusal = Refusal::with_detail(Outcome::IntegrationFailure, "10.0.0.7 refused");
        for kind in [ApiKind::Http, ApiKind::Rest] {
            assert!(!response(&refusal, kind, UnknownRoute::NotFound).2.contains("10.0.0.7"));
        }
    }
}
