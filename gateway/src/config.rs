//! The section `[gateway]`, and with it the definitions of the APIs.

pub(crate) mod apis;
pub(crate) mod authorizers;
pub(crate) mod connections;
pub(crate) mod definitions;
mod domains;
pub(crate) mod integration;
mod keys_file;
pub(crate) mod lambda;
pub(crate) mod logs;
pub(crate) mod mapping;
pub(crate) mod openapi;
pub(crate) mod plans;
mod privacy;
mod responses;
mod traces;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use connections::ConnectionsConfig;
use definitions::Definitions;
use http::uri::Authority;
use logs::Destination;
use weir_station::{
    config::{ByteSize, Document, OneOrMany, Section},
    credentials::CredentialsConfig,
    listener::Exposure,
};

use crate::limits::bucket::Limit;

/// Top-level sections that other stations read.
pub const OTHER_SECTIONS: &[&str] = &["collector", "store", "maintenance", "query"];

/// How a gateway runs, and what it serves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it serves requests.
    pub listen: SocketAddr,
    /// Health and self metrics.
    pub admin: SocketAddr,
    /// Whether these may be reached by others.
    pub exposure: Exposure,
    /// Threads that serve requests, each alone; 0 for one a core.
    pub threads: usize,
    /// How clients may connect.
    pub connections: ConnectionsConfig,
    /// The largest request body.
    pub body_limit: ByteSize,
    /// How long requests under way may take to end when the gateway does.
    pub drain: Duration,
    /// The limit on all requests together.
    pub account: Option<Limit>,
    /// What becomes of records.
    pub telemetry: TelemetryConfig,
    /// APIs, keys, authorizers.
    pub definitions: Definitions,
    /// The file that all this was read from, to be read again when it changes; none for what cannot be read again.
    pub source: Option<PathBuf>,
    /// When the reading of it began.
    pub read: SystemTime,
    /// Directory of data.
    pub data: PathBuf,
    /// The configuration as it was resolved, secrets masked: what `/config` shows.
    pub shown: String,
}

/// What becomes of records and spans.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Whether records and spans are made and sent. Without them the ledger knows nothing of this gateway.
    pub enabled: bool,
    /// The collectors' OTLP/gRPC addresses; a name may stand for several.
    pub collectors: Vec<String>,
    /// What is shown to them, and whom of them we trust.
    pub credentials: CredentialsConfig,
    /// How long an unanswered batch stays with the collector that it was sent to, before another one gets it.
    pub collector_deadline: Duration,
    /// Where batches wait on disk while no collector takes them; none for nowhere.
    pub spool_directory: Option<PathBuf>,
    /// The most that they may take there.
    pub spool_bytes: ByteSize,
    /// What is dropped beyond it.
    pub spool_policy: SpoolPolicy,
    /// How long the last records may take to get to the collector when the gateway ends.
    pub shutdown_deadline: Duration,
    /// Records that may wait to be sent; beyond it they are dropped and counted.
    pub queue_records: usize,
    /// Records in a batch at most.
    pub batch_records: usize,
    /// How long a record waits for company.
    pub linger: Duration,
    /// How long the collector may take to answer.
    pub timeout: Duration,
    /// The share of traces that are kept whatever becomes of them.
    pub trace_ratio: f64,
    /// Requests that take as long are slow: their traces are kept.
    pub slow: Duration,
    /// Where a line of each request goes, beside the collector.
    pub access_log: Option<Destination>,
}

/// What is dropped, and counted, when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolPolicy {
    /// What comes: the spool keeps the beginning of an outage.
    DropNewest,
    /// What has waited longest, a segment at a time: the spool keeps the end. It leaves a gap in the numbers, which the
    /// ledger counts too.
    DropOldest,
}

impl Config {
    /// Reads `[gateway]` and what it serves. The spool is under `data` unless it says
    /// otherwise.
    #[must_use]
    pub fn read(document: &Document, data: &Path) -> Self {
        let section = document.section("gateway");
        let definitions = Definitions::read(document, &section, data);
        let address = |key, port: u16| section.value(key, SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            listen: address("listen", 8080),
            admin: address("admin", 8081),
            exposure: Exposure::read(&section),
            threads: section.value("threads", 0),
            body_limit: section.value("body_limit", ByteSize::mebibytes(10)),
            drain: section.value("drain", Duration::from_secs(10)),
            account: limit(&section.section("throttle")),
            telemetry: TelemetryConfig::read(&section.section("telemetry"), data),
            connections: ConnectionsConfig::read(&section, &definitions.domains),
            definitions,
            source: None,
            read: document.read_at(),
            data: data.to_owned(),
            shown: String::new(),
        }
    }
}

impl Config {
    /// Where lines of access logs go.
    pub(crate) fn access_logs(&self) -> impl Iterator<Item = &Destination> {
        let of_apis = self.definitions.apis.iter().filter_map(|api| Some(&*api.access_log.as_ref()?.to));
        self.telemetry.access_log.iter().chain(of_apis)
    }

    /// The files that the definitions stand in, this one first.
    pub(crate) fn files(&self, source: &Path) -> Vec<PathBuf> {
        std::iter::once(source.to_owned()).chain(self.definitions.files.iter().cloned()).collect()
    }
}

impl TelemetryConfig {
    fn read(section: &Section, data: &Path) -> Self {
        let at_least_one = |key, default: usize| {
            let value = section.value(key, default);
            if value == 0 {
                section.fault(key, "is 0", "at least 1");
            }
            value.max(1)
        };
        let collectors = section.value("collector", OneOrMany(vec!["http://127.0.0.1:4317".to_owned()])).0;
        for collector in &collectors {
            let rest = collector.strip_prefix("http://").or_else(|| collector.strip_prefix("https://"));
            if rest.and_then(|rest| rest.parse::<Authority>().ok()).is_none() {
                let expected = "\"http://host:port\" or \"https://host:port\", or a list of such";
                section.fault("collector", format!("is {collector:?}"), expected);
            }
        }
        if collectors.is_empty() {
            section.fault("collector", "is empty", "at least one \"http://host:port\" or \"https://host:port\"");
        }
        let spool = section.value("spool_directory", data.join("spool"));
        let spool_policy = match section.value("spool_policy", "drop_newest".to_owned()).as_str() {
            "drop_newest" => SpoolPolicy::DropNewest,
            "drop_oldest" => SpoolPolicy::DropOldest,
            other => {
                section.fault("spool_policy", format!("is {other:?}"), "\"drop_newest\" or \"drop_oldest\"");
                SpoolPolicy::DropNewest
            }
        };
        let trace_ratio = section.value("trace_ratio", 0.05);
        if !(0.0..=1.0).contains(&trace_ratio) {
            section.fault("trace_ratio", format!("is {trace_ratio}"), "a share from 0.0 to 1.0");
        }
        let access_log = Destination::read(section, "access_log");
        Self {
            enabled: section.value("enabled", true),
            credentials: CredentialsConfig::read(section, &collectors),
            collectors,
            collector_deadline: section.value("collector_deadline", Duration::from_secs(60)),
            spool_directory: (spool.as_os_str() != "off").then_some(spool),
            spool_bytes: section.value("spool_bytes", ByteSize::mebibytes(1_024)),
            spool_policy,
            shutdown_deadline: section.value("shutdown_deadline", Duration::from_secs(10)),
            queue_records: at_least_one("queue_records", 65_536),
            batch_records: at_least_one("batch_records", 512),
            linger: section.value("linger", Duration::from_millis(100)),
            timeout: section.value("timeout", Duration::from_secs(10)),
            trace_ratio,
            slow: section.value("slow", Duration::from_secs(1)),
            access_log,
        }
    }
}

/// Reads `{ rate = 100.0, burst = 200 }`; none when the table is not there.
fn limit(section: &Section) -> Option<Limit> {
    if !section.is_present() {
        return None;
    }
    let (rate, burst) = (section.required::<f64>("rate")?, section.required::<u32>("burst")?);
    if rate <= 0.0 {
        section.fault("rate", format!("is {rate}"), "requests a second, more than 0");
    }
    if burst == 0 {
        section.fault("burst", "is 0", "at least 1: a bucket of 0 lets nothing pass");
    }
    (rate > 0.0 && burst > 0).then_some(Limit { rate, burst })
}
