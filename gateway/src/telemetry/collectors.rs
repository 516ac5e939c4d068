//! To which collector a batch goes, and when it goes to another one.
//!
//! What always holds: a collector that answers is kept; a batch that a collector may have taken stays with it until it
//! answers or [`TelemetryConfig::collector_deadline`] passes, and whoever gets it then is told that it is doubtful; a
//! batch that a collector has not taken (it refused the connection, or said so) goes on to the next one without doubt.
//! Between rounds there is a pause that doubles, with jitter, and is at least what a collector asked for.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::watch,
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use weir_record::{Told, otlp};
use weir_station::credentials::Credentials;

use super::{
    export::{Exported, Sending},
    grpc::{self, SendError},
    spool::Entry,
};
use crate::config::TelemetryConfig;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Port of OTLP over gRPC, for addresses without one.
const DEFAULT_PORT: u16 = 4317;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// A collector has taken the batch.
    Acknowledged {
        /// Whether another one may have taken it too.
        doubtful: bool,
    },
    /// A collector will never take it.
    Refused,
}

/// How a delivery is getting on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Whether a try has failed.
    pub(super) is_troubled: bool,
    /// Collectors that may have taken the batch.
    pub(super) sent_to: Vec<String>,
}

/// The collectors, and the one that answers.
#[derive(Debug)]
pub(super) struct Collectors {
    config: TelemetryConfig,
    credentials: Arc<Credentials>,
    home: Option<(SocketAddr, Channel)>,
    /// Who acknowledged the last batch, of which instance, and what it told.
    told: Option<(SocketAddr, String, Told)>,
}

/// A batch on its way.
struct Parcel {
    body: Bytes,
    /// What another collector than this one was told before.
    told: Option<(SocketAddr, Told)>,
    /// Collectors that may have taken it, the last one last.
    sent_to: Vec<SocketAddr>,
    /// Since when the last of them owes an answer.
    unanswered_since: Option<Instant>,
}

impl Collectors {
    /// None is asked before there is something to send.
    pub(super) fn new(sending: &Sending) -> Self {
        Self { config: sending.config.clone(), credentials: Arc::clone(&sending.credentials), home: None, told: None }
    }

    /// Delivers a batch of an instance, however long it takes. `sent_to` are collectors that an earlier process sent it to.
    pub(super) async fn deliver<T: Exported>(
        &mut self,
        instance: &str,
        entry: &Entry,
        sent_to: &[String],
        progress: &watch::Sender<Progress>,
        resent: &AtomicU64,
    ) -> Delivery {
        let sent_to: Vec<_> = sent_to.iter().filter_map(|address| address.parse().ok()).collect();
        let unanswered_since = (!sent_to.is_empty()).then(Instant::now);
        let told = self.told.as_ref().filter(|told| told.1 == instance).map(|told| (told.0, told.2));
        let mut parcel = Parcel { body: entry.body.clone(), told, sent_to, unanswered_since };
        let mut pause = FIRST_PAUSE;
        let mut is_first = true;
        loop {
            let mut asked = Duration::ZERO;
            for (origin, address) in self.candidates(&mut parcel, is_first).await {
                match self.offer::<T>(&mut parcel, &origin, address, progress).await {
                    Ok(doubtful) => {
                        let Entry { sequence, offered, dropped, .. } = *entry;
                        self.told = Some((address, instance.to_owned(), Told { sequence, offered, dropped }));
                        return Delivery::Acknowledged { doubtful };
                    }
                    Err(error) => {
                        progress.send_if_modified(|progress| !std::mem::replace(&mut progress.is_troubled, true));
                        tracing::warn!(collector = %address, %error, "a collector did not take a batch");
                        match error {
                            SendError::Refused(_) => return Delivery::Refused,
                            SendError::NotTaken { retry_after, .. } => {
                                asked = asked.max(retry_after.unwrap_or_default());
                            }
                            SendError::Unanswered(_) => break,
                        }
                    }
                }
            }
            progress.send_if_modified(|progress| !std::mem::replace(&mut progress.is_troubled, true));
            resent.fetch_add(1, Relaxed);
            sleep(asked.max(pause.mul_f64(0.5 + fastrand::f64() / 2.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            is_first = false;
        }
    }

    /// Whom to ask in this round, in order.
    async fn candidates(&self, parcel: &mut Parcel, is_first: bool) -> Vec<(String, SocketAddr)> {
        let home = self.home.as_ref().map(|(address, _)| *address);
        if let (true, Some(home), None) = (is_first, home, parcel.unanswered_since) {
            return vec![(String::new(), home)];
        }
        let mut all = resolve(&self.config.collectors).await;
        if let (Some(since), Some(last)) = (parcel.unanswered_since, parcel.sent_to.last().copied()) {
            if since.elapsed() < self.config.collector_deadline || all.iter().all(|(_, address)| *address == last) {
                all.retain(|(_, address)| *address == last);
                if all.is_empty() {
                    // No name stands for it any more; it is still one of those that these names stood for.
                    let origin = self.config.collectors.first().cloned().unwrap_or_default();
                    all.push((origin, last));
                }
                return all;
            }
            tracing::warn!(collector = %last, "a collector does not answer; its batch goes to another one");
            parcel.unanswered_since = None;
        }
        // Those that may have it come last, the home first.
        all.sort_by_key(|(_, address)| (parcel.sent_to.contains(address), Some(*address) != home));
        all
    }

    /// Offers a batch to one collector; tells whether it is doubtful.
    async fn offer<T: Exported>(
        &mut self,
        parcel: &mut Parcel,
        origin: &str,
        address: SocketAddr,
        progress: &watch::Sender<Progress>,
    ) -> Result<bool, SendError> {
        let doubtful = parcel.sent_to.iter().any(|other| *other != address);
        let channel = match &self.home {
            Some((home, channel)) if *home == address => channel.clone(),
            _ => self.connect(origin, address).await?,
        };
        let mut told: Vec<_> = parcel.sent_to.iter().map(ToString::to_string).collect();
        if !parcel.sent_to.contains(&address) {
            told.push(address.to_string());
        }
        if progress.send_if_modified(|progress| {
            let is_new = progress.sent_to != told;
            progress.sent_to = told;
            is_new
        }) {
            // Whoever keeps the batch on disk notes it there before the batch goes out.
            yield_now().await;
        }
        let mut marks: Vec<_> = doubtful.then(otlp::doubtful_mark).into_iter().collect();
        let elsewhere = parcel.told.filter(|told| told.0 != address).map(|told| told.1);
        marks.extend(elsewhere.into_iter().flat_map(otlp::elsewhere_marks));
        let body = if marks.is_empty() { parcel.body.clone() } else { T::mark(&parcel.body, &marks) };
        let request = grpc::request(body, self.credentials.authorization());
        let sent = grpc::send(&channel, T::METHOD, request, self.config.timeout).await;
        match &sent {
            Ok(()) => self.home = Some((address, channel)),
            Err(SendError::Unanswered(_)) => {
                self.home = None;
                parcel.sent_to.retain(|other| *other != address);
                parcel.sent_to.push(address);
                parcel.unanswered_since.get_or_insert_with(Instant::now);
            }
            Err(_) => self.home = None,
        }
        sent.map(|()| doubtful)
    }

    /// Connects to one of the addresses that an origin stands for, by TLS if the origin says so.
    async fn connect(&self, origin: &str, address: SocketAddr) -> Result<Channel, SendError> {
        let connected = async {
            // The scheme is the connection's own: whether there is TLS on it is our matter and not tonic's.
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
            let endpoint = endpoint.connect_timeout(self.config.timeout).tcp_nodelay(true);
            let Ok(origin) = origin.parse::<Uri>() else { return endpoint.connect().await };
            let endpoint = endpoint.origin(origin.clone());
            if origin.scheme() != Some(&Scheme::HTTPS) {
                return endpoint.connect().await;
            }
            let host: Arc<str> = origin.host().unwrap_or_default().into();
            let credentials = Arc::clone(&self.credentials);
            let secured = move |_: Uri| secured(Arc::clone(&credentials), Arc::clone(&host), address);
            endpoint.connect_with_connector(service_fn(secured)).await
        };
        connected.await.map_err(|error| SendError::unreachable(&error))
    }
}

async fn secured(
    credentials: Arc<Credentials>,
    host: Arc<str>,
    address: SocketAddr,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let tls = credentials.tls.as_ref().ok_or_else(|| io::Error::other("no collector was configured with https"))?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tls.connect(&host, stream).await.map(TokioIo::new)
}

/// All addresses that the names stand for. A name that cannot be resolved stands for none, for now.
async fn resolve(origins: &[String]) -> Vec<(String, SocketAddr)> {
    let mut all = Vec::new();
    for origin in origins {
        let Ok(uri) = origin.parse::<Uri>() else { continue };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        match lookup_host((host, uri.port_u16().unwrap_or(DEFAULT_PORT))).await {
            Ok(found) => all.extend(found.map(|address| (origin.clone(), address))),
            Err(error) => tracing::warn!(%error, host, "the collector's name cannot be resolved"),
        }
    }
    all
}
