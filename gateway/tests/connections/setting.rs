//! A gateway in this process, a server behind it that notes what it gets, and raw sockets before it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use weir_gateway::{Config, Gateway, OTHER_SECTIONS};
use weir_station::config::Document;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway before an upstream server.
pub(crate) struct Setting {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Setting {
    /// Starts both; `more` are keys of `[gateway]` and sections below it.
    pub(crate) async fn start(more: &str) -> Self {
        // A test binary has one, whichever test is first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_upstream(listener, Arc::clone(&seen)));
        let text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n{more}\n\
             [gateway.telemetry]\ncollector = \"http://127.0.0.1:1\"\nspool_directory = \"off\"\n\
             shutdown_deadline = \"1ms\"\n\
             [[api]]\nname = \"a\"\npath = \"/\"\n\
             [[api.route]]\nroute = \"$default\"\nintegration = {{ type = \"http_proxy\", uri = \"http://{upstream}/\" }}\n\
             [[api.route]]\nroute = \"ANY /{{path+}}\"\n\
             integration = {{ type = \"http_proxy\", uri = \"http://{upstream}/{{path}}\" }}\n\
             [[api.route]]\nroute = \"GET /mock\"\n\
             integration = {{ type = \"mock\", status = 200, body = \"mocked\" }}\n\
             [[api.route]]\nroute = \"GET /slow\"\n\
             integration = {{ type = \"mock\", status = 200, body = \"slow\", delay = \"300ms\" }}\n\
             [[api.route]]\nroute = \"GET /never\"\n\
             integration = {{ type = \"mock\", status = 200, body = \"late\", delay = \"1h\" }}\n"
        );
        let document = Document::parse(&text, Vec::new()).unwrap();
        let config = Config::read(&document, std::path::Path::new("unused"));
        document.finish(OTHER_SECTIONS).unwrap();
        let gateway = Gateway::start(config).await.unwrap();
        let (address, tls_address, admin) = (gateway.address(), gateway.tls_address(), gateway.admin());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tasks.spawn(async move { gateway.run(stop).await.unwrap() });
        Self { address, tls_address, admin, seen, shutdown, tasks }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes on a connection of their own; all that comes until the gateway closes it.
    pub(crate) async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // It may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }

    /// What the upstream server got, in its order: method, target and body of each request.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// A page of the admin address, with its head.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        rest(&mut stream).await
    }

    /// The value of a self metric.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let page = self.admin("/metrics").await;
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{series} is not in {page}"))
    }

    /// Waits until a self metric has this value.
    pub(crate) async fn until(&self, series: &str, value: u64) {
        let waited = timeout(PATIENCE, async {
            while self.metric(series).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let found = waited.await;
        assert!(found.is_ok(), "{series} is {}, not {value}", self.metric(series).await);
    }

    /// Tells the gateway to end.
    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the gateway's end.
    pub(crate) async fn ended(mut self) {
        self.shutdown.cancel();
        let ended = timeout(PATIENCE, self.tasks.join_next()).await.expect("the gateway ends");
        ended.unwrap().unwrap();
    }
}

async fn serve_upstream(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // The gateway's pool ends it however it likes.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).unwrap());
    };
    let trailers = body.trailers().map(|trailers| format!(" {trailers:?}")).unwrap_or_default();
    let body = body.to_bytes();
    let line = format!("{} {} {}{trailers}", head.method, head.uri, body.escape_ascii());
    seen.lock().unwrap().push(line);
    Ok(Response::new(Full::new(Bytes::from_static(b"up"))))
}

/// All that comes on a connection until its end.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too: what came before counts.
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "it is not closed after {}", bytes.escape_ascii());
    String::from_utf8(bytes).unwrap()
}

/// Reads until what came ends so.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, async {
        while !bytes.ends_with(end.as_bytes()) {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{}", bytes.escape_ascii());
        }
    });
    let in_time = read.await.is_ok();
    assert!(in_time, "{}", bytes.escape_ascii());
    String::from_utf8(bytes).unwrap()
}
