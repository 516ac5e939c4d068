//! HTTP/1 on a connection.
//!
//! What hyper needs for a connection (its buffers alone are 16 KiB) is there only while requests come: one that is idle
//! for a while rests, and takes no more than its socket and a task.

use std::{cell::Cell, error::Error, future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use hyper::{
    body::{Body, Incoming},
    server::conn::http1::{Builder, Connection},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    Client,
    guard::{Guard, head::HeadLimits},
    reply,
    stream::Stream,
    unless_ended,
    wire::{Order, Wire},
};
use crate::{config::connections::LimitsConfig, core::Core};

/// hyper's buffers grow to so much where a lot is sent.
const MOST_BUFFER_BYTES: usize = 64 << 10;

/// hyper keeps so many headers on the stack.
const HEADERS_ON_STACK: usize = 100;

/// So many connections of a thread may be idle and keep what hyper needs for them. Beyond it they rest as soon as they have
/// nothing to do, which costs each of their requests the making of it anew: less than a microsecond.
const MOST_AWAKE: usize = 256;

/// How long, and how much, a client may go on sending after it was refused.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1 << 20);

/// What the head of a request may be.
pub(super) fn head_limits(limits: &LimitsConfig) -> HeadLimits {
    let LimitsConfig { header_bytes, url_bytes, headers, .. } = *limits;
    HeadLimits { header_bytes, url_bytes, headers }
}

/// How hyper serves. Times and sizes are the guard's.
pub(crate) fn builder(limits: &LimitsConfig) -> Builder {
    let mut builder = Builder::new();
    builder.header_read_timeout(None).max_buf_size(MOST_BUFFER_BYTES.max(2 * limits.header_bytes));
    if limits.headers > HEADERS_ON_STACK {
        builder.max_headers(limits.headers);
    }
    builder
}

/// Why hyper serves no longer.
enum Turn {
    Ended(hyper::Result<()>),
    Rests,
    Cut,
}

/// Counts a connection for which hyper is there.
struct Awake<'c>(&'c Cell<usize>);

impl<'c> Awake<'c> {
    fn new(count: &'c Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves a connection of which these bytes were read.
pub(super) async fn serve(core: &Rc<Core>, client: Rc<Client>, stream: Stream, first: Vec<u8>) {
    let limits = head_limits(&core.shared.terms.config.limits);
    let wire = &client.wire;
    wire.head_is_over();
    let mut guard = Guard::new(stream, Rc::clone(wire), limits, first);
    loop {
        let service = service_fn(|request| reply::by_http1(Rc::clone(core), Rc::clone(&client), request));
        // On the heap: a connection that rests has no room for it.
        let mut connection = Box::new(core.http1.serve_connection(TokioIo::new(guard), service));
        let awake = Awake::new(&core.awake);
        let turn = turn(core, wire, &mut connection).await;
        drop(awake);
        if let Turn::Cut = turn {
            return;
        }
        guard = take_back(connection);
        match turn {
            Turn::Ended(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %client.peer, %error, "connection ended");
                }
                // On the heap too: it is rare, and larger than all the rest.
                return Box::pin(end(core, &client, guard)).await;
            }
            Turn::Rests | Turn::Cut => {}
        }
        if !matches!(unless_ended(core, wire, guard.readable()).await, Some(Ok(()))) {
            return;
        }
    }
}

/// What hyper served, without hyper. Its buffers are free when this returns.
#[expect(clippy::boxed_local, reason = "the box ends here too")]
fn take_back<S>(connection: Box<Connection<TokioIo<Guard>, S>>) -> Guard
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let parts = connection.into_parts();
    let mut guard = parts.io.into_inner();
    guard.unread(&parts.read_buf);
    guard
}

/// Has hyper serve, and does what the connection is told meanwhile.
async fn turn<S>(core: &Core, wire: &Wire, connection: &mut Connection<TokioIo<Guard>, S>) -> Turn
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Turn::Ended(ended));
            }
            match wire.poll_order(cx) {
                Poll::Pending if core.awake.get() > MOST_AWAKE && wire.can_rest() => return Poll::Ready(Turn::Rests),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Order::End(why)) => {
                    if wire.is_idle() {
                        core.shared.stats.clients.close(why);
                    }
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                Poll::Ready(Order::Cut(why)) => {
                    core.shared.stats.clients.close(why);
                    return Poll::Ready(Turn::Cut);
                }
                Poll::Ready(Order::Rest) if wire.can_rest() => return Poll::Ready(Turn::Rests),
                Poll::Ready(Order::Rest | Order::Look) => {}
            }
        }
    })
    .await
}

/// What comes after the last response: a tunnel, or the rest of what the client sends.
async fn end(core: &Core, client: &Client, mut guard: Guard) {
    if let Some(reason) = client.wire.broken.get() {
        core.shared.stats.clients.refuse(reason);
    }
    if let Some(tunnel) = client.tunnel.take() {
        let wire = &client.wire;
        guard.open();
        wire.begin();
        let shutdown = poll_fn(|cx| {
            loop {
                match wire.poll_order(cx) {
                    Poll::Ready(Order::Cut(why)) => {
                        core.shared.stats.clients.close(why);
                        return Poll::Ready(());
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let why = tunnel.run(&mut guard, shutdown).await;
        core.shared.stats.clients.tunnel(why);
        wire.end();
    } else if guard.is_amid() {
        let (time, bytes) = LINGER;
        // However it ends, there is no more to say.
        let _ = timeout(time, guard.linger(bytes)).await;
    }
}
