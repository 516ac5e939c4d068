//! To a Lambda function: the request as an event, and its answer as a response.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use weir_record::Outcome;

use super::{Answer, broken_upload, headers};
use crate::{
    body::{Upload, UploadBody},
    config::definitions::ApiKind,
    core::Core,
    exchange::Exchange,
    integration::LambdaProxy,
    lambda::{Invocation, InvokeError, MOST_PAYLOAD_BYTES, Shape, event, response, text},
    refusal::Refusal,
    serving::Route,
    target::Target,
    upstream::SendError,
};

/// Calls a function with a request and waits for its answer.
pub(super) async fn call(
    core: &Core,
    route: &Route,
    lambda: &LambdaProxy,
    target: &Target<'_>,
    mut request: Request<UploadBody>,
    exchange: &mut Exchange,
    upload: &Upload,
) -> Result<Answer, Refusal> {
    let body = std::mem::replace(request.body_mut(), UploadBody::whole(Bytes::new()));
    let body = body.up_to(MOST_PAYLOAD_BYTES as u64).collect().await.map_err(|error| {
        let refusal = broken_upload(upload, &exchange.facts.client);
        refusal.unwrap_or_else(|| Refusal::with_detail(Outcome::ClientClosed, error.to_string()))
    })?;
    headers::to_function(request.headers_mut(), exchange);
    let kind = route.stage.api.kind;
    let shape = Shape::of(kind, lambda.is_1);
    let invocation = Invocation {
        route,
        target,
        headers: request.headers(),
        body: &body,
        record: &exchange.record,
        facts: &exchange.facts,
    };
    let payload = event::proxy(&invocation, shape);
    if payload.len() > MOST_PAYLOAD_BYTES {
        return Err(Refusal::with_detail(Outcome::RequestTooLarge, "the event is larger than a function takes"));
    }
    let mut context = HeaderMap::new();
    exchange.trace.write(&mut context, exchange.is_sampled());
    exchange.integration_begins();
    let reply = lambda.function.call(core, Bytes::from(payload), context).await;
    exchange.integration_ends();
    let reply = reply.map_err(|error| failed(&error, kind, exchange))?;
    let facts = &mut exchange.facts.integration;
    (facts.service_status, facts.request_id) = (Some(reply.status.as_u16()), reply.request_id);
    let decodes = takes_bytes(&route.stage.api.binary_media_types, request.headers().get(header::ACCEPT));
    let response = if reply.is_error {
        Err(format!("the function failed: {}", what_it_said(&reply.payload)))
    } else {
        response::read(&reply.payload, shape, decodes).map_err(|fault| fault.to_string())
    };
    let mut response = response.map_err(|fault| {
        exchange.facts.integration.error = Some(fault.clone());
        // A function that fails is a bad gateway to a REST API, an internal error to an HTTP API.
        let status = if kind == ApiKind::Rest { StatusCode::BAD_GATEWAY } else { StatusCode::INTERNAL_SERVER_ERROR };
        internal(Outcome::IntegrationFailure, status, kind, fault)
    })?;
    exchange.record.integration_status = Some(response.status().as_u16());
    headers::from_integration(response.headers_mut(), exchange);
    Ok(Answer::Own(response))
}

/// The call brought nothing back.
fn failed(error: &InvokeError, kind: ApiKind, exchange: &mut Exchange) -> Refusal {
    let detail = error.to_string();
    exchange.facts.integration.error = Some(detail.clone());
    match error {
        InvokeError::Timeout(_) | InvokeError::Send(SendError::Timeout(_)) => {
            Refusal::with_detail(Outcome::IntegrationTimeout, detail)
        }
        InvokeError::Send(SendError::Http { .. }) | InvokeError::Broken(_) => {
            Refusal::with_detail(Outcome::IntegrationReset, detail)
        }
        InvokeError::Send(_) => Refusal::with_detail(Outcome::IntegrationFailure, detail),
        InvokeError::Refused(status, _) => {
            exchange.facts.integration.service_status = Some(status.as_u16());
            internal(Outcome::IntegrationFailure, StatusCode::INTERNAL_SERVER_ERROR, kind, detail)
        }
        InvokeError::TooLarge if kind == ApiKind::Rest => {
            internal(Outcome::IntegrationFailure, StatusCode::BAD_GATEWAY, kind, detail)
        }
        InvokeError::TooLarge => internal(Outcome::IntegrationFailure, StatusCode::INTERNAL_SERVER_ERROR, kind, detail),
        InvokeError::NoCredentials(_) | InvokeError::Sign(_) => {
            Refusal::with_detail(Outcome::ConfigurationError, detail)
        }
    }
}

/// As API Gateway tells of functions that cannot be called or fail
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html>).
fn internal(outcome: Outcome, status: StatusCode, kind: ApiKind, detail: String) -> Refusal {
    let message = if kind == ApiKind::Rest { "Internal server error" } else { "Internal Server Error" };
    Refusal {
        message: Some(message.to_owned()),
        error_type: Some(Box::new((status, "InternalServerErrorException"))),
        ..Refusal::with_detail(outcome, detail)
    }
}

/// What a function that failed says of it.
fn what_it_said(payload: &[u8]) -> String {
    let answer = serde_json::from_slice(payload).unwrap_or_default();
    response::error_message(&answer).unwrap_or_else(|| "it does not say why".to_owned())
}

/// Whether the client asks for a media type that is binary: the first one that it takes decides, as in API Gateway.
fn takes_bytes(binary: &[String], accept: Option<&HeaderValue>) -> bool {
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    text::is_one_of(binary, accept.split(',').next().unwrap_or_default())
}
