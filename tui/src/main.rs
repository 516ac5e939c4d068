//! `weir-tui`: the terminal dashboard as a program of its own.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use weir_tui::{Arguments, RunError};

/// Watch the traffic of a Weir pipeline in the terminal. It asks a query station in SQL over HTTP; press ? for help.
#[derive(Parser)]
#[command(name = "weir-tui", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Err(error) = dashboard(Command::parse().arguments).await else { return ExitCode::SUCCESS };
    eprintln!("weir-tui: {error:#}");
    let usage = error.downcast_ref::<RunError>().is_some_and(RunError::is_usage);
    ExitCode::from(if usage { 2 } else { 1 })
}

async fn dashboard(arguments: Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let shutdown = CancellationToken::new();
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    };
    let dashboard = async {
        let outcome = weir_tui::run(arguments.into(), shutdown.clone()).await;
        shutdown.cancel();
        outcome
    };
    let (outcome, ()) = tokio::join!(dashboard, signals);
    Ok(outcome?)
}
