//! The backlog: frames that stand in the log and not in memory, read in as there is room.
//!
//! At a start everything that the tables have not committed is backlog; later, what arrives while memory is full
//! because the store is away or slow. So the collector takes messages at once after a start, and for as long as the
//! log has room, with memory that stays flat.
//!
//! What always holds: frames are loaded in the order of the log, each once; the end of the backlog is a moment at which
//! memory has every frame that the tables have not ([`Pending::caught_up`]).

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{
    Pending,
    replay::{ReplayError, Replayer},
    wal::{Disk, Replay, System, WalError},
    writer::WriterHandle,
};

/// Frames that are read before it is looked whether the station ends.
const TURN_FRAMES: usize = 1_024;

/// Reads whenever memory lags, until `shutdown`.
///
/// # Errors
/// When the log cannot be read.
pub async fn run(pending: Arc<Pending>, log: WriterHandle, shutdown: CancellationToken) -> Result<(), ReplayError> {
    loop {
        tokio::select! {
            () = pending.lags() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tokio::select! {
            caught_up = catch_up(&pending, &log) => caught_up?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Reads until memory has all that the log has.
async fn catch_up(pending: &Arc<Pending>, log: &WriterHandle) -> Result<(), ReplayError> {
    let (begun, from) = (std::time::Instant::now(), pending.loaded());
    let mut replayer: Option<Replayer> = None;
    loop {
        let Some(reading) = log.replay(replayer.as_ref().map_or(from, Replayer::position)).await? else {
            // The writer has ended; whoever waits for it says why.
            return std::future::pending().await;
        };
        let (note, frames) = reading;
        let through = frames.through();
        let mut turn =
            Turn { replayer: replayer.take().unwrap_or_else(|| Replayer::new(note.as_deref(), from)), frames };
        loop {
            pending.room().await;
            let rows = Arc::clone(pending);
            let (back, read) =
                spawn_blocking(move || turn.take(&rows, TURN_FRAMES)).await.map_err(ReplayError::stopped)?;
            turn = back;
            if read? == Read::All {
                break;
            }
        }
        if pending.caught_up(through) {
            let frames = turn.replayer.frames();
            turn.replayer.end(pending);
            if frames > 0 {
                tracing::info!(frames, elapsed_ms = begun.elapsed().as_millis(), "read the backlog from the log");
            }
            return Ok(());
        }
        replayer = Some(turn.replayer);
    }
}

/// What reads, handed to a thread that may block and back.
pub(crate) struct Turn<D: Disk = System> {
    pub(crate) replayer: Replayer,
    pub(crate) frames: Replay<D>,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Read {
    /// There is more, or there may be.
    Some,
    /// All that was in the log when the reading began.
    All,
}

impl<D: Disk> Turn<D> {
    /// Loads so many frames, as long as there is room.
    pub(crate) fn take(mut self, pending: &Pending, frames: usize) -> (Self, Result<Read, WalError>) {
        for _ in 0..frames {
            if !pending.has_room() {
                return (self, Ok(Read::Some));
            }
            match self.frames.next() {
                Some(Ok(entry)) => self.replayer.replay(entry, pending),
                Some(Err(error)) => return (self, Err(error)),
                None => return (self, Ok(Read::All)),
            }
        }
        (self, Ok(Read::Some))
    }
}
