//! What the gateway counts of itself; its admin address shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use weir_record::Outcome;
use weir_station::metrics::Text;

use crate::connection::counts::ClientCounts;

/// All of the gateway's counters, since its start.
#[derive(Debug, Default)]
pub struct Stats {
    received: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    connections: AtomicU64,
    /// What becomes of clients' connections.
    pub(crate) clients: ClientCounts,
    /// The access records' way to the collector.
    pub logs: SignalStats,
    /// The spans' way to the collector.
    pub traces: SignalStats,
    /// Lines of access logs that were left out: no room in their queue, or on the disk.
    pub(crate) lines_dropped: AtomicU64,
    /// Bytes that the spool takes on disk.
    pub(crate) spool_bytes: AtomicU64,
}

/// The way of one signal to the collector.
#[derive(Debug, Default)]
pub struct SignalStats {
    /// Records that were made.
    pub(crate) offered: AtomicU64,
    /// Records that were dropped: no room in the queue, refused by the collector for good, or left over at the end.
    pub(crate) dropped: AtomicU64,
    /// Records that the collector acknowledged.
    pub(crate) sent: AtomicU64,
    /// Batches that were sent again.
    pub(crate) resent_batches: AtomicU64,
    /// Records that went to the spool.
    pub(crate) spooled: AtomicU64,
    /// Records of earlier processes that the collector acknowledged.
    pub(crate) recovered: AtomicU64,
    /// Records of earlier processes that are lost.
    pub(crate) unrecovered: AtomicU64,
    /// Records in batches that another collector may have taken too.
    pub(crate) doubtful: AtomicU64,
    /// Operations on the spool that the system refused.
    pub(crate) spool_errors: AtomicU64,
}

impl SignalStats {
    /// Records that were made.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.offered.load(Relaxed)
    }

    /// Records that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Records that the collector acknowledged.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Batches that were sent again.
    #[must_use]
    pub fn resent_batches(&self) -> u64 {
        self.resent_batches.load(Relaxed)
    }
}

impl Stats {
    /// Requests that arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Requests that have ended, whatever became of them.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.outcomes.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Requests that were answered to the last byte.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.ended() - self.outcomes[Outcome::ClientClosed as usize].load(Relaxed)
    }

    pub(crate) fn arrive(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn connection(&self) -> OpenConnection<'_> {
        self.connections.fetch_add(1, Relaxed);
        OpenConnection(&self.connections)
    }

    pub(crate) fn render(&self) -> Text {
        let mut text = Text::new();
        text.counter("weir_gateway_requests_received_total", "Requests that arrived.", self.received());
        for (outcome, count) in Outcome::ALL.iter().zip(&self.outcomes) {
            let labels = [("outcome", outcome.as_str())];
            let help = "Requests that have ended.";
            text.counter_with("weir_gateway_requests_total", help, &labels, count.load(Relaxed));
        }
        text.gauge("weir_gateway_connections", "Open connections of clients.", self.connections.load(Relaxed));
        self.clients.render(&mut text);
        let signals = [("logs", &self.logs), ("traces", &self.traces)];
        let mut series = |name, help, value: fn(&SignalStats) -> u64| {
            for (signal, stats) in signals {
                text.counter_with(name, help, &[("signal", signal)], value(stats));
            }
        };
        series("weir_gateway_records_offered_total", "Records made.", SignalStats::offered);
        series("weir_gateway_records_dropped_total", "Records dropped.", SignalStats::dropped);
        series("weir_gateway_records_sent_total", "Records acknowledged by the collector.", SignalStats::sent);
        series("weir_gateway_batches_resent_total", "Batches sent again.", SignalStats::resent_batches);
        let name = "weir_gateway_records_doubtful_total";
        series(name, "Records that another collector may have taken too.", |stats| stats.doubtful.load(Relaxed));
        let name = "weir_gateway_records_spooled_total";
        series(name, "Records that went to the spool.", |stats| stats.spooled.load(Relaxed));
        let name = "weir_gateway_records_recovered_total";
        series(name, "Records of earlier processes acknowledged.", |stats| stats.recovered.load(Relaxed));
        let name = "weir_gateway_records_unrecovered_total";
        series(name, "Records of earlier processes that are lost.", |stats| stats.unrecovered.load(Relaxed));
        let name = "weir_gateway_spool_errors_total";
        series(name, "Operations on the spool that failed.", |stats| stats.spool_errors.load(Relaxed));
        let dropped = self.lines_dropped.load(Relaxed);
        text.counter("weir_gateway_access_log_lines_dropped_total", "Access-log lines that were left out.", dropped);
        text.gauge("weir_gateway_spool_bytes", "Bytes of the spool on disk.", self.spool_bytes.load(Relaxed));
        text
    }
}

/// Counts a connection as open while it lives.
pub(crate) struct OpenConnection<'s>(&'s AtomicU64);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
