//! To a server behind the gateway: the request as it goes up, and what comes of it.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use weir_record::Outcome;

use super::{Answer, broken_upload, headers, mapped};
use crate::{
    body::{Proxied, Upload, UploadBody},
    connection::upgrade::Tunnel,
    core::Core,
    exchange::Exchange,
    integration::HttpProxy,
    refusal::Refusal,
    serving::Route,
    target::Target,
    upstream::{Lease, SendError},
};

/// Sends a request on and waits for the head of the answer.
pub(super) async fn forward(
    core: &Rc<Core>,
    route: &Route,
    proxy: &HttpProxy,
    target: &Target<'_>,
    mut request: Request<UploadBody>,
    exchange: &mut Exchange,
    upload: &Upload,
) -> Result<Answer, Refusal> {
    let parameters = route.key.parameters(target, exchange.facts.below);
    let value = |name: &str| parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| *value);
    let changes = mapped::request(proxy, &mut request, target, &parameters, exchange, upload).await?;
    let uri = match &changes {
        None => proxy.uri.path_and_query(value, request.uri().query()),
        Some(changes) => {
            let value = |name: &str| changes.path_parameter(name).unwrap_or_else(|| value(name));
            mapped::target(changes, proxy.uri.path_and_query(value, request.uri().query()))?
        }
    };
    let uri = uri.parse();
    *request.uri_mut() =
        uri.map_err(|_| Refusal::with_detail(Outcome::BadRequestParameters, "the path makes no URI"))?;
    *request.version_mut() = http::Version::HTTP_11;
    if let Some(method) = &proxy.method {
        *request.method_mut() = method.clone();
    }
    let is_websocket = asks_for_websocket(&request);
    headers::to_integration(request.headers_mut(), &proxy.upstream.host, exchange);
    if let Some(changes) = &changes {
        changes.headers(request.headers_mut());
    }
    if is_websocket {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    exchange.integration_begins();
    let deadline = core.deadlines.after(proxy.timeout);
    match core.pool.send(&proxy.upstream, request, deadline).await {
        Ok((response, lease)) if is_websocket && response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok(tunnel(response, lease, proxy.idle_timeout))
        }
        Ok((response, _)) if response.status().is_informational() => {
            exchange.integration_ends();
            Err(Refusal::with_detail(Outcome::IntegrationFailure, "the integration switched protocols unasked"))
        }
        Ok((response, lease)) => Ok(Answer::Integration(response.map(|body| {
            Box::new(Proxied {
                first: VecDeque::new(),
                body,
                lease: Some(lease),
                idle_timeout: proxy.idle_timeout,
                deadlines: core.deadlines.clone(),
                deadline: None,
            })
        }))),
        Err(error) => {
            exchange.integration_ends();
            let refusal = broken_upload(upload, &exchange.facts.client);
            let refusal = refusal.unwrap_or_else(|| Refusal::with_detail(outcome_of(&error), error.to_string()));
            exchange.facts.integration.error = Some(error.to_string());
            Err(refusal)
        }
    }
}

fn outcome_of(error: &SendError) -> Outcome {
    match error {
        SendError::Timeout(_) => Outcome::IntegrationTimeout,
        SendError::Http { .. } => Outcome::IntegrationReset,
        _ => Outcome::IntegrationFailure,
    }
}

/// Whether the client asks for a WebSocket (RFC 6455, section 4.1).
fn asks_for_websocket(request: &Request<UploadBody>) -> bool {
    let has = |name, token: &str| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|own| own.trim().eq_ignore_ascii_case(token))
    };
    request.headers().contains_key(header::UPGRADE)
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
}

fn tunnel(mut response: Response<Incoming>, lease: Lease<UploadBody>, idle: Duration) -> Answer {
    let upstream = hyper::upgrade::on(&mut response);
    // The request is under way to its server as long as the tunnel is.
    let tunnel = Tunnel { upstream, idle, on_end: Box::new(move |_| drop(lease)) };
    Answer::Tunnel(response.map(drop), tunnel)
}
