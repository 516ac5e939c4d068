//! `weir doctor`: whether everything that Weir needs is there, a line a check, and what to do where it is not.
//!
//! It does what a start does: it makes the directories and tables that are missing, tries them and the store, and leaves
//! nothing else behind.

mod checks;

use std::{fmt, path::PathBuf};

use clap::Args;
use serde_json::json;
use weir_station::{
    config::{Document, Origin},
    exit::Failure,
    log::{self, Destination},
};

use crate::{output, settings::Settings};

/// Arguments of `weir doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Configuration file; without it everything has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for tables and log [default: ./weir-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    /// It works, and may not for long, or not well.
    Warn,
    /// It does not work.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// A check, and what it found.
#[derive(Debug)]
struct Finding {
    check: String,
    verdict: Verdict,
    /// What was found; where something is wrong, also what would be right.
    found: String,
}

impl Finding {
    fn new(verdict: Verdict, check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict, found: found.into() }
    }

    fn show(&self, as_json: bool) -> Result<(), Failure> {
        let Self { check, verdict, found } = self;
        if as_json {
            let verdict = verdict.to_string().to_lowercase();
            output::line(json!({"check": check, "verdict": verdict, "found": found}))
        } else {
            output::line(format!("{verdict:<5} {check:<22} {found}"))
        }
    }
}

/// Runs `weir doctor`.
pub(crate) async fn run(arguments: Doctor) -> Result<(), Failure> {
    log::init("off", &Destination::StandardError).map_err(Failure::usage)?;
    let document = Document::load(arguments.config.as_deref()).map_err(Failure::usage)?;
    let (settings, resolved) = Settings::read(document, arguments.data.as_deref()).map_err(Failure::usage)?;
    let mut failed = 0;
    let mut show = |finding: Finding| {
        failed += usize::from(finding.verdict == Verdict::Fail);
        finding.show(arguments.json)
    };
    let set = resolved.keys.iter().filter(|key| key.origin != Origin::Default).count();
    let keys = format!("{} keys, {set} of them set", resolved.keys.len());
    show(Finding::new(Verdict::Ok, "configuration", keys))?;
    show(checks::descriptors())?;
    show(checks::directory("data directory", &settings.data, 0))?;
    let wal = &settings.collector.wal;
    show(checks::directory("log directory", wal, settings.collector.wal_budget.0))?;
    show(checks::write_ahead_log(wal, settings.collector.wal_budget))?;
    let telemetry = &settings.gateway.telemetry;
    if let Some(spool) = &telemetry.spool_directory {
        show(checks::directory("spool directory", spool, telemetry.spool_bytes.0))?;
    }
    for (name, address) in settings.addresses() {
        show(checks::address(name, address))?;
    }
    match checks::open_store(&settings.collector.store).await {
        Err(finding) => show(finding)?,
        Ok((lake, finding)) => {
            show(finding)?;
            for finding in checks::store(&lake).await {
                show(finding)?;
            }
            for finding in checks::tables(&lake, &settings.collector.maintenance).await {
                show(finding)?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::running("a check failed")),
        failed => Err(Failure::running(format!("{failed} checks failed"))),
    }
}
