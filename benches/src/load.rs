//! `load`: sends access records to a collector over OTLP/gRPC, and says how many it took and how fast it answered.
//!
//! Messages are encoded before the clock starts and sent again and again, without a source's stamp and with new ids each
//! time, so the sender costs little more than the transport, and what it sends compresses as real traffic does. With a rate the loop is open: a message is due at its time whatever became of the ones
//! before, and its latency counts from then, so a collector that stands still is not spared (no coordinated omission).
//! Without a rate every connection keeps a fixed number of messages under way.

mod traffic;

use std::{
    fs,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes};
use clap::Parser;
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use mimalloc::MiMalloc;
use tokio::{task::JoinSet, time::sleep_until};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use weir_record::{AccessRecord, Source, otlp};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// The longest latency that is told apart, microseconds; what is beyond counts as this.
const LONGEST_US: u64 = 600_000_000;

/// Different messages that are sent in turn.
const MESSAGES: usize = 32;

/// Sends access records to a collector and measures its acknowledgements.
#[derive(Clone, Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    /// The collector's OTLP/gRPC address.
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    to: String,
    /// Records a second, over all connections; 0: as many as the collector takes.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Records in a message.
    #[arg(long, default_value_t = 500)]
    batch: u32,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    duration: u64,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// Messages that a connection has under way at most.
    #[arg(long, default_value_t = 8)]
    under_way: usize,
    /// Seed of the traffic.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// What became of the messages.
struct Outcome {
    latencies_us: Histogram<u64>,
    taken: u64,
    refused: u64,
    last_error: Option<Status>,
}

impl Outcome {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies_us: Histogram::new_with_bounds(1, LONGEST_US, 3)?, taken: 0, refused: 0, last_error: None })
    }

    fn count(&mut self, since_due: Duration, answer: Result<(), Status>) {
        match answer {
            Ok(()) => {
                self.taken += 1;
                self.latencies_us.saturating_record(u64::try_from(since_due.as_micros()).unwrap_or(u64::MAX));
            }
            Err(status) => {
                self.refused += 1;
                self.last_error = Some(status);
            }
        }
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.latencies_us.add(&other.latencies_us)?;
        self.taken += other.taken;
        self.refused += other.refused;
        self.last_error = other.last_error.or(self.last_error.take());
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let templates = Arc::new(templates(&arguments)?);
    let (begun, processor) = (Instant::now(), processor_time()?);
    let mut connections = JoinSet::new();
    for number in 0..arguments.connections {
        let channel = Endpoint::from_shared(arguments.to.clone())?.tcp_nodelay(true).connect().await?;
        connections.spawn(connection(number, channel, Arc::clone(&templates), arguments.clone()));
    }
    let mut outcome = Outcome::new()?;
    while let Some(ended) = connections.join_next().await {
        outcome.add(ended??)?;
    }
    show(&arguments, &outcome, begun.elapsed(), processor_time()?.saturating_sub(processor));
    Ok(())
}

/// A message, and where its ids stand.
struct Template {
    bytes: Vec<u8>,
    /// Hexadecimal digits, and bytes of any kind.
    texts: Vec<Range<usize>>,
    binaries: Vec<Range<usize>>,
}

impl Template {
    fn new(source: &Source, records: &[AccessRecord]) -> Self {
        let bytes = otlp::encode_logs(source, records);
        let (mut texts, mut binaries, mut from) = (Vec::new(), Vec::new(), 0);
        // Records stand in the order in which they were given, and no other bytes are like a random id.
        let place = |from: usize, id: &[u8]| {
            let at = bytes[from..].windows(id.len()).position(|bytes| bytes == id).expect("it was encoded");
            from + at..from + at + id.len()
        };
        for record in records {
            let text = place(from, record.request_id.as_bytes());
            from = text.start;
            texts.push(text);
            binaries.extend(record.trace_id.iter().map(|id| place(from, id.as_bytes())));
            binaries.extend(record.span_id.iter().map(|id| place(from, id.as_bytes())));
        }
        Self { bytes, texts, binaries }
    }

    /// The message with other ids.
    fn next(&self, random: &mut fastrand::Rng) -> Bytes {
        let mut bytes = self.bytes.clone();
        for id in &self.texts {
            for pair in bytes[id.clone()].chunks_mut(16) {
                let mut number = random.u64(..);
                for digit in pair {
                    *digit = b"0123456789abcdef"[(number & 15) as usize];
                    number >>= 4;
                }
            }
        }
        self.binaries.iter().for_each(|id| random.fill(&mut bytes[id.clone()]));
        bytes.into()
    }
}

fn templates(arguments: &Arguments) -> anyhow::Result<Vec<Template>> {
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let now_us = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    let source = Source { service: "load".to_owned(), ..Source::default() };
    let template = |_| Template::new(&source, &traffic::records(&mut random, arguments.batch as usize, now_us));
    Ok((0..MESSAGES).map(template).collect())
}

/// Sends messages over one connection until the time is over, and waits for the last answers.
async fn connection(
    number: u32,
    channel: Channel,
    templates: Arc<Vec<Template>>,
    arguments: Arguments,
) -> anyhow::Result<Outcome> {
    let begun = tokio::time::Instant::now();
    let end = begun + Duration::from_secs(arguments.duration);
    let pause = (arguments.rate > 0).then(|| {
        let messages_a_second =
            f64::from(arguments.rate) / f64::from(arguments.batch) / f64::from(arguments.connections);
        Duration::from_secs_f64(1.0 / messages_a_second)
    });
    // The connections take turns.
    let first = pause.map_or(begun, |pause| begun + pause * number / arguments.connections);
    let mut outcome = Outcome::new()?;
    let mut under_way = JoinSet::new();
    let mut random = fastrand::Rng::with_seed(arguments.seed ^ u64::from(number));
    for (turn, template) in (0_u32..).zip(templates.iter().cycle()) {
        let message = template.next(&mut random);
        let due = match pause {
            Some(pause) => first + pause * turn,
            None => tokio::time::Instant::now(),
        };
        if due >= end {
            break;
        }
        sleep_until(due).await;
        while under_way.len() >= arguments.under_way {
            let Some(answered) = under_way.join_next().await else { break };
            let (since_due, answer) = answered?;
            outcome.count(since_due, answer);
        }
        let channel = channel.clone();
        // Without a rate a message is due when there is room for it.
        let due = if pause.is_some() { due } else { tokio::time::Instant::now() };
        under_way.spawn(async move {
            let answer = export(channel, message).await;
            (due.elapsed(), answer)
        });
    }
    while let Some(answered) = under_way.join_next().await {
        let (since_due, answer) = answered?;
        outcome.count(since_due, answer);
    }
    Ok(outcome)
}

async fn export(channel: Channel, message: Bytes) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.unary(Request::new(message), PathAndQuery::from_static(EXPORT), BytesCodec).await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
fn show(arguments: &Arguments, outcome: &Outcome, elapsed: Duration, processor: Duration) {
    let records = outcome.taken * u64::from(arguments.batch);
    println!(
        "{:.0} records/s taken, {records} in {:.1} s",
        records as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64()
    );
    let quantile = |q| outcome.latencies_us.value_at_quantile(q) as f64 / 1_000.0;
    println!(
        "acknowledged after p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p999 {:.2} ms, max {:.2} ms",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        outcome.latencies_us.max() as f64 / 1_000.0
    );
    let share = processor.as_secs_f64() / records.max(1) as f64 * 1e6;
    println!("the sender took {:.2} s of processor time, {share:.2} µs a record", processor.as_secs_f64());
    println!("{} messages refused", outcome.refused);
    if let Some(error) = &outcome.last_error {
        println!("the last refusal: {error}");
    }
}

/// Processor time of this process: user and system time in `/proc/self/stat`, in ticks of 10 ms (proc(5)).
fn processor_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(") ").context("/proc/self/stat has no name")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks =
        |field: usize| fields.get(field).context("/proc/self/stat is short")?.parse::<u64>().context("no number");
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// Hands messages through as bytes.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
