//! What is refused and rejected is counted by its reason, and an example of each reason goes to the log: at most one a
//! minute, so that neither a mistake nor malice fills the disk.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use weir_record::otlp::Rejection;

use crate::{Counters, Refusal, Rejected, Signal, refusal::Reason};

/// Between two examples of one reason, microseconds.
const INTERVAL_US: i64 = 60_000_000;

/// Bytes of a message that an example shows.
const SHOWN_BYTES: usize = 48;

/// Counts, and shows examples.
#[derive(Debug)]
pub(crate) struct Examples {
    counters: Arc<Counters>,
    refused: [Last; Reason::ALL.len()],
    rejected: [Last; Rejection::ALL.len()],
}

/// When the last example of a reason was shown; microseconds since the Unix epoch, 0 before the first.
#[derive(Debug, Default)]
struct Last(AtomicI64);

impl Last {
    fn is_due(&self, now_us: i64) -> bool {
        let last_us = self.0.load(Relaxed);
        (last_us == 0 || now_us.saturating_sub(last_us) >= INTERVAL_US)
            && self.0.compare_exchange(last_us, now_us, Relaxed, Relaxed).is_ok()
    }
}

/// What an example shows of a message: never a header, which may hold a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Its length as far as it was read, bytes.
    pub(crate) size_bytes: usize,
    /// Its beginning, decompressed if it came to that.
    first_bytes: Vec<u8>,
}

impl Shown {
    /// Of these bytes.
    pub(crate) fn of(body: &[u8]) -> Self {
        Self { size_bytes: body.len(), first_bytes: body[..body.len().min(SHOWN_BYTES)].to_vec() }
    }
}

impl Examples {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, refused: Default::default(), rejected: Default::default() }
    }

    /// Counts a message that was refused.
    pub(crate) fn refused(&self, signal: Signal, sender: &str, refusal: &Refusal, shown: &Shown, now_us: i64) {
        let reason = refusal.reason();
        self.counters.refused[reason as usize].add(1);
        if self.refused[reason as usize].is_due(now_us) {
            let first_bytes = shown.first_bytes.escape_ascii();
            let (reason, size_bytes) = (reason.name(), shown.size_bytes);
            tracing::warn!(reason, ?signal, sender, size_bytes, %first_bytes, error = %refusal, "a message was refused");
        }
    }

    /// Shows a message of which records were rejected; the log's writer counts them, once each.
    pub(crate) fn rejected(&self, signal: Signal, sender: &str, rejected: Rejected, shown: &Shown, now_us: i64) {
        for (rejection, records) in rejected.iter().filter(|(own, _)| self.rejected[*own as usize].is_due(now_us)) {
            let first_bytes = shown.first_bytes.escape_ascii();
            let (reason, size_bytes) = (rejection.name(), shown.size_bytes);
            tracing::warn!(
                reason, ?signal, sender, records, size_bytes, %first_bytes, error = %rejection,
                "records of a message were rejected"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_shown_once_a_minute() {
        let last = Last::default();
        let due = [1, 2, INTERVAL_US, INTERVAL_US + 1, INTERVAL_US + 2, 3 * INTERVAL_US].map(|now| last.is_due(now));
        assert_eq!(due, [true, false, false, true, false, true]);
    }

    #[test]
    fn each_refusal_is_counted_by_its_reason() {
        let counters = Arc::new(Counters::default());
        let examples = Examples::new(Arc::clone(&counters));
        for refusal in [Refusal::TooLarge, Refusal::Closed, Refusal::TooLarge] {
            examples.refused(Signal::Logs, "a", &refusal, &Shown::of(b"\xff\n"), 1);
        }
        let counts = Reason::ALL.map(|reason| counters.refused[reason as usize].get());
        assert_eq!(counts, [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
