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

    /// Waits until a part ends by itself; it needs no [`Self::end`] any more.
    pub(super) async fn first_end(&mut self) -> (&'static str, Result<(), Failure>) {
        match self.running.join_next().await {
            Some(Ok((name, ended))) => {
                self.stops.remove(name);
                (name, ended)
            }
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn until(stop: CancellationToken) -> Result<(), Infallible> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_part_that_ended_by_itself_does_not_hold_up_the_end_of_the_others() {
        let mut parts = Parts::default();
        parts.start("one", |_| std::future::ready(Ok::<_, Infallible>(())));
        parts.start("two", until);
        parts.start("three", until);
        assert_eq!(parts.first_end().await.0, "one");
        for name in ["one", "three", "two", "never started"] {
            assert!(parts.end(name).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_failure_of_a_part_is_told_when_it_is_ended() {
        let mut parts = Parts::default();
        parts.start("one", |stop| async move {
            stop.cancelled().await;
            Err("broken")
        });
        assert_eq!(parts.end("one").await.unwrap_err().to_string(), "broken");
    }
}
