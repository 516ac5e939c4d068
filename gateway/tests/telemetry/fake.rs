//! A collector that does what a test wants, and remembers what it took; and a gateway process to send to it.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Status, body::Body, codegen::Service, server::NamedService, transport::server::TcpIncoming};
use weir_record::{AccessRecord, Batch, otlp};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the collector does with a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Takes it and says so.
    Takes,
    /// Says that it is full.
    Full,
    /// Takes it and never answers.
    Silent,
    /// Takes it and answers so much later.
    Late(Duration),
}

/// A collector.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    taken: Arc<Mutex<Vec<Batch<AccessRecord>>>>,
}

impl Collector {
    pub(crate) async fn start(servers: &mut JoinSet<()>, port: u16, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self { address, behaviour: Arc::new(Mutex::new(behaviour)), taken: Arc::default() };
        let service = collector.clone();
        servers.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        collector
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// All batches that came, as often as they came.
    pub(crate) fn batches(&self) -> Vec<Batch<AccessRecord>> {
        self.taken.lock().unwrap().clone()
    }

    /// What it would have stored: each instance's numbers once.
    pub(crate) fn stored(&self) -> Vec<Batch<AccessRecord>> {
        let mut seen = BTreeSet::new();
        let mut batches = self.batches();
        batches.retain(|batch| seen.insert((batch.source.instance.clone(), batch.source.stamp.unwrap().sequence)));
        batches
    }

    /// Waits until what it stored, and what it was told is dropped, is all that was offered.
    pub(crate) async fn until_balanced(&self, offered: usize) -> (usize, u64) {
        let begun = Instant::now();
        loop {
            let balance = (self.stored().iter().map(|batch| batch.records.len()).sum::<usize>(), self.dropped());
            let sum = balance.0 as u64 + balance.1;
            if sum == offered as u64 {
                return balance;
            }
            assert!(sum < offered as u64 && begun.elapsed() < PATIENCE, "{balance:?} of {offered}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The sum of what each instance said last that it dropped; what comes twice says nothing.
    fn dropped(&self) -> u64 {
        let mut told = std::collections::BTreeMap::new();
        for batch in self.stored() {
            let most = told.entry(batch.source.instance).or_insert(0);
            *most = batch.source.stamp.unwrap().dropped.max(*most);
        }
        told.values().sum()
    }
}

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl Service<Request<Body>> for Collector {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let collector = self.clone();
        Box::pin(async move {
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let behaviour = *collector.behaviour.lock().unwrap();
            if matches!(behaviour, Behaviour::Full) {
                return Ok(Status::resource_exhausted("full").into_http());
            }
            // Five bytes of gRPC stand before the message.
            collector.taken.lock().unwrap().extend(otlp::decode_logs(&bytes[5..]).unwrap());
            match behaviour {
                Behaviour::Silent => std::future::pending().await,
                Behaviour::Late(delay) => tokio::time::sleep(delay).await,
                Behaviour::Takes | Behaviour::Full => {}
            }
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
            let response = Response::builder().header("content-type", "application/grpc").body(Body::new(body));
            Ok(response.unwrap())
        })
    }
}

/// A process of `weir-gateway`; killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: String,
    pub(crate) admin: String,
}

impl Gateway {
    /// Starts one in a directory, with more keys of `[gateway.telemetry]`.
    pub(crate) async fn start(directory: &Path, telemetry: &str) -> Self {
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n\
             [gateway.telemetry]\nlinger = \"5ms\"\nbatch_records = 10\ntrace_ratio = 0.0\n{telemetry}\n\
             [[api]]\nname = \"a\"\npath = \"/\"\n[[api.route]]\nroute = \"$default\"\n\
             integration = {{ type = \"mock\", status = 200, body = \"\" }}\n"
        );
        fs::write(directory.join("weir.toml"), config).unwrap();
        let log = directory.join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_weir-gateway"))
            .args(["--config", "weir.toml"])
            .current_dir(directory)
            .env_remove("WEIR_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // Owned from here on, so that it is killed however this ends.
        let mut gateway = Self { child, address: String::new(), admin: String::new() };
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            if let Some(line) = lines.find(|line| line["message"] == "gateway listens") {
                let field = |name: &str| line[name].as_str().unwrap().to_owned();
                (gateway.address, gateway.admin) = (field("address"), field("admin"));
                return gateway;
            }
            assert!(begun.elapsed() < PATIENCE, "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends requests over one connection, each answered.
    pub(crate) async fn send(&self, count: usize) {
        let address = self.address.clone();
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            for _ in 0..count {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    answer.push(byte[0]);
                }
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            }
        })
        .await
        .unwrap();
    }

    /// Waits until a self metric of logs has at least this value.
    pub(crate) async fn until(&self, metric: &str, least: u64) {
        let begun = Instant::now();
        loop {
            let mut stream = TcpStream::connect(&self.admin).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            let series = format!("{metric}{{signal=\"logs\"}} ");
            let value: u64 = page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap();
            if value >= least {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{metric} is {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for its end.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return assert_eq!(ended.code(), Some(0));
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended before; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
