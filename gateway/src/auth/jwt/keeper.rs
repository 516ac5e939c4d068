//! The thread that keeps key sets fresh, one for the process: no request carries a fetch, so none that is broken off
//! takes one with it, and no core's end ends it. It is started by the first key set that needs it.

use std::{future::Future, io, pin::Pin, sync::OnceLock, thread};

use tokio::{sync::mpsc, task::JoinSet};

/// Key sets that may wait to be taken in charge.
const QUEUED: usize = 1_024;

type Charge = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes a key set in charge: `charge` runs until it ends by itself.
///
/// # Errors
/// When the thread cannot be started, or takes no more.
pub(super) fn keep(charge: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    static KEEPER: OnceLock<mpsc::Sender<Charge>> = OnceLock::new();
    let keeper = match KEEPER.get() {
        Some(keeper) => keeper,
        None => {
            let started = start()?;
            KEEPER.get_or_init(|| started)
        }
    };
    keeper.try_send(Box::pin(charge)).map_err(|_| io::Error::other("the thread that reads key sets takes no more"))
}

fn start() -> io::Result<mpsc::Sender<Charge>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, mut charges) = mpsc::channel::<Charge>(QUEUED);
    thread::Builder::new().name("weir-keys".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let mut running = JoinSet::new();
            loop {
                tokio::select! {
                    charge = charges.recv() => match charge {
                        Some(charge) => drop(running.spawn(charge)),
                        None => break,
                    },
                    Some(ended) = running.join_next(), if !running.is_empty() => {
                        if let Err(error) = ended {
                            tracing::error!(%error, "a key set is no longer kept fresh");
                        }
                    }
                }
            }
        });
    })?;
    Ok(sender)
}
