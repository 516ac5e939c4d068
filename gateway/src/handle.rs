//! A request's way: find the route, protect it, forward it, and say how it ended.

mod cors;
mod forward;
mod headers;

use std::{
    borrow::Cow,
    convert::Infallible,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use weir_record::Outcome;

use crate::{
    body::{ResponseBody, Upload},
    client::Client,
    config::definitions::{ApiKind, UnknownRoute},
    core::Core,
    exchange::Exchange,
    facts::{ErrorFacts, Place},
    integration::{Integration, answer_mock},
    refusal::Refusal,
    serving::Route,
    target::{Target, normalise},
    upstream::Lease,
};

/// What answered.
enum Answer {
    /// The gateway itself, because it is meant to: a mock integration, a preflight request.
    Own(Response<Bytes>),
    /// The integration.
    Integration(Box<forward::Answered>),
}

/// Serves one request. Its record is made when the response's body is dropped, or this future is.
pub(crate) async fn handle(
    core: Rc<Core>,
    request: Request<Incoming>,
    client: Rc<Client>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut exchange = Exchange::begin(Arc::clone(&core.shared), &request, client);
    let upload = Rc::new(Upload::default());
    let is_head = request.method() == Method::HEAD;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = serve(&core, request, &mut exchange, &upload).await;
    let mut response = match answer {
        Ok(Answer::Own(response)) => {
            exchange.record.status = Some(response.status().as_u16());
            exchange.dress(response, origin.as_ref(), |response, exchange| {
                response.map(|body| ResponseBody::fixed(body, exchange, upload, Outcome::Ok))
            })
        }
        Ok(Answer::Integration(answered)) => {
            exchange.dress_integration(*answered, origin.as_ref(), upload)
        }
        Err(refusal) => refuse(&refusal, exchange, origin.as_ref(), upload),
    };
    let without_body = is_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(response.map(|body| body.without_body(without_body)))
}
