//! `weir sql`: finds whom to ask, and asks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use weir_collector::{offline::Offline, replay::ReplayError, wal::WalError};
use weir_lake::{Lake, StoreConfig};
use weir_query::{Config, Engine, Limits, Options, cli, client::Target, pending::PendingSource};
use weir_station::{
    config::Document,
    exit::Failure,
    log::{self, Destination},
};

use crate::{
    arguments::Sql,
    endpoints::Endpoints,
    pending::InProcess,
    settings::{DEFAULT_DATA, Settings},
};

const DEFAULT_URL: &str = "http://127.0.0.1:7700";

/// Runs `weir sql`.
pub(crate) async fn run(arguments: Sql) -> Result<(), Failure> {
    log::init("error", &Destination::StandardError).map_err(Failure::usage)?;
    let target = target(&arguments).await?;
    let settings = cli::Settings {
        format: arguments.format,
        options: Options { fresh: !arguments.committed_only },
        ..cli::Settings::default()
    };
    let history = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".weir_history"));
    cli::run(&target, arguments.statement, settings, history).await.map_err(Failure::running)
}

/// A data directory that was opened: whom to ask, and the tables.
pub(crate) struct Opened {
    pub(crate) target: Target,
    pub(crate) lake: Arc<Lake>,
}

async fn target(arguments: &Sql) -> Result<Target, Failure> {
    if let Some(url) = &arguments.url {
        return Target::station(url).map_err(Failure::usage);
    }
    let default = Path::new(DEFAULT_DATA);
    if let Some(config) = &arguments.config {
        return Ok(open_configured(config).await?.target);
    }
    match &arguments.data {
        Some(data) => Ok(open(data).await?.target),
        None if default.join("tables").is_dir() => Ok(open(default).await?.target),
        None => Target::station(DEFAULT_URL).map_err(Failure::usage),
    }
}

/// Asks the Weir that runs on a directory; or reads it, its log included, when none does.
pub(crate) async fn open(data: &Path) -> Result<Opened, Failure> {
    let tables = data.join("tables");
    if !tables.is_dir() {
        let shown = data.display();
        return Err(Failure::usage(format!(
            "{shown} holds no tables; expected a directory that `weir up --data` made"
        )));
    }
    open_store(data, &StoreConfig::local(&tables), &data.join("wal")).await
}

/// The same of the directory, the store and the log that a configuration file names.
pub(crate) async fn open_configured(config: &Path) -> Result<Opened, Failure> {
    let document = Document::load(Some(config)).map_err(Failure::usage)?;
    let (settings, _) = Settings::read(document, None).map_err(Failure::usage)?;
    open_store(&settings.data, &settings.collector.store, &settings.collector.wal).await
}

async fn open_store(data: &Path, store: &StoreConfig, wal: &Path) -> Result<Opened, Failure> {
    let lake = Arc::new(Lake::open(store).await.map_err(Failure::usage)?);
    let mut sources: Vec<Arc<dyn PendingSource>> = Vec::new();
    if wal.is_dir() {
        match Offline::read(wal, &lake).await {
            Ok(Offline { writer_id, pending }) => {
                sources.push(Arc::new(InProcess { name: wal.display().to_string(), writer_id, pending }));
            }
            // No log was ever begun: everything is in the tables.
            Err(ReplayError::Wal(WalError::Missing { .. })) => {}
            Err(ReplayError::Wal(in_use @ WalError::InUse { .. })) => {
                return Ok(Opened { target: running(data, &in_use)?, lake });
            }
            Err(error) => return Err(Failure::usage(error)),
        }
    }
    let limits = Limits::from(&Config::default());
    let engine = Engine::new(Arc::clone(&lake), sources, &limits).map_err(Failure::usage)?;
    Ok(Opened { target: Target::Engine(Arc::new(engine)), lake })
}

fn running(data: &Path, in_use: &WalError) -> Result<Target, Failure> {
    let url = Endpoints::query(data).ok_or_else(|| {
        Failure::usage(format!("{in_use}; ask its query station: weir sql --url http://127.0.0.1:7700"))
    })?;
    Target::station(&url).map_err(Failure::usage)
}
