//! How a program ends: its exit code, and what asks it to.

use std::{fmt, future::Future, process::ExitCode, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, timeout},
};
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

/// Between two reports of who is late.
const LATE_INTERVAL: Duration = Duration::from_secs(5);

/// Runs to its end what ends when `shutdown` is cancelled. The first Ctrl-C or SIGTERM cancels it, the second one ends
/// the process at once.
///
/// # Errors
/// Those of `work`; and when the process cannot listen for signals.
pub async fn on_signals<T>(
    shutdown: CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::running)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::running)?;
    tokio::pin!(work);
    loop {
        let (name, number) = tokio::select! {
            ended = &mut work => return ended,
            _ = interrupt.recv() => ("SIGINT", 2),
            _ = terminate.recv() => ("SIGTERM", 15),
        };
        if shutdown.is_cancelled() {
            tracing::warn!(signal = name, "ending at once");
            // As a shell tells of a process that a signal ended.
            std::process::exit(128 + number);
        }
        tracing::info!(signal = name, "shutting down; a second signal ends at once");
        shutdown.cancel();
    }
}

/// Waits for a part of the shutdown, and says every five seconds that it does. `None` when it is not done in time.
pub async fn within<T>(deadline: Duration, who: &str, work: impl Future<Output = T>) -> Option<T> {
    let begun = Instant::now();
    tokio::pin!(work);
    loop {
        let left = deadline.saturating_sub(begun.elapsed());
        match timeout(left.min(LATE_INTERVAL), &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if begun.elapsed() >= deadline => return None,
            Err(_) => {
                let left_s = deadline.saturating_sub(begun.elapsed()).as_secs();
                tracing::warn!(late = who, left_s, "still waiting");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_late_is_given_up_at_the_deadline() {
        assert_eq!(within(Duration::MAX, "one", async { 1 }).await, Some(1));
        assert_eq!(within(Duration::ZERO, "nothing", std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn what_ends_by_itself_needs_no_signal() {
        let ended = on_signals(CancellationToken::new(), async { Ok::<_, Failure>(3) }).await;
        assert_eq!(ended.unwrap(), 3);
    }
}
