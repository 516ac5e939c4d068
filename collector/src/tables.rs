//! The collector's side of the tables: opens them, learns what they have committed, and keeps committing.
//!
//! None of it holds up a sender. While the store is away the collector takes messages into its log, and this tries
//! again until the store is there.

use std::sync::{Arc, OnceLock};

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use weir_lake::{
    CommitError, Lake, OpenError, ReadError, StoreConfig,
    maintain::{Maintenance, Policy},
};

use crate::{
    Counters, Pending, backlog,
    flush::{FlushPolicy, Flusher, Pauses},
    replay::{ReplayError, committed},
    wal::{Lives, Position},
    writer::WriterHandle,
};

/// Positions that are left out when messages are taken before it is known what the tables have committed. A log that
/// lost its end (a restored backup, say) must not give positions anew that a table has committed; no log loses so many.
pub(crate) const UNKNOWN_GAP: u64 = 1 << 32;

/// Why the collector cannot go on with these tables.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(
        "the tables have committed this log up to {committed}, which it has not reached yet: the log is not theirs, or an old copy"
    )]
    AheadOfLog { committed: Position },
}

impl TablesError {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_retryable(),
            Self::Read(error) | Self::Replay(ReplayError::Table(error)) => error.is_retryable(),
            Self::Replay(_) | Self::Commit(_) | Self::AheadOfLog { .. } => false,
        }
    }
}

/// Everything that works with the tables.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) store: StoreConfig,
    pub(crate) writer_id: String,
    /// Those that had written the log before this start.
    pub(crate) lives: Lives,
    /// The one that began with it.
    pub(crate) life: Arc<OnceLock<i64>>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) policy: FlushPolicy,
    pub(crate) maintenance: Policy,
    /// Set when they are open and it is known what they have committed.
    pub(crate) flusher: Arc<SetOnce<Arc<Flusher>>>,
    /// The log's first free position when the collector started.
    pub(crate) first_free: Position,
}

impl Tables {
    /// Opens the tables, once; gives which lives of the log they name.
    pub(crate) async fn open(&self) -> Result<Vec<i64>, TablesError> {
        let lake = Arc::new(Lake::open(&self.store).await?);
        let (committed, in_tables) = committed(&lake, &self.writer_id, &self.lives).await?;
        self.pending.begin(committed);
        let flusher = Flusher {
            lake,
            pending: Arc::clone(&self.pending),
            writer_id: self.writer_id.clone(),
            life: Arc::clone(&self.life),
            counters: Arc::clone(&self.counters),
        };
        // It is set here alone.
        let _ = self.flusher.set(Arc::new(flusher));
        Ok(in_tables)
    }

    /// Opens the tables, however long it takes, unless they are open; then commits until `shutdown`.
    pub(crate) async fn run(self, log: WriterHandle, shutdown: CancellationToken) -> Result<(), TablesError> {
        tokio::select! {
            opened = self.open_at_last() => opened?,
            () = shutdown.cancelled() => return Ok(()),
        }
        let flusher = self.flusher.wait().await;
        let reading = async {
            let reading = backlog::run(Arc::clone(&self.pending), log.clone(), shutdown.clone());
            reading.await.map_err(TablesError::from)
        };
        let flushing = async { Ok(flusher.run(self.policy, log.clone(), shutdown.clone()).await?) };
        let maintaining = async {
            if self.maintenance.enabled {
                Maintenance::new(Arc::clone(&flusher.lake), self.maintenance).run(shutdown.clone()).await;
            }
            Ok(())
        };
        tokio::try_join!(reading, flushing, maintaining).map(|_| ())
    }

    async fn open_at_last(&self) -> Result<(), TablesError> {
        let mut pauses = Pauses::new();
        while self.flusher.get().is_none() {
            match self.open().await {
                Ok(_) => self.check_log()?,
                Err(error) if error.is_retryable() => {
                    let pause = pauses.next();
                    let pause_ms = pause.as_millis();
                    tracing::warn!(%error, pause_ms, "the tables cannot be opened; messages are kept in the log, trying again");
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Messages may have been taken before: their positions must be new to the tables.
    fn check_log(&self) -> Result<(), TablesError> {
        let committed = self.pending.committed_by_any();
        if committed >= self.first_free { Err(TablesError::AheadOfLog { committed }) } else { Ok(()) }
    }
}
