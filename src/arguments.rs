//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use weir_query::format::Format;
use weir_station::config::Setting;

/// A gateway that measures: serves API traffic, records every request, keeps the records as Delta tables, answers SQL.
#[derive(Debug, Parser)]
#[command(name = "weir", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run gateway, collector and query in one process
    Up(Up),
    /// Run the gateway alone
    Gateway(Station),
    /// Run the collector alone
    Collector(Station),
    /// Run the query station alone: SQL over HTTP
    Serve(Station),
    /// Ask in SQL
    Sql(Sql),
    /// Watch the traffic in the terminal
    Top(weir_tui::Arguments),
    /// Check that the tables agree with each other, with their files, and with what the senders said
    Verify(Verify),
    /// Check that everything that Weir needs is there, and say what to do where it is not
    Doctor(crate::doctor::Doctor),
    /// Merge small files, remove what is old or unused; collectors do it by themselves
    Maintain(crate::maintain::Maintain),
    /// Look into a stopped collector's write-ahead log
    #[command(subcommand)]
    Wal(crate::wal::WalCommand),
    /// Make a token for a sender or a query station, and the line that lets it in
    Token {
        /// Who will show it: letters, digits, and any of - _ . @
        name: String,
    },
    /// Print the resolved configuration, secrets masked; or every fault in it
    Check(Station),
}

/// Arguments of `weir up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Configuration file; without it everything has its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory for tables and log [default: ./weir-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Bring an upstream, APIs and clients, so that there is traffic to see
    #[arg(long)]
    pub(crate) demo: bool,
    /// Requests a second that the demo's clients send, on average
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000), requires = "demo")]
    pub(crate) rate: u32,
    /// Which requests the demo's clients send: the same seed, the same requests
    #[arg(long, value_name = "N", default_value_t = 1, requires = "demo")]
    pub(crate) seed: u64,
    /// End after this time, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) lifetime: Option<Duration>,
    /// Write a status line a second to standard error in place of the dashboard
    #[arg(long)]
    pub(crate) no_tui: bool,
}

/// Arguments of a station that runs alone.
#[derive(Args, Debug)]
pub(crate) struct Station {
    /// Configuration file; without it everything has its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Arguments of `weir sql`.
#[derive(Args, Debug)]
pub(crate) struct Sql {
    /// One statement; without it, standard input, or a prompt on a terminal
    pub(crate) statement: Option<String>,
    /// Ask this query station [default: the one that runs on ./weir-data, or http://127.0.0.1:7700]
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) url: Option<String>,
    /// Read this data directory, whether Weir runs on it or not
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Read the store and the log that this configuration file names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "data"])]
    pub(crate) config: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, default_value = "table", value_parser = format)]
    pub(crate) format: Format,
    /// Leave out rows that are acknowledged and not yet committed
    #[arg(long)]
    pub(crate) committed_only: bool,
}

/// Arguments of `weir verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The data directory, whether Weir runs on it or not
    #[arg(long, value_name = "DIR", default_value = crate::settings::DEFAULT_DATA)]
    pub(crate) data: PathBuf,
    /// Check the store and the log that this configuration file names
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) config: Option<PathBuf>,
    /// Everything offered must have arrived or be counted: true when no sender has anything on the way
    #[arg(long)]
    pub(crate) settled: bool,
    /// A JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    <Duration as Setting>::parse(text).ok_or_else(|| format!("expected {}", Duration::EXPECTED))
}

fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|_| "expected table, csv, json or ndjson".to_owned())
}
