//! Bodies that know what went through them: the request's on its way up, the response's on its way down.

use std::{
    cell::Cell,
    collections::VecDeque,
    error::Error,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use weir_record::Outcome;

use crate::{
    exchange::Exchange,
    timer::{Deadline, Deadlines},
    upstream::Lease,
};

/// What has gone up of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    bytes: Cell<u64>,
    is_too_large: Cell<bool>,
    is_broken: Cell<bool>,
}

impl Upload {
    /// Bytes that were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the body went beyond the limit.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is_too_large.get()
    }

    /// Whether the client broke off.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }
}

/// A request's body on its way to the integration; fails beyond the limit. Trailers are left behind: no server behind
/// the gateway takes for a header what stood after a body.
#[derive(Debug)]
pub(crate) struct UploadBody {
    source: Source,
    limit_bytes: u64,
    upload: Rc<Upload>,
}

#[derive(Debug)]
enum Source {
    Client(Incoming),
    Whole(Option<Bytes>),
}

impl UploadBody {
    /// A client's body, what tells of it, and its limit.
    pub(crate) fn new(body: Incoming, limit_bytes: u64, upload: Rc<Upload>) -> Self {
        Self { source: Source::Client(body), limit_bytes, upload }
    }

    /// A body that is there.
    pub(crate) fn whole(body: Bytes) -> Self {
        let body = Some(body).filter(|body| !body.is_empty());
        Self { source: Source::Whole(body), limit_bytes: u64::MAX, upload: Rc::default() }
    }

    /// The same body with a lower limit.
    pub(crate) fn up_to(self, bytes: u64) -> Self {
        Self { limit_bytes: self.limit_bytes.min(bytes), ..self }
    }

    /// All of it.
    ///
    /// # Errors
    /// When the client breaks off, or sends too much.
    pub(crate) async fn collect(self) -> Result<Bytes, UploadError> {
        match self.source {
            Source::Whole(body) => Ok(body.unwrap_or_default()),
            Source::Client(_) => Ok(BodyExt::collect(self).await?.to_bytes()),
        }
    }
}

/// A request body that cannot be sent on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// It is larger than allowed.
    #[error("the request body is too large")]
    TooLarge,
    /// The client broke off.
    #[error("the client broke off: {0}")]
    Broken(#[source] hyper::Error),
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        let body = match &mut this.source {
            Source::Whole(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Client(body) => body,
        };
        loop {
            let Some(frame) = std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) else { return Poll::Ready(None) };
            let frame = frame.map_err(|error| {
                this.upload.is_broken.set(true);
                UploadError::Broken(error)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let bytes = this.upload.bytes.get() + data.len() as u64;
            this.upload.bytes.set(bytes);
            if bytes > this.limit_bytes {
                this.upload.is_too_large.set(true);
                return Poll::Ready(Some(Err(UploadError::TooLarge)));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Client(body) => body.is_end_stream(),
            Source::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Client(body) => body.size_hint(),
            Source::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

/// A response's body on its way to the client. When it is dropped, the exchange has ended.
pub(crate) struct ResponseBody {
    content: Content,
    /// None after a response that makes the connection a tunnel: its exchange ends with the tunnel.
    exchange: Option<Box<Exchange>>,
    /// Shared with the request's body alone, until that has gone up.
    upload: Rc<Upload>,
    /// How it will have ended, if it goes down to its last byte.
    outcome: Outcome,
    has_ended: bool,
}

/// Where a response's body comes from.
pub(crate) enum Content {
    /// The gateway made it.
    Fixed(Option<Bytes>),
    /// An integration.
    Proxied(Box<Proxied>),
}

/// The body of an integration's response.
pub(crate) struct Proxied {
    /// What has come already, and was looked at.
    pub first: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    /// What comes.
    pub body: Incoming,
    /// The connection that it comes on; given back at the end.
    pub lease: Option<Lease<UploadBody>>,
    /// How long it may pause.
    pub idle_timeout: Duration,
    /// The thread's timers.
    pub deadlines: Deadlines,
    /// When the pause that it makes is too long.
    pub deadline: Option<Deadline>,
}

impl ResponseBody {
    /// A body, the exchange that ends with it, and how.
    pub(crate) fn new(content: Content, exchange: Box<Exchange>, upload: Rc<Upload>, outcome: Outcome) -> Self {
        Self { content, exchange: Some(exchange), upload, outcome, has_ended: false }
    }

    /// No body, and no end of an exchange.
    pub(crate) fn of_tunnel() -> Self {
        let content = Content::Fixed(None);
        Self { content, exchange: None, upload: Rc::default(), outcome: Outcome::Ok, has_ended: true }
    }

    /// Says that no body goes down, whatever the headers say: the answer to HEAD, 204, 304.
    pub(crate) fn without_body(mut self, is_so: bool) -> Self {
        if is_so {
            self.end();
        }
        self
    }

    fn end(&mut self) {
        self.has_ended = true;
        if let Some(exchange) = &mut self.exchange {
            exchange.integration_ends();
        }
        // A server may answer before it has the whole request: the connection is not free while the rest goes up.
        let is_uploaded = Rc::strong_count(&self.upload) == 1;
        if let Content::Proxied(proxied) = &mut self.content
            && let Some(lease) = proxied.lease.take()
            && is_uploaded
        {
            lease.give_back();
        }
    }

    fn broke_off(&mut self, outcome: Outcome, detail: String) {
        if let Some(exchange) = &mut self.exchange {
            exchange.integration_ends();
            exchange.record.error_message = Some(detail);
        }
        self.outcome = outcome;
        self.has_ended = true;
    }
}

impl Proxied {
    /// The beginning of it, this many bytes if there are as many, which stay to be sent. A body that breaks off meanwhile
    /// does so where it is sent.
    pub(crate) async fn beginning(&mut self, bytes: usize) -> Vec<u8> {
        let mut beginning = Vec::new();
        let mut late = std::pin::pin!(self.deadlines.after(self.idle_timeout));
        while beginning.len() < bytes {
            let frame = std::future::poll_fn(|cx| match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => late.as_mut().poll(cx).map(|_| None),
                frame => frame,
            });
            let Some(frame) = frame.await else { break };
            let data = frame.as_ref().ok().map(Frame::data_ref);
            let has_broken_off = data.is_none();
            beginning.extend_from_slice(data.flatten().map_or(&[], |data| data));
            self.first.push_back(frame);
            if has_broken_off {
                break;
            }
        }
        beginning
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(frame) = self.first.pop_front() {
            return Poll::Ready(Some(frame.map_err(Broken::Reset)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.deadline = None;
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::Reset)))
            }
            Poll::Pending => {
                let deadline = self.deadline.get_or_insert_with(|| self.deadlines.after(self.idle_timeout));
                std::task::ready!(Pin::new(deadline).poll(cx));
                Poll::Ready(Some(Err(Broken::Late)))
            }
        }
    }
}

/// Why the body of an integration's response ends before its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the integration broke its response off: {0}")]
    Reset(#[source] hyper::Error),
    #[error("the integration's response paused for too long")]
    Late,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Fixed(body) => body.take().filter(|body| !body.is_empty()).map(|body| Ok(Frame::data(body))),
            Content::Proxied(proxied) => std::task::ready!(proxied.poll_frame(cx)),
        };
        match frame {
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.record.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                if this.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                // A request that breaks off ends its connection, and with it the response: no fault of the integration's.
                let outcome = match error {
                    _ if this.upload.is_too_large() => Outcome::RequestTooLarge,
                    _ if this.upload.is_broken() => Outcome::ClientClosed,
                    Broken::Reset(_) => Outcome::IntegrationReset,
                    Broken::Late => Outcome::IntegrationTimeout,
                };
                this.broke_off(outcome, error.to_string());
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Fixed(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Content::Proxied(proxied) => proxied.first.is_empty() && proxied.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Fixed(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Content::Proxied(proxied) => {
                let first: u64 =
                    proxied.first.iter().flatten().filter_map(|frame| Some(frame.data_ref()?.len() as u64)).sum();
                let mut hint = proxied.body.size_hint();
                match hint.exact() {
                    Some(rest) => hint.set_exact(first + rest),
                    None => hint.set_lower(first),
                }
                hint
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.has_ended && self.is_end_stream() {
            self.end();
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.record.outcome = if self.has_ended { self.outcome } else { Outcome::ClientClosed };
            exchange.record.request_bytes = self.upload.bytes();
        }
    }
}
