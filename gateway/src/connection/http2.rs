//! HTTP/2 on a connection (RFC 9113), agreed on by ALPN or known before (section 3.3).
//!
//! What a peer can make us keep is bounded: streams at once, their windows, header lists, streams that it resets before
//! they were served (rapid reset, CVE-2023-44487) and those that we have to reset, CONTINUATION frames (by h2), and
//! frames that only make work (by the [`super::guard`]).

use std::{cell::RefCell, future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use http::{Request, header};
use hyper::{
    rt::Executor,
    server::conn::http2::{Builder, Connection},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use super::{
    Client,
    guard::Guard,
    http1::head_limits,
    refused::{self, Reason},
    reply,
    stream::Stream,
    wire::Order,
};
use crate::{config::connections::LimitsConfig, core::Core};

/// Bytes of a body that a client may send before we have read them, on one stream. As RFC 9113 has it unless told.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// And on all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;

/// Bytes of a response that wait for a client's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Streams that the client has reset and the gateway has not yet seen; beyond it the connection ends.
const RESET_STREAMS: usize = 20;

/// Streams that the gateway had to reset because of the client's faults; beyond it the connection ends.
const FAULTY_STREAMS: usize = 128;

/// A client that does not answer a PING is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The streams of a connection: they end when it does.
#[derive(Clone, Default)]
struct Streams(Rc<RefCell<JoinSet<()>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut streams = self.0.borrow_mut();
        while streams.try_join_next().is_some() {}
        streams.spawn_local(stream);
    }
}

/// Serves a connection of which these bytes were read.
pub(super) async fn serve(core: &Rc<Core>, client: Rc<Client>, stream: Stream, first: Vec<u8>) {
    let limits = &core.shared.terms.config.limits;
    let counts = &core.shared.stats.clients;
    counts.http2();
    let wire = Rc::clone(&client.wire);
    wire.head_is_over();
    let most = core.frames_per_tick;
    let guard = Guard::frames(stream, Rc::clone(&wire), head_limits(limits), first, most);
    let streams = Streams::default();
    let service = service_fn(|request| reply::by_http2(Rc::clone(core), Rc::clone(&client), request));
    // Larger lists get a 431 of h2's own, of which nobody hears: those that are a little too large are ours.
    let header_list = u32::try_from(limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    let mut connection: Connection<_, _, _> = Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(header_list)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(FAULTY_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(guard), service);
    let mut is_ending = false;
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match wire.poll_order(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Order::End(_)) if is_ending && wire.is_idle() => return Poll::Ready(None),
                Poll::Ready(Order::End(why)) => {
                    if !is_ending {
                        counts.close(why);
                    }
                    is_ending = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Poll::Ready(Order::Cut(why)) => {
                    counts.close(why);
                    return Poll::Ready(None);
                }
                Poll::Ready(Order::Rest | Order::Look) => {}
            }
        }
    })
    .await;
    if let Some(Err(error)) = ended {
        tracing::debug!(peer = %client.peer, %error, "connection ended");
    }
    if let Some(refused) = wire.refused.take() {
        refused::early(&core.shared, &client, &refused);
    }
    // What is still under way ends with the connection.
    drop(streams);
}

/// Checks what h2 lets pass; for HTTP/1 the guard does.
pub(super) fn check<B>(request: &Request<B>, limits: &LimitsConfig) -> Result<(), Reason> {
    let (uri, headers) = (request.uri(), request.headers());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.url_bytes {
        return Err(Reason::UriTooLong);
    }
    if headers.len() > limits.headers {
        return Err(Reason::TooManyHeaders);
    }
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target + lines > limits.header_bytes {
        return Err(Reason::HeadersTooLarge);
    }
    if request.method() == http::Method::CONNECT {
        return Err(Reason::Connect);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (uri.authority(), hosts.next(), hosts.next()) {
        (None, None, _) | (_, _, Some(_)) => Err(Reason::Host),
        (Some(authority), _, _) if authority.as_str().contains('@') => Err(Reason::Host),
        (Some(authority), Some(host), None) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            Err(Reason::Host)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_authority_and_is_no_larger_than_by_http1() {
        let check = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::get(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check(&request.body(()).unwrap(), &LimitsConfig::default()).err()
        };
        let long = "a".repeat(8_000);
        assert_eq!(check("http://a/b", &[]), None);
        assert_eq!(check("http://a/b", &[("host", "A")]), None);
        assert_eq!(check("/b", &[("host", "a")]), None);
        assert_eq!(check("/b", &[]), Some(Reason::Host));
        assert_eq!(check("http://a/b", &[("host", "b")]), Some(Reason::Host));
        assert_eq!(check("/b", &[("host", "a"), ("host", "a")]), Some(Reason::Host));
        assert_eq!(check("http://u@a/b", &[]), Some(Reason::Host));
        assert_eq!(check(&format!("http://a/{}", "b".repeat(8_192)), &[]), Some(Reason::UriTooLong));
        assert_eq!(check("http://a/", &[("x", &long), ("y", &long)]), Some(Reason::HeadersTooLarge));
        assert_eq!(check("http://a/", &[("x", "1"); 101]), Some(Reason::TooManyHeaders));
    }
}
