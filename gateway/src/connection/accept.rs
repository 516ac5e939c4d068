//! A thread's listeners, its timer, and its end.

use std::{future::poll_fn, io, net::SocketAddr, rc::Rc, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::LocalOptions,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Terms,
    admission::Wires,
    counts::Closing,
    http1, serve,
    wire::{Order, Patience},
};
use crate::{
    config::connections::LimitsConfig,
    core::{Core, Shared},
};

/// A thread that has enough to do looks for what has come on its sockets after so many steps of tasks. Each look is a call
/// to the system; what it brings is the more, and so the cheaper, the more seldom it is.
const TASKS_PER_LOOK: u32 = 256;

/// Pause after an accept that failed: most likely the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// When the gateway ends, requests that are on their way already may still come in on idle connections.
const LAST_CALL: Duration = Duration::from_millis(20);

/// The thread's timer ticks at least so often, and for short limits more often.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// A connection that has had no request for so many ticks rests.
const REST_TICKS: u32 = 2;

/// Sockets for one thread.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For plain text.
    pub plain: std::net::TcpListener,
    /// For TLS.
    pub tls: Option<std::net::TcpListener>,
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
pub(crate) fn run(listeners: Listeners, shared: Arc<Shared>, shutdown: &CancellationToken) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(TASKS_PER_LOOK).build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let plain = TcpListener::from_std(listeners.plain)?;
        let tls = listeners.tls.map(TcpListener::from_std).transpose()?;
        let mut serving = shared.serving.clone();
        let mut thread = Thread::new(shared);
        loop {
            tokio::select! {
                // The near end lives as long as the gateway; when it is gone, so is the thread soon.
                Ok(()) = serving.changed() => thread.core.serve(Arc::clone(&serving.borrow_and_update())),
                accepted = plain.accept() => thread.take(accepted, false).await,
                accepted = accept(tls.as_ref()) => thread.take(accepted, true).await,
                Some(ended) = thread.connections.join_next(), if !thread.connections.is_empty() => tell(ended),
                _ = thread.timer.tick(), if !thread.connections.is_empty() => thread.tick(),
                () = shutdown.cancelled() => break,
            }
        }
        thread.core.is_draining.set(true);
        for (listener, by_tls) in [(Some(plain), false), (tls, true)] {
            // Those that the system has taken for us already are served.
            while let Some(listener) = &listener
                && let Some(accepted) = accept_at_once(listener).await
            {
                thread.take(Ok(accepted), by_tls).await;
            }
        }
        thread.drain().await;
        Ok(())
    })
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn accept_at_once(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn tell(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// A thread that serves.
struct Thread {
    core: Rc<Core>,
    connections: JoinSet<()>,
    wires: Wires,
    timer: Interval,
    patience: Patience,
}

impl Thread {
    fn new(shared: Arc<Shared>) -> Self {
        let limits = &shared.terms.config.limits;
        let tick = tick(limits);
        let mut timer = interval(tick);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = patience(limits, tick);
        let frames = u64::from(limits.http2_idle_frames_per_s) * tick.as_millis() as u64 / 1_000;
        let frames = u32::try_from(frames).unwrap_or(u32::MAX).max(1);
        let http1 = http1::builder(limits);
        let core = Core::new(shared, http1, frames);
        Self { core: Rc::new(core), connections: JoinSet::new(), wires: Wires::default(), timer, patience }
    }

    /// Takes a connection in.
    async fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>, by_tls: bool) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return;
            }
        };
        let Terms { admission, trusted, .. } = &self.core.shared.terms;
        // A proxy has the connections of many.
        let address = Some(peer.ip().to_canonical()).filter(|address| !trusted.contains(*address));
        match admission.admit(address, &mut self.wires) {
            Ok(ticket) => {
                self.connections.spawn_local(serve(Rc::clone(&self.core), stream, peer, by_tls, ticket));
            }
            Err(why) => self.core.shared.stats.clients.close(why),
        }
    }

    fn tick(&mut self) {
        let patience = &self.patience;
        self.wires.each(|wire| wire.tick(patience));
    }

    /// Lets requests under way end, and ends the others when their time is over.
    async fn drain(&mut self) {
        let begun = Instant::now();
        self.until_ended(begun + LAST_CALL).await;
        self.wires.each(|wire| wire.order(Order::End(Closing::Drained)));
        self.until_ended(begun + self.core.shared.drain).await;
        if self.connections.is_empty() {
            return;
        }
        tracing::warn!(connections = self.connections.len(), "requests under way did not end in time and are cut off");
        self.wires.each(|wire| wire.order(Order::Cut(Closing::Cut)));
        self.until_ended(Instant::now() + LAST_CALL).await;
        self.connections.shutdown().await;
    }

    async fn until_ended(&mut self, deadline: Instant) {
        loop {
            tokio::select! {
                ended = self.connections.join_next() => match ended {
                    Some(ended) => tell(ended),
                    None => return,
                },
                _ = self.timer.tick() => self.tick(),
                () = sleep_until(deadline) => return,
            }
        }
    }
}

/// How often the timer ticks: short limits are kept to within a quarter of them.
fn tick(limits: &LimitsConfig) -> Duration {
    let LimitsConfig { header_timeout, body_timeout, write_timeout, idle_timeout, .. } = *limits;
    let shortest = header_timeout.min(body_timeout).min(write_timeout).min(idle_timeout);
    (shortest / 4).clamp(Duration::from_millis(5), LONGEST_TICK)
}

fn patience(limits: &LimitsConfig, tick: Duration) -> Patience {
    let ticks = |time: Duration| u32::try_from(time.as_millis().div_ceil(tick.as_millis())).unwrap_or(u32::MAX);
    let bytes = u128::from(limits.body_bytes_per_s) * tick.as_millis() / 1_000;
    Patience {
        idle: ticks(limits.idle_timeout),
        rest: REST_TICKS,
        head: ticks(limits.header_timeout),
        body: ticks(limits.body_timeout),
        body_bytes: u64::try_from(bytes).unwrap_or(u64::MAX).max(1),
        write: ticks(limits.write_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_ticks_of_one_timer() {
        let limits = LimitsConfig::default();
        assert_eq!(tick(&limits), LONGEST_TICK);
        let patience_ = patience(&limits, LONGEST_TICK);
        assert_eq!((patience_.idle, patience_.head, patience_.body_bytes), (60, 10, 500));
        let short = LimitsConfig { header_timeout: Duration::from_millis(200), ..limits };
        assert_eq!(tick(&short), Duration::from_millis(50));
        assert_eq!(patience(&short, tick(&short)).head, 4);
    }
}
