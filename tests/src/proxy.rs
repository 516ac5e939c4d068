//! A proxy in front of the S3 server that fails on purpose: by method and path, so and so often.
//!
//! What always holds: what is passed on is passed on as it came, its `Host` too, so that signatures stay valid; a fault
//! is counted when it is made, so that a story can wait until it has met it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderName, Response, StatusCode, header},
};
use futures::{StreamExt, stream};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::PATIENCE;

/// Bytes that are passed on at once where a rate is kept.
const CHUNK_BYTES: usize = 8 << 10;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and S3 error code, and not passed on.
    Answer(u16, &'static str),
    /// The connection is closed without an answer; it is not passed on.
    Reset,
    /// It is passed on, and the connection is closed without an answer.
    DropAnswer,
    /// Half of the answer's body arrives.
    CutAnswer,
    /// It is neither passed on nor answered.
    Hang,
    /// Both ways carry so many bytes a second, for all such requests together.
    Throttle(u32),
    /// It is passed on without its condition (`If-None-Match`), and so without its signature.
    IgnoreCondition,
    /// It is answered with what was answered last.
    Stale,
}

/// Which requests a fault meets.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method; any if there is none.
    pub method: Option<&'static str>,
    /// What path and query contain.
    pub contains: &'static str,
    /// The fault.
    pub fault: Fault,
    /// How many requests it meets.
    pub count: u64,
}

impl Rule {
    /// A fault that meets every request of a method, wherever it goes.
    #[must_use]
    pub const fn every(method: Option<&'static str>, contains: &'static str, fault: Fault) -> Self {
        Self { method, contains, fault, count: u64::MAX }
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    faults: u64,
    answers: HashMap<String, Bytes>,
    /// When the next bytes may pass where a rate is kept.
    free_at: Option<Instant>,
}

/// The running proxy.
#[derive(Debug)]
pub struct StoreProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

impl StoreProxy {
    /// Starts it in front of a server; it ends when it is dropped.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::new(Mutex::new(State::default())));
        let client = reqwest::Client::builder().no_proxy().build()?;
        let handler = Handler { client, upstream: upstream.to_owned(), state: Arc::clone(&state) };
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::new(handler)));
        Ok(Self { address, state, _server: server })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes these faults from now on, and no others.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        let mut state = lock(&self.state);
        state.rules = rules.into_iter().collect();
        state.faults = 0;
    }

    /// Faults that were made since they were set.
    #[must_use]
    pub fn faults(&self) -> u64 {
        lock(&self.state).faults
    }

    /// Until so many faults were made.
    ///
    /// # Errors
    /// When they are not within [`PATIENCE`].
    pub async fn until_faults(&self, count: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.faults() < count {
            if begun.elapsed() > PATIENCE {
                bail!("the proxy made {} faults, not {count}", self.faults());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, handler: Arc<Handler>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let handler = Arc::clone(&handler);
        connections.spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let handler = Arc::clone(&handler);
                async move { handler.answer(request.map(Body::new)).await }
            });
            // An error is the fault that was wanted, or the client's end.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Debug)]
struct Handler {
    client: reqwest::Client,
    upstream: String,
    state: Arc<Mutex<State>>,
}

impl Handler {
    /// The answer; an error closes the connection.
    async fn answer(&self, request: Request) -> anyhow::Result<Response<Body>> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let fault = self.fault_for(request.method().as_str(), &target);
        match fault {
            Some(Fault::Answer(status, code)) => {
                // Else the client is still sending when it is answered.
                to_bytes(request.into_body(), usize::MAX).await?;
                let body =
                    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>");
                Ok(Response::builder().status(StatusCode::from_u16(status)?).body(body.into())?)
            }
            Some(Fault::Reset) => bail!("reset on purpose"),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::DropAnswer) => {
                self.pass_on(request, &target, fault).await?;
                bail!("answer dropped on purpose")
            }
            Some(Fault::CutAnswer) => {
                let (head, body) = self.pass_on(request, &target, fault).await?.into_parts();
                let body = to_bytes(body, usize::MAX).await?;
                let half = [Ok(body.slice(..body.len() / 2)), Err(anyhow::anyhow!("cut on purpose"))];
                Ok(Response::from_parts(head, Body::from_stream(stream::iter(half))))
            }
            Some(Fault::Stale) => {
                let before = lock(&self.state).answers.get(&target).cloned();
                match before {
                    Some(body) => Ok(Response::new(body.into())),
                    None => self.pass_on(request, &target, fault).await,
                }
            }
            _ => self.pass_on(request, &target, fault).await,
        }
    }

    fn fault_for(&self, method: &str, target: &str) -> Option<Fault> {
        let mut state = lock(&self.state);
        let meets = |rule: &&mut Rule| {
            rule.count > 0 && rule.method.is_none_or(|own| own == method) && target.contains(rule.contains)
        };
        let rule = state.rules.iter_mut().find(meets)?;
        rule.count -= 1;
        let fault = rule.fault;
        state.faults += 1;
        Some(fault)
    }

    async fn pass_on(&self, request: Request, target: &str, fault: Option<Fault>) -> anyhow::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        if fault == Some(Fault::IgnoreCondition) {
            let amazon: Vec<HeaderName> =
                headers.keys().filter(|name| name.as_str().starts_with("x-amz-")).cloned().collect();
            for name in amazon.iter().chain([&header::AUTHORIZATION, &header::IF_NONE_MATCH]) {
                headers.remove(name);
            }
        }
        let rate = match fault {
            Some(Fault::Throttle(rate)) => Some(rate),
            _ => None,
        };
        let body = match rate {
            Some(rate) => self.slowly(body, rate).await?,
            None => to_bytes(body, usize::MAX).await?,
        };
        let is_get = head.method == "GET";
        let url = format!("{}{target}", self.upstream);
        let answer = self.client.request(head.method, url).headers(headers).body(body).send().await?;
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if name != header::TRANSFER_ENCODING && name != header::CONNECTION {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes().await.context("the store's answer broke off")?;
        if is_get && fault != Some(Fault::Stale) && target.contains("list-type") {
            lock(&self.state).answers.insert(target.to_owned(), body.clone());
        }
        let Some(rate) = rate else { return Ok(response.body(body.into())?) };
        let state = Arc::clone(&self.state);
        let chunks: Vec<Bytes> = body.chunks(CHUNK_BYTES).map(Bytes::copy_from_slice).collect();
        let slow = stream::iter(chunks).then(move |chunk| {
            let state = Arc::clone(&state);
            async move {
                paced(&state, chunk.len(), rate).await;
                Ok::<_, Infallible>(chunk)
            }
        });
        Ok(response.body(Body::from_stream(slow))?)
    }

    /// Reads a body no faster than so many bytes a second; its sender is held back by TCP.
    async fn slowly(&self, body: Body, rate: u32) -> anyhow::Result<Bytes> {
        let (mut read, mut frames) = (Vec::new(), body.into_data_stream());
        while let Some(frame) = frames.next().await {
            let frame = frame?;
            paced(&self.state, frame.len(), rate).await;
            read.extend_from_slice(&frame);
        }
        Ok(read.into())
    }
}

/// Waits until so many more bytes may pass.
async fn paced(state: &Mutex<State>, bytes: usize, rate: u32) {
    let through = {
        let mut state = lock(state);
        let from = state.free_at.unwrap_or_else(Instant::now).max(Instant::now());
        let through = from + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
        state.free_at = Some(through);
        through
    };
    sleep_until(through).await;
}
