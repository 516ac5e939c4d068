//! A collector's life: start, run, end. Reads top to bottom in the order in which things happen.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use weir_lake::{CommitError, Lake, OpenError};
use weir_station::listener::{self, ListenError};

use crate::{
    Config, Counters, Intake, Pending,
    admin::Admin,
    flush::{FlushPolicy, Flusher},
    receive::{grpc, http},
    replay::{ReplayError, Replayer, committed},
    sources::Sources,
    wal::{Wal, WalConfig, WalError},
    writer::{self, WriterHandle},
};

/// How long calls that are under way may take to end.
const RECEIVERS_GRACE: Duration = Duration::from_secs(5);

/// How long the last flush may take, with all its tries.
const LAST_FLUSH_GRACE: Duration = Duration::from_secs(30);

/// A collector that cannot start. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("collector: {0}")]
    Listen(#[from] ListenError),
    /// The tables cannot be opened.
    #[error("collector: {0}")]
    Store(#[from] OpenError),
    /// The write-ahead log cannot be opened.
    #[error("collector: {0}")]
    Wal(#[from] WalError),
    /// What the log holds cannot be brought back.
    #[error("collector: {0}")]
    Replay(#[from] ReplayError),
    /// What the log holds is too much for memory, and cannot be committed.
    #[error("collector: cannot commit what the log holds: {0}")]
    Commit(#[from] CommitError),
    /// The system refused.
    #[error("collector: {0}")]
    System(#[from] io::Error),
}

/// A collector that failed while running.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log failed: nothing more can be acknowledged.
    #[error("collector: the write-ahead log failed: {0}")]
    Wal(#[from] WalError),
    /// A task ended that should not have.
    #[error("collector: {task} ended: {reason}")]
    Task {
        /// Which.
        task: &'static str,
        /// Why.
        reason: String,
    },
    /// The last flush did not succeed. Everything acknowledged is in the log, and will be committed at the next start.
    #[error(
        "collector: not everything is committed: {0}; it is kept in the write-ahead log and will be committed at the next start"
    )]
    LastFlush(String),
}

/// The addresses that a collector took.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    addresses: Addresses,
    flusher: Arc<Flusher>,
    log: WriterHandle,
    log_end: oneshot::Receiver<Result<(), WalError>>,
    receivers: JoinSet<Result<(), RunError>>,
    background: JoinSet<Result<(), RunError>>,
    stop_receiving: CancellationToken,
    stop_background: CancellationToken,
}

impl Collector {
    /// Starts: listens, opens tables and log, replays, and serves. Everything acknowledged before is pending again
    /// when it returns. Needs a multi-thread runtime.
    ///
    /// # Errors
    /// When something it needs is not there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let grpc_listener = listener::bind(config.grpc, config.exposure).await?;
        let http_listener = listener::bind(config.http, config.exposure).await?;
        let admin_listener = listener::bind(config.admin, config.exposure).await?;
        let addresses = Addresses {
            grpc: grpc_listener.local_addr()?,
            http: http_listener.local_addr()?,
            admin: admin_listener.local_addr()?,
        };
        let lake = Arc::new(Lake::open(&config.store).await?);
        let (mut wal, opened) = Wal::open(WalConfig {
            directory: config.wal.clone(),
            segment_bytes: config.wal_segment.0,
            budget_bytes: config.wal_budget.0,
        })?;
        tracing::info!(?opened, directory = %config.wal.display(), "write-ahead log opened");
        let writer_id = wal.writer_id().to_owned();
        let pending = Arc::new(Pending::new(committed(&lake, &writer_id).await.map_err(ReplayError::from)?));
        let counters = Arc::new(Counters::default());
        let flusher = Arc::new(Flusher {
            lake,
            pending: Arc::clone(&pending),
            writer_id: writer_id.clone(),
            counters: Arc::clone(&counters),
        });
        let sources = replay(&wal, &flusher, config.flush).await?;
        // A log that lost its end (a restored backup, say) must not give positions anew that a table has committed.
        wal.skip_past(pending.committed_by_any(), &sources.to_note())?;
        let (log, log_end) = writer::start(wal, sources, Arc::clone(&pending), Arc::clone(&counters))?;
        let limit = usize::try_from(config.pending_limit.0).unwrap_or(usize::MAX);
        let intake = Intake::new(log.clone(), Arc::clone(&pending), Arc::clone(&counters), limit);

        let (stop_receiving, stop_background) = (CancellationToken::new(), CancellationToken::new());
        let mut receivers = JoinSet::new();
        let stop = stop_receiving.clone();
        receivers.spawn(task("OTLP/gRPC", grpc::serve(grpc_listener, intake.clone(), stop.clone())));
        receivers.spawn(task("OTLP/HTTP", http::serve(http_listener, intake, stop)));
        let mut background = JoinSet::new();
        let router = Admin { writer_id, pending, counters }.router();
        let stop = stop_background.clone();
        background.spawn(task("admin", weir_station::admin::serve(admin_listener, router, stop.clone())));
        let (flushing, handle) = (Arc::clone(&flusher), log.clone());
        background.spawn(async move {
            flushing.run(config.flush, handle, stop).await;
            Ok(())
        });
        tracing::info!(grpc = %addresses.grpc, http = %addresses.http, admin = %addresses.admin, "collector listens");
        Ok(Self { addresses, flusher, log, log_end, receivers, background, stop_receiving, stop_background })
    }

    /// The addresses it took.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The log's id in the tables' commits.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.flusher.writer_id
    }

    /// What is pending, for queries in the same process.
    #[must_use]
    pub fn pending(&self) -> Arc<Pending> {
        Arc::clone(&self.flusher.pending)
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.flusher.counters)
    }

    /// The tables.
    #[must_use]
    pub fn lake(&self) -> Arc<Lake> {
        Arc::clone(&self.flusher.lake)
    }

    /// Runs until `shutdown`, then ends: no more messages, the last flush, the log closed.
    ///
    /// # Errors
    /// When a part of it failed, or when the last flush did not succeed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        tokio::select! {
            () = shutdown.cancelled() => {}
            ended = &mut self.log_end => return Err(log_error(ended)),
            Some(ended) = self.receivers.join_next() => return Err(early(ended)),
            Some(ended) = self.background.join_next() => return Err(early(ended)),
        }
        self.stop_receiving.cancel();
        if timeout(RECEIVERS_GRACE, drain(&mut self.receivers)).await.is_err() {
            tracing::warn!("calls under way did not end in time; their senders will resend");
            self.receivers.shutdown().await;
        }
        self.stop_background.cancel();
        drain(&mut self.background).await;
        let flushed = last_flush(&self.flusher).await;
        self.log.truncate(self.flusher.pending.committed_by_all()).await;
        drop(self.log);
        match self.log_end.await {
            Ok(Ok(())) => flushed,
            ended => Err(log_error(ended)),
        }
    }
}

/// Brings back what the tables have not committed. What does not fit into memory is committed on the way.
async fn replay(wal: &Wal, flusher: &Flusher, policy: FlushPolicy) -> Result<Sources, StartError> {
    let pending = &flusher.pending;
    let begun = Instant::now();
    let after = pending.committed_by_all();
    let (note, frames) = wal.replay(after)?;
    let mut replayer = Replayer::new(note.as_ref(), after, pending);
    for frame in frames {
        replayer.replay(&frame?);
        if pending.open_bytes() >= policy.bytes {
            flusher.try_flush().await?;
        }
    }
    let (sources, frames) = replayer.finish();
    if frames > 0 {
        let elapsed_ms = begun.elapsed().as_millis();
        tracing::info!(frames, records = pending.records(), elapsed_ms, "replayed what was not committed");
    }
    Ok(sources)
}

async fn last_flush(flusher: &Flusher) -> Result<(), RunError> {
    let flush = async {
        loop {
            match flusher.try_flush().await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "commit failed, trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(RunError::LastFlush(error.to_string())),
            }
        }
    };
    let late = |_| Err(RunError::LastFlush(format!("the store did not take it within {LAST_FLUSH_GRACE:?}")));
    timeout(LAST_FLUSH_GRACE, flush).await.unwrap_or_else(late)
}

async fn task<E: std::fmt::Display>(
    name: &'static str,
    work: impl Future<Output = Result<(), E>>,
) -> Result<(), RunError> {
    work.await.map_err(|error| RunError::Task { task: name, reason: error.to_string() })
}

async fn drain(tasks: &mut JoinSet<Result<(), RunError>>) {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "while shutting down");
        }
    }
}

/// A task that ended before it was asked to.
fn early(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => RunError::Task { task: "a server", reason: "without being asked to".to_owned() },
        Err(panic) => RunError::Task { task: "a task", reason: panic.to_string() },
    }
}

fn log_error(ended: Result<Result<(), WalError>, oneshot::error::RecvError>) -> RunError {
    match ended {
        Ok(Err(error)) => RunError::Wal(error),
        Ok(Ok(())) | Err(_) => RunError::Task { task: "the log's writer", reason: "without being asked to".to_owned() },
    }
}
