//! The pipeline under test: `weir up`, or its stations as processes of their own.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{Oracle, Process, ask, free_port};

pub(crate) const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// Every address on a free port.
pub(crate) const FREE_PORTS: &str = "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
    [collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
    [query]\nlisten = \"127.0.0.1:0\"\n";

/// `weir up` in one process.
pub(crate) struct Up {
    pub(crate) directory: TempDir,
    pub(crate) process: Process,
    pub(crate) gateway: String,
    pub(crate) query: String,
    pub(crate) collector_http: String,
}

impl Up {
    pub(crate) async fn start(more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("weir.toml"), format!("{FREE_PORTS}{more}")).unwrap();
        Self::start_in(directory).await
    }

    /// In a directory that has a `weir.toml`, and perhaps data of an earlier life.
    pub(crate) async fn start_in(directory: TempDir) -> Self {
        Self::start_in_with(directory, &[]).await
    }

    /// The same, with more in its environment.
    pub(crate) async fn start_in_with(directory: TempDir, environment: &[(&str, &str)]) -> Self {
        // An earlier life that was killed has left its addresses.
        let endpoints = directory.path().join("data/endpoints.json");
        if endpoints.exists() {
            fs::remove_file(&endpoints).unwrap();
        }
        let arguments = ["up", "--no-tui", "--config", "weir.toml", "--data", "data"];
        let mut process = Process::start_with(WEIR, "up", directory.path(), &arguments, environment).unwrap();
        let endpoints = process.wrote(&endpoints).await.unwrap();
        let address = |name: &str| endpoints[name].as_str().unwrap().to_owned();
        let (gateway, query, collector_http) = (address("gateway"), address("query"), address("collector_http"));
        Self { directory, process, gateway, query, collector_http }
    }
}

/// Where a collector listens.
pub(crate) struct Listening {
    pub(crate) grpc: String,
    pub(crate) http: String,
    pub(crate) admin: String,
}

/// The stations, each a process of its own, on one configuration file.
pub(crate) struct Stations {
    pub(crate) directory: TempDir,
}

impl Stations {
    /// `more` stands after the addresses.
    pub(crate) fn new(more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let (grpc, admin) = (free_port().unwrap(), free_port().unwrap());
        let config = format!(
            "data = \"data\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [collector]\ngrpc = \"127.0.0.1:{grpc}\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:{admin}\"\nflush_interval = \"1s\"\n\
             [query]\nlisten = \"127.0.0.1:0\"\ncollectors = [\"http://127.0.0.1:{admin}\"]\n\
             [gateway.telemetry]\ncollector = \"http://127.0.0.1:{grpc}\"\n{more}"
        );
        fs::write(directory.path().join("weir.toml"), config).unwrap();
        Self { directory }
    }

    pub(crate) async fn gateway(&self) -> (Process, String) {
        let (process, address, _) = self.gateway_with_admin().await;
        (process, address)
    }

    /// The process, and where it serves and shows its metrics.
    pub(crate) async fn gateway_with_admin(&self) -> (Process, String, String) {
        let (process, logged) = self.start("gateway", "gateway listens").await;
        let url = |name: &str| format!("http://{}", logged[name].as_str().unwrap());
        (process, url("address"), url("admin"))
    }

    pub(crate) async fn collector(&self) -> Process {
        self.start("collector", "collector listens").await.0
    }

    /// The process, and where it listens.
    pub(crate) async fn collector_listening(&self) -> (Process, Listening) {
        self.collector_listening_with(&[]).await
    }

    /// The same, with more in its environment.
    pub(crate) async fn collector_listening_with(&self, environment: &[(&str, &str)]) -> (Process, Listening) {
        let arguments = ["collector", "--config", "weir.toml"];
        let started = Process::start_with(WEIR, "collector", self.directory.path(), &arguments, environment);
        let mut process = started.unwrap();
        let logged = process.logged("collector listens").await.unwrap();
        let url = |name: &str| format!("http://{}", logged[name].as_str().unwrap());
        (process, Listening { grpc: url("grpc"), http: url("http"), admin: url("admin") })
    }

    pub(crate) async fn query(&self) -> (Process, String) {
        let (process, logged) = self.start("serve", "query listens for SQL over HTTP").await;
        (process, format!("http://{}", logged["address"].as_str().unwrap()))
    }

    async fn start(&self, command: &str, message: &str) -> (Process, Value) {
        let arguments = [command, "--config", "weir.toml"];
        let mut process = Process::start(WEIR, command, self.directory.path(), &arguments).unwrap();
        let logged = process.logged(message).await.unwrap();
        (process, logged)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// `requests` and `metrics` say exactly what the clients saw (I4, I5, I9).
pub(crate) async fn assert_exact(query: &str, oracle: &Oracle) {
    let requests = Oracle::from_rows(&ask(query, Oracle::QUESTION).await.unwrap()).unwrap();
    assert_eq!(&requests, oracle, "requests");
    let columns = [
        "requests",
        "status_2xx",
        "status_3xx",
        "status_4xx",
        "status_5xx",
        "ok",
        "throttled",
        "invalid_api_key",
        "not_found",
    ];
    let sums: Vec<_> = columns.iter().map(|column| format!("sum({column}) as {column}")).collect();
    let question = format!(
        "select api, stage, route, method, {}, sum(sketch_count(latency)) as sketched from metrics group by api, stage, route, method",
        sums.join(", ")
    );
    let mut cells = BTreeMap::new();
    for row in ask(query, &question).await.unwrap() {
        assert_eq!(row["sketched"], row["requests"], "{row}");
        let key = ["api", "stage", "route", "method"].map(|name| row[name].as_str().unwrap().to_owned());
        let counts = columns.iter().map(|column| ((*column).to_owned(), row[column].as_u64().unwrap()));
        cells.insert(key, counts.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>());
    }
    assert_eq!(cells, oracle.by_cell(), "metrics");
}
