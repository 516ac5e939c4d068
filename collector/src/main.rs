//! `weir-collector`: the collector alone.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use mimalloc::MiMalloc;
use tokio_util::sync::CancellationToken;
use weir_collector::{Collector, Config};
use weir_station::{
    config::{Document, GATEWAY_SECTIONS},
    exit::{self, Failure},
    log, memory,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Receives records and spans over OTLP, keeps them, and commits them to Delta tables.
#[derive(Debug, Parser)]
#[command(name = "weir-collector", version)]
struct Arguments {
    /// Configuration file; without it everything has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the resolved configuration, secrets masked, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    memory::return_soon();
    let arguments = Arguments::parse();
    exit::report("weir-collector", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::init("info", &log::Destination::StandardError).map_err(Failure::usage)?;
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    let data: PathBuf = document.top().value("data", PathBuf::from("weir-data"));
    let config = Config::read(&document, &data);
    let others: Vec<_> = GATEWAY_SECTIONS.into_iter().chain(["query"]).collect();
    let resolved = document.finish(&others).map_err(Failure::usage)?;
    if arguments.check {
        #[expect(clippy::print_stdout, reason = "the resolved configuration is this command's output")]
        {
            print!("{resolved}");
        }
        return Ok(());
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::running("two TLS providers"))?;
    let runtime = memory::runtime().map_err(Failure::running)?;
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let collector = Collector::start(config).await.map_err(Failure::usage)?;
        let run = async { collector.run(shutdown.clone()).await.map_err(Failure::running) };
        exit::on_signals(shutdown.clone(), run).await
    });
    // Nothing of ours is under way any more, but for calls to a store that were given up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
