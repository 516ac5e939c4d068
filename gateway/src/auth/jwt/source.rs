//! An issuer's keys: where they are, how long they are good for, and when they are read again.
//!
//! Authorizers of one issuer share its keys, and so does a new configuration with the one from before: an issuer that is
//! away while the configuration is read again takes nobody's keys.
//!
//! What always holds: keys are read by one task alone, at most once in [`Pace::pause`], however many requests want it; a
//! request whose key is known waits for nobody; keys that cannot be read again stay, for [`Pace::most`] at the longest,
//! and after that nothing is taken.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use weir_station::watched::FileFault;

use super::{
    fetch::{Document, Fetcher},
    keeper,
    keys::KeySet,
    token::Token,
};
use crate::config::authorizers::JwksSource;

/// When keys are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Between two readings at least, whoever wants them.
    pub pause: Duration,
    /// Between a failed reading and the next one that nobody asks for.
    pub retry: Duration,
    /// Keys are used for so long at least, however short a life their server gives them.
    pub least: Duration,
    /// Keys are used for so long at most: the limit that API Gateway states.
    pub most: Duration,
    /// How long a request waits for a reading: two documents, and some more.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(10),
            retry: Duration::from_secs(30),
            least: Duration::from_secs(60),
            most: Duration::from_secs(2 * 60 * 60),
            patience: Duration::from_secs(4),
        }
    }
}

/// Keys that cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the keys of {issuer:?} cannot be read from {from}: {reason}")]
pub struct KeySetError {
    issuer: String,
    from: String,
    reason: String,
}

/// Keys as they were read.
#[derive(Clone, Debug)]
pub(super) struct Current {
    /// The keys.
    pub keys: Arc<KeySet>,
    /// Counts the different sets; 0 before the first.
    pub generation: u64,
}

/// How the last reading ended, and when.
#[derive(Clone, Debug, Default)]
struct Reading {
    ended: Option<Instant>,
    failure: Option<Arc<KeySetError>>,
}

/// An issuer's keys.
#[derive(Debug)]
pub(super) struct KeySource {
    shared: Arc<Shared>,
    readings: watch::Receiver<Reading>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    from: JwksSource,
    ca: Option<PathBuf>,
    fetcher: Fetcher,
    pace: Pace,
    current: RwLock<Current>,
    /// What [`Current`] has, to be looked at without a lock.
    generation: AtomicU64,
    /// Until when the keys are good, milliseconds of [`clock_ms`].
    good_until_ms: AtomicU64,
    /// Somebody wants the keys read.
    wanted: Notify,
    /// Nobody needs them any more.
    abandoned: Notify,
}

impl Drop for KeySource {
    fn drop(&mut self) {
        self.shared.abandoned.notify_one();
    }
}

impl KeySource {
    /// The keys of an issuer: those that are open already, for another authorizer or by the configuration from before, or
    /// else those in the file, or those that are fetched as soon as may be, without waiting for them.
    ///
    /// # Errors
    /// When a file cannot be used, or there is no thread to be had.
    pub(super) fn open(
        issuer: &str,
        from: &JwksSource,
        ca: Option<&Path>,
        pace: Pace,
    ) -> Result<Arc<Self>, KeySetError> {
        static OPEN: Mutex<Vec<Weak<KeySource>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|source| source.strong_count() > 0);
        let is_same = |source: &Arc<Self>| {
            let Shared { issuer: own, from: own_from, ca: own_ca, pace: own_pace, .. } = &*source.shared;
            own == issuer && own_from == from && own_ca.as_deref() == ca && *own_pace == pace
        };
        if let Some(source) = open.iter().filter_map(Weak::upgrade).find(is_same) {
            // Whoever opens them anew wants them as they are now.
            source.shared.wanted.notify_one();
            return Ok(source);
        }
        let source = Arc::new(Self::start(issuer, from, ca, pace)?);
        open.push(Arc::downgrade(&source));
        Ok(source)
    }

    fn start(issuer: &str, from: &JwksSource, ca: Option<&Path>, pace: Pace) -> Result<Self, KeySetError> {
        let error = |reason: String| KeySetError { issuer: issuer.to_owned(), from: from.to_string(), reason };
        let ca = ca.map(Path::to_owned);
        let fetcher = Fetcher::open(ca.clone()).map_err(|fault: FileFault| error(fault.to_string()))?;
        if is_open_to_others(issuer, from) {
            tracing::warn!(issuer, %from, "keys are fetched without TLS: whoever is on the way can put in their own");
        }
        let shared = Shared {
            issuer: issuer.to_owned(),
            from: from.clone(),
            ca,
            fetcher,
            pace,
            current: RwLock::new(Current { keys: Arc::default(), generation: 0 }),
            generation: AtomicU64::new(0),
            good_until_ms: AtomicU64::new(0),
            wanted: Notify::new(),
            abandoned: Notify::new(),
        };
        let first = match from {
            JwksSource::File(path) => {
                let text = std::fs::read(path).map_err(|problem| error(problem.to_string()))?;
                shared.take(&text).map_err(&error)?;
                pace.least
            }
            JwksSource::Url(_) | JwksSource::Discovery => Duration::ZERO,
        };
        let shared = Arc::new(shared);
        let (sender, readings) = watch::channel(Reading::default());
        keeper::keep(keep_fresh(Arc::clone(&shared), sender, first)).map_err(|problem| error(problem.to_string()))?;
        Ok(Self { shared, readings })
    }

    /// The generation of the keys; 0 when there are none that are good.
    pub(super) fn generation(&self) -> u64 {
        let is_good = clock_ms() < self.shared.good_until_ms.load(Ordering::Acquire);
        if is_good { self.shared.generation.load(Ordering::Acquire) } else { 0 }
    }

    /// The keys for a token: those that are there when its key is among them, or else those that are read anew, if it is
    /// time to.
    pub(super) async fn keys_for(&self, token: &Token<'_>) -> Result<Current, Arc<KeySetError>> {
        let mut readings = self.readings.clone();
        if let Some(current) = self.current().filter(|current| current.keys.has(token)) {
            return Ok(current);
        }
        let is_recent = |reading: &Reading| reading.ended.is_some_and(|at| at.elapsed() < self.shared.pace.pause);
        // From here on a reading that ends is seen, also one that is under way.
        if !is_recent(&readings.borrow_and_update()) {
            self.shared.wanted.notify_one();
            // Without an answer in time it is decided by what there is.
            let _ = tokio::time::timeout(self.shared.pace.patience, readings.changed()).await;
        }
        self.current().ok_or_else(|| {
            let failure = readings.borrow().failure.clone();
            failure.unwrap_or_else(|| Arc::new(self.shared.error("they were not read in time")))
        })
    }

    /// The keys, when they are good.
    fn current(&self) -> Option<Current> {
        let current = self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        (self.generation() != 0).then_some(current)
    }
}

/// Reads the keys when it is time to, or when somebody wants it, until nobody needs them.
async fn keep_fresh(shared: Arc<Shared>, readings: watch::Sender<Reading>, first: Duration) {
    let mut next = tokio::time::Instant::now() + first;
    loop {
        tokio::select! {
            () = shared.abandoned.notified() => return,
            () = shared.wanted.notified() => {
                // Who wanted it may have done so while the last reading was under way.
                if readings.borrow().ended.is_some_and(|at| at.elapsed() < shared.pace.pause) {
                    continue;
                }
            }
            () = tokio::time::sleep_until(next) => {}
        }
        let (wait, failure) = match shared.read().await {
            Ok(life) => (life, None),
            Err(error) => {
                tracing::warn!(%error, "an issuer's keys were not read; those from before stay");
                (shared.pace.retry, Some(Arc::new(error)))
            }
        };
        next = tokio::time::Instant::now() + wait;
        readings.send_replace(Reading { ended: Some(Instant::now()), failure });
    }
}

/// What an OpenID provider says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct ProviderMetadata {
    issuer: String,
    jwks_uri: String,
}

impl Shared {
    /// Reads the keys; says after how long they are to be read again.
    async fn read(&self) -> Result<Duration, KeySetError> {
        let Pace { least, most, .. } = self.pace;
        let (text, life) = match &self.from {
            JwksSource::File(path) => {
                let text = tokio::fs::read(path).await.map_err(|error| self.error(&error))?;
                (text.into(), least)
            }
            JwksSource::Url(url) => self.fetch(url).await?,
            JwksSource::Discovery => {
                let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
                let (text, life) = self.fetch(&url).await?;
                let own: ProviderMetadata = serde_json::from_slice(&text).map_err(|error| self.error(&error))?;
                if own.issuer != self.issuer {
                    return Err(self.error(&format_args!("{url} is the configuration of {:?}", own.issuer)));
                }
                if self.issuer.starts_with("https://") && !own.jwks_uri.starts_with("https://") {
                    return Err(self.error(&format_args!("{url} names keys without TLS: {:?}", own.jwks_uri)));
                }
                let (text, life_of_keys) = self.fetch(&own.jwks_uri).await?;
                (text, life.min(life_of_keys))
            }
        };
        self.take(&text).map_err(|reason| self.error(&reason))?;
        // Before their time is over, so that no request waits, and with time for another try.
        Ok(life.clamp(least, most).mul_f64(0.9))
    }

    /// A document, and how long its server lets it be used.
    async fn fetch(&self, url: &str) -> Result<(Bytes, Duration), KeySetError> {
        let Document { body, max_age } = self.fetcher.fetch(url).await.map_err(|error| self.error(&error))?;
        Ok((body, max_age.unwrap_or(self.pace.most)))
    }

    /// Takes keys that were read.
    fn take(&self, text: &[u8]) -> Result<(), String> {
        let keys = KeySet::parse(text)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.generation == 0 || *current.keys != keys {
            let generation = current.generation + 1;
            tracing::info!(issuer = self.issuer, keys = keys.len(), generation, "an issuer's keys were read");
            *current = Current { keys: Arc::new(keys), generation };
            self.generation.store(generation, Ordering::Release);
        }
        let most_ms = u64::try_from(self.pace.most.as_millis()).unwrap_or(u64::MAX);
        self.good_until_ms.store(clock_ms().saturating_add(most_ms), Ordering::Release);
        Ok(())
    }

    fn error(&self, reason: &(impl std::fmt::Display + ?Sized)) -> KeySetError {
        let (issuer, from) = (self.issuer.clone(), self.from.to_string());
        KeySetError { issuer, from, reason: reason.to_string() }
    }
}

/// Whether keys come over a network without TLS.
fn is_open_to_others(issuer: &str, from: &JwksSource) -> bool {
    let url = match from {
        JwksSource::Discovery => issuer,
        JwksSource::File(_) => return false,
        JwksSource::Url(url) => url,
    };
    let uri: http::Uri = url.parse().unwrap_or_default();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_own = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_own
}

/// Milliseconds since the first call: a clock that never runs backwards.
fn clock_ms() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX)
}
