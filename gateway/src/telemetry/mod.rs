//! Where records go when their requests have ended: encoded into a bounded queue, and from there to the collector, or to
//! a spool on disk while it does not take them.
//!
//! What always holds (I6): offering a record never waits. A record that finds no room is dropped and counted; the
//! count travels with each batch, so that the ledger shows it.

mod collectors;
pub(crate) mod export;
mod grpc;
pub(crate) mod leftover;
mod queue;
pub(crate) mod spool;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use export::{Exported, Exporter, Sending};
use queue::{Far, Near};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use weir_record::{AccessRecord, Span, line};
use weir_station::credentials::Credentials;

use crate::{
    config::{AccessLog, TelemetryConfig},
    stats::{SignalStats, Stats},
};

/// `service.name` of the gateway.
pub(crate) const SERVICE: &str = "weir-gateway";

/// Lines of the access log that may wait to be written.
const QUEUE_LINES: usize = 8_192;

/// The near end of the queues; shared by all threads.
#[derive(Debug)]
pub(crate) struct Telemetry {
    records: Near,
    spans: Near,
    lines: Option<mpsc::Sender<String>>,
    stats: Arc<Stats>,
    /// Whether records and spans go to the collector. Lines of the access log are written all the same.
    pub is_enabled: bool,
    /// The share of traces that are kept whatever becomes of them.
    pub trace_ratio: f64,
    /// Requests that take as long are slow, microseconds.
    pub slow_us: u64,
}

/// The far end of the queues.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Access records.
    pub records: Far,
    /// Spans.
    pub spans: Far,
    /// Lines of the access log, and where they go.
    pub lines: Option<(mpsc::Receiver<String>, LineFile)>,
}

/// An access log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log {}: {source}", .path.display())]
pub struct AccessLogError {
    path: PathBuf,
    source: io::Error,
}

/// Makes the queues.
pub(crate) fn queues(config: &TelemetryConfig, stats: Arc<Stats>) -> Result<(Telemetry, Queues), AccessLogError> {
    let (records, far_records) = queue::queue(config.queue_records, config.batch_records);
    let (spans, far_spans) = queue::queue(config.queue_records, config.batch_records);
    let (lines, far_lines) = match LineFile::open(&config.access_log)? {
        Some(file) => {
            let (lines, far_lines) = mpsc::channel(QUEUE_LINES);
            (Some(lines), Some((far_lines, file)))
        }
        None => (None, None),
    };
    let slow_us = u64::try_from(config.slow.as_micros()).unwrap_or(u64::MAX);
    let (is_enabled, trace_ratio) = (config.enabled, config.trace_ratio);
    let telemetry = Telemetry { records, spans, lines, stats, is_enabled, trace_ratio, slow_us };
    Ok((telemetry, Queues { records: far_records, spans: far_spans, lines: far_lines }))
}

impl Telemetry {
    /// Takes what a request left behind. Never waits.
    pub(crate) fn offer(&self, record: &AccessRecord, spans: &[Span]) {
        if let Some(lines) = &self.lines {
            // The access log is for eyes; the collector has the records. A line without room is left out.
            let _ = lines.try_send(line::json(record));
        }
        if !self.is_enabled {
            return;
        }
        offer(&self.records, record, &self.stats.logs);
        for span in spans {
            offer(&self.spans, span, &self.stats.traces);
        }
    }
}

fn offer<T: Exported>(queue: &Near, item: &T, stats: &SignalStats) {
    stats.offered.fetch_add(1, Relaxed);
    if !queue.put(|bytes| item.encode(bytes)) {
        stats.dropped.fetch_add(1, Relaxed);
    }
}

/// Sends all that the queues hold, and what earlier processes left, on a thread of its own: file work waits there alone.
///
/// # Errors
/// When the system refuses the thread or its runtime.
pub(crate) fn start_sending(sending: Sending, records: Far, spans: Far) -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("weir-telemetry".to_owned()).spawn(move || {
        runtime.block_on(async {
            let leave = sending.deadline.clone();
            let mut leftovers = JoinSet::new();
            leftovers.spawn(follow_files(Arc::clone(&sending.credentials), leave.clone()));
            leftovers.spawn(leftover::send::<AccessRecord>(sending.clone()));
            leftovers.spawn(leftover::send::<Span>(sending.clone()));
            let mut senders = JoinSet::new();
            senders.spawn(Exporter::<AccessRecord>::new(sending.clone(), records).run());
            senders.spawn(Exporter::<Span>::new(sending, spans).run());
            while senders.join_next().await.is_some() {}
            // What earlier processes left is on disk: it need not hold up the end.
            leave.cancel();
            while leftovers.join_next().await.is_some() {}
        });
        // Nobody waits for the end when the process is going down anyway.
        let _ = ended.send(());
    })?;
    Ok(end)
}

/// New certificates and a new token are taken when their files change.
async fn follow_files(credentials: Arc<Credentials>, leave: CancellationToken) {
    if let Err(error) = credentials.follow(leave).await {
        tracing::warn!(%error, "changed certificates and tokens are not read again");
    }
}

/// Where the lines of the access log go.
#[derive(Debug)]
pub(crate) enum LineFile {
    /// Standard output.
    StandardOutput,
    /// A file.
    File(File),
}

impl LineFile {
    fn open(log: &AccessLog) -> Result<Option<Self>, AccessLogError> {
        match log {
            AccessLog::Off => Ok(None),
            AccessLog::StandardOutput => Ok(Some(Self::StandardOutput)),
            AccessLog::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                let file = file.map_err(|source| AccessLogError { path: path.clone(), source })?;
                Ok(Some(Self::File(file)))
            }
        }
    }

    /// Writes lines until no more can come.
    pub(crate) async fn write(mut self, mut lines: mpsc::Receiver<String>) {
        let mut waiting = Vec::new();
        while lines.recv_many(&mut waiting, QUEUE_LINES).await > 0 {
            let mut text = waiting.join("\n");
            text.push('\n');
            waiting.clear();
            let written = match &mut self {
                Self::StandardOutput => io::stdout().write_all(text.as_bytes()),
                Self::File(file) => file.write_all(text.as_bytes()),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "lines of the access log were not written");
            }
        }
    }
}
