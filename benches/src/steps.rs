//! `steps`: what each step of a record's way through the collector costs, on one thread and without a network: a message of
//! access records is read, decoded, logged, made pending; and what is pending is committed, as often as it comes to a
//! flush. The sum is what a collector needs at the least, beside its receivers.

mod traffic;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use mimalloc::MiMalloc;
use weir_collector::{
    Counters, Message, Pending, Signal,
    flush::Flusher,
    pending::{Committed, Taken},
    sources::Growth,
    wal::{Wal, WalConfig},
};
use weir_lake::{Lake, StoreConfig};
use weir_record::{Source, otlp};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Different messages that come in turn.
const MESSAGES: usize = 32;

/// Messages that share an fsync.
const GROUP: usize = 8;

/// A collector's way, step by step.
#[derive(Parser)]
#[command(name = "steps")]
struct Arguments {
    /// A directory that is not there yet.
    directory: PathBuf,
    /// Records that go the way.
    #[arg(long, default_value_t = 2_000_000)]
    records: usize,
    /// Records in a message.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// Rows are committed when they take this much memory, MiB.
    #[arg(long, default_value_t = 32)]
    flush_mib: usize,
}

#[derive(Default)]
struct Times {
    read: Duration,
    decoded: Duration,
    logged: Duration,
    pending: Duration,
    committed: Duration,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(!arguments.directory.exists(), "{} is there already", arguments.directory.display());
    let lake = Arc::new(Lake::open(&StoreConfig::local(arguments.directory.join("tables"))).await?);
    let config =
        WalConfig { directory: arguments.directory.join("wal"), segment_bytes: 64 << 20, budget_bytes: 2 << 30 };
    let (mut wal, _) = Wal::open(config)?;
    let pending = Arc::new(Pending::new(wal.writer_id(), Committed::default(), usize::MAX));
    let (writer_id, counters) = (wal.writer_id().to_owned(), Arc::new(Counters::default()));
    let flusher = Flusher { lake, pending: Arc::clone(&pending), writer_id, life: Arc::default(), counters };
    let messages = messages(&arguments)?;
    let mut times = Times::default();
    let count = arguments.records.div_ceil(arguments.batch);
    for (turn, body) in messages.iter().cycle().take(count).enumerate() {
        let received_us = now_us()?;
        clock(&mut times.read, || read(body))?;
        let message = clock(&mut times.decoded, || Message::decode(Signal::Logs, received_us, body))?;
        let position = clock(&mut times.logged, || {
            let position = wal.append(Signal::Logs.frame_kind(), received_us, body)?;
            if turn % GROUP == 0 {
                wal.sync()?;
            }
            anyhow::Ok(position)
        })?;
        clock(&mut times.pending, || pending.add(position, message, &[Taken::New(Growth::default())]));
        if pending.open_bytes() >= arguments.flush_mib << 20 || turn + 1 == count {
            let begun = Instant::now();
            flusher.try_flush().await?;
            wal.truncate(pending.committed_by_all())?;
            if wal.rotate_due() {
                wal.rotate(&[])?;
            }
            times.committed += begun.elapsed();
        }
    }
    let records = count * arguments.batch;
    println!("ns a record, of {records}:");
    let of = |time: Duration| time.as_nanos() as f64 / records as f64;
    for (step, time) in [
        ("read (the walk alone, which is part of the next)", times.read),
        ("decoded to rows and cells", times.decoded),
        ("logged, an fsync for each 8 messages", times.logged),
        ("pending", times.pending),
        ("committed: sorted, Parquet, fsynced", times.committed),
    ] {
        println!("{:8.0}  {step}", of(time));
    }
    let sum = times.decoded + times.logged + times.pending + times.committed;
    println!("{:8.0}  together: {:.0} records/s", of(sum), records as f64 / sum.as_secs_f64());
    Ok(())
}

fn clock<T>(sum: &mut Duration, step: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = step();
    *sum += begun.elapsed();
    result
}

/// Walks over all records of a message.
fn read(body: &[u8]) -> anyhow::Result<()> {
    let mut budget = otlp::MESSAGE_ROWS_BYTES;
    for view in otlp::view_logs(body)? {
        view.for_each(&mut budget, |record| drop(std::hint::black_box(record)));
    }
    Ok(())
}

fn messages(arguments: &Arguments) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut random = fastrand::Rng::with_seed(7);
    let now_us = now_us()?;
    let source = Source { service: "steps".to_owned(), ..Source::default() };
    let message = |_| otlp::encode_logs(&source, &traffic::records(&mut random, arguments.batch, now_us));
    Ok((0..MESSAGES).map(message).collect())
}

fn now_us() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}
