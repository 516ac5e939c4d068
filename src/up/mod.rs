//! `weir up`: gateway, collector and query in one process, joined as they are when they run apart.
//!
//! The stations speak to each other over sockets on the loopback address; only what the collector has pending is read
//! in the process. They end in the order in which the data flows: clients, gateway, collector, query. So everything
//! that was accepted is recorded, everything recorded is committed, and the summary at the end counts it in SQL.

mod parts;
mod report;

use std::{fs, io::IsTerminal, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use parts::Parts;
use report::Report;
use tokio_util::sync::CancellationToken;
use weir_collector::Collector;
use weir_gateway::Gateway;
use weir_query::{Engine, Limits, Server};
use weir_station::{
    config::Document,
    exit::{self, Failure},
    log::{self, Destination},
};

use crate::{
    arguments::Up,
    demo::{self, Credentials, client::Tally, traffic::Traffic},
    endpoints::Endpoints,
    pending::InProcess,
    settings::{DEFAULT_DATA, Settings},
    stations::dashboard_failure,
};

const DEMO_CLIENTS: &str = "demo clients";
const DEMO_UPSTREAM: &str = "demo upstream";
const GATEWAY: &str = "gateway";
const COLLECTOR: &str = "collector";
const QUERY: &str = "query";
const DASHBOARD: &str = "dashboard";

/// Between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `weir up`.
pub(crate) async fn run(arguments: Up) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    exit::on_signals(shutdown.clone(), run_until(arguments, shutdown)).await
}

async fn run_until(arguments: Up, shutdown: CancellationToken) -> Result<(), Failure> {
    let shows_dashboard = !arguments.no_tui && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let mut parts = Parts::default();
    let demo = if arguments.demo { Some(Demo::prepare(&arguments, &mut parts).await?) } else { None };
    let settings = read_settings(&arguments, demo.as_ref())?;
    let data = settings.data.clone();
    fs::create_dir_all(&data).map_err(|error| Failure::usage(format!("cannot create {}: {error}", data.display())))?;
    let destination =
        if shows_dashboard { Destination::File(data.join("weir.log")) } else { Destination::StandardError };
    log::init("warn", &destination).map_err(Failure::usage)?;

    let Some(started) = shutdown.run_until_cancelled(start(settings, &mut parts)).await.transpose()? else {
        return end(&mut parts).await;
    };
    let Started { report, gateway, query, .. } = &started;
    let tally = demo.as_ref().map(|demo| Arc::clone(&demo.tally));
    if let Some(demo) = demo {
        parts.start(DEMO_CLIENTS, |stop| demo::client::run(*gateway, demo.traffic, demo.credentials, demo.tally, stop));
    }
    if shows_dashboard {
        let url = format!("http://{query}").parse().map_err(Failure::running)?;
        let options = weir_tui::Options {
            url,
            interval: Duration::from_secs(1),
            appearance: weir_tui::Appearance::from_environment(),
        };
        parts.start_with_failure(DASHBOARD, |stop| async {
            weir_tui::run(options, stop).await.map_err(dashboard_failure)
        });
    } else {
        eprintln!("gateway http://{gateway}  query http://{query}  data {}", data.display());
    }
    let failure = watch(&arguments, &mut parts, report, tally.as_deref(), shows_dashboard, &shutdown).await;

    let mut ended = failure.map_or(Ok(()), Err);
    for name in [DASHBOARD, DEMO_CLIENTS, GATEWAY, COLLECTOR] {
        ended = ended.and(parts.end(name).await);
    }
    report.print_summary(tally.as_deref()).await?;
    for name in [QUERY, DEMO_UPSTREAM] {
        ended = ended.and(parts.end(name).await);
    }
    ended
}

/// Ends what was started before the store answered.
async fn end(parts: &mut Parts) -> Result<(), Failure> {
    let mut ended = Ok(());
    for name in [GATEWAY, COLLECTOR, DEMO_UPSTREAM] {
        ended = ended.and(parts.end(name).await);
    }
    ended
}

/// Waits for a reason to end: a signal, the time, the user, or a part that failed.
async fn watch(
    arguments: &Up,
    parts: &mut Parts,
    report: &Report,
    tally: Option<&Tally>,
    shows_dashboard: bool,
    shutdown: &CancellationToken,
) -> Option<Failure> {
    let lifetime = async {
        match arguments.lifetime {
            Some(lifetime) => tokio::time::sleep(lifetime).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(lifetime);
    let mut ticks = tokio::time::interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = &mut lifetime => return None,
            // The user has closed the dashboard; everything else ends by itself only when it fails.
            (name, ended) = parts.first_end() => return match ended {
                Ok(()) if name == DASHBOARD => None,
                Ok(()) => Some(Failure::running(format!("{name} ended without being asked to"))),
                Err(failure) => Some(failure),
            },
            _ = ticks.tick(), if !shows_dashboard => report.print_status(tally).await,
        }
    }
}

struct Started {
    report: Report,
    gateway: SocketAddr,
    query: SocketAddr,
    _endpoints: Endpoints,
}

/// Starts the stations against the data's flow, so that each finds the next one listening. The gateway serves while the
/// tables may not be open yet; the query needs them.
async fn start(settings: Settings, parts: &mut Parts) -> Result<Started, Failure> {
    let collector = Collector::start(settings.collector).await.map_err(Failure::usage)?;
    let addresses = collector.addresses();
    let (pending, lake) = (collector.pending(), collector.lake());
    let source = InProcess {
        name: addresses.admin.to_string(),
        writer_id: collector.writer_id().to_owned(),
        pending: Arc::clone(&pending),
    };
    let mut gateway_config = settings.gateway;
    gateway_config.telemetry.collectors = vec![format!("{}://{}", addresses.scheme, addresses.grpc)];
    let gateway = Gateway::start(gateway_config).await.map_err(Failure::usage)?;
    let (address, admin) = (gateway.address(), gateway.admin());
    let (instance, stats) = (gateway.instance().to_owned(), gateway.stats());
    parts.start(COLLECTOR, |stop| collector.run(stop));
    parts.start(GATEWAY, |stop| gateway.run(stop));
    let lake = tokio::select! {
        lake = lake => lake,
        (name, ended) = parts.first_end() => {
            return Err(ended.err().unwrap_or_else(|| Failure::running(format!("{name} ended without being asked to"))));
        }
    };
    let engine = Engine::new(lake, vec![Arc::new(source)], &Limits::from(&settings.query));
    let engine = Arc::new(engine.map_err(Failure::usage)?);
    let server = Server::bind(Arc::clone(&engine), &settings.query).await.map_err(Failure::usage)?;
    let query = server.address();
    let endpoints = Endpoints::write(&settings.data, address, admin, &addresses, query).map_err(Failure::usage)?;
    let report = Report::new(engine, &instance, stats, pending);
    parts.start(QUERY, |stop| server.run(stop));
    Ok(Started { report, gateway: address, query, _endpoints: endpoints })
}

fn read_settings(arguments: &Up, demo: Option<&Demo>) -> Result<Settings, Failure> {
    let document = match (demo, &arguments.config) {
        (None, config) => Document::load(config.as_deref()),
        (Some(demo), None) => Document::parse(&demo.definitions, Document::environment()),
        (Some(demo), Some(path)) => Document::load_with(path, &demo.definitions),
    };
    let document = document.map_err(Failure::usage)?;
    Ok(Settings::read(document, arguments.data.as_deref()).map_err(Failure::usage)?.0)
}

/// What the demo brings.
struct Demo {
    definitions: String,
    credentials: Credentials,
    traffic: Traffic,
    tally: Arc<Tally>,
}

impl Demo {
    /// Starts the upstream, and makes everything that names it.
    async fn prepare(arguments: &Up, parts: &mut Parts) -> Result<Self, Failure> {
        let (listener, upstream) = demo::upstream::bind().await.map_err(Failure::usage)?;
        let credentials = Credentials::make().map_err(Failure::usage)?;
        let data = arguments.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA));
        let definitions =
            demo::definitions(upstream, &credentials, data).map_err(|error| Failure::usage(format!("{error:#}")))?;
        parts.start(DEMO_UPSTREAM, |stop| demo::upstream::serve(listener, stop));
        let traffic = Traffic::new(arguments.seed, arguments.rate);
        Ok(Self { definitions, credentials, traffic, tally: Arc::default() })
    }
}
