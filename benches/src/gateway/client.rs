//! The clients: keep-alive connections that ask for one thing again and again, and time the answers.
//!
//! Without a rate the loop is closed: each connection asks again as soon as it has its answer. With a rate it is open: a
//! request is due at its time whatever became of the ones before, and its latency counts from then if its connection was
//! busy, so that a gateway that stands still is not spared (no coordinated omission).

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// The longest latency that is told apart, nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked, by how many, for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Connections.
    pub connections: u32,
    /// Requests a second over all of them; none for as many as are answered.
    pub rate: Option<u32>,
    /// How long.
    pub duration: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Answers {
    /// How long answers took, nanoseconds.
    pub latencies_ns: Histogram<u64>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Answers {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies_ns: Histogram::new_with_bounds(1, LONGEST_NS, 3)?, took: Duration::ZERO })
    }

    /// Requests that were answered, with status 200.
    pub(crate) fn count(&self) -> u64 {
        self.latencies_ns.len()
    }

    /// A quantile of the latencies, microseconds.
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Puts a load on a gateway.
///
/// # Errors
/// When it closes a connection, or answers anything but 200.
pub(crate) async fn run(to: SocketAddr, request: &[u8], load: &Load) -> anyhow::Result<Answers> {
    let mut connections = JoinSet::new();
    let mut open = Vec::new();
    for _ in 0..load.connections {
        open.push(Connection::open(to).await?);
    }
    let begun = Instant::now();
    for (number, connection) in (0..).zip(open) {
        let pace = load.rate.map(|rate| Pace::new(begun, number, load.connections, rate));
        connections.spawn(ask(connection, request.to_vec(), pace, begun + load.duration));
    }
    let mut answers = Answers::new()?;
    while let Some(ended) = connections.join_next().await {
        answers.latencies_ns.add(ended??)?;
    }
    answers.took = begun.elapsed();
    Ok(answers)
}

/// When a connection's requests are due.
struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    fn new(begun: Instant, number: u32, connections: u32, rate: u32) -> Self {
        let interval = Duration::from_secs(1) * connections / rate.max(1);
        Self { next: begun + interval * number / connections, interval }
    }
}

async fn ask(
    mut connection: Connection,
    request: Vec<u8>,
    mut pace: Option<Pace>,
    until: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
    loop {
        let mut from = Instant::now();
        if let Some(pace) = &mut pace {
            if pace.next > from {
                // The timer's own lateness, up to a millisecond, is no delay of the gateway's.
                sleep_until(pace.next).await;
                from = Instant::now();
            } else {
                from = pace.next;
            }
            pace.next += pace.interval;
        }
        if Instant::now() >= until {
            return Ok(latencies);
        }
        timeout(PATIENCE, connection.exchange(&request)).await.context("an answer did not come")??;
        latencies.saturating_record(u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

/// A connection that stays open.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(1 << 10) })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// When the answer is no 200 of known length.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the connection was closed before the answer was whole");
            }
            let Some(head) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            if self.answer.len() >= head + 4 + body_length(&self.answer[..head])? {
                return Ok(());
            }
        }
    }
}

/// The length that a head says its body has.
fn body_length(head: &[u8]) -> anyhow::Result<usize> {
    let text = || String::from_utf8_lossy(head).into_owned();
    if !head.starts_with(b"HTTP/1.1 200 ") {
        bail!("the answer is not 200: {}", text());
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    let length = length.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    length.with_context(|| format!("the answer has no length: {}", text()))
}
