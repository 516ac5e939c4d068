//! `gateway`: what a request costs each gateway, in processor time and memory, and how quickly it is answered.
//!
//! All of them run at once, each with one worker on the same core, in front of the same server, and are put under the
//! same load in turn, round after round. The main figure is processor time a request, user and system, of the gateway's
//! own processes: it does not depend on what else the machine does, as far as any figure does. Of all figures the table
//! shows the median over the rounds, and of the main one its spread.

mod client;
mod contender;
mod process;
mod table;
mod token;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use client::{Connection, Load};
use contender::{Contender, Running, Surroundings};
use mimalloc::MiMalloc;
use process::Process;
use table::{Results, Sample};
use tokio::{signal::unix, time::sleep};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is buffered at the end of a load is sent within this time, and counts: Envoy sends once a second.
const SETTLE: Duration = Duration::from_millis(1_300);

/// The load before the first round: connections, caches and lazily made things.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures gateways against each other.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway")]
struct Arguments {
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each load without a rate.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of each load at a rate.
    #[arg(long, default_value_t = 2.0)]
    rate_seconds: f64,
    /// Requests a second of the loads at a rate; 0: none of these.
    #[arg(long, default_value_t = 4_000)]
    rate: u32,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Bytes of a response's body.
    #[arg(long, default_value_t = 128)]
    body: usize,
    /// Share of traces that Weir and Envoy keep; the `-all` ones keep every trace.
    #[arg(long, default_value_t = 0.05)]
    trace_ratio: f64,
    /// Connections that stand idle on Weir, to see what memory they take; 0: none.
    #[arg(long, default_value_t = 10_000)]
    idle: u32,
    /// Who takes part; unless set, all do.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Contender>,
    /// The core of the gateways.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core of the server behind them and of the collector.
    #[arg(long, default_value_t = 1)]
    other_core: usize,
    /// Where the programs weir-collector and upstream are.
    #[arg(long)]
    programs: PathBuf,
    /// The program `weir-gateway`.
    #[arg(long)]
    gateway: PathBuf,
    /// The program `envoy`.
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// Where configurations, logs and tables go.
    #[arg(long)]
    directory: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut interrupted = unix::signal(unix::SignalKind::interrupt())?;
    let mut terminated = unix::signal(unix::SignalKind::terminate())?;
    // Whichever it is, the processes end as their handles are dropped.
    tokio::select! {
        ended = measure(&arguments) => ended,
        _ = interrupted.recv() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { directory, programs, other_core, .. } = arguments.clone();
    fs::create_dir_all(&directory)?;
    let (token, keys) = token::make()?;
    fs::write(directory.join("jwks.json"), keys.to_string())?;
    let (_upstream, upstream) = contender::start_upstream(other_core, &programs, &directory, arguments.body).await?;
    let (collector_process, collector) = contender::start_collector(other_core, &programs, &directory).await?;
    let around = Surroundings {
        directory,
        core: arguments.core,
        upstream,
        collector,
        gateway: arguments.gateway.clone(),
        envoy: arguments.envoy.clone(),
        trace_ratio: arguments.trace_ratio,
        token,
    };
    let chosen = if arguments.only.is_empty() { Contender::value_variants() } else { &arguments.only };
    let mut running = Vec::new();
    for contender in chosen {
        let started = contender.start(&around).await?;
        load(&started, arguments, None, WARM_UP).await?;
        running.push(started);
    }
    let mut results = Results::new(running.iter().map(|running| (running.contender, running.idle_kib)));
    for round in 1..=arguments.rounds {
        for running in &mut running {
            let sample = sample(running, &collector_process, arguments).await?;
            table::show_sample(round, running.contender, &sample);
            results.add(running.contender, &sample);
        }
    }
    drop(running);
    results.show();
    if arguments.idle > 0 && chosen.contains(&Contender::Weir) {
        idle_connections(&around, arguments.idle).await?;
    }
    Ok(())
}

/// One load without a rate, and one with it. At a rate, clients and server leave enough of their core to the collector,
/// which takes what they leave: the latencies are the gateway's, as if the collector had a core of its own. Root may have
/// it so.
async fn sample(running: &mut Running, collector: &Process, arguments: &Arguments) -> anyhow::Result<Sample> {
    let before = (running.process.processor_time()?, running.process.threads());
    let answers = load(running, arguments, None, Duration::from_secs_f64(arguments.seconds)).await?;
    sleep(SETTLE).await;
    let processor = running.process.processor_time()?.saturating_sub(before.0);
    let threads = running.process.threads();
    let count = answers.count().max(1);
    let mut sample = Sample::new(&answers, processor, &before.1, &threads, running.process.resident_kib()?);
    if arguments.rate > 0 {
        let seconds = Duration::from_secs_f64(arguments.rate_seconds);
        let before = running.process.processor_time()?;
        collector.stand_back(true)?;
        let paced = load(running, arguments, Some(arguments.rate), seconds).await?;
        collector.stand_back(false)?;
        sleep(SETTLE).await;
        sample.pace(&paced, running.process.processor_time()?.saturating_sub(before));
    }
    anyhow::ensure!(count > 1 && !running.process.has_ended(), "{} is gone", running.contender.name());
    Ok(sample)
}

async fn load(
    running: &Running,
    arguments: &Arguments,
    rate: Option<u32>,
    duration: Duration,
) -> anyhow::Result<client::Answers> {
    let load = Load { connections: arguments.connections, rate, duration };
    let answers = client::run(running.address, &running.request, &load).await;
    answers.with_context(|| running.contender.name())
}

/// The memory of connections that have asked once and stay.
async fn idle_connections(around: &Surroundings, count: u32) -> anyhow::Result<()> {
    let running = Contender::Weir.start(around).await?;
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(running.address).await.context("more open files: ulimit -n")?;
        connection.exchange(&running.request).await?;
        connections.push(connection);
    }
    sleep(SETTLE).await;
    let resident = running.process.resident_kib()?;
    table::show_idle(connections.len(), running.idle_kib, resident);
    Ok(())
}
