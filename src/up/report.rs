//! What `weir up` says of itself: a status line while it runs, a summary at its end.
//!
//! The summary counts in SQL, by the same engine and over the same tables as everybody else asks.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use weir_collector::Pending;
use weir_gateway::Stats;
use weir_query::{
    Engine,
    cli::{Settings, answer},
    client::Target,
    format::Format,
};
use weir_station::exit::Failure;

use crate::demo::client::Tally;

/// Whoever knows what is going on.
#[derive(Debug)]
pub(super) struct Report {
    target: Target,
    /// The gateway's `service.instance.id`: its records bear it as their source.
    instance: String,
    stats: Arc<Stats>,
    pending: Arc<Pending>,
    begun: Instant,
    begun_seconds: u64,
}

impl Report {
    pub(super) fn new(engine: Arc<Engine>, instance: &str, stats: Arc<Stats>, pending: Arc<Pending>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            target: Target::Engine(engine),
            instance: instance.to_owned(),
            stats,
            pending,
            begun: Instant::now(),
            begun_seconds: since.as_secs(),
        }
    }

    /// One line to standard error.
    pub(super) async fn print_status(&self, tally: Option<&Tally>) {
        let recent = "select sum(requests) as requests, p50(latency) as p50, p99(latency) as p99 from metrics \
                      where time >= now() - interval '20 seconds'";
        let latency = match self.ask(recent).await {
            Ok(row) => format!("p50 {}  p99 {}", microseconds(&row["p50"]), microseconds(&row["p99"])),
            Err(error) => format!("no answer in SQL: {error}"),
        };
        eprintln!(
            "{:>5}s  answered {}  recorded {}  acknowledged {}  pending {}  {latency}  dropped {}  resent {}",
            self.begun.elapsed().as_secs(),
            tally.map_or(self.stats.answered(), Tally::answered),
            self.stats.logs.offered(),
            self.stats.logs.sent(),
            self.pending.records(),
            self.stats.logs.dropped() + self.stats.traces.dropped(),
            self.stats.logs.resent_batches(),
        );
    }

    /// The summary to standard output: one `key: value` a line.
    pub(super) async fn print_summary(&self, tally: Option<&Tally>) -> Result<(), Failure> {
        let failed = |error: String| Failure::running(format!("no summary: {error}"));
        let counts = format!(
            "select count(*) as stored, count(distinct request_id) as ids from requests where source = '{}'",
            self.instance
        );
        let counts = self.ask(&counts).await.map_err(failed)?;
        // A cell covers ten seconds: the first one may have begun before this process.
        let latencies = format!(
            "select p50(latency) as p50, p99(latency) as p99 from metrics where time >= to_timestamp_seconds({})",
            self.begun_seconds / 10 * 10
        );
        let latencies = self.ask(&latencies).await.map_err(failed)?;
        let (stored, ids) = (counts["stored"].as_u64().unwrap_or(0), counts["ids"].as_u64().unwrap_or(0));
        let sent = tally.map_or(self.stats.received(), Tally::sent);
        let answered = tally.map_or(self.stats.answered(), Tally::answered);
        let lines = [
            ("requests_sent", sent),
            ("requests_answered", answered),
            ("records_stored", stored),
            ("records_lost", answered.saturating_sub(ids)),
            ("records_duplicate", stored - ids),
            ("p50_us", latencies["p50"].as_u64().unwrap_or(0)),
            ("p99_us", latencies["p99"].as_u64().unwrap_or(0)),
        ];
        #[expect(clippy::print_stdout, reason = "the summary is this command's output")]
        for (key, value) in lines {
            println!("{key}: {value}");
        }
        Ok(())
    }

    /// The one row of an answer.
    async fn ask(&self, sql: &str) -> Result<Value, String> {
        let mut text = Vec::new();
        let settings = Settings { format: Format::Json, ..Settings::default() };
        answer(&self.target, sql, settings, &mut text).await.map_err(|error| error.to_string())?;
        let mut rows: Vec<Value> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        rows.pop().ok_or_else(|| "no row".to_owned())
    }
}

fn microseconds(value: &Value) -> String {
    match value.as_u64() {
        None => "-".to_owned(),
        Some(us) if us < 1_000 => format!("{us}us"),
        #[expect(clippy::cast_precision_loss, reason = "for eyes")]
        Some(us) => format!("{:.1}ms", us as f64 / 1_000.0),
    }
}
