//! A connection to a server, driven by the request that is under way on it.
//!
//! hyper leaves the work on a connection to a future of its own. As a task of its own it would be woken by each request,
//! and would wake the request's task for each answer and each piece of a body, behind everything else that is due. Here
//! the request's task drives the connection itself.
//!
//! What always holds: nobody drives an idle connection, and so nobody hears that its server has closed it. Who takes one
//! asks it first ([`Link::is_free`]), and once in a while the pool asks them all.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;

use super::{Lease, Stream};
use crate::body::UploadBody;

/// Does the work on a connection. It resolves when the connection has ended.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A connection.
pub(super) struct Link {
    sender: SendRequest<UploadBody>,
    /// None when it has ended.
    driver: Option<Driver>,
}

impl Link {
    /// A connection over a fresh stream.
    ///
    /// # Errors
    /// What hyper says.
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(Box::pin(connection.with_upgrades())) })
    }

    /// Whether it is open, and takes a request.
    pub(super) fn is_free(&mut self) -> bool {
        // Whoever takes it drives it next, and is woken then.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is none; the request is with the error if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<UploadBody>>> {
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        poll_fn(|cx| {
            self.drive(cx);
            // The driver alone brings it, and the driver runs here: it need not wake anybody.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = driver.as_mut().poll(cx)
        {
            self.driver = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to an integration ended");
            }
        }
    }
}

/// The body of a server's answer, and the connection that it comes on.
pub(crate) struct ServerBody {
    body: Incoming,
    /// None when it was given back, given up, or has a task of its own.
    link: Option<Link>,
    /// None when the request has ended.
    lease: Option<Lease>,
    /// Why it broke off, until that is told.
    fault: Option<hyper::Error>,
}

impl ServerBody {
    pub(super) fn new(body: Incoming, link: Link, lease: Lease) -> Self {
        Self { body, link: Some(link), lease: Some(lease), fault: None }
    }

    /// The answer has ended: the connection is free for another request.
    pub(crate) fn give_back(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Some(link) = self.link.take()
        {
            lease.give_back(link);
        }
    }

    /// The request has ended, and what still comes of the answer nobody wants: the connection is closed.
    pub(crate) fn give_up(&mut self) {
        (self.link, self.lease) = (None, None);
    }

    /// Leaves the connection to a task of its own, and with it what is still to be sent of the request. It is not given
    /// back.
    pub(crate) fn leave_to_itself(&mut self) {
        if let (Some(lease), Some(driver)) = (&self.lease, self.link.take().and_then(|link| link.driver)) {
            lease.pool.drive(driver);
        }
    }

    fn poll_brought(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(link) = &mut self.link else { return Pin::new(&mut self.body).poll_frame(cx) };
        // As in `Link::send`: only the driver brings more.
        let brought = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(brought) {
            return Poll::Ready(frame);
        }
        link.drive(cx);
        Pin::new(&mut self.body).poll_frame(brought)
    }

    /// Who hears that the request has ended, when it ends otherwise than this body.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        self.lease
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(fault) = this.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(this.poll_brought(cx)) {
            Some(Err(fault)) => {
                // hyper throws away what it has not written yet when a body breaks off. What came before goes out first.
                this.fault = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
