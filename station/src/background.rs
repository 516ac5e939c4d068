//! Work that gives way: it runs on a thread of its own, of lower priority than those that answer somebody, so that a processor
//! which has both to do answers first.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// How much lower (nice(2)): about a third of the share of a thread that answers, when there is not enough for both.
const NICENESS: i32 = 5;

/// The work panicked, or no thread could be had for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("work in the background stopped: it panicked, or no thread could be had for it")]
pub struct Stopped;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after the other. It begins with the first one.
#[derive(Debug)]
pub struct Background {
    name: String,
    thread: Mutex<Option<mpsc::Sender<Work>>>,
}

impl Background {
    /// There is no thread yet. At most 15 bytes of its name are shown by the system.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), thread: Mutex::new(None) }
    }

    /// Has it do work that takes a processor for a while.
    ///
    /// # Errors
    /// When it stopped before its end.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopped> {
        let (result, done) = oneshot::channel();
        // Whoever waits for the result may go.
        let work = Box::new(move || drop(result.send(work())));
        self.thread()?.send(work).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)
    }

    /// Has it run a future of which parts take a processor for a while, with the timers and connections of this runtime.
    ///
    /// # Errors
    /// When it stopped before its end.
    pub async fn drive<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stopped> {
        let runtime = Handle::current();
        #[expect(clippy::disallowed_methods, reason = "it waits on a thread of its own")]
        self.run(move || runtime.block_on(future)).await
    }

    fn thread(&self) -> Result<mpsc::Sender<Work>, Stopped> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match &mut *thread {
            Some(running) => running,
            none => none.insert(start(&self.name)?),
        };
        Ok(running.clone())
    }
}

fn start(name: &str) -> Result<mpsc::Sender<Work>, Stopped> {
    // Who comes while another's work waits, waits too.
    let (sender, mut works) = mpsc::channel::<Work>(1);
    let run = move || {
        give_way();
        while let Some(work) = works.blocking_recv() {
            // Whoever waits for it is told by the end of its channel.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|_| Stopped)?;
    Ok(sender)
}

/// On Linux a thread has a priority of its own. Elsewhere only its process has one, which is left as it is.
/// Lowers the priority of the calling thread, for good: it gives way to those that answer somebody.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "work in the background has the priority of all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_what_panics_is_told() {
        let background = Background::new("test");
        let here = thread::current().id();
        let there = background.run(|| thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        assert_eq!(background.run(|| thread::current().id()).await, Ok(there));
        assert_eq!(background.drive(async { 7 }).await, Ok(7));
        let panicked: Result<(), _> = background.run(|| panic!("as it should")).await;
        assert_eq!(panicked, Err(Stopped));
        assert_eq!(background.run(|| 8).await, Ok(8));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_gives_way_and_nobody_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(Background::new("test").run(nice).await, Ok((before + NICENESS).min(19)));
        assert_eq!(nice(), before);
    }
}
