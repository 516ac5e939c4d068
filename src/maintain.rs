//! `weir maintain`: does what maintenance is due, once, and tells what it did.

use std::{cell::Cell, path::PathBuf, sync::Arc};

use chrono::Utc;
use clap::Args;
use serde_json::json;
use weir_lake::{
    Lake, Table,
    maintain::{Maintenance, Step, Task},
};
use weir_station::{
    config::{ByteSize, Document, Setting},
    exit::{self, Failure},
    log::{self, Destination},
};

use crate::{output, settings::Settings};

/// Arguments of `weir maintain`.
#[derive(Args, Debug)]
pub(crate) struct Maintain {
    /// Do what is due and end; without it, go on until a signal
    #[arg(long)]
    once: bool,
    /// Configuration file; without it everything has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for tables and log [default: ./weir-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One table only
    #[arg(long, value_name = "TABLE", value_parser = table, requires = "once")]
    table: Option<Table>,
    /// Merge all small files, also where more is still to come
    #[arg(long, requires = "once")]
    all: bool,
    /// Tell what would be done, and do nothing
    #[arg(long, requires = "once")]
    dry_run: bool,
    /// Memory that a merge may take [default: a quarter of collector.memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<ByteSize>,
    /// A JSON object a line
    #[arg(long, requires = "once")]
    json: bool,
}

/// Runs `weir maintain`.
pub(crate) async fn run(arguments: Maintain) -> Result<(), Failure> {
    let level = if arguments.once { "warn" } else { "info" };
    log::init(level, &Destination::StandardError).map_err(Failure::usage)?;
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    let (settings, _) = Settings::read(document, arguments.data.as_deref()).map_err(Failure::usage)?;
    let mut policy = settings.collector.maintenance;
    if let Some(memory) = arguments.memory {
        policy.memory_bytes = memory.0;
    }
    let lake = Arc::new(Lake::open(&settings.collector.store).await.map_err(Failure::usage)?);
    let maintenance = Maintenance::new(lake, policy);
    let shutdown = tokio_util::sync::CancellationToken::new();
    if arguments.once {
        exit::on_signals(shutdown.clone(), async {
            tokio::select! {
                done = once(&maintenance, &arguments) => done,
                () = shutdown.cancelled() => Err(Failure::running("cut off; what was done stays done")),
            }
        })
        .await
    } else {
        exit::on_signals(shutdown.clone(), async {
            maintenance.run(shutdown).await;
            Ok(())
        })
        .await
    }
}

async fn once(maintenance: &Maintenance, arguments: &Maintain) -> Result<(), Failure> {
    let task = Task { dry_run: arguments.dry_run, all: arguments.all, vacuum: true };
    let failure = Cell::new(None);
    let fail = |error| failure.set(failure.take().or(Some(error)));
    for table in Table::ALL.into_iter().filter(|table| arguments.table.is_none_or(|only| only == *table)) {
        let steps = Cell::new(0);
        let tell = |step: &Step| {
            steps.set(steps.get() + 1);
            show(table, step, arguments.json).unwrap_or_else(fail);
        };
        match maintenance.table(table, task, Utc::now(), tell).await {
            Ok(()) if steps.get() == 0 && !arguments.json => {
                output::line(format!("{:<9} nothing is due", table.name())).unwrap_or_else(fail);
            }
            Ok(()) => {}
            // The other tables are not the worse for it.
            Err(error) => {
                tracing::warn!(table = table.name(), %error, "the table could not be maintained");
                fail(Failure::running(format!("{}: {error}", table.name())));
            }
        }
    }
    failure.take().map_or(Ok(()), Err)
}

fn show(table: Table, step: &Step, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let mut object = json!(step);
        object["table"] = json!(table.name());
        output::line(object)
    } else {
        output::line(format!("{:<9} {step}", table.name()))
    }
}

fn table(name: &str) -> Result<Table, String> {
    let names = Table::ALL.map(Table::name).join(", ");
    Table::from_name(name).ok_or_else(|| format!("expected one of {names}"))
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).ok_or_else(|| format!("expected {}", ByteSize::EXPECTED))
}
