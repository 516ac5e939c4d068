//! A gateway in this process, and a server behind it that has functions and counts their calls.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
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
const PATIENCE: Duration = Duration::from_secs(30);

type Functions = fn(&str, &Value) -> Value;
type Calls = Arc<Mutex<BTreeMap<String, usize>>>;

/// A gateway before a server of functions.
pub(crate) struct Setting {
    address: SocketAddr,
    calls: Calls,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Setting {
    /// Starts both; `ENDPOINT` in what is served is the server.
    pub(crate) async fn start(served: &str, functions: Functions) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (calls, mut tasks) = (Calls::default(), JoinSet::new());
        let text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n\
             [gateway.telemetry]\nenabled = false\ncollector = \"http://127.0.0.1:1\"\nspool_directory = \"off\"\n\
             shutdown_deadline = \"1ms\"\n{}",
            served.replace("ENDPOINT", &endpoint)
        );
        let document = Document::parse(&text, Vec::new()).unwrap();
        let config = Config::read(&document, Path::new("unused"));
        document.finish(OTHER_SECTIONS).unwrap();
        let gateway = Gateway::start(config).await.unwrap();
        let (address, shutdown) = (gateway.address(), CancellationToken::new());
        let stop = shutdown.clone();
        tasks.spawn(async move { gateway.run(stop).await.unwrap() });
        tasks.spawn(serve(listener, functions, Arc::clone(&calls)));
        Self { address, calls, shutdown, tasks }
    }

    /// Sends bytes on a connection of their own; all that comes until the gateway closes it.
    pub(crate) async fn send(&self, bytes: &str) -> String {
        let answered = timeout(PATIENCE, async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        answered.await.expect("an answer in time")
    }

    /// How often a function was called.
    pub(crate) fn calls(&self, function: &str) -> usize {
        self.calls.lock().unwrap().get(function).copied().unwrap_or_default()
    }

    /// Waits for the gateway's end.
    pub(crate) async fn ended(mut self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.expect("the gateway ends").unwrap().unwrap();
    }
}

/// A request without a body, with these headers.
pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n")
}

/// The body of an answer.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

async fn serve(listener: TcpListener, functions: Functions, calls: Calls) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let calls = Arc::clone(&calls);
        let service = service_fn(move |request| invoke(request, functions, Arc::clone(&calls)));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // The gateway's pool ends it however it likes.
            let _ = connection.await;
        });
    }
}

async fn invoke(
    request: Request<Incoming>,
    functions: Functions,
    calls: Calls,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix("/2015-03-31/functions/").unwrap();
    let name = path.strip_suffix("/invocations").unwrap();
    let event = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    *calls.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    Ok(Response::new(Full::new(Bytes::from(functions(name, &event).to_string()))))
}
