//! Where records go when their requests have ended: encoded into a bounded queue, and from there to the collector, or to
//! a spool on disk while it does not take them.
//!
//! What always holds (I6): offering a record never waits. A record that finds no room is dropped and counted; the
//! count travels with each batch, so that the ledger shows it.

mod collectors;
pub(crate) mod export;
mod grpc;
pub(crate) mod leftover;
pub(crate) mod lines;
mod queue;
pub(crate) mod spool;

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use export::{Exporter, Sending};
use lines::{Lines, Writer};
use queue::{Far, Near};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;
use weir_record::{AccessRecord, Span, SpanView, line, otlp};
use weir_station::credentials::Credentials;

use crate::{
    config::{
        TelemetryConfig,
        logs::{AccessLogDefinition, Destination},
    },
    context::variable::About,
    facts::Facts,
    stats::{SignalStats, Stats},
};

/// `service.name` of the gateway.
pub(crate) const SERVICE: &str = "weir-gateway";

/// The near end of the queues; shared by all threads.
#[derive(Debug)]
pub(crate) struct Telemetry {
    records: Near,
    spans: Near,
    lines: Lines,
    /// Where a line of each request goes, whatever its API.
    access_log: Option<Arc<Destination>>,
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
    /// Lines of access logs.
    pub lines: Writer,
}

/// Makes the queues.
pub(crate) fn queues(config: &TelemetryConfig, stats: Arc<Stats>) -> (Telemetry, Queues) {
    let (records, far_records) = queue::queue(config.queue_records, config.batch_records);
    let (spans, far_spans) = queue::queue(config.queue_records, config.batch_records);
    let (lines, far_lines) = lines::lines(Arc::clone(&stats));
    let access_log = config.access_log.clone().map(Arc::new);
    let slow_us = u64::try_from(config.slow.as_micros()).unwrap_or(u64::MAX);
    let (is_enabled, trace_ratio) = (config.enabled, config.trace_ratio);
    let telemetry = Telemetry { records, spans, lines, access_log, stats, is_enabled, trace_ratio, slow_us };
    (telemetry, Queues { records: far_records, spans: far_spans, lines: far_lines })
}

impl Telemetry {
    /// Takes what a request left behind. Never waits.
    pub(crate) fn offer(&self, record: &AccessRecord, spans: &[SpanView<'_>]) {
        if let Some(to) = &self.access_log {
            self.lines.offer(to, line::json(record));
        }
        if !self.is_enabled {
            return;
        }
        offer(&self.records, &self.stats.logs, |to| otlp::encode_log_record(to, record));
        for span in spans {
            offer(&self.spans, &self.stats.traces, |to| otlp::encode_span(to, span));
        }
    }
}

impl Telemetry {
    /// Takes the line of a request whose API has an access log of its own. Never waits.
    pub(crate) fn log(&self, log: &AccessLogDefinition, record: &AccessRecord, facts: &Facts) {
        let line = match &log.format {
            None => line::json(record),
            Some(format) => format.render(&About { record, facts }),
        };
        self.lines.offer(&log.to, line);
    }
}

fn offer(queue: &Near, stats: &SignalStats, encode: impl FnOnce(&mut Vec<u8>)) {
    stats.offered.fetch_add(1, Relaxed);
    if !queue.put(encode) {
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
