//! What is counted of clients' connections.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use weir_station::metrics::Text;

use super::{refused::Reason, tls::TlsFailure, upgrade::TunnelReason};

macro_rules! closings {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Why the gateway closed a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Closing { $($(#[$doc])* $variant),+ }

        impl Closing {
            /// Every reason, in its order.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

closings! {
    /// On arrival: the bound was reached, and no other could give way.
    Full = "full",
    /// On arrival: its address has as many as it may.
    Address = "address",
    /// In favour of another: the bound was reached, and it was idle for longest.
    Displaced = "displaced",
    /// It was idle for as long as it may be.
    Idle = "idle",
    /// The peer did not take what was sent.
    Write = "write",
    /// It had as many requests as it may.
    Requests = "requests",
    /// The gateway ended, and nothing was under way on it.
    Drained = "drained",
    /// The gateway ended, and what was under way on it did not end in time.
    Cut = "cut",
}

/// Of connections, since the start.
#[derive(Debug, Default)]
pub(crate) struct ClientCounts {
    closed: [AtomicU64; Closing::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
    tls_failures: [TlsCount; TlsFailure::ALL.len()],
    tunnels: [AtomicU64; TunnelReason::ALL.len()],
    http2: AtomicU64,
}

#[derive(Debug, Default)]
struct TlsCount {
    count: AtomicU64,
    /// The second, since the first failure of all, after that in which one was last told of.
    next_told_s: AtomicU64,
}

impl ClientCounts {
    /// The gateway closes a connection.
    pub(crate) fn close(&self, why: Closing) {
        self.closed[why as usize].fetch_add(1, Relaxed);
    }

    /// A request is refused by the connection that it came on.
    pub(crate) fn refuse(&self, why: Reason) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// A handshake failed; whether it is the first of its kind in this second, and so is told of.
    pub(crate) fn fail_tls(&self, why: TlsFailure) -> bool {
        static BEGUN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let of_kind = &self.tls_failures[why as usize];
        of_kind.count.fetch_add(1, Relaxed);
        let next = BEGUN.elapsed().as_secs() + 1;
        of_kind.next_told_s.fetch_max(next, Relaxed) < next
    }

    /// A tunnel ended.
    pub(crate) fn tunnel(&self, why: TunnelReason) {
        self.tunnels[why as usize].fetch_add(1, Relaxed);
    }

    /// A connection turned out to be HTTP/2.
    pub(crate) fn http2(&self) {
        self.http2.fetch_add(1, Relaxed);
    }

    /// Shows it all.
    pub(crate) fn render(&self, text: &mut Text) {
        let mut series = |name, help, label, values: &mut dyn Iterator<Item = (&str, &AtomicU64)>| {
            for (value, count) in values {
                text.counter_with(name, help, &[(label, value)], count.load(Relaxed));
            }
        };
        let mut values = Closing::ALL.iter().map(|why| why.as_str()).zip(&self.closed);
        series("weir_gateway_connections_closed_total", "Connections that the gateway closed.", "reason", &mut values);
        let mut values = Reason::ALL.iter().map(|why| why.as_str()).zip(&self.refused);
        let name = "weir_gateway_requests_refused_total";
        series(name, "Requests refused by their connection.", "reason", &mut values);
        let counts = self.tls_failures.iter().map(|failure| &failure.count);
        let mut values = TlsFailure::ALL.iter().map(|why| why.as_str()).zip(counts);
        series("weir_gateway_tls_failures_total", "TLS handshakes that failed.", "reason", &mut values);
        let mut values = TunnelReason::ALL.iter().map(|why| why.as_str()).zip(&self.tunnels);
        series("weir_gateway_tunnels_total", "WebSocket tunnels that ended.", "reason", &mut values);
        let help = "Connections that speak HTTP/2.";
        text.counter("weir_gateway_http2_connections_total", help, self.http2.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_of_failure_the_first_in_a_second_is_told_of() {
        let counts = ClientCounts::default();
        let told = |why| (0..1_000).filter(|_| counts.fail_tls(why)).count();
        assert!((1..=2).contains(&told(TlsFailure::UnknownName)));
        assert!((1..=2).contains(&told(TlsFailure::PlainHttp)));
        let mut text = Text::new();
        counts.render(&mut text);
        assert!(text.finish().contains("weir_gateway_tls_failures_total{reason=\"unknown_name\"} 1000"));
    }
}
