//! What a request gets: the refusal of its connection, or the gateway's answer.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    Client,
    counts::Closing,
    http2,
    refused::{self, Refused},
    wire::{Order, Wire},
};
use crate::{body::ResponseBody, core::Core, handle::handle};

/// The body of a response. Its request is under way until it is dropped.
pub(crate) struct ReplyBody {
    content: Content,
    _under_way: UnderWay,
}

enum Content {
    Answer(ResponseBody),
    Refusal(Option<Bytes>),
}

/// A request that is under way on a connection.
struct UnderWay(Rc<Wire>);

impl UnderWay {
    fn begin(wire: &Rc<Wire>) -> Self {
        wire.begin();
        Self(Rc::clone(wire))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Answers a request that came by HTTP/1 on this connection.
pub(super) async fn by_http1(
    core: Rc<Core>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let under_way = UnderWay::begin(&client.wire);
    client.wire.calls.set(client.wire.calls.get() + 1);
    if let Some(refused) = client.wire.refused_now() {
        return Ok(refuse(&core, &client, &refused, under_way));
    }
    let is_last = is_last(&core, &client);
    if is_last {
        core.shared.stats.clients.close(Closing::Requests);
    }
    let mut response = handle(Rc::clone(&core), request, Rc::clone(&client)).await?;
    if is_last || core.is_draining.get() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let wire = &client.wire;
    wire.is_proven.set(true);
    if wire.asks_for_upgrade() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        wire.stays_http.set(true);
        wire.order(Order::Look);
    }
    Ok(response.map(|body| ReplyBody { content: Content::Answer(body), _under_way: under_way }))
}

/// Answers a request that came by HTTP/2 on this connection.
pub(super) async fn by_http2(
    core: Rc<Core>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let under_way = UnderWay::begin(&client.wire);
    if let Err(reason) = http2::check(&request, &core.shared.terms.config.limits) {
        let path = request.uri().path().get(..256).unwrap_or(request.uri().path());
        let method = Some(request.method().as_str().to_owned());
        let refused = Refused { reason, method, path: Some(path.to_owned()) };
        return Ok(refuse(&core, &client, &refused, under_way));
    }
    if is_last(&core, &client) {
        client.wire.order(Order::End(Closing::Requests));
    }
    let response = handle(core, request, Rc::clone(&client)).await?;
    client.wire.is_proven.set(true);
    Ok(response.map(|body| ReplyBody { content: Content::Answer(body), _under_way: under_way }))
}

/// Counts a request; whether its connection may have no more.
fn is_last(core: &Core, client: &Client) -> bool {
    let requests = client.requests.get() + 1;
    client.requests.set(requests);
    requests == core.shared.terms.config.limits.requests_per_connection
}

fn refuse(core: &Core, client: &Client, refused: &Refused, under_way: UnderWay) -> Response<ReplyBody> {
    refused::early(&core.shared, client, refused);
    let mut response = refused.reason.response();
    // HTTP/2 has no such header, and other streams there go on.
    *response.version_mut() = Version::HTTP_11;
    response.map(|body| ReplyBody { content: Content::Refusal(Some(body)), _under_way: under_way })
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().content {
            Content::Answer(body) => Pin::new(body).poll_frame(cx),
            Content::Refusal(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Answer(body) => body.is_end_stream(),
            Content::Refusal(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Answer(body) => body.size_hint(),
            Content::Refusal(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}
