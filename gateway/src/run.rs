//! A gateway's life: start, run, end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use tokio::{sync::oneshot, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use weir_record::{AccessRecord, Span};
use weir_station::listener::{self, ListenError};

use crate::{
    auth::jwt::KeySetError,
    config::{Config, TelemetryConfig},
    core::{self, Shared},
    serving::Serving,
    stats::Stats,
    telemetry::{
        self, AccessLogError,
        export::{self, Exported, Exporter},
        outbox::Outbox,
        spool::{Slot, Spool},
    },
};

/// How long the last records may take to get to the collector.
const LAST_RECORDS_GRACE: Duration = Duration::from_secs(10);

/// A gateway that cannot start. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("gateway: {0}")]
    Listen(#[from] ListenError),
    /// An authorizer's keys cannot be read.
    #[error("gateway: {0}")]
    Keys(#[from] KeySetError),
    /// The access log cannot be opened.
    #[error("gateway: {0}")]
    AccessLog(#[from] AccessLogError),
    /// The directory for records that the collector does not take cannot be used.
    #[error("gateway: telemetry.spool: cannot use {}: {source}; name another directory, or \"off\"", .directory.display())]
    Spool {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The collector's address is no URI.
    #[error("gateway: telemetry.collector: {0}")]
    Collector(#[from] tonic::transport::Error),
    /// The system refused.
    #[error("gateway: {0}")]
    System(#[from] io::Error),
}

/// A gateway that failed while running.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread or a task ended that should not have.
    #[error("gateway: {task} ended: {reason}")]
    Task {
        /// Which.
        task: &'static str,
        /// Why.
        reason: String,
    },
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    admin: SocketAddr,
    instance: String,
    stats: Arc<Stats>,
    stop_serving: CancellationToken,
    stop_admin: CancellationToken,
    /// Cancelled when the last records have had their time.
    deadline: CancellationToken,
    cores: JoinSet<Result<io::Result<()>, oneshot::error::RecvError>>,
    admin_server: JoinSet<io::Result<()>>,
    senders: JoinSet<()>,
}

impl Gateway {
    /// Starts: listens, reads keys, and serves.
    ///
    /// # Errors
    /// When something it needs is not there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.exposure.check(config.listen)?;
        let threads = match config.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let refused = |source| ListenError::Refused { address: config.listen, source };
        let listeners = core::listeners(config.listen, threads).map_err(refused)?;
        let address = listeners[0].local_addr()?;
        let admin_listener = listener::bind(config.admin, config.exposure).await?;
        let admin = admin_listener.local_addr()?;
        let channel = export::connect(&config.telemetry)?;
        let outboxes = outboxes(&config.telemetry)?;
        let stats = Arc::new(Stats::default());
        let serving = Serving::new(&config)?;
        let (telemetry, queues) = telemetry::queues(&config.telemetry, Arc::clone(&stats))?;
        let shared = Arc::new(Shared {
            serving,
            stats: Arc::clone(&stats),
            telemetry,
            header_timeout: config.header_timeout,
            drain: config.drain,
        });

        let (stop_serving, stop_admin, deadline) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut cores = JoinSet::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let (ended, end) = oneshot::channel();
            let (shared, stop) = (Arc::clone(&shared), stop_serving.clone());
            thread::Builder::new().name(format!("weir-core-{index}")).spawn(move || {
                // Nobody waits for the end when the process is going down anyway.
                let _ = ended.send(core::run(listener, shared, &stop));
            })?;
            cores.spawn(end);
        }
        let instance = uuid::Uuid::now_v7().to_string();
        let mut senders = JoinSet::new();
        let exporter = |outbox| Exporter {
            channel: channel.clone(),
            config: config.telemetry.clone(),
            instance: instance.clone(),
            stats: Arc::clone(&stats),
            outbox,
            deadline: deadline.clone(),
        };
        let [logs, traces] = outboxes;
        senders.spawn(exporter(logs).run::<AccessRecord>(queues.records));
        senders.spawn(exporter(traces).run::<Span>(queues.spans));
        if let Some((lines, file)) = queues.lines {
            senders.spawn(file.write(lines));
        }
        let shown = Arc::clone(&stats);
        let router = weir_station::admin::router(Arc::new(move || shown.render()));
        let mut admin_server = JoinSet::new();
        admin_server.spawn(weir_station::admin::serve(admin_listener, router, stop_admin.clone()));
        tracing::info!(%address, %admin, threads, instance, "gateway listens");
        Ok(Self { address, admin, instance, stats, stop_serving, stop_admin, deadline, cores, admin_server, senders })
    }

    /// Where it serves requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it shows how it does.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its `service.instance.id`: the `source` of its records.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Runs until `shutdown`, then ends: no more connections, requests under way to their end, the last records sent.
    ///
    /// # Errors
    /// When a part of it failed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let failure = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = self.cores.join_next() => Some(RunError::Task { task: "a thread", reason: core_end(ended) }),
            Some(ended) = self.admin_server.join_next() => {
                Some(RunError::Task { task: "the admin server", reason: format!("{ended:?}") })
            }
            Some(ended) = self.senders.join_next() => Some(RunError::Task { task: "a sender", reason: format!("{ended:?}") }),
        };
        self.stop_serving.cancel();
        while self.cores.join_next().await.is_some() {}
        // The threads had the near ends of the queues: the senders now come to the end of them.
        let sent = async { while self.senders.join_next().await.is_some() {} };
        if timeout(LAST_RECORDS_GRACE, sent).await.is_err() {
            self.deadline.cancel();
            while self.senders.join_next().await.is_some() {}
        }
        self.stop_admin.cancel();
        while self.admin_server.join_next().await.is_some() {}
        failure.map_or(Ok(()), Err)
    }
}

/// The outboxes of logs and traces, with what an earlier process has left in the spool.
fn outboxes(config: &TelemetryConfig) -> Result<[Outbox; 2], StartError> {
    let policy = config.spool_policy;
    let Some(directory) = &config.spool else { return Ok([Outbox::new(None, policy), Outbox::new(None, policy)]) };
    let open = || {
        let slot = Slot::take(directory)?;
        let limit_bytes = config.spool_limit.0 / 2;
        let logs = Spool::open(&slot, AccessRecord::SIGNAL, limit_bytes)?;
        let traces = Spool::open(&slot, Span::SIGNAL, limit_bytes)?;
        Ok([Outbox::new(Some(logs), policy), Outbox::new(Some(traces), policy)])
    };
    open().map_err(|source| StartError::Spool { directory: directory.clone(), source })
}

fn core_end(ended: Result<Result<io::Result<()>, oneshot::error::RecvError>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(Ok(()))) => "without being asked to".to_owned(),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) => "it panicked".to_owned(),
        Err(error) => error.to_string(),
    }
}
