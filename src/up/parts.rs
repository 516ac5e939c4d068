//! The parts of a process that run side by side, each ended by its own token and awaited by name.

use std::{collections::BTreeMap, fmt::Display, future::Future};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_station::exit::Failure;

/// What runs.
#[derive(Debug, Default)]
pub(super) struct Parts {
    running: JoinSet<(&'static str, Result<(), Failure>)>,
    stops: BTreeMap<&'static str, CancellationToken>,
    ended: BTreeMap<&'static str, Result<(), Failure>>,
}

impl Parts {
    /// Starts a part, which ends when its token is cancelled; its error ends the process as one while running.
    pub(super) fn start<F, E>(&mut self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        self.start_with_failure(name, |stop| {
            let work = work(stop);
            async { work.await.map_err(Failure::running) }
        });
    }

    /// Starts a part that tells itself how its failure ends the process.
    pub(super) fn start_with_failure<F>(&mut self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let work = work(stop.clone());
        self.running.spawn(async move { (name, work.await) });
        self.stops.insert(name, stop);
    }

    /// Waits until a part ends by itself.
    pub(super) async fn first_end(&mut self) -> (&'static str, Result<(), Failure>) {
        match self.running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => ("a part", Err(Failure::running(panic))),
            None => std::future::pending().await,
        }
    }

    /// Asks a part to end, and waits until it has. A part that was never started, or has ended, has ended well.
    pub(super) async fn end(&mut self, name: &'static str) -> Result<(), Failure> {
        let Some(stop) = self.stops.remove(name) else { return Ok(()) };
        stop.cancel();
        loop {
            if let Some(ended) = self.ended.remove(name) {
                return ended;
            }
            match self.running.join_next().await {
                Some(Ok((other, ended))) => drop(self.ended.insert(other, ended)),
                Some(Err(panic)) => return Err(Failure::running(panic)),
                None => return Ok(()),
            }
        }
    }
}
