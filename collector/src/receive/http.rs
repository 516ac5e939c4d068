//! OTLP over HTTP: `POST /v1/logs` and `/v1/traces`, protobuf or JSON, plain, gzip or zstd;
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use std::io::{self, Read};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_record::otlp;

use super::{MESSAGE_LIMIT_BYTES, RETRY_AFTER_SECONDS, grpc};
use crate::{Accepted, Intake, Refusal, Signal};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Serves both paths until `shutdown`; requests that are under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, intake: Intake, shutdown: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route("/v1/logs", post(|state, request| export(Signal::Logs, state, request)))
        .route("/v1/traces", post(|state, request| export(Signal::Traces, state, request)))
        .layer(DefaultBodyLimit::max(MESSAGE_LIMIT_BYTES))
        .with_state(intake);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// How a message is written; the answer is written alike.
#[derive(Clone, Copy)]
enum Form {
    Protobuf,
    Json,
}

async fn export(signal: Signal, State(intake): State<Intake>, request: Request) -> Response {
    let form = match form(request.headers()) {
        Ok(form) => form,
        Err(error) => {
            intake.count_malformed();
            return error.response(Form::Json);
        }
    };
    match take(signal, form, &intake, request).await {
        Ok(accepted) => success(signal, form, accepted),
        Err(error) => error.response(form),
    }
}

async fn take(signal: Signal, form: Form, intake: &Intake, request: Request) -> Result<Accepted, Failure> {
    let malformed = |error: Failure| {
        intake.count_malformed();
        error
    };
    let encoding = request.headers().get(CONTENT_ENCODING).cloned();
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|error| malformed(Failure::new(error.status(), error.body_text())))?;
    let encoding = encoding.as_ref().map_or(Ok("identity"), |value| value.to_str()).unwrap_or("?");
    let body = decompress(encoding, body).map_err(malformed)?;
    let body = match (form, signal) {
        (Form::Protobuf, _) => body,
        (Form::Json, Signal::Logs) => {
            otlp::logs_json_to_protobuf(&body).map_err(|error| malformed(error.into()))?.into()
        }
        (Form::Json, Signal::Traces) => {
            otlp::traces_json_to_protobuf(&body).map_err(|error| malformed(error.into()))?.into()
        }
    };
    Ok(intake.take(signal, body).await?)
}

fn form(headers: &HeaderMap) -> Result<Form, Failure> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        PROTOBUF => Ok(Form::Protobuf),
        JSON => Ok(Form::Json),
        other => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("content-type is {other:?}; expected {PROTOBUF} or {JSON}"),
        )),
    }
}

fn decompress(encoding: &str, body: Bytes) -> Result<Bytes, Failure> {
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => read_bounded(flate2::read::MultiGzDecoder::new(&body[..])),
        "zstd" => read_bounded(zstd::stream::read::Decoder::new(&body[..]).map_err(|error| broken(&error))?),
        other => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("content-encoding is {other:?}; expected gzip, zstd or none"),
        )),
    }
}

/// Reads no further than the largest message: a small body can unfold to any size.
fn read_bounded(reader: impl Read) -> Result<Bytes, Failure> {
    let mut unfolded = Vec::new();
    reader.take(MESSAGE_LIMIT_BYTES as u64 + 1).read_to_end(&mut unfolded).map_err(|error| broken(&error))?;
    if unfolded.len() > MESSAGE_LIMIT_BYTES {
        let text = format!("the message is larger than {MESSAGE_LIMIT_BYTES} bytes after decompression");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(unfolded.into())
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, format!("the body does not decompress: {error}"))
}

/// What was rejected, in words; `None` when nothing was.
pub(super) fn rejection_text(accepted: Accepted) -> Option<String> {
    (accepted.rejected.total() > 0).then(|| accepted.rejected.to_string())
}

fn success(signal: Signal, form: Form, accepted: Accepted) -> Response {
    match form {
        Form::Protobuf => ([(CONTENT_TYPE, PROTOBUF)], grpc::answer(signal, accepted)).into_response(),
        Form::Json => {
            let body = match (rejection_text(accepted), signal) {
                (None, _) => json!({}),
                (Some(text), Signal::Logs) => {
                    json!({"partialSuccess": {"rejectedLogRecords": accepted.rejected.total().to_string(), "errorMessage": text}})
                }
                (Some(text), Signal::Traces) => {
                    json!({"partialSuccess": {"rejectedSpans": accepted.rejected.total().to_string(), "errorMessage": text}})
                }
            };
            ([(CONTENT_TYPE, JSON)], body.to_string()).into_response()
        }
    }
}

/// An answer that is not a success: OTLP asks for a `google.rpc.Status`, written as the request was.
struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    fn new(status: StatusCode, text: String) -> Self {
        Self { status, text }
    }

    fn response(self, form: Form) -> Response {
        /// `google.rpc.Status`: the text is what a person reads; the HTTP status is what a sender acts on.
        #[derive(prost::Message)]
        struct RpcStatus {
            #[prost(string, tag = "2")]
            message: String,
        }
        let mut response = match form {
            Form::Protobuf => {
                let body = prost::Message::encode_to_vec(&RpcStatus { message: self.text });
                (self.status, [(CONTENT_TYPE, PROTOBUF)], body).into_response()
            }
            Form::Json => {
                (self.status, [(CONTENT_TYPE, JSON)], json!({ "message": self.text }).to_string()).into_response()
            }
        };
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Closed => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<otlp::DecodeError> for Failure {
    fn from(error: otlp::DecodeError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}
