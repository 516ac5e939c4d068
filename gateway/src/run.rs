//! A gateway's life: start, run, end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use weir_station::{
    admin::Router,
    credentials::Credentials,
    exit,
    listener::{self, ListenError},
    tls::HostsTls,
    watched::FileFault,
};

use crate::{
    config::Config,
    connection::{
        Terms,
        accept::{self, Listeners},
    },
    core::Shared,
    limits::SystemClock,
    reload::Reloading,
    serving::{Serving, ServingError},
    stats::Stats,
    telemetry::{
        self,
        export::Sending,
        lines::{self, AccessLogError},
        spool::Spool,
    },
};

/// A gateway that cannot start. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("gateway: {0}")]
    Listen(#[from] ListenError),
    /// What is to be served cannot be made ready.
    #[error("gateway: {0}")]
    Serving(#[from] ServingError),
    /// A file of certificates or the token cannot be used.
    #[error("gateway: {0}")]
    File(#[from] FileFault),
    /// There is an address for TLS and no certificate.
    #[error("gateway: listen_tls is set, but there is no certificate: set certificate and key in [gateway.tls]")]
    NoCertificate,
    /// The system refused.
    #[error("gateway: {0}")]
    System(#[from] io::Error),
    /// An access log cannot be opened.
    #[error("gateway: {0}")]
    AccessLog(#[from] AccessLogError),
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
    tls_address: Option<SocketAddr>,
    admin: SocketAddr,
    instance: String,
    stats: Arc<Stats>,
    /// What is served; at the end its counts of quotas are written.
    serving: watch::Receiver<Arc<Serving>>,
    is_ready: Arc<AtomicBool>,
    drain_delay: Duration,
    stop_serving: CancellationToken,
    stop_admin: CancellationToken,
    /// Cancelled when the last records have had their time.
    deadline: CancellationToken,
    cores: Cores,
    admin_server: JoinSet<io::Result<()>>,
    senders: JoinSet<bool>,
    /// Follow the files of certificates and of the configuration.
    followers: JoinSet<io::Result<()>>,
    shutdown_deadline: Duration,
}

impl Gateway {
    /// Starts: listens, reads keys, and serves.
    ///
    /// # Errors
    /// When something it needs is not there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.exposure.check(config.listen)?;
        config.access_logs().try_for_each(lines::check)?;
        let threads = match config.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (tls, listeners) = listen(&config, threads)?;
        let (address, tls_address) = addresses(&listeners[0])?;
        let drain_delay = config.connections.drain_delay;
        let admin_listener = listener::bind(config.admin, config.exposure).await?;
        let admin = admin_listener.local_addr()?;
        let stats = Arc::new(Stats::default());
        let (serving, shown, reloading) = first_serving(&config)?;
        let own = &config.telemetry;
        let credentials = Arc::new(Credentials::open(&own.credentials, &own.collectors, b"h2")?);
        let (telemetry, queues) = telemetry::queues(&config.telemetry, Arc::clone(&stats));
        let spool = own.spool_directory.clone().map(|directory| Spool::open(directory, own.spool_bytes.0));
        let shared = Arc::new(Shared {
            serving: serving.clone(),
            stats: Arc::clone(&stats),
            telemetry,
            terms: Terms::new(config.connections, tls.clone()),
            drain: config.drain,
        });

        let (stop_serving, stop_admin, deadline) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let cores = start_cores(listeners, &shared, &stop_serving)?;
        let instance = uuid::Uuid::now_v7().to_string();
        let mut senders = JoinSet::new();
        let shutdown_deadline = config.telemetry.shutdown_deadline;
        let sending = Sending {
            spool,
            config: config.telemetry,
            credentials,
            instance: instance.clone(),
            stats: Arc::clone(&stats),
            deadline: deadline.clone(),
        };
        let sent = telemetry::start_sending(sending, queues.records, queues.spans)?;
        // Its end without a word is a panic, which is told where the end is awaited.
        senders.spawn(async move { sent.await.is_ok() });
        senders.spawn(written(queues.lines.start()?, deadline.clone()));
        let is_ready = Arc::new(AtomicBool::new(true));
        let router = admin_router(&stats, &is_ready, &serving, shown);
        let followers = follow(tls, reloading, &stop_serving);
        let mut admin_server = JoinSet::new();
        admin_server.spawn(weir_station::admin::serve(admin_listener, router, stop_admin.clone()));
        let tls = tls_address.map(tracing::field::display);
        tracing::info!(%address, tls, %admin, threads, instance, "gateway listens");
        Ok(Self {
            address,
            tls_address,
            admin,
            instance,
            stats,
            serving,
            is_ready,
            drain_delay,
            stop_serving,
            stop_admin,
            deadline,
            cores,
            admin_server,
            senders,
            followers,
            shutdown_deadline,
        })
    }

    /// Where it serves requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves requests by TLS, when it does.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
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
            Some(ended) = self.followers.join_next() => {
                Some(RunError::Task { task: "what follows the certificates", reason: format!("{ended:?}") })
            }
            Some(ended) = self.senders.join_next() => Some(RunError::Task { task: "a sender", reason: format!("{ended:?}") }),
        };
        // Whoever distributes requests is told before the first one is turned away.
        self.is_ready.store(false, Relaxed);
        if failure.is_none() && !self.drain_delay.is_zero() {
            tokio::time::sleep(self.drain_delay).await;
        }
        self.stop_serving.cancel();
        while self.followers.join_next().await.is_some() {}
        while self.cores.join_next().await.is_some() {}
        self.serving.borrow().limits.close();
        // The threads had the near ends of the queues: the senders now come to the end of them.
        let sent = async { while self.senders.join_next().await.is_some() {} };
        if exit::within(self.shutdown_deadline, "the last records", sent).await.is_none() {
            self.deadline.cancel();
            while self.senders.join_next().await.is_some() {}
        }
        self.stop_admin.cancel();
        while self.admin_server.join_next().await.is_some() {}
        failure.map_or(Ok(()), Err)
    }
}

/// What is served, the configuration that it was made of, and who changes both.
type Served = (watch::Receiver<Arc<Serving>>, watch::Receiver<String>, Option<Reloading>);

/// What is served at first, and who changes it when the configuration does.
fn first_serving(config: &Config) -> Result<Served, ServingError> {
    let (serving_sender, serving) = watch::channel(Arc::new(Serving::new(config, None)?));
    let (shown_sender, shown) = watch::channel(config.shown.clone());
    let reloading = config.source.clone().map(|file| Reloading {
        files: config.files(&file),
        file,
        read: config.read,
        data: config.data.clone(),
        serving: serving_sender,
        shown: shown_sender,
    });
    Ok((serving, shown, reloading))
}

/// Waits until the lines of access logs are written, or are late: a disk or a terminal that takes nothing does not keep the
/// process from ending.
async fn written(end: oneshot::Receiver<()>, deadline: CancellationToken) -> bool {
    tokio::select! {
        ended = end => ended.is_ok(),
        () = deadline.cancelled() => true,
    }
}

/// The certificates and the sockets of each thread.
fn listen(config: &Config, threads: usize) -> Result<(Option<Arc<HostsTls>>, Vec<Listeners>), StartError> {
    let sockets =
        |address| accept::listeners(address, threads).map_err(|source| ListenError::Refused { address, source });
    let plain = sockets(config.listen)?;
    let Some(address) = config.connections.listen_tls else {
        return Ok((None, plain.into_iter().map(|plain| Listeners { plain, tls: None }).collect()));
    };
    if config.connections.tls.is_empty() {
        return Err(StartError::NoCertificate);
    }
    let tls = Arc::new(HostsTls::open(&config.connections.tls)?);
    let both = plain.into_iter().zip(sockets(address)?);
    Ok((Some(tls), both.map(|(plain, tls)| Listeners { plain, tls: Some(tls) }).collect()))
}

/// Where a thread's sockets listen.
fn addresses(listeners: &Listeners) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
    Ok((listeners.plain.local_addr()?, listeners.tls.as_ref().map(TcpListener::local_addr).transpose()?))
}

/// The pages of the admin address.
fn admin_router(
    stats: &Arc<Stats>,
    is_ready: &Arc<AtomicBool>,
    serving: &watch::Receiver<Arc<Serving>>,
    shown: watch::Receiver<String>,
) -> Router {
    let (stats, is_ready, serving) = (Arc::clone(stats), Arc::clone(is_ready), serving.clone());
    let router = weir_station::admin::router(Arc::new(move || {
        let mut text = stats.render();
        serving.borrow().limits.render(&mut text, &SystemClock);
        text
    }));
    let router = weir_station::admin::with_ready(router, move || is_ready.load(Relaxed));
    weir_station::admin::with_page(router, "/config", move || shown.borrow().clone())
}

/// Follows the files of the certificates and of the configuration.
fn follow(
    tls: Option<Arc<HostsTls>>,
    reloading: Option<Reloading>,
    stop: &CancellationToken,
) -> JoinSet<io::Result<()>> {
    let mut followers = JoinSet::new();
    if let Some(tls) = tls {
        let stop = stop.clone();
        followers.spawn(async move { tls.follow(stop).await });
    }
    if let Some(reloading) = reloading {
        followers.spawn(reloading.follow(stop.clone()));
    }
    followers
}

/// The threads that serve; each tells of its end.
type Cores = JoinSet<Result<io::Result<()>, oneshot::error::RecvError>>;

fn start_cores(listeners: Vec<Listeners>, shared: &Arc<Shared>, stop: &CancellationToken) -> io::Result<Cores> {
    let mut cores = JoinSet::new();
    for (index, listeners) in listeners.into_iter().enumerate() {
        let (ended, end) = oneshot::channel();
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        thread::Builder::new().name(format!("weir-core-{index}")).spawn(move || {
            // Nobody waits for the end when the process is going down anyway.
            let _ = ended.send(accept::run(listeners, shared, &stop));
        })?;
        cores.spawn(end);
    }
    Ok(cores)
}

fn core_end(ended: Result<Result<io::Result<()>, oneshot::error::RecvError>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(Ok(()))) => "without being asked to".to_owned(),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) => "it panicked".to_owned(),
        Err(error) => error.to_string(),
    }
}
