//! A request's way: find the route, protect it, forward it, and say how it ended.

use std::{
    convert::Infallible,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use weir_record::Outcome;

use crate::{
    body::{ResponseBody, Upload, UploadBody},
    config::integration::{HttpProxy, Integration, Mock},
    connection::Client,
    core::Core,
    exchange::Exchange,
    refusal::Refusal,
    route::Parameters,
    upstream::{Lease, SendError},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers that concern one connection alone (RFC 9110, section 7.6.1, and what older peers send).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What answered.
enum Answer {
    /// The configuration.
    Mock(Response<Bytes>),
    /// The integration.
    Integration(Response<Incoming>, Lease<UploadBody>, std::pin::Pin<Box<Sleep>>),
}

/// Serves one request. Its record is made when the response's body is dropped, or this future is.
pub(crate) async fn handle(
    core: Rc<Core>,
    request: Request<Incoming>,
    client: Rc<Client>,
) -> Result<Response<ResponseBody>, Infallible> {
    let client = client.address_text(request.headers()).into_owned();
    let mut exchange = Exchange::begin(Arc::clone(&core.shared), &request, &client);
    let upload = Rc::new(Upload::default());
    let is_head = request.method() == Method::HEAD;
    let answer = serve(&core, request, &client, &mut exchange, &upload).await;
    let request_id = HeaderValue::from_str(&exchange.record.request_id);
    let mut response = match answer {
        Ok(Answer::Mock(response)) => {
            exchange.record.status = Some(response.status().as_u16());
            response.map(|body| ResponseBody::fixed(body, exchange, upload, Outcome::Ok))
        }
        Ok(Answer::Integration(mut response, lease, deadline)) => {
            // The client's connection has its own version: an HTTP/1.0 server behind must not end its keep-alive.
            *response.version_mut() = http::Version::HTTP_11;
            remove_hop_by_hop(response.headers_mut());
            let status = response.status().as_u16();
            exchange.record.integration_status = Some(status);
            exchange.record.status = Some(status);
            response.map(|body| ResponseBody::proxied(body, lease, deadline, exchange, upload))
        }
        Err(refusal) => {
            exchange.refused(&refusal);
            let response = refusal.response();
            exchange.record.status = Some(response.status().as_u16());
            response.map(|body| ResponseBody::fixed(body, exchange, upload, refusal.outcome))
        }
    };
    if let Ok(request_id) = request_id {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    let without_body = is_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(response.map(|body| body.without_body(without_body)))
}

async fn serve(
    core: &Rc<Core>,
    request: Request<Incoming>,
    client: &str,
    exchange: &mut Exchange,
    upload: &Rc<Upload>,
) -> Result<Answer, Refusal> {
    let shared = &core.shared;
    let path = request.uri().path().to_owned();
    let found = shared.serving.find(request.method().as_str(), &path);
    if let Some(api) = found.api {
        api.clone_into(&mut exchange.record.api);
    }
    let Some(stage) = found.stage else { return Err(Refusal::new(Outcome::NotFound)) };
    exchange.record.stage.clone_from(&stage.name);
    let Some((route, parameters)) = found.route else { return Err(Refusal::new(Outcome::NotFound)) };
    exchange.record.route.clone_from(&route.key.template);

    route.guard.admit(request.headers(), found.api.unwrap_or_default(), &stage.name, exchange).await?;
    shared.serving.throttle(stage, route, now_ns())?;
    let limit_bytes = shared.serving.body_limit_bytes;
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit_bytes) {
        return Err(Refusal::new(Outcome::RequestTooLarge));
    }
    match &route.integration {
        Integration::Mock(mock) => Ok(Answer::Mock(answer_mock(mock).await)),
        Integration::HttpProxy(proxy) => {
            let request = request.map(|body| UploadBody::new(body, limit_bytes, Rc::clone(upload)));
            forward(core, proxy, &parameters, request, client, exchange, upload).await
        }
    }
}

async fn answer_mock(mock: &Mock) -> Response<Bytes> {
    if mock.delay > Duration::ZERO {
        sleep(mock.delay).await;
    }
    let mut response = Response::new(mock.body.clone());
    *response.status_mut() = mock.status;
    response.headers_mut().clone_from(&mock.headers);
    response
}

async fn forward(
    core: &Rc<Core>,
    proxy: &HttpProxy,
    parameters: &Parameters<'_, '_>,
    mut request: Request<UploadBody>,
    client: &str,
    exchange: &mut Exchange,
    upload: &Upload,
) -> Result<Answer, Refusal> {
    let uri = proxy.uri(parameters, request.uri().query());
    let uri = uri.ok_or_else(|| Refusal::with_detail(Outcome::BadRequestParameters, "the path makes no URI"))?;
    let scheme = if proxy.is_https { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", proxy.authority, uri.path());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_11;
    let sampled = exchange.is_sampled();
    rewrite(request.headers_mut(), proxy, client, exchange, sampled);
    exchange.integration_begins(url);
    let mut deadline = Box::pin(sleep(proxy.timeout));
    let sent = tokio::select! {
        sent = core.pool.send(proxy.is_https, &proxy.authority, request) => sent,
        () = &mut deadline => Err(SendError::Timeout(proxy.authority.clone())),
    };
    match sent {
        Ok((response, lease)) => Ok(Answer::Integration(response, lease, deadline)),
        Err(error) => {
            exchange.integration_ends();
            Err(Refusal::with_detail(outcome_of(&error, upload), error.to_string()))
        }
    }
}

fn outcome_of(error: &SendError, upload: &Upload) -> Outcome {
    if upload.is_too_large() {
        Outcome::RequestTooLarge
    } else if upload.is_broken() {
        Outcome::ClientClosed
    } else if matches!(error, SendError::Timeout(_)) {
        Outcome::IntegrationTimeout
    } else {
        Outcome::IntegrationFailure
    }
}

/// The headers that the integration gets: those of the client, save what concerned its connection, and who it was.
fn rewrite(headers: &mut HeaderMap, proxy: &HttpProxy, client: &str, exchange: &Exchange, sampled: bool) {
    remove_hop_by_hop(headers);
    if let Some(host) = headers.remove(header::HOST) {
        headers.insert(FORWARDED_HOST, host);
    }
    if let Ok(host) = HeaderValue::from_str(proxy.authority.as_str()) {
        headers.insert(header::HOST, host);
    }
    let before = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let clients = before.map_or_else(|| client.to_owned(), |before| format!("{before}, {client}"));
    if let Ok(clients) = HeaderValue::from_str(&clients) {
        headers.insert(FORWARDED_FOR, clients);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Ok(id) = HeaderValue::from_str(&exchange.record.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    exchange.trace.write(headers, sampled);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(value) = headers.get(header::CONNECTION).cloned() {
        for name in value.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Nanoseconds since the first call: a clock that never runs backwards.
fn now_ns() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
