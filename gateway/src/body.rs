//! Bodies that know what went through them: the request's on its way up, the response's on its way down.

use std::{
    cell::Cell,
    error::Error,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use weir_record::Outcome;

use crate::{exchange::Exchange, timer::Deadline, upstream::Lease};

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

/// A request's body on its way to the integration; fails beyond the limit.
#[derive(Debug)]
pub(crate) struct UploadBody {
    body: Incoming,
    limit_bytes: u64,
    upload: Rc<Upload>,
}

impl UploadBody {
    /// A body, what tells of it, and its limit.
    pub(crate) fn new(body: Incoming, limit_bytes: u64, upload: Rc<Upload>) -> Self {
        Self { body, limit_bytes, upload }
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
        let Some(frame) = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(|error| {
            this.upload.is_broken.set(true);
            UploadError::Broken(error)
        })?;
        let bytes = this.upload.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64);
        this.upload.bytes.set(bytes);
        if bytes > this.limit_bytes {
            this.upload.is_too_large.set(true);
            return Poll::Ready(Some(Err(UploadError::TooLarge)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body on its way to the client. When it is dropped, the exchange has ended.
pub(crate) struct ResponseBody {
    content: Content,
    exchange: Exchange,
    upload: Rc<Upload>,
    /// How it will have ended, if it goes down to its last byte.
    outcome: Outcome,
    has_ended: bool,
}

enum Content {
    Fixed(Option<Bytes>),
    Proxied(Box<Proxied>),
}

struct Proxied {
    body: Incoming,
    /// The connection that it comes on; given back at the end.
    lease: Option<Lease<UploadBody>>,
    /// When the integration's time is over.
    deadline: Deadline,
}

impl ResponseBody {
    /// A body that the gateway made.
    pub(crate) fn fixed(body: Bytes, exchange: Exchange, upload: Rc<Upload>, outcome: Outcome) -> Self {
        Self { content: Content::Fixed(Some(body)), exchange, upload, outcome, has_ended: false }
    }

    /// The body of an integration's response, which comes on this connection and must have ended by then.
    pub(crate) fn proxied(
        body: Incoming,
        lease: Lease<UploadBody>,
        deadline: Deadline,
        exchange: Exchange,
        upload: Rc<Upload>,
    ) -> Self {
        let proxied = Proxied { body, lease: Some(lease), deadline };
        Self { content: Content::Proxied(Box::new(proxied)), exchange, upload, outcome: Outcome::Ok, has_ended: false }
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
        self.exchange.integration_ends();
        if let Content::Proxied(proxied) = &mut self.content
            && let Some(lease) = proxied.lease.take()
        {
            lease.give_back();
        }
    }

    fn broke_off(&mut self, outcome: Outcome, detail: String) {
        self.exchange.integration_ends();
        self.exchange.record.error_message = Some(detail);
        self.outcome = outcome;
        self.has_ended = true;
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Fixed(body) => body.take().filter(|body| !body.is_empty()).map(|body| Ok(Frame::data(body))),
            Content::Proxied(proxied) => match Pin::new(&mut proxied.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    std::task::ready!(Pin::new(&mut proxied.deadline).poll(cx));
                    this.broke_off(Outcome::IntegrationTimeout, "the response took too long".to_owned());
                    return Poll::Ready(Some(Err("the integration took too long".into())));
                }
            },
        };
        match frame {
            Some(Ok(frame)) => {
                this.exchange.record.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.broke_off(Outcome::IntegrationFailure, error.to_string());
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
            Content::Proxied(proxied) => proxied.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Fixed(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Content::Proxied(proxied) => proxied.body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.has_ended && self.is_end_stream() {
            self.end();
        }
        if self.has_ended {
            self.exchange.record.outcome = self.outcome;
        } else {
            self.exchange.record.outcome = Outcome::ClientClosed;
        }
        self.exchange.record.request_bytes = self.upload.bytes();
    }
}
