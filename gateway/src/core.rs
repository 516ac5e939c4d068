//! One thread of the gateway: its own runtime, its own listener, its own connections to the integrations.
//!
//! Threads share only what is read, or counted by atomics ([`Shared`]), so a request never waits for another core.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::LocalOptions,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    body::UploadBody,
    handle::handle,
    serving::Serving,
    stats::Stats,
    telemetry::Telemetry,
    timer::{Deadlines, KeptTimer},
    upstream::Pool,
};

/// Pause after an accept that failed: most likely the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is served.
    pub serving: Serving,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where records go.
    pub telemetry: Telemetry,
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// How long requests under way may take to end.
    pub drain: Duration,
}

/// What one thread has to itself.
pub(crate) struct Core {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Connections to the integrations.
    pub pool: Rc<Pool<UploadBody>>,
    /// Timers of the integrations.
    pub deadlines: Deadlines,
}

/// Sockets for this many threads on one address: the system spreads connections over them (`SO_REUSEPORT`). Port 0
/// takes any free one, the same for all.
pub(crate) fn listeners(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // The first one without sharing tells whether another process has the port.
    drop(std::net::TcpListener::bind(address)?);
    let first = listener(address)?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| listener(address));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

/// The thread's life: serves until `shutdown`, then lets requests under way end.
pub(crate) fn run(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        let core = Rc::new(Core { shared, pool: Rc::new(Pool::new()), deadlines: Deadlines::new() });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        connections.spawn_local(serve(Rc::clone(&core), stream, client, shutdown.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
                () = shutdown.cancelled() => break,
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(core.shared.drain, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests under way did not end in time and are cut off");
            connections.shutdown().await;
        }
        Ok(())
    })
}

/// One connection of a client, request after request.
async fn serve(core: Rc<Core>, stream: TcpStream, client: SocketAddr, shutdown: CancellationToken) {
    let _open = core.shared.stats.connection();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let client_text = client.ip().to_string();
    let service = service_fn(|request: Request<Incoming>| handle(Rc::clone(&core), request, client_text.clone()));
    let connection = http1::Builder::new()
        .timer(KeptTimer::new())
        .header_read_timeout(core.shared.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "connection ended");
    }
}
