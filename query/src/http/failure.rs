//! The errors of this edge: which status, which code, which words.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::error::QueryError;

/// A statement that got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request is not one that this interface knows.
    #[error("{0}")]
    Request(String),
    /// The statement is longer than allowed.
    #[error("the statement is longer than 1 MiB")]
    TooLong,
    /// No place to run.
    #[error("too many statements run and wait; ask again in a second")]
    Busy,
    /// The statement was older than allowed.
    #[error("the statement took longer than {0:?} (query.timeout); ask for less, such as a shorter time")]
    Timeout(std::time::Duration),
    /// The station ends.
    #[error("the station is shutting down")]
    ShuttingDown,
    /// The engine has no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Failure {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "bad_request",
            Self::TooLong => "statement_too_long",
            Self::Busy => "busy",
            Self::Timeout(_) => "timeout",
            Self::ShuttingDown => "shutting_down",
            Self::Query(error) => error.code(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Query(error) => match error {
                QueryError::Invalid(_) | QueryError::ReadOnly(_) | QueryError::Execution(_) => StatusCode::BAD_REQUEST,
                QueryError::CollectorUnreachable(_)
                | QueryError::NoConsistentCut { .. }
                | QueryError::CollectorLags { .. }
                | QueryError::Store(_)
                | QueryError::Resources(_) => StatusCode::SERVICE_UNAVAILABLE,
                QueryError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// What the client is told; the text of a fault of ours is for the log.
    fn public_text(&self) -> String {
        match self {
            Self::Query(QueryError::Internal(_)) => {
                "internal error; the log of the query station tells more".to_owned()
            }
            other => other.to_string(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code(), "message": self.public_text()}});
        let mut response = (self.status(), Json(body)).into_response();
        if matches!(self, Self::Busy) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
