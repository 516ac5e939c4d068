//! `/sql`: a statement in, its rows out.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::{format::Format, session::Options};

use super::{Station, body::Writing, failure::Failure};

/// What stands behind the question mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    q: Option<String>,
    format: Option<String>,
    #[serde(default = "fresh")]
    fresh: bool,
}

/// A statement as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody<'a> {
    #[serde(borrow)]
    sql: Cow<'a, str>,
}

type MaybeParameters = Result<Query<Parameters>, QueryRejection>;

const fn fresh() -> bool {
    true
}

/// `GET /sql?q=…`.
pub(super) async fn get(
    State(station): State<Arc<Station>>,
    parameters: MaybeParameters,
    headers: HeaderMap,
) -> Response {
    let answered = async {
        let parameters = read_parameters(parameters)?;
        let statement = parameters.q.as_deref().ok_or_else(|| {
            Failure::Request("no statement: GET /sql?q=SELECT…, or POST /sql with the statement as its body".to_owned())
        })?;
        answer(&station, statement, &parameters, &headers).await
    };
    respond(&station, answered.await)
}

/// `POST /sql`.
pub(super) async fn post(
    State(station): State<Arc<Station>>,
    parameters: MaybeParameters,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let answered = async {
        let parameters = read_parameters(parameters)?;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLong,
            _ => Failure::Request(rejection.body_text()),
        })?;
        let statement = read_statement(&headers, &body)?;
        answer(&station, &statement, &parameters, &headers).await
    };
    respond(&station, answered.await)
}

fn respond(station: &Station, answered: Result<Response, Failure>) -> Response {
    answered.unwrap_or_else(|failure| {
        station.gate.count(failure.code());
        tracing::debug!(code = failure.code(), error = %failure, "a statement has no answer");
        failure.into_response()
    })
}

async fn answer(
    station: &Arc<Station>,
    statement: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let format = choose_format(parameters, headers)?;
    let deadline = Instant::now() + station.timeout;
    let begun = async {
        let place = station.gate.enter().await.map_err(|_| Failure::Busy)?;
        let answer = station.engine.query(statement, Options { fresh: parameters.fresh }).await?;
        let mut writing = Writing::new(Arc::clone(station), answer, format, deadline, place)?;
        // The first bytes are awaited here: most errors come before them, and find the status still unsent.
        let first = writing.next().await?.unwrap_or_default();
        Ok::<_, Failure>((first, writing))
    };
    let (first, writing) = tokio::select! {
        biased;
        () = station.shutdown.cancelled() => return Err(Failure::ShuttingDown),
        begun = timeout_at(deadline, begun) => begun.map_err(|_| Failure::Timeout(station.timeout))??,
    };
    let headers = [(CONTENT_TYPE, content_type(format)), (CACHE_CONTROL, "no-store")];
    Ok((headers, writing.into_body(first)).into_response())
}

fn read_parameters(parameters: MaybeParameters) -> Result<Parameters, Failure> {
    let Query(parameters) = parameters.map_err(|rejection| Failure::Request(rejection.body_text()))?;
    Ok(parameters)
}

fn read_statement<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, str>, Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if essence(content_type) == Format::Json.media_type() {
        let body: JsonBody<'a> = serde_json::from_slice(body)
            .map_err(|error| Failure::Request(format!("expected {{\"sql\": \"…\"}}: {error}")))?;
        return Ok(body.sql);
    }
    let text = std::str::from_utf8(body).map_err(|_| Failure::Request("the statement is not UTF-8".to_owned()))?;
    Ok(Cow::Borrowed(text))
}

/// `?format=`, or else the first media type in `Accept` that there is a format for, or else JSON.
fn choose_format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format, Failure> {
    if let Some(name) = &parameters.format {
        return name.parse().map_err(|error: crate::format::UnknownFormat| Failure::Request(error.to_string()));
    }
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).map(essence);
    let known = types.find_map(|accepted| Format::ALL.into_iter().find(|format| format.media_type() == accepted));
    Ok(known.unwrap_or(Format::Json))
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Table => "text/plain; charset=utf-8",
        Format::Csv => "text/csv; charset=utf-8; header=present",
        other => other.media_type(),
    }
}
