//! The sender of one signal: takes what waits in a queue, batch by batch, to the collector over OTLP/gRPC.
//!
//! One batch is under way at a time. While the collector answers, batches go from memory and nothing touches the disk.
//! When a try fails, or an answer takes longer than [`SLOW`], the batch under way goes to the spool, and so does all
//! that follows, until the spool is empty again.
//!
//! What always holds: batches go out in the order of their numbers; a number is given for good when its batch is first
//! sent or spooled; a batch that was not acknowledged is sent again with the same number and, unless it is in doubt, the
//! same bytes; what is dropped is counted, and the next stamp tells it. A gateway that is killed loses what waits in its
//! queue, the batch that is being filled (up to `linger`), and, while the collector is slow, the batch under way for up
//! to [`SLOW`]. What of it was counted on the last spooled batch, the next process tells the ledger as dropped. Where
//! earlier processes have left no room in the spool, batches wait in the queue, and what waits is counted once a second:
//! that too the next process tells.
//!
//! All of it runs on a thread of its own, which alone waits for files.

use std::{
    future::Future,
    io,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::KeyValue,
    resource::v1::Resource,
};
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use weir_record::{AccessRecord, BatchStamp, Source, Span, otlp};

use super::{
    SERVICE,
    collectors::{Collectors, Delivery, Progress},
    queue::{Far, Filling, Waited},
    spool::{Append, Entry, Lane, Spool, State},
};
use weir_station::credentials::Credentials;

use crate::{
    config::{SpoolPolicy, TelemetryConfig},
    stats::{SignalStats, Stats},
};

/// With nothing to send, this often it is looked whether drops are still to be told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A collector that takes longer to answer is slow: what it has not acknowledged goes to the spool.
const SLOW: Duration = Duration::from_secs(1);

/// What is sent: a signal's records, where they go, and how they are counted.
pub(crate) trait Exported: Sized + Send + 'static {
    /// The signal's name.
    const SIGNAL: &'static str;
    /// The method of the collector's service.
    const METHOD: &'static str;
    /// The same message, with these marks on its source.
    fn mark(message: &Bytes, marks: &[KeyValue]) -> Bytes;
    /// The counters of the signal.
    fn stats(stats: &Stats) -> &SignalStats;
}

impl Exported for AccessRecord {
    const SIGNAL: &'static str = "logs";
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

    fn mark(message: &Bytes, marks: &[KeyValue]) -> Bytes {
        // Bytes that are no message are the collector's to refuse.
        let Ok(mut marked) = ExportLogsServiceRequest::decode(&message[..]) else { return message.clone() };
        marked.resource_logs.iter_mut().for_each(|group| mark(&mut group.resource, marks));
        marked.encode_to_vec().into()
    }

    fn stats(stats: &Stats) -> &SignalStats {
        &stats.logs
    }
}

impl Exported for Span {
    const SIGNAL: &'static str = "traces";
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn mark(message: &Bytes, marks: &[KeyValue]) -> Bytes {
        // Bytes that are no message are the collector's to refuse.
        let Ok(mut marked) = ExportTraceServiceRequest::decode(&message[..]) else { return message.clone() };
        marked.resource_spans.iter_mut().for_each(|group| mark(&mut group.resource, marks));
        marked.encode_to_vec().into()
    }

    fn stats(stats: &Stats) -> &SignalStats {
        &stats.traces
    }
}

fn mark(resource: &mut Option<Resource>, marks: &[KeyValue]) {
    resource.get_or_insert_default().attributes.extend_from_slice(marks);
}

/// A message of an instance with this number and these counters.
pub(super) fn entry(instance: &str, numbers: Numbers, filling: Filling) -> Entry {
    let Numbers { sequence, offered, dropped, numbered } = numbers;
    let stamp = BatchStamp { sequence, offered, dropped, doubtful: false, elsewhere: None };
    let source = Source { service: SERVICE.to_owned(), instance: instance.to_owned(), stamp: Some(stamp) };
    let (bytes, begin) = otlp::message_in_place(&source, filling.bytes);
    let body = Bytes::from(bytes).slice(begin..);
    Entry { sequence, records: filling.records as u64, offered, dropped, numbered, body }
}

/// What a batch says of its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// Its number.
    pub(super) sequence: u64,
    /// Records made.
    pub(super) offered: u64,
    /// Records dropped.
    pub(super) dropped: u64,
    /// Records in numbered batches, this one's included.
    pub(super) numbered: u64,
}

/// What every sender needs.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// Collectors, batch size, linger, spool.
    pub(crate) config: TelemetryConfig,
    /// What collectors are shown, and which are trusted.
    pub(crate) credentials: Arc<Credentials>,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// What is counted.
    pub(crate) stats: Arc<Stats>,
    /// Where batches wait on disk.
    pub(crate) spool: Option<Arc<Spool>>,
    /// Resolves when the gateway's time to end is over.
    pub(crate) deadline: CancellationToken,
}

/// Sends one signal until its queue is closed and empty.
pub(crate) struct Exporter<T> {
    sending: Sending,
    queue: Far,
    is_open: bool,
    /// The batch that is being filled, and when it has lingered long enough.
    filling: Filling,
    until: Option<Instant>,
    /// A batch that is neither sent nor spooled yet; its number is not given for good.
    held: Option<Entry>,
    under_way: Option<UnderWay>,
    collectors: Option<Collectors>,
    lane: Option<Lane>,
    /// The last number given, and the records in all batches that have one.
    sequence: u64,
    numbered: u64,
    dropped_numbered: u64,
    dropped_told: u64,
    /// After an error of the spool it is tried again then.
    spool_again: Instant,
    signal: PhantomData<fn(T)>,
}

type Delivering = Pin<Box<dyn Future<Output = (Collectors, Delivery)> + Send>>;

struct UnderWay {
    entry: Entry,
    is_on_disk: bool,
    slow_at: Instant,
    progress: watch::Receiver<Progress>,
    delivering: Delivering,
}

impl<T: Exported> Exporter<T> {
    /// The sender of what this queue holds.
    pub(crate) fn new(sending: Sending, queue: Far) -> Self {
        Self {
            filling: Filling::default(),
            collectors: Some(Collectors::new(&sending)),
            sending,
            queue,
            is_open: true,
            until: None,
            held: None,
            under_way: None,
            lane: None,
            sequence: 0,
            numbered: 0,
            dropped_numbered: 0,
            dropped_told: 0,
            spool_again: Instant::now(),
            signal: PhantomData,
        }
    }

    /// Sends what the queue holds.
    pub(crate) async fn run(mut self) {
        let deadline = self.sending.deadline.clone();
        loop {
            self.place_held();
            self.send_next();
            if !self.is_open && self.held.is_none() && self.under_way.is_none() && self.lane.is_none() {
                if self.stats().dropped() == self.dropped_told {
                    return;
                }
                self.number();
                self.place_held();
            }
            let may_fill = self.is_open && self.held.is_none() && (self.under_way.is_none() || self.is_spooling());
            let under_way = self.under_way.as_mut();
            let event = tokio::select! {
                biased;
                () = deadline.cancelled() => Event::OutOfTime,
                event = happen(under_way) => event,
                is_open = fill(&mut self.queue, &mut self.filling, &mut self.until, &self.sending.config), if may_fill => {
                    self.is_open = is_open;
                    Event::Filled
                }
                () = tokio::time::sleep(REPORT_INTERVAL), if !may_fill => Event::Nothing,
            };
            match event {
                Event::OutOfTime => return self.leave(),
                Event::Delivered(collectors, delivery) => self.settle(*collectors, delivery),
                Event::Progressed => self.note_progress(),
                Event::Slow => self.spool_under_way(),
                Event::Filled => self.number(),
                Event::Nothing => {}
            }
            let now = std::time::Instant::now();
            let synced = self.lane.as_mut().map_or(Ok(()), |lane| lane.sync_when_due(now));
            self.check(synced);
        }
    }

    fn stats(&self) -> &SignalStats {
        T::stats(&self.sending.stats)
    }

    /// Whether batches go to the disk.
    fn is_spooling(&self) -> bool {
        self.lane.is_some()
    }

    /// Counts and logs an error of the spool.
    fn check<R>(&mut self, result: io::Result<R>) -> Option<R> {
        if let Some(spool) = &self.sending.spool {
            self.sending.stats.spool_bytes.store(spool.used_bytes(), Relaxed);
        }
        result
            .inspect_err(|error| {
                self.stats().spool_errors.fetch_add(1, Relaxed);
                self.spool_again = Instant::now() + REPORT_INTERVAL;
                tracing::error!(%error, signal = T::SIGNAL, "the spool failed; records wait in memory");
            })
            .ok()
    }

    /// Makes a batch of what was filled, or of drops that are to be told.
    fn number(&mut self) {
        let (offered, dropped) = (self.stats().offered(), self.stats().dropped());
        if self.filling.records == 0 && (dropped == self.dropped_told || self.under_way.is_some() || self.is_spooling())
        {
            return;
        }
        let numbered = self.numbered + self.filling.records as u64;
        let numbers = Numbers { sequence: self.sequence + 1, offered, dropped, numbered };
        self.held = Some(entry(&self.sending.instance, numbers, std::mem::take(&mut self.filling)));
        self.until = None;
    }

    /// Finds a place for a batch that has none: on its way, in the spool, or nowhere.
    fn place_held(&mut self) {
        if self.under_way.is_none() && self.lane.is_none() {
            if let Some(entry) = self.held.take() {
                self.give(&entry);
                self.send(entry, false, &[]);
            }
        } else if self.lane.is_some()
            && Instant::now() >= self.spool_again
            && let Some(entry) = self.held.take()
        {
            self.spool_entry(entry);
        }
    }

    /// Appends a batch to the lane; at the bound the policy decides.
    fn spool_entry(&mut self, entry: Entry) {
        loop {
            let Some(lane) = &mut self.lane else { return self.held = Some(entry) };
            let (appended, lane_is_empty) = (lane.append(&entry), lane.is_empty());
            match self.check(appended) {
                Some(Append::Done) => {
                    self.stats().spooled.fetch_add(entry.records, Relaxed);
                    return self.give(&entry);
                }
                // Earlier processes have filled the spool. The batch waits in memory; how much waits there is noted, so that
                // the next process can count it should this one be killed.
                Some(Append::Full) if lane_is_empty => {
                    self.note_counts();
                    return self.held = Some(entry);
                }
                Some(Append::Full) if self.sending.config.spool_policy == SpoolPolicy::DropOldest => {
                    let dropped = self.lane.as_mut().map_or(Ok(None), Lane::drop_oldest);
                    match self.check(dropped) {
                        Some(Some(lost)) => {
                            self.dropped_numbered += lost;
                            self.drop_records(lost);
                            if let Some(under_way) = &mut self.under_way {
                                under_way.is_on_disk = false;
                            }
                        }
                        Some(None) => return self.drop_records(entry.records),
                        None => return self.held = Some(entry),
                    }
                }
                Some(Append::Full) => return self.drop_records(entry.records),
                None => return self.held = Some(entry),
            }
        }
    }

    fn drop_records(&mut self, count: u64) {
        self.stats().dropped.fetch_add(count, Relaxed);
        self.note_counts();
    }

    fn note_counts(&mut self) {
        let (offered, dropped, numbered) = (self.stats().offered(), self.stats().dropped(), self.dropped_numbered);
        let noted = self.lane.as_mut().map_or(Ok(()), |lane| lane.note_counts(offered, dropped, numbered));
        self.check(noted);
    }

    /// A batch's number is its own for good.
    fn give(&mut self, entry: &Entry) {
        (self.sequence, self.numbered) = (entry.sequence, entry.numbered);
    }

    /// Sends the head of the lane when nothing is under way; removes a lane that is empty.
    fn send_next(&mut self) {
        if self.under_way.is_some() || Instant::now() < self.spool_again {
            return;
        }
        let Some(lane) = &mut self.lane else { return };
        let head = lane.head();
        let Some(head) = self.check(head) else { return };
        if head.lost > 0 {
            self.dropped_numbered += head.lost;
            self.drop_records(head.lost);
        }
        if let Some(entry) = head.entry {
            self.send(entry, true, &[]);
        } else if let Some(lane) = self.lane.take() {
            let removed = lane.remove();
            self.check(removed);
        }
    }

    fn send(&mut self, entry: Entry, is_on_disk: bool, sent_to: &[String]) {
        let Some(mut collectors) = self.collectors.take() else { return };
        let (stats, sent_to) = (Arc::clone(&self.sending.stats), sent_to.to_vec());
        let (instance, sent) = (self.sending.instance.clone(), entry.clone());
        let (progress, seen) = watch::channel(Progress::default());
        let delivering = Box::pin(async move {
            let resent = &T::stats(&stats).resent_batches;
            let delivery = collectors.deliver::<T>(&instance, &sent, &sent_to, &progress, resent).await;
            (collectors, delivery)
        });
        let slow_at = Instant::now() + SLOW;
        self.under_way = Some(UnderWay { entry, is_on_disk, slow_at, progress: seen, delivering });
    }

    /// Notes where the batch under way is sent; one that has trouble goes to the spool.
    fn note_progress(&mut self) {
        let Some(under_way) = &mut self.under_way else { return };
        let Progress { is_troubled, sent_to } = under_way.progress.borrow_and_update().clone();
        if let Some(lane) = &mut self.lane {
            let noted = lane.note_sent_to(&sent_to);
            self.check(noted);
        } else if is_troubled {
            self.spool_under_way();
        }
    }

    /// Begins a lane with the batch under way, and with whom it was sent to. When there is no room for it, the lane keeps
    /// counters alone.
    fn spool_under_way(&mut self) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.slow_at = Instant::now() + REPORT_INTERVAL;
        let (entry, sent_to) = (under_way.entry.clone(), under_way.progress.borrow().sent_to.clone());
        let (Some(spool), None) = (&self.sending.spool, &self.lane) else { return };
        let stats = self.stats();
        let state = State {
            sequence: entry.sequence,
            offered: stats.offered(),
            dropped: stats.dropped(),
            dropped_numbered: self.dropped_numbered,
            numbered: entry.numbered,
            done_sequence: entry.sequence - 1,
            done_numbered: entry.numbered - entry.records,
            sent_to,
            ..State::default()
        };
        let created = spool.create(&self.sending.instance, T::SIGNAL, state);
        let Some(mut lane) = self.check(created) else { return };
        let appended = match lane.append(&entry) {
            Ok(Append::Done) => lane.head().map(|head| head.entry.is_some()),
            Ok(Append::Full) => Ok(false),
            Err(error) => Err(error),
        };
        let is_on_disk = self.check(appended) == Some(true);
        if is_on_disk {
            self.stats().spooled.fetch_add(entry.records, Relaxed);
        } else {
            let noted = lane.note_in_hand(&entry);
            self.check(noted);
        }
        self.lane = Some(lane);
        if let Some(under_way) = &mut self.under_way {
            under_way.is_on_disk = is_on_disk;
        }
    }

    fn settle(&mut self, collectors: Collectors, delivery: Delivery) {
        self.collectors = Some(collectors);
        let Some(UnderWay { entry, .. }) = self.under_way.take() else { return };
        let lost = if delivery == Delivery::Refused { entry.records } else { 0 };
        let settled = self.lane.as_mut().map_or(Ok(()), |lane| lane.settle(lost));
        self.check(settled);
        self.dropped_told = entry.dropped;
        match delivery {
            Delivery::Acknowledged { doubtful } => {
                let stats = self.stats();
                stats.sent.fetch_add(entry.records, Relaxed);
                stats.doubtful.fetch_add(if doubtful { entry.records } else { 0 }, Relaxed);
            }
            Delivery::Refused => {
                tracing::error!(records = entry.records, signal = T::SIGNAL, "the collector refused a batch for good");
                self.dropped_numbered += entry.records;
                self.drop_records(entry.records);
            }
        }
    }

    /// The gateway's time is over: what is in memory goes to the spool, or is dropped and counted.
    fn leave(mut self) {
        self.spool_again = Instant::now();
        if self.under_way.as_ref().is_some_and(|under_way| !under_way.is_on_disk) {
            self.spool_under_way();
        }
        let mut lost = 0;
        // A lane says what is under way; the next process tells what became of it.
        if let (Some(under_way), None) = (self.under_way.take(), &self.lane) {
            lost += under_way.entry.records;
            self.dropped_numbered += under_way.entry.records;
        }
        let before = self.stats().dropped();
        loop {
            if let Some(entry) = self.held.take() {
                let records = entry.records;
                if self.lane.is_some() {
                    self.spool_entry(entry);
                }
                lost += if self.held.take().is_some() || self.lane.is_none() { records } else { 0 };
            }
            self.queue.take(&mut self.filling);
            if self.filling.records == 0 {
                break;
            }
            self.number();
        }
        let at_the_bound = self.stats().dropped() - before;
        self.drop_records(lost);
        let synced = self.lane.as_mut().map_or(Ok(()), Lane::sync);
        self.check(synced);
        let spooled = self.lane.as_ref().map_or(0, |lane| lane.state().numbered - lane.state().done_numbered);
        if spooled > 0 {
            tracing::warn!(records = spooled, signal = T::SIGNAL, "records stay in the spool for the next start");
        }
        if lost + at_the_bound > 0 {
            let left = lost + at_the_bound;
            tracing::error!(left, signal = T::SIGNAL, "records are lost: the collector did not take them in time");
        }
    }
}

enum Event {
    OutOfTime,
    Delivered(Box<Collectors>, Delivery),
    Progressed,
    Slow,
    Filled,
    Nothing,
}

/// What happens to the batch under way. What is to be noted of it comes before its next try.
async fn happen(under_way: Option<&mut UnderWay>) -> Event {
    let Some(under_way) = under_way else { return std::future::pending().await };
    tokio::select! {
        biased;
        Ok(()) = under_way.progress.changed() => Event::Progressed,
        (collectors, delivery) = &mut under_way.delivering => Event::Delivered(Box::new(collectors), delivery),
        () = sleep_until(under_way.slow_at), if !under_way.is_on_disk => Event::Slow,
    }
}

/// Fills a batch: as many as there are, or as come within the linger after the first. `false` when no more come. It may
/// be dropped and called again.
async fn fill(queue: &mut Far, batch: &mut Filling, until: &mut Option<Instant>, config: &TelemetryConfig) -> bool {
    if batch.records == 0 {
        match queue.wait_for(1, Instant::now() + REPORT_INTERVAL).await {
            Waited::Late => return true,
            Waited::Closed => return false,
            Waited::Enough => queue.take(batch),
        }
    }
    let until = *until.get_or_insert_with(|| Instant::now() + config.linger);
    let room = config.batch_records.saturating_sub(batch.records);
    if room > 0 {
        let waited = queue.wait_for(room, until).await;
        queue.take(batch);
        return waited != Waited::Closed;
    }
    true
}
