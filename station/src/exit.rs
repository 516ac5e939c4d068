//! How a program ends: its exit code, and what asks it to.

use std::{fmt, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why a program failed, as its exit code tells it.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for something that cannot be: usage, configuration, a port in use, a store that is not there. Exit
    /// code 2; nothing was begun.
    Usage(String),
    /// It failed while running. Exit code 1.
    Running(String),
}

impl Failure {
    /// A failure of usage or configuration.
    pub fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// A failure while running.
    pub fn running(error: impl fmt::Display) -> Self {
        Self::Running(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Running(text) => f.write_str(text),
        }
    }
}

/// Says on standard error why the program failed, if it did; gives its exit code.
#[must_use]
pub fn report(program: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    for line in failure.to_string().lines() {
        eprintln!("{program}: {line}");
    }
    ExitCode::from(match failure {
        Failure::Usage(_) => 2,
        Failure::Running(_) => 1,
    })
}

/// Waits for Ctrl-C or SIGTERM and then cancels `shutdown`; ends when someone else cancels it.
///
/// # Errors
/// When the process cannot listen for signals.
pub async fn on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "shutting down"),
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "shutting down"),
        () = shutdown.cancelled() => {}
    }
    shutdown.cancel();
    Ok(())
}
