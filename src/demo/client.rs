//! The demo's clients: real HTTP requests through the gateway, at the times that the plan says.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{Client, Method};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    credentials::Credentials,
    traffic::{Credential, Planned, Traffic},
};

/// Requests under way at most; when the gateway is that slow, the clients wait as people would.
const MOST_UNDER_WAY: usize = 512;

/// Longer than any answer of the gateway takes: its own limit for an integration is shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients have done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    answered: AtomicU64,
}

impl Tally {
    /// Requests sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Requests whose response arrived to its last byte.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

/// Sends the plan to the gateway until `shutdown`, then waits for the answers that are still to come.
pub(crate) async fn run(
    gateway: SocketAddr,
    traffic: Traffic,
    credentials: Credentials,
    tally: Arc<Tally>,
    shutdown: CancellationToken,
) -> Result<(), reqwest::Error> {
    let client = Client::builder().timeout(PATIENCE).pool_max_idle_per_host(64).no_proxy().build()?;
    let credentials = Arc::new(credentials);
    let under_way = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let mut requests = JoinSet::new();
    let mut due = Instant::now();
    for planned in traffic {
        due += planned.after;
        tokio::select! {
            () = sleep_until(due) => {}
            () = shutdown.cancelled() => break,
        }
        let permit = tokio::select! {
            permit = Arc::clone(&under_way).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        while requests.try_join_next().is_some() {}
        let request = request(&client, gateway, &planned, &credentials);
        let tally = Arc::clone(&tally);
        requests.spawn(async move {
            tally.sent.fetch_add(1, Relaxed);
            match answered(request).await {
                Ok(()) => drop(tally.answered.fetch_add(1, Relaxed)),
                Err(error) => tracing::warn!(%error, "a demo client got no answer"),
            }
            drop(permit);
        });
    }
    while requests.join_next().await.is_some() {}
    Ok(())
}

fn request(
    client: &Client,
    gateway: SocketAddr,
    planned: &Planned,
    credentials: &Credentials,
) -> reqwest::RequestBuilder {
    let method = Method::from_bytes(planned.method.as_bytes()).unwrap_or(Method::GET);
    let request = client
        .request(method, format!("http://{gateway}{}", planned.path))
        .header("user-agent", planned.agent)
        .body(vec![b'{'; planned.body_bytes]);
    match planned.credential {
        Credential::None => request,
        Credential::ApiKey => request.header("x-api-key", &credentials.api_key),
        Credential::WrongApiKey => request.header("x-api-key", "somebody-elses-key-0000"),
        Credential::Token => request.bearer_auth(&credentials.token),
        Credential::ExpiredToken => request.bearer_auth(&credentials.expired_token),
    }
}

async fn answered(request: reqwest::RequestBuilder) -> Result<(), reqwest::Error> {
    let mut response = request.send().await?;
    while response.chunk().await?.is_some() {}
    Ok(())
}
