//! The collector's self metrics.

use std::sync::atomic::Ordering::Relaxed;

use weir_record::otlp::Rejection;
use weir_station::metrics::Text;

use super::Admin;
use crate::Reason;

/// The page of `/metrics`.
pub(super) fn page(admin: &Admin) -> Text {
    let mut text = Text::new();
    messages(admin, &mut text);
    senders(admin, &mut text);
    let (counters, pending) = (&admin.counters, &admin.pending);
    text.counter("weir_collector_wal_syncs_total", "Fsyncs of the write-ahead log.", counters.syncs.get());
    text.counter("weir_collector_flushes_total", "Flushes that every table committed.", counters.flushes.get());
    text.counter("weir_collector_commit_retries_total", "Commits tried again.", counters.commit_retries.get());
    let help = "Access records in memory that are not yet committed.";
    text.gauge("weir_collector_pending_records", help, pending.records());
    text.gauge("weir_collector_pending_bytes", "Memory of rows not yet committed.", pending.bytes() as u64);
    let help = "Messages that stand in the write-ahead log alone, because memory is full or after a start.";
    text.gauge("weir_collector_lag_messages", help, pending.lag_frames());
    text.gauge("weir_collector_wal_bytes", "Size of the write-ahead log.", counters.wal_bytes.get());
    text
}

fn messages(admin: &Admin, text: &mut Text) {
    let counters = &admin.counters;
    text.counter("weir_collector_messages_total", "Messages that arrived.", counters.messages.get());
    text.counter("weir_collector_stored_total", "Records and spans acknowledged.", counters.stored.get());
    let help = "Records and spans that arrived again and were left out.";
    text.counter("weir_collector_duplicate_total", help, counters.duplicate.get());
    for (rejection, count) in Rejection::ALL.iter().zip(&counters.rejected) {
        let help = "Records and spans that could not be taken.";
        text.counter_with("weir_collector_rejected_total", help, &[("reason", rejection.name())], count.get());
    }
    for (reason, count) in Reason::ALL.iter().zip(&counters.refused) {
        let help = "Messages that were not taken.";
        text.counter_with("weir_collector_refused_total", help, &[("reason", reason.name())], count.get());
    }
    let help = "Memory of messages under way.";
    text.gauge("weir_collector_in_flight_bytes", help, admin.reception.in_flight_bytes() as u64);
}

fn senders(admin: &Admin, text: &mut Text) {
    for (sender, count) in admin.reception.refused_senders() {
        let help = "Messages refused because their sender had reached its limit.";
        text.counter_with("weir_collector_sender_refused_total", help, &[("sender", &sender)], count);
    }
    for (listener, counts) in &admin.connections {
        let help = "Connections that are open.";
        text.gauge_with("weir_collector_connections", help, &[("listener", listener)], counts.open.load(Relaxed));
    }
    for (listener, counts) in &admin.connections {
        let reasons =
            [("limit", &counts.refused), ("displaced", &counts.displaced), ("handshake", &counts.failed_handshakes)];
        for (reason, count) in reasons {
            let help = "Connections that were closed before their time.";
            let labels = [("listener", *listener), ("reason", reason)];
            text.counter_with("weir_collector_closed_connections_total", help, &labels, count.load(Relaxed));
        }
    }
}
