//! Each station alone, and the configuration check.

use std::{future::Future, sync::Arc};

use tokio_util::sync::CancellationToken;
use weir_collector::Collector;
use weir_gateway::Gateway;
use weir_lake::Lake;
use weir_query::{Engine, Server};
use weir_station::{
    config::Document,
    exit::{self, Failure},
    log::{self, Destination},
};

use crate::{arguments::Station, output, settings::Settings};

/// `weir gateway`.
pub(crate) async fn gateway(arguments: Station) -> Result<(), Failure> {
    let settings = begin(&arguments)?;
    let gateway = Gateway::start(settings.gateway).await.map_err(Failure::usage)?;
    until_signal(|shutdown| async { gateway.run(shutdown).await.map_err(Failure::running) }).await
}

/// `weir collector`.
pub(crate) async fn collector(arguments: Station) -> Result<(), Failure> {
    let settings = begin(&arguments)?;
    let collector = Collector::start(settings.collector).await.map_err(Failure::usage)?;
    until_signal(|shutdown| async { collector.run(shutdown).await.map_err(Failure::running) }).await
}

/// `weir serve`.
pub(crate) async fn serve(arguments: Station) -> Result<(), Failure> {
    let settings = begin(&arguments)?;
    let lake = Arc::new(Lake::open(&settings.collector.store).await.map_err(Failure::usage)?);
    let engine = Arc::new(Engine::from_config(lake, &settings.query).map_err(Failure::usage)?);
    let server = Server::bind(engine, &settings.query).await.map_err(Failure::usage)?;
    until_signal(|shutdown| async { server.run(shutdown).await.map_err(Failure::running) }).await
}

/// `weir top`.
pub(crate) async fn top(arguments: weir_tui::Arguments) -> Result<(), Failure> {
    until_signal(|shutdown| async { weir_tui::run(arguments.into(), shutdown).await.map_err(dashboard_failure) }).await
}

/// `weir check`.
pub(crate) fn check(arguments: &Station) -> Result<(), Failure> {
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    let (_, resolved) = Settings::read(document, None).map_err(Failure::usage)?;
    output::line(resolved.to_string().trim_end())
}

/// How a failure of the dashboard ends the program.
pub(crate) fn dashboard_failure(error: weir_tui::RunError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::running(error) }
}

fn begin(arguments: &Station) -> Result<Settings, Failure> {
    log::init("info", &Destination::StandardError).map_err(Failure::usage)?;
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    Ok(Settings::read(document, None).map_err(Failure::usage)?.0)
}

/// Runs until it ends by itself or a signal ends it.
async fn until_signal<F: Future<Output = Result<(), Failure>>>(
    run: impl FnOnce(CancellationToken) -> F,
) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    exit::on_signals(shutdown.clone(), run(shutdown)).await
}
