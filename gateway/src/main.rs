//! `weir-gateway`: the gateway alone.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use mimalloc::MiMalloc;
use tokio_util::sync::CancellationToken;
use weir_gateway::{Config, Gateway, OTHER_SECTIONS};
use weir_station::{
    config::Document,
    exit::{self, Failure},
    log,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Serves requests by API, stage and route, and leaves an access record and traces of each.
#[derive(Debug, Parser)]
#[command(name = "weir-gateway", version)]
struct Arguments {
    /// Configuration file: addresses, APIs, keys, authorizers.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the resolved configuration, secrets masked, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit::report("weir-gateway", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::init("info", &log::Destination::StandardError).map_err(Failure::usage)?;
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    let data: PathBuf = document.top().value("data", PathBuf::from("weir-data"));
    let mut config = Config::read(&document, &data);
    let source = document.path().map(PathBuf::from);
    let resolved = document.finish(OTHER_SECTIONS).map_err(Failure::usage)?;
    if arguments.check {
        #[expect(clippy::print_stdout, reason = "the resolved configuration is this command's output")]
        {
            print!("{resolved}");
        }
        return Ok(());
    }
    (config.source, config.shown) = (source, resolved.to_string());
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::running("two TLS providers"))?;
    // Requests are served by the gateway's own threads; this runtime has the rest: sending records, the admin address.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let gateway = Gateway::start(config).await.map_err(Failure::usage)?;
        let run = async { gateway.run(shutdown.clone()).await.map_err(Failure::running) };
        exit::on_signals(shutdown.clone(), run).await
    })
}
