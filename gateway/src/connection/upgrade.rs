//! After a WebSocket handshake (RFC 6455): bytes pass both ways, and nobody here reads them.
//!
//! Memory is constant: a buffer for each direction, and no more is read than was passed on. An end in one direction is
//! passed on and the other goes on; a tunnel in which nothing moves ends after a time.

use std::{cell::Cell, fmt, io, time::Duration};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{Instant, sleep_until},
};

/// Of each direction.
const BUFFER_BYTES: usize = 8_192;

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunnelReason {
    /// Both sides have ended.
    Closed,
    /// A side broke off.
    Broken,
    /// Nothing moved for too long.
    Idle,
    /// The gateway ends.
    Shutdown,
    /// The integration agreed, and then its connection was not to be had.
    NoUpstream,
}

impl TunnelReason {
    /// Every reason, in its order.
    pub(crate) const ALL: [Self; 5] = [Self::Closed, Self::Broken, Self::Idle, Self::Shutdown, Self::NoUpstream];

    /// Its one spelling, in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
            Self::NoUpstream => "no_upstream",
        }
    }
}

/// What became of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelEnd {
    /// Bytes from the client to the integration.
    pub bytes_up: u64,
    /// Bytes from the integration to the client.
    pub bytes_down: u64,
    /// Why it ended.
    pub reason: TunnelReason,
}

/// What a client's connection becomes after the response 101.
pub(crate) struct Tunnel {
    /// The connection to the integration.
    pub upstream: OnUpgrade,
    /// How long nothing may move.
    pub idle: Duration,
    /// Told at the end; dropped untold when the connection ends before the tunnel begins.
    pub on_end: Box<dyn FnOnce(TunnelEnd)>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Passes bytes between the client and the integration until one of them, or `shutdown`, ends it.
    pub(crate) async fn run<C>(self, client: &mut C, shutdown: impl Future<Output = ()>) -> TunnelReason
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let end = match self.upstream.await {
            Ok(upstream) => tunnel(client, TokioIo::new(upstream), self.idle, shutdown).await,
            Err(error) => {
                tracing::debug!(%error, "no tunnel to the integration");
                TunnelEnd { bytes_up: 0, bytes_down: 0, reason: TunnelReason::NoUpstream }
            }
        };
        (self.on_end)(end);
        end.reason
    }
}

/// What both directions note.
struct Moved {
    up: Cell<u64>,
    down: Cell<u64>,
    last: Cell<Instant>,
}

/// Passes bytes both ways.
pub(crate) async fn tunnel<C, U>(
    client: C,
    upstream: U,
    idle: Duration,
    shutdown: impl Future<Output = ()>,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Moved { up: Cell::new(0), down: Cell::new(0), last: Cell::new(Instant::now()) };
    let ((client_in, client_out), (upstream_in, upstream_out)) = (tokio::io::split(client), tokio::io::split(upstream));
    let both = async {
        let up = pass(client_in, upstream_out, &moved.up, &moved.last);
        let down = pass(upstream_in, client_out, &moved.down, &moved.last);
        tokio::try_join!(up, down).map_or(TunnelReason::Broken, |_| TunnelReason::Closed)
    };
    let silence = async {
        loop {
            let end = moved.last.get() + idle;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    };
    let reason = tokio::select! {
        reason = both => reason,
        () = silence => TunnelReason::Idle,
        () = shutdown => TunnelReason::Shutdown,
    };
    TunnelEnd { bytes_up: moved.up.get(), bytes_down: moved.down.get(), reason }
}

async fn pass<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    bytes: &Cell<u64>,
    last: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        last.set(Instant::now());
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        bytes.set(bytes.get() + read as u64);
        last.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    async fn run(
        idle: Duration,
        shutdown: impl Future<Output = ()>,
        peers: impl AsyncFnOnce(tokio::io::DuplexStream, tokio::io::DuplexStream),
    ) -> TunnelEnd {
        let ((client, near), (upstream, far)) = (duplex(64), duplex(64));
        let (end, ()) = tokio::join!(tunnel(near, far, idle, shutdown), peers(client, upstream));
        end
    }

    #[tokio::test]
    async fn an_end_in_one_direction_leaves_the_other_open() {
        let end = run(LONG, std::future::pending(), async |mut client, mut upstream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            upstream.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            upstream.write_all(b"a longer answer").await.unwrap();
            drop(upstream);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "a longer answer");
        });
        assert_eq!(end.await, TunnelEnd { bytes_up: 8, bytes_down: 15, reason: TunnelReason::Closed });
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_what_moves_puts_that_off() {
        let idle = Duration::from_secs(10);
        let begun = Instant::now();
        let end = run(idle, std::future::pending(), async |mut client, mut upstream| {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                client.write_all(b"x").await.unwrap();
                upstream.read_u8().await.unwrap();
            }
            assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(end.await, TunnelEnd { bytes_up: 5, bytes_down: 0, reason: TunnelReason::Idle });
        assert_eq!(begun.elapsed().as_secs(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_goes_ends_it_and_so_does_the_end_of_all() {
        let end = run(LONG, std::future::pending(), async |mut client, upstream| {
            drop(upstream);
            while client.write_all(&[0; 64]).await.is_ok() {}
        });
        assert_eq!(end.await.reason, TunnelReason::Broken);
        let soon = tokio::time::sleep(Duration::from_secs(1));
        let end = run(LONG, soon, async |mut client, _upstream| assert_eq!(client.read(&mut [0]).await.unwrap(), 0));
        assert_eq!(end.await.reason, TunnelReason::Shutdown);
    }

    #[tokio::test]
    async fn what_the_other_side_does_not_take_is_not_read() {
        let end = run(LONG, std::future::pending(), async |mut client, upstream| {
            let mut sent = 0;
            while tokio::time::timeout(Duration::from_millis(50), client.write_all(&[7; 64])).await.is_ok() {
                sent += 64;
            }
            assert!(sent <= BUFFER_BYTES + 64 * 4, "{sent}");
            drop((client, upstream));
        });
        end.await;
    }
}
