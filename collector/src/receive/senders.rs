//! What each sender may send: records and bytes a second, messages at once. A sender is known by the name of its token,
//! or else by its address.
//!
//! What always holds: a message is let in or refused before it is read, by what its sender has sent before; what it came to
//! is charged afterwards. So a limit may be passed by one message, and the sender then waits for as long as that takes
//! to be made good. At most [`MOST_SENDERS`] are remembered; beyond them the one that was away for longest is
//! forgotten, and when none is away, the rest share one limit.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weir_station::config::{ByteSize, Section};

use crate::Refusal;

/// Senders that are remembered.
pub const MOST_SENDERS: usize = 1_024;

/// How much of a second's worth can be saved up.
const BURST_S: f64 = 2.0;

/// The longest that a sender is told to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When a sender that has too much under way should come again.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);

/// The name under which those stand together that are not remembered.
const OTHERS: &str = "__other__";

/// What each sender may send. No limit unless set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderLimit {
    /// Records and spans a second.
    pub records_per_s: Option<u64>,
    /// Bytes of messages a second, decompressed.
    pub bytes_per_s: Option<ByteSize>,
    /// Messages at once.
    pub concurrency: Option<usize>,
}

impl SenderLimit {
    /// Reads `records_per_s`, `bytes_per_s` and `concurrency`.
    #[must_use]
    pub fn read(section: &Section) -> Self {
        let limit = Self {
            records_per_s: section.optional("records_per_s"),
            bytes_per_s: section.optional("bytes_per_s"),
            concurrency: section.optional("concurrency"),
        };
        let zeros = [
            ("records_per_s", limit.records_per_s == Some(0)),
            ("bytes_per_s", limit.bytes_per_s == Some(ByteSize(0))),
            ("concurrency", limit.concurrency == Some(0)),
        ];
        for (key, _) in zeros.into_iter().filter(|(_, is_zero)| *is_zero) {
            section.fault(key, "is 0, which lets nobody send", "at least 1, or no such key");
        }
        limit
    }
}

/// The senders.
#[derive(Debug)]
pub(crate) struct Senders {
    limit: SenderLimit,
    all: Mutex<HashMap<Arc<str>, Arc<Sender>>>,
    /// Refusals of those that were forgotten.
    forgotten_refused: AtomicU64,
}

/// A sender.
#[derive(Debug)]
struct Sender {
    name: Arc<str>,
    /// What its messages under way hold, bytes.
    held_bytes: Arc<AtomicUsize>,
    refused: AtomicU64,
    account: Mutex<Account>,
}

/// What a sender has under way, and what it has sent.
#[derive(Debug)]
struct Account {
    under_way: usize,
    records: Option<Bucket>,
    bytes: Option<Bucket>,
    last: Instant,
}

impl Account {
    fn new(limit: &SenderLimit, now: Instant) -> Self {
        Self {
            under_way: 0,
            records: limit.records_per_s.map(|rate| Bucket::new(rate, now)),
            bytes: limit.bytes_per_s.map(|rate| Bucket::new(rate.0, now)),
            last: now,
        }
    }

    fn enter(&mut self, limit: &SenderLimit, now: Instant) -> Result<(), Refusal> {
        if limit.concurrency.is_some_and(|most| self.under_way >= most) {
            return Err(Refusal::SenderLimit { limit: "messages at once", retry_after: CONCURRENCY_WAIT });
        }
        for (bucket, limit) in [(&mut self.records, "records a second"), (&mut self.bytes, "bytes a second")] {
            if let Some(retry_after) = bucket.as_mut().and_then(|bucket| bucket.wait(now)) {
                return Err(Refusal::SenderLimit { limit, retry_after });
            }
        }
        self.under_way += 1;
        self.last = now;
        Ok(())
    }
}

/// Tokens that come at a rate, and are taken when it is known how many: there may be less than none of them.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate is far below what a float holds exactly")]
        let rate = rate as f64;
        Self { rate, level: rate * BURST_S, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed_s = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed_s * self.rate).min(self.rate * BURST_S);
        self.at = now;
    }

    /// How long until there is some again. `None` when there is.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        let missing_s = -self.level / self.rate;
        (missing_s >= 0.0).then(|| Duration::try_from_secs_f64(missing_s).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }

    fn take(&mut self, count: usize, now: Instant) {
        self.fill(now);
        #[expect(clippy::cast_precision_loss, reason = "a count is far below what a float holds exactly")]
        let count = count as f64;
        self.level -= count;
    }
}

impl Sender {
    fn new(name: &str, limit: &SenderLimit, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            held_bytes: Arc::default(),
            refused: AtomicU64::new(0),
            account: Mutex::new(Account::new(limit, now)),
        })
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Senders {
    pub(crate) fn new(limit: SenderLimit) -> Self {
        Self { limit, all: Mutex::default(), forgotten_refused: AtomicU64::new(0) }
    }

    /// A message of this sender arrives.
    ///
    /// # Errors
    /// When the sender has reached a limit.
    pub(crate) fn enter(&self, name: &str, now: Instant) -> Result<Visit, Refusal> {
        let sender = self.sender(name, now);
        let entered = sender.account().enter(&self.limit, now);
        match entered {
            Ok(()) => Ok(Visit(sender)),
            Err(refusal) => {
                sender.refused.fetch_add(1, Relaxed);
                Err(refusal)
            }
        }
    }

    /// Each sender that was refused for its limits, and how often.
    pub(crate) fn refused(&self) -> Vec<(Arc<str>, u64)> {
        let all = self.lock();
        let mut refused: HashMap<Arc<str>, u64> =
            all.values().map(|sender| (Arc::clone(&sender.name), sender.refused.load(Relaxed))).collect();
        drop(all);
        *refused.entry(OTHERS.into()).or_default() += self.forgotten_refused.load(Relaxed);
        let mut refused: Vec<_> = refused.into_iter().filter(|(_, count)| *count > 0).collect();
        refused.sort_unstable();
        refused
    }

    fn sender(&self, name: &str, now: Instant) -> Arc<Sender> {
        let mut all = self.lock();
        if let Some(known) = all.get(name) {
            return Arc::clone(known);
        }
        let mut name = name;
        if all.len() >= MOST_SENDERS {
            let away = all.values().filter_map(|sender| {
                let account = sender.account();
                (account.under_way == 0).then(|| (account.last, Arc::clone(&sender.name)))
            });
            match away.min() {
                Some((_, oldest)) => {
                    if let Some(forgotten) = all.remove(&oldest) {
                        self.forgotten_refused.fetch_add(forgotten.refused.load(Relaxed), Relaxed);
                    }
                }
                None => name = OTHERS,
            }
        }
        Arc::clone(all.entry(name.into()).or_insert_with(|| Sender::new(name, &self.limit, now)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Sender>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message of a sender that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit(Arc<Sender>);

impl Visit {
    /// What the sender's messages under way hold together, bytes.
    pub(crate) fn held_bytes(&self) -> &Arc<AtomicUsize> {
        &self.0.held_bytes
    }

    /// Charges what the message came to.
    pub(crate) fn charge(&self, records: usize, bytes: usize, now: Instant) {
        let mut account = self.0.account();
        if let Some(bucket) = &mut account.records {
            bucket.take(records, now);
        }
        if let Some(bucket) = &mut account.bytes {
            bucket.take(bytes, now);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.account().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn wait(refused: Result<Visit, Refusal>) -> Duration {
        refused.err().and_then(|refusal| refusal.retry_after()).unwrap()
    }

    #[test]
    fn a_limit_may_be_passed_by_one_message_and_is_then_made_good() {
        let limit = SenderLimit { records_per_s: Some(100), ..SenderLimit::default() };
        let (senders, begun) = (Senders::new(limit), Instant::now());
        let after = |ms| begun + Duration::from_millis(ms);
        senders.enter("a", begun).unwrap().charge(700, 1, begun);
        assert_eq!(wait(senders.enter("a", after(1_000))), Duration::from_secs(4));
        assert!(senders.enter("b", after(1_000)).is_ok());
        assert!(senders.enter("a", after(4_990)).is_err());
        assert!(senders.enter("a", after(5_010)).is_ok());
        assert_eq!(senders.refused(), [("a".into(), 2)]);
    }

    #[test]
    fn a_sender_has_so_many_messages_at_once() {
        let limit = SenderLimit { concurrency: Some(2), ..SenderLimit::default() };
        let (senders, now) = (Senders::new(limit), Instant::now());
        let (first, _second) = (senders.enter("a", now).unwrap(), senders.enter("a", now).unwrap());
        assert_eq!(wait(senders.enter("a", now)), CONCURRENCY_WAIT);
        drop(first);
        assert!(senders.enter("a", now).is_ok());
    }

    #[test]
    fn so_many_senders_are_remembered_and_no_refusal_is_forgotten() {
        let limit = SenderLimit { records_per_s: Some(1), ..SenderLimit::default() };
        let (senders, now) = (Senders::new(limit), Instant::now());
        for number in 0..3 * MOST_SENDERS {
            let name = number.to_string();
            senders.enter(&name, now).unwrap().charge(1_000, 1, now);
            assert!(senders.enter(&name, now).is_err());
        }
        assert_eq!(senders.lock().len(), MOST_SENDERS);
        assert_eq!(senders.refused().iter().map(|(_, count)| count).sum::<u64>(), 3 * MOST_SENDERS as u64);
        let _busy: Vec<_> =
            (0..2 * MOST_SENDERS).filter_map(|number| senders.enter(&format!("busy {number}"), now).ok()).collect();
        assert_eq!(senders.lock().len(), MOST_SENDERS + 1);
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_rate_and_the_burst_and_one_message(
            messages in vec((0..2_000_u64, 0..50_usize), 1..100),
        ) {
            let begun = Instant::now();
            let limit = SenderLimit { records_per_s: Some(10), ..SenderLimit::default() };
            let (mut account, mut now, mut passed) = (Account::new(&limit, begun), begun, 0.0);
            for (pause_ms, records) in messages {
                now += Duration::from_millis(pause_ms);
                if account.enter(&limit, now).is_ok() {
                    account.records.as_mut().unwrap().take(records, now);
                    passed += f64::from(u32::try_from(records).unwrap());
                }
                prop_assert!(passed <= 10.0 * (now - begun).as_secs_f64() + 10.0 * BURST_S + 50.0);
            }
        }
    }
}
