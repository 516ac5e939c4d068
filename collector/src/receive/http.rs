//! OTLP over HTTP: `POST /v1/logs` and `/v1/traces`, protobuf or JSON, plain, gzip or zstd;
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::timeout;
use weir_station::server::Peer;

use super::{
    Reception,
    body::{Compression, Framing},
    grpc,
    reception::{Arrival, Envelope, Form},
};
use crate::{Accepted, Refusal, Signal, refusal::Reason};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How long the rest of a refused message is read, so that its sender can read the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The two paths.
pub(crate) fn router(reception: Arc<Reception>) -> Router {
    Router::new()
        .route("/v1/logs", post(|state, peer, request| export(Signal::Logs, state, peer, request)))
        .route("/v1/traces", post(|state, peer, request| export(Signal::Traces, state, peer, request)))
        .with_state(reception)
}

async fn export(
    signal: Signal,
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let (parts, mut body) = request.into_parts();
    let envelope = envelope(&parts.headers);
    let form = envelope.as_ref().map_or(Form::Json, |envelope| envelope.form);
    let arrival = Arrival { signal, peer, headers: parts.headers, envelope, body: &mut body };
    match reception.take(arrival).await {
        Ok(accepted) => success(signal, form, accepted),
        Err(refusal) => {
            if is_http1 {
                discard(body).await;
            }
            failure(&refusal, form)
        }
    }
}

/// Reads what is left of a refused message, and keeps nothing of it: an HTTP/1 sender that is cut off while it writes may
/// never see the answer.
async fn discard(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // It was refused already: the answer comes either way.
    let _ = timeout(DISCARD_TIMEOUT, rest).await;
}

fn envelope(headers: &HeaderMap) -> Result<Envelope, Refusal> {
    let compression = text(headers, CONTENT_ENCODING);
    let compression = Compression::named(compression).ok_or_else(|| {
        Refusal::Unsupported(format!("content-encoding is {compression:?}; expected gzip, zstd or none"))
    })?;
    let declared_bytes = text(headers, CONTENT_LENGTH).parse().ok();
    Ok(Envelope { form: form(headers)?, compression, framing: Framing::Http, declared_bytes })
}

fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let value = text(headers, CONTENT_TYPE);
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        PROTOBUF => Ok(Form::Protobuf),
        JSON => Ok(Form::Json),
        other => Err(Refusal::Unsupported(format!("content-type is {other:?}; expected {PROTOBUF} or {JSON}"))),
    }
}

/// A header's value; empty when there is none, and no name of anything when it is no text.
pub(super) fn text(headers: &HeaderMap, name: impl Into<HeaderName>) -> &str {
    headers.get(name.into()).map_or(Ok(""), HeaderValue::to_str).unwrap_or("?")
}

/// What was rejected, in words; `None` when nothing was.
pub(super) fn rejection_text(accepted: Accepted) -> Option<String> {
    (accepted.rejected.total() > 0).then(|| accepted.rejected.to_string())
}

fn success(signal: Signal, form: Form, accepted: Accepted) -> Response {
    match form {
        Form::Protobuf => ([(CONTENT_TYPE, PROTOBUF)], grpc::answer(signal, accepted)).into_response(),
        Form::Json => {
            let rejected = accepted.rejected.total().to_string();
            let body = match (rejection_text(accepted), signal) {
                (None, _) => json!({}),
                (Some(text), Signal::Logs) => {
                    json!({"partialSuccess": {"rejectedLogRecords": rejected, "errorMessage": text}})
                }
                (Some(text), Signal::Traces) => {
                    json!({"partialSuccess": {"rejectedSpans": rejected, "errorMessage": text}})
                }
            };
            ([(CONTENT_TYPE, JSON)], body.to_string()).into_response()
        }
    }
}

/// An answer that is not a success: OTLP asks for a `google.rpc.Status`, written as the request was. The text is what a
/// person reads; the HTTP status is what a sender acts on, and 429 and 503 are those on which it comes again.
fn failure(refusal: &Refusal, form: Form) -> Response {
    #[derive(prost::Message)]
    struct RpcStatus {
        #[prost(string, tag = "2")]
        message: String,
    }
    let status = match refusal.reason() {
        Reason::Malformed => StatusCode::BAD_REQUEST,
        Reason::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
        Reason::SenderLimit | Reason::InFlight | Reason::WalBudget | Reason::Disk => StatusCode::TOO_MANY_REQUESTS,
        Reason::Slow | Reason::BrokenOff | Reason::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
    };
    let message = refusal.to_string();
    let mut response = match form {
        Form::Protobuf => {
            let body = prost::Message::encode_to_vec(&RpcStatus { message });
            (status, [(CONTENT_TYPE, PROTOBUF)], body).into_response()
        }
        Form::Json => (status, [(CONTENT_TYPE, JSON)], json!({ "message": message }).to_string()).into_response(),
    };
    let headers = response.headers_mut();
    if let Some(retry_after) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, whole_seconds(retry_after).into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    response
}

/// RFC 6750, section 3.
pub(crate) const CHALLENGE: &str = "Bearer realm=\"weir\"";

/// Rounded up: who comes sooner is refused again.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
