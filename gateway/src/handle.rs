//! A request's way: find the route, protect it, forward it, and say how it ended.

mod forward;
mod function;
mod headers;
mod mapped;

use std::{convert::Infallible, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use weir_record::Outcome;

pub(crate) use headers::{ids_of_integration, to_function};

use crate::{
    auth::Asking,
    body::{Content, Proxied, ResponseBody, Upload, UploadBody},
    config::definitions::{ApiKind, UnknownRoute},
    connection::{Client, refused::Reason, upgrade::Tunnel},
    context::variable::About,
    core::Core,
    exchange::Exchange,
    facts::ErrorFacts,
    integration::{Integration, answer_mock},
    limits::{SystemClock, headers::Fields},
    refusal::Refusal,
    responses::{self, Asked},
    serving::{Route, Serving},
    target::{Target, normalise},
};

/// What answered.
pub(crate) enum Answer {
    /// The gateway itself, because it is meant to: a mock integration, a preflight request.
    Own(Response<Bytes>),
    /// The integration.
    Integration(Response<Box<Proxied>>),
    /// The integration, which from now on speaks another protocol with the client.
    Tunnel(Response<()>, Tunnel),
}

/// Serves one request. Its record is made when the response's body is dropped, or this future is.
pub(crate) async fn handle(
    core: Rc<Core>,
    request: Request<Incoming>,
    client: Rc<Client>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut exchange = Box::new(Exchange::begin(Arc::clone(&core.shared), &request, Rc::clone(&client)));
    let upload = Rc::new(Upload::default());
    let is_head = request.method() == Method::HEAD;
    let answer = serve(&core, request, &mut exchange, &upload).await;
    let outcome = answer.as_ref().map_or_else(|refusal| refusal.outcome, |_| Outcome::Ok);
    let response = match answer {
        Ok(Answer::Own(response)) => response.map(|body| Content::Fixed(Some(body))),
        Ok(Answer::Integration(mut response)) => {
            // The client's connection has its own version: an HTTP/1.0 server behind must not end its keep-alive.
            *response.version_mut() = http::Version::HTTP_11;
            headers::from_integration(response.headers_mut(), &exchange);
            exchange.integration_answered(response.status(), response.headers());
            mapped::response(&mut response, &exchange).await;
            response.map(Content::Proxied)
        }
        Ok(Answer::Tunnel(response, tunnel)) => return Ok(hand_over(response, tunnel, &client, exchange)),
        Err(refusal) => refuse(&refusal, &mut exchange).map(|body| Content::Fixed(Some(body))),
    };
    let mut response = response;
    exchange.record.status = Some(response.status().as_u16());
    headers::to_client(response.headers_mut(), &exchange);
    let without_body = is_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(response.map(|content| ResponseBody::new(content, exchange, upload, outcome).without_body(without_body)))
}

/// The gateway's own answer, and what the records say of it.
fn refuse(refusal: &Refusal, exchange: &mut Exchange) -> Response<Bytes> {
    let api = exchange.facts.place.api();
    let (kind, unknown_route) =
        api.map_or((ApiKind::Http, UnknownRoute::NotFound), |api| (api.kind, api.unknown_route));
    let answer = refusal.answer(kind, unknown_route);
    exchange.refused(refusal);
    exchange.facts.error =
        Some(ErrorFacts { message: answer.message.as_deref().map(str::to_owned), response_type: answer.response_type });
    let mut response = refusal.response(&answer);
    if let Some(limits) = &refusal.limits {
        limits.insert(response.headers_mut());
    }
    if let Some(api) = exchange.facts.place.api().filter(|api| !api.responses.is_empty()) {
        // The record is not finished: what the client gets is what is known of it now.
        exchange.record.status = Some(response.status().as_u16());
        let about = About { record: &exchange.record, facts: &exchange.facts };
        responses::apply(&api.responses, &answer, &Asked { about, headers: &exchange.headers }, &mut response);
    }
    response
}

/// The connection becomes a tunnel after this response; its exchange ends with the tunnel.
fn hand_over(
    mut response: Response<()>,
    tunnel: Tunnel,
    client: &Client,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.integration_answered(response.status(), response.headers());
    exchange.record.status = Some(response.status().as_u16());
    headers::to_client(response.headers_mut(), &exchange);
    let of_server = tunnel.on_end;
    let on_end = Box::new(move |end| {
        of_server(end);
        exchange.tunnel_ended(end);
    });
    client.hand_over(Tunnel { on_end, ..tunnel });
    response.map(|()| ResponseBody::of_tunnel())
}

async fn serve(
    core: &Rc<Core>,
    request: Request<Incoming>,
    exchange: &mut Exchange,
    upload: &Rc<Upload>,
) -> Result<Answer, Refusal> {
    let serving = core.serving();
    let uri = request.uri().clone();
    let path = normalise(uri.path()).map_err(|fault| Refusal::with_detail(Outcome::BadRequest, fault.to_string()))?;
    let target = Target::new(&path);
    let found = serving.find(exchange.record.domain.as_deref(), request.method().as_str(), &target);
    let is_unmapped = found.is_unmapped;
    exchange.found(found);
    if exchange.facts.place.api().is_some_and(|api| api.cors.is_some()) {
        exchange.origin = request.headers().get(header::ORIGIN).cloned();
    }
    if exchange.facts.place.api().is_some_and(|api| api.responses_ask_for_headers) {
        exchange.headers = request.headers().clone();
    }
    if is_unmapped {
        return Err(Refusal::new(Outcome::UnmappedHost));
    }
    if let Some(cors) = exchange.facts.place.api().and_then(|api| api.cors.as_ref())
        && let Some(response) = cors.preflight(request.method(), request.headers())
    {
        exchange.is_preflight = true;
        return Ok(Answer::Own(response));
    }
    let Some(route) = exchange.facts.place.route().map(Arc::clone) else {
        return Err(Refusal::new(Outcome::NotFound));
    };
    let limit_bytes = serving.body_limit_bytes;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    if declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).is_some_and(|bytes| bytes > limit_bytes) {
        return Err(Refusal::new(Outcome::RequestTooLarge));
    }
    let mut request = request.map(|body| UploadBody::new(body, limit_bytes, Rc::clone(upload)));
    if !route.guard.is_open() {
        let begun = Instant::now();
        let asking = Asking { core, route: &route, target: &target, request: &mut request, exchange, upload };
        let admitted = route.guard.admit(asking).await;
        exchange.authorized(begun.elapsed(), admitted.as_ref().err());
        admitted?;
    }
    throttle(&serving, &route, &request, exchange).await?;
    match &route.integration {
        Integration::Mock(mock) => Ok(Answer::Own(answer_mock(mock).await)),
        Integration::Lambda(lambda) => {
            Box::pin(function::call(core, &route, lambda, &target, request, exchange, upload)).await
        }
        Integration::HttpProxy(proxy) => {
            forward::forward(core, &route, proxy, &target, request, exchange, upload).await
        }
    }
}

/// Takes the request's API key, where one is needed, and a token from each limit.
async fn throttle(
    serving: &Serving,
    route: &Route,
    request: &Request<UploadBody>,
    exchange: &mut Exchange,
) -> Result<(), Refusal> {
    let limits = &serving.limits;
    let plan = if route.needs_api_key {
        let keys = limits.keys();
        let admitted = match exchange.usage_identifier_key.take() {
            Some(key) => keys.admit_value(key.as_bytes(), route.limits.stage_id),
            None => keys.admit(request.headers(), route.limits.stage_id),
        }?;
        exchange.record.api_key_id = Some(admitted.id.as_ref().to_owned());
        exchange.record.usage_plan = admitted.plan.map(|plan| plan.plan.as_ref().to_owned());
        admitted.plan
    } else if route.limits.is_unlimited() {
        return Ok(());
    } else {
        None
    };
    // Only the count of a quota may have to be waited for.
    let begun = plan.map(|_| Instant::now());
    let admitted = limits.admit(&route.limits, plan.map(|plan| &**plan), &SystemClock).await;
    if let Some(begun) = begun {
        exchange.waited_for_limits(begun.elapsed());
    }
    match admitted {
        Ok(()) => {
            if serving.rate_limit_headers.is_always() {
                exchange.limits = Some(Fields::of_passed(&route.limits, plan.map(|plan| &**plan), &SystemClock));
            }
            Ok(())
        }
        Err(throttled) => {
            let fields = (!serving.rate_limit_headers.is_off())
                .then(|| Box::new(Fields::of_throttled(&throttled, &SystemClock)));
            Err(Refusal { limits: fields, ..throttled.refusal() })
        }
    }
}

/// How a request ends whose body broke off.
pub(crate) fn broken_upload(upload: &Upload, client: &Client) -> Option<Refusal> {
    if upload.is_too_large() {
        return Some(Refusal::new(Outcome::RequestTooLarge));
    }
    if let Some(reason) = client.body_refused() {
        let outcome = if reason == Reason::BodyTimeout { Outcome::RequestTimeout } else { Outcome::BadRequest };
        return Some(Refusal::with_detail(outcome, reason.detail()));
    }
    upload.is_broken().then(|| Refusal::new(Outcome::ClientClosed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Room for all of it is made, and moved, for each request: what is rare and large belongs on the heap.
    #[test]
    fn a_request_takes_little_room_while_it_is_served() {
        let bytes = future_bytes(handle);
        assert!(bytes <= 4_608, "{bytes} bytes");
    }
}
