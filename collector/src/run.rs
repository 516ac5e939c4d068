//! A collector's life: start, run, end. Reads top to bottom in the order in which things happen.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{SetOnce, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use weir_lake::{Lake, OpenError, ReadError};
use weir_station::{exit, listener::ListenError, watched::FileFault};

use crate::{
    Config, Counters, Intake, Pending,
    admin::Admin,
    flush::Flusher,
    listeners::Listeners,
    receive::{Reception, grpc, http},
    replay::{self, ReplayError},
    sources::Sources,
    tables::{Tables, TablesError, UNKNOWN_GAP},
    wal::{Disk, Position, Wal, WalConfig, WalError},
    writer::{self, WriterHandle},
};

/// How long calls that are under way may take to end.
const RECEIVERS_GRACE: Duration = Duration::from_secs(5);

/// How long a start waits for the tables. Without them messages are taken too.
const TABLES_GRACE: Duration = Duration::from_millis(700);

/// A collector that cannot start. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("collector: {0}")]
    Listen(#[from] ListenError),
    /// A file of certificates or tokens cannot be used.
    #[error("collector: {0}")]
    File(#[from] FileFault),
    /// The tables cannot be opened.
    #[error("collector: {0}")]
    Store(#[from] OpenError),
    /// The write-ahead log cannot be opened.
    #[error("collector: {0}")]
    Wal(#[from] WalError),
    /// A table does not say what it has committed.
    #[error("collector: {0}")]
    Read(#[from] ReadError),
    /// The log and the tables do not belong together.
    #[error("collector: {0}")]
    Replay(ReplayError),
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
    /// The last flush did not succeed in time. Everything acknowledged is in the log.
    #[error(
        "collector: the tables did not take everything within {deadline:?}; it is kept in the write-ahead log and will be committed after the next start"
    )]
    LastFlush {
        /// How long it was tried.
        deadline: Duration,
    },
}

/// The addresses that a collector took.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// `http`, or `https` when there is TLS before them.
    pub scheme: &'static str,
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
    writer_id: String,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
    flusher: Arc<SetOnce<Arc<Flusher>>>,
    shutdown_deadline: Duration,
    log: WriterHandle,
    log_end: oneshot::Receiver<Result<(), WalError>>,
    receivers: JoinSet<Result<(), RunError>>,
    background: JoinSet<Result<(), RunError>>,
    stop_receiving: CancellationToken,
    stop_background: CancellationToken,
}

impl Collector {
    /// Starts: listens, opens log and tables, and serves. Messages are taken when it returns, however much the log holds
    /// and whether or not the store is there. Needs a multi-thread runtime.
    ///
    /// # Errors
    /// When something it needs is not there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listeners = Listeners::open(&config).await?;
        let addresses = listeners.addresses;
        let (mut wal, opened) = Wal::open(WalConfig {
            directory: config.wal.clone(),
            segment_bytes: config.wal_segment.0,
            budget_bytes: config.wal_budget.0,
        })?;
        tracing::info!(?opened, directory = %config.wal.display(), "write-ahead log opened");
        let sources = known_sources(&wal)?;
        if opened.damaged_places > 0 {
            begin_afresh(&mut wal, &sources)?;
        }
        let writer_id = wal.writer_id().to_owned();
        let pending = Arc::new(Pending::unknown(&writer_id, opened.next.previous(), config.pending_bytes()));
        let (counters, flusher) = (Arc::new(Counters::default()), Arc::new(SetOnce::new()));
        let mut tables = Tables {
            store: config.store,
            writer_id: writer_id.clone(),
            lives: wal.lives()?,
            life: Arc::default(),
            pending: Arc::clone(&pending),
            counters: Arc::clone(&counters),
            policy: config.flush,
            maintenance: config.maintenance,
            flusher: Arc::clone(&flusher),
            first_free: opened.next,
        };
        tables.first_free = place_after_tables(&mut wal, &sources, &tables).await?;
        let (log, log_end) = writer::start(wal, sources, Arc::clone(&pending), Arc::clone(&counters))?;
        let (stop_receiving, stop_background) = (CancellationToken::new(), CancellationToken::new());
        let (mut receivers, mut background) = (JoinSet::new(), JoinSet::new());
        listeners.follow_files(&mut background, &stop_background);
        let (intake, tokens) = (Intake::new(log.clone()), listeners.tokens());
        let reception = Reception::new(intake, tokens.clone(), &config.receive, Arc::clone(&counters));
        let reception = Arc::new(reception);
        let admin = Admin {
            writer_id: writer_id.clone(),
            pending: Arc::clone(&pending),
            counters: Arc::clone(&counters),
            reception: Arc::clone(&reception),
            connections: listeners.counts(),
        };
        let admin = admin.router(tokens);
        let stop = stop_receiving.clone();
        receivers.spawn(ended(listeners.grpc.serve(grpc::router(Arc::clone(&reception)), stop.clone())));
        receivers.spawn(ended(listeners.http.serve(http::router(reception), stop)));
        let stop = stop_background.clone();
        background.spawn(ended(listeners.admin.serve(admin, stop.clone())));
        background.spawn(task("tables", tables.run(log.clone(), stop)));
        tracing::info!(grpc = %addresses.grpc, http = %addresses.http, admin = %addresses.admin, "collector listens");
        let shutdown_deadline = config.shutdown_deadline;
        Ok(Self {
            addresses,
            writer_id,
            pending,
            counters,
            flusher,
            shutdown_deadline,
            log,
            log_end,
            receivers,
            background,
            stop_receiving,
            stop_background,
        })
    }

    /// The addresses it took.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The log's id in the tables' commits.
    #[must_use]
    pub fn writer_id(&self) -> &str {
        &self.writer_id
    }

    /// What is pending, for queries in the same process.
    #[must_use]
    pub fn pending(&self) -> Arc<Pending> {
        Arc::clone(&self.pending)
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The tables, when they are open: at once, or when the store is there.
    pub fn lake(&self) -> impl Future<Output = Arc<Lake>> + Send + use<> {
        let flusher = Arc::clone(&self.flusher);
        async move { Arc::clone(&flusher.wait().await.lake) }
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
        if exit::within(RECEIVERS_GRACE, "messages under way", drain(&mut self.receivers)).await.is_none() {
            tracing::warn!("messages under way did not end in time; their senders will resend");
            self.receivers.shutdown().await;
        }
        self.stop_background.cancel();
        drain(&mut self.background).await;
        let flushed = self.last_flush().await;
        self.log.truncate(self.pending.committed_by_all()).await;
        drop(self.log);
        match self.log_end.await {
            Ok(Ok(())) => flushed,
            ended => Err(log_error(ended)),
        }
    }

    /// Commits what is in memory. What is not stays in the log, and loses nothing by it.
    async fn last_flush(&self) -> Result<(), RunError> {
        let deadline = self.shutdown_deadline;
        let lag_messages = self.pending.lag_frames();
        let Some(flusher) = self.flusher.get() else {
            return if lag_messages > 0 { Err(RunError::LastFlush { deadline }) } else { Ok(()) };
        };
        if lag_messages > 0 {
            tracing::info!(lag_messages, "messages stay in the log; they will be committed after the next start");
        }
        let flushed = exit::within(deadline, "the last commits to the tables", flusher.flush_all()).await;
        let flushed = flushed.ok_or(RunError::LastFlush { deadline })?;
        flushed.map_err(|error| RunError::Task { task: "the last commit", reason: error.to_string() })
    }
}

/// Which batches were taken before. The newest segment's note and its frames tell it.
pub(crate) fn known_sources<D: Disk>(wal: &Wal<D>) -> Result<Sources, WalError> {
    let (note, frames) = wal.replay_newest()?;
    replay::sources(note.as_deref(), frames)
}

/// Leaves a damaged segment behind. If its head is what is damaged, then only the segments before it tell which batches
/// were taken, and they are deleted one day.
pub(crate) fn begin_afresh<D: Disk>(wal: &mut Wal<D>, sources: &Sources) -> Result<(), WalError> {
    match wal.rotate(&sources.to_note()) {
        Err(error) if error.is_retryable() => tracing::warn!(%error, "the log goes on in the damaged segment"),
        rotated => return rotated,
    }
    Ok(())
}

/// Opens the tables, and has the log go on after what they have committed of it. When the store does not answer at
/// once, it goes on far enough behind; but a collector that was never there before waits for it, and fails without it:
/// its store is more likely misspelt than away. Gives the log's first free position.
async fn place_after_tables(wal: &mut Wal, sources: &Sources, tables: &Tables) -> Result<Position, StartError> {
    let is_first_start = tables.first_free == Position::default().next();
    let opened = if is_first_start { Ok(tables.open().await) } else { timeout(TABLES_GRACE, tables.open()).await };
    let mut in_tables = Vec::new();
    let behind = match opened {
        Ok(Ok(lives)) => {
            in_tables = lives;
            tables.pending.committed_by_any()
        }
        Ok(Err(error)) if is_first_start || !error.is_retryable() => return Err(error.into()),
        Ok(Err(_)) | Err(_) => Position::new(tables.first_free.get() + UNKNOWN_GAP),
    };
    if behind >= tables.first_free {
        wal.skip_past(behind, &sources.to_note())?;
    }
    let life = match wal.begin_life(tables.lives.clone(), &in_tables) {
        Ok(life) => Some(life),
        Err(error) if error.is_retryable() => {
            tracing::warn!(%error, "the log cannot note that another process writes it; it goes on as the last one");
            tables.lives.last()
        }
        Err(error) => return Err(error.into()),
    };
    // It is set here alone.
    life.map(|life| tables.life.set(life));
    Ok(tables.first_free.max(behind.next()))
}

/// Of work that cannot fail.
async fn ended(work: impl Future<Output = ()>) -> Result<(), RunError> {
    work.await;
    Ok(())
}

pub(crate) async fn task<E: std::fmt::Display>(
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

impl From<TablesError> for StartError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Open(error) => Self::Store(error),
            TablesError::Read(error) | TablesError::Replay(ReplayError::Table(error)) => Self::Read(error),
            TablesError::Replay(error) => Self::Replay(error),
            other => Self::System(io::Error::other(other.to_string())),
        }
    }
}
