//! Who is measured: each is started with its own configuration, in front of the same server.

use std::{
    collections::HashMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{client::Connection, process::Process};

/// How long a gateway may take to answer its first request.
const PATIENCE: Duration = Duration::from_secs(20);

/// The collector shares its core with the clients and the server. It stands back a little, so that they answer when they
/// are asked, and gets a fifth of the core all the same, so that nobody's records pile up.
const COLLECTOR_NICE: u32 = 3;

/// A gateway in one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Contender {
    /// nginx: a JSON line of 26 fields, written at the end of each request.
    Nginx,
    /// nginx, with the lines buffered: 64 KiB, or a second.
    NginxBuffered,
    /// HAProxy: a JSON line.
    Haproxy,
    /// Envoy: a JSON line of 26 fields, no traces.
    EnvoyFile,
    /// Envoy: log over OTLP, traces at the ratio.
    Envoy,
    /// Envoy: log over OTLP, every trace.
    EnvoyAll,
    /// Weir: records over OTLP, traces at the ratio.
    Weir,
    /// Weir: records over OTLP, every trace.
    WeirAll,
    /// Weir, with a JWT authorizer before the route.
    WeirJwt,
    /// Weir, without records and traces.
    WeirOff,
}

/// What all of them need.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where configurations and logs go.
    pub directory: PathBuf,
    /// The core that they run on.
    pub core: usize,
    /// The server behind them.
    pub upstream: SocketAddr,
    /// The collector's address for OTLP over gRPC.
    pub collector: SocketAddr,
    /// The program `weir-gateway`.
    pub gateway: PathBuf,
    /// The program `envoy`.
    pub envoy: PathBuf,
    /// The share of traces that are kept.
    pub trace_ratio: f64,
    /// A token that Weir's authorizer takes.
    pub token: String,
}

/// A gateway that answers.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which.
    pub contender: Contender,
    /// Where.
    pub address: SocketAddr,
    /// What it is asked.
    pub request: Vec<u8>,
    /// Its process.
    pub process: Process,
    /// Its memory before the first load, kibibytes.
    pub idle_kib: u64,
}

impl Contender {
    /// Its name, as on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it is asked: as a browser or a library would, with the headers that these send.
    fn request(self, around: &Surroundings) -> Vec<u8> {
        let (path, authorization) = match self {
            Self::WeirJwt => ("secured", format!("authorization: Bearer {}\r\n", around.token)),
            _ => ("items", String::new()),
        };
        format!(
            "GET /{path}/42?view=short HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: bench/1.0 (closed loop)\r\n\
             accept: application/json\r\naccept-encoding: identity\r\n{authorization}\r\n"
        )
        .into_bytes()
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn start(self, around: &Surroundings) -> anyhow::Result<Running> {
        let name = self.name();
        let address = free_address()?;
        let process = self.spawn(around, &name, address)?;
        let mut running = Running { contender: self, address, request: self.request(around), process, idle_kib: 0 };
        let begun = Instant::now();
        while let Err(error) = first_answer(address, &running.request).await {
            if running.process.has_ended() || begun.elapsed() > PATIENCE {
                let said = |end| fs::read_to_string(around.directory.join(format!("{name}.{end}"))).unwrap_or_default();
                bail!("{name} does not answer: {error}\n{}{}", said("stderr"), said("stdout"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.idle_kib = running.process.resident_kib()?;
        Ok(running)
    }

    fn spawn(self, around: &Surroundings, name: &str, address: SocketAddr) -> anyhow::Result<Process> {
        let (program, template, file): (PathBuf, String, _) = match self {
            Self::Nginx | Self::NginxBuffered => {
                ("nginx".into(), include_str!("configs/nginx.conf").to_owned(), "nginx.conf")
            }
            Self::Haproxy => ("haproxy".into(), include_str!("configs/haproxy.cfg").to_owned(), "haproxy.cfg"),
            Self::EnvoyFile => {
                let template = include_str!("configs/envoy.yaml").replace("@TRACING@\n", "");
                let log = include_str!("configs/envoy-file-log.yaml");
                (around.envoy.clone(), template.replace("@ACCESS_LOG@\n", log), "envoy.yaml")
            }
            Self::Envoy | Self::EnvoyAll => {
                let template = include_str!("configs/envoy.yaml");
                let template = template.replace("@TRACING@\n", include_str!("configs/envoy-traces.yaml"));
                let log = include_str!("configs/envoy-otlp-log.yaml");
                (around.envoy.clone(), template.replace("@ACCESS_LOG@\n", log), "envoy.yaml")
            }
            Self::Weir | Self::WeirAll | Self::WeirJwt | Self::WeirOff => {
                (around.gateway.clone(), include_str!("configs/weir.toml").to_owned(), "weir.toml")
            }
        };
        let path = around.directory.join(format!("{name}.{file}"));
        fs::write(&path, self.fill(&template, around, name, address)?)?;
        let path = path.display().to_string();
        let arguments: &[&str] = match self {
            Self::Nginx | Self::NginxBuffered => &["-c", &path],
            Self::Haproxy => &["-db", "-f", &path],
            Self::EnvoyFile | Self::Envoy | Self::EnvoyAll => {
                &["-c", &path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
            }
            Self::Weir | Self::WeirAll | Self::WeirJwt | Self::WeirOff => &["--config", &path],
        };
        Process::start((around.core, 0), &program, name, &around.directory, arguments)
    }

    /// The template, with what stands between `@` in it.
    fn fill(self, template: &str, around: &Surroundings, name: &str, address: SocketAddr) -> anyhow::Result<String> {
        let ratio = if matches!(self, Self::EnvoyAll | Self::WeirAll) { 1.0 } else { around.trace_ratio };
        let values = HashMap::from([
            ("@DIRECTORY@", around.directory.display().to_string()),
            ("@NAME@", name.to_owned()),
            ("@LISTEN@", address.to_string()),
            ("@PORT@", address.port().to_string()),
            ("@ADMIN_PORT@", free_address()?.port().to_string()),
            ("@UPSTREAM@", around.upstream.to_string()),
            ("@UPSTREAM_PORT@", around.upstream.port().to_string()),
            ("@COLLECTOR@", around.collector.to_string()),
            ("@COLLECTOR_PORT@", around.collector.port().to_string()),
            ("@TRACE_RATIO@", format!("{ratio:?}")),
            ("@TRACE_PERCENT@", format!("{:?}", ratio * 100.0)),
            ("@SWITCH@", if self == Self::WeirOff { "enabled = false" } else { "" }.to_owned()),
            ("@BUFFER@", if self == Self::NginxBuffered { " buffer=64k flush=1s" } else { "" }.to_owned()),
        ]);
        Ok(values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value)))
    }
}

async fn first_answer(address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    tokio::time::timeout(PATIENCE, connection.exchange(request)).await?
}

/// An address on the loopback interface that nobody listens on.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("no free port")?.local_addr()?)
}

/// Starts the server behind the gateways on a core; it says where it listens.
///
/// # Errors
/// When it does not.
pub(crate) async fn start_upstream(
    core: usize,
    programs: &Path,
    directory: &Path,
    body: usize,
) -> anyhow::Result<(Process, SocketAddr)> {
    let arguments = ["--body", &body.to_string()];
    let mut process = Process::start((core, 0), &programs.join("upstream"), "upstream", directory, &arguments)?;
    let find = || fs::read_to_string(directory.join("upstream.stdout")).ok()?.trim().parse().ok();
    let address = said(&mut process, "upstream", find).await?;
    Ok((process, address))
}

/// Starts a collector on a core; it logs where it listens.
///
/// # Errors
/// When it does not.
pub(crate) async fn start_collector(
    core: usize,
    programs: &Path,
    directory: &Path,
) -> anyhow::Result<(Process, SocketAddr)> {
    let config = directory.join("collector.toml");
    let section = "[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    fs::write(&config, format!("data = \"{}\"\n{section}", directory.join("data").display()))?;
    let arguments = ["--config", &config.display().to_string()];
    let mut process =
        Process::start((core, COLLECTOR_NICE), &programs.join("weir-collector"), "collector", directory, &arguments)?;
    let find = || {
        let log = fs::read_to_string(directory.join("collector.stderr")).ok()?;
        let (_, rest) = log.split_once("\"grpc\":\"")?;
        rest.split('"').next()?.parse().ok()
    };
    let address = said(&mut process, "collector", find).await?;
    Ok((process, address))
}

/// Waits until a process has said something.
async fn said<T>(process: &mut Process, name: &str, find: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if process.has_ended() || begun.elapsed() > PATIENCE {
            bail!("the {name} did not start: see its output");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
