//! The sender: takes what waits in a queue, batch by batch, to the collector over OTLP/gRPC.
//!
//! What always holds: one batch is under way at a time, so batches arrive in the order of their numbers; a batch that
//! was not acknowledged is sent again with the same bytes and the same number, so that the collector knows it; it is
//! given up only when the collector says that it will never take it, or when it has no place to stay.
//!
//! A batch stays in memory while the collector answers. When it fails once, or is late, the batch and all that follow it
//! go to the [outbox](super::outbox)'s spool on disk, and are sent from there.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use weir_record::{AccessRecord, BatchStamp, Source, Span, otlp};

use super::{
    SERVICE,
    outbox::Outbox,
    spool::{Batch, Key},
};
use crate::{
    config::TelemetryConfig,
    stats::{SignalStats, Stats},
};

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A batch that was not acknowledged within this time goes to the disk, while its answer is waited for.
const LATE: Duration = Duration::from_secs(1);

/// With nothing to send, this often it is looked whether drops are still to be told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What is sent: a signal's records, their encoding, where they go, and how they are counted.
pub(crate) trait Exported: Sized + Send + 'static {
    /// The signal's name.
    const SIGNAL: &'static str;
    /// The method of the collector's service.
    const METHOD: &'static str;
    /// The protobuf of a message.
    fn encode(source: &Source, records: &[Self]) -> Vec<u8>;
    /// The counters of the signal.
    fn stats(stats: &Stats) -> &SignalStats;
}

impl Exported for AccessRecord {
    const SIGNAL: &'static str = "logs";
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

    fn encode(source: &Source, records: &[Self]) -> Vec<u8> {
        otlp::encode_logs(source, records)
    }

    fn stats(stats: &Stats) -> &SignalStats {
        &stats.logs
    }
}

impl Exported for Span {
    const SIGNAL: &'static str = "traces";
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn encode(source: &Source, records: &[Self]) -> Vec<u8> {
        otlp::encode_traces(source, records)
    }

    fn stats(stats: &Stats) -> &SignalStats {
        &stats.traces
    }
}

/// A connection to the collector, made when it is first needed.
///
/// # Errors
/// When the address is no URI.
pub(crate) fn connect(config: &TelemetryConfig) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(config.collector.clone())?;
    Ok(endpoint.timeout(config.timeout).connect_timeout(config.timeout).tcp_nodelay(true).connect_lazy())
}

/// Sends one signal until its queue is closed and empty.
pub(crate) struct Exporter {
    /// To the collector.
    pub channel: Channel,
    /// Batch size and linger.
    pub config: TelemetryConfig,
    /// `service.instance.id`.
    pub instance: String,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where batches wait.
    pub outbox: Outbox,
    /// Resolves when the gateway's time to end is over.
    pub deadline: tokio_util::sync::CancellationToken,
}

/// A try to send a batch, the pause before it included.
type Try = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The batch that is being sent.
struct UnderWay {
    key: Key,
    attempt: Try,
    /// When its first try began.
    begun: Instant,
}

impl Exporter {
    /// Sends what the queue holds.
    pub(crate) async fn run<T: Exported>(mut self, mut queue: mpsc::Receiver<T>) {
        let (instance, stats) = (self.instance.clone(), Arc::clone(&self.stats));
        let mut packer = Packer { instance, stats, sequence: 0, dropped_told: 0 };
        let mut records = Vec::with_capacity(self.config.batch_records);
        let (mut is_open, mut pause) = (true, FIRST_PAUSE);
        let mut under_way: Option<UnderWay> = None;
        loop {
            if under_way.is_none() {
                let first = self.outbox.first().await;
                T::stats(&self.stats).dropped.fetch_add(self.outbox.take_damaged(), Relaxed);
                match first {
                    Some(batch) => {
                        let attempt = self.attempt::<T>(batch.body, None);
                        under_way = Some(UnderWay { key: batch.key, attempt, begun: Instant::now() });
                    }
                    None if !is_open => return,
                    None => {}
                }
            }
            let takes_more = is_open && self.outbox.takes_more();
            let late = under_way.as_ref().filter(|_| self.outbox.is_in_memory()).map(|sent| sent.begun + LATE);
            tokio::select! {
                sent = of(&mut under_way) => {
                    let Some(ended) = under_way.take() else { continue };
                    under_way = self.settle::<T>(ended, sent, &mut pause).await;
                }
                open = fill(&self.config, &mut queue, &mut records), if takes_more => {
                    is_open = open;
                    self.pack::<T>(&mut packer, &mut records).await;
                }
                () = sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => self.outbox.to_disk().await,
                () = self.deadline.cancelled() => return self.end::<T>(packer, queue, records).await,
            }
        }
    }

    /// Makes a batch and keeps it until it is sent; `false` when there was nothing to make one of. One that finds no
    /// place is dropped, and its number given to one that tells so: the count outlives this process.
    async fn pack<T: Exported>(&mut self, packer: &mut Packer, records: &mut Vec<T>) -> bool {
        if self.outbox.holds_tally(&packer.key()) {
            packer.take_back();
        }
        let stats = T::stats(&self.stats);
        let Some(batch) = packer.pack(records, stats.dropped()) else { return false };
        let dropped = self.outbox.keep(batch).await;
        if dropped.this {
            packer.take_back();
            // On disk before anybody can see the count.
            if let Some(tally) = packer.pack::<T>(&mut Vec::new(), stats.dropped() + dropped.records)
                && !self.outbox.keep_tally(tally).await
            {
                packer.take_back();
            }
        }
        stats.dropped.fetch_add(dropped.records, Relaxed);
        self.outbox.tell(stats);
        true
    }

    /// What the collector's answer means: the batch is done, or else tried again.
    async fn settle<T: Exported>(
        &mut self,
        sent: UnderWay,
        answer: Result<(), Status>,
        pause: &mut Duration,
    ) -> Option<UnderWay> {
        let stats = T::stats(&self.stats);
        let Err(status) = answer else {
            *pause = FIRST_PAUSE;
            let count = self.outbox.done(&sent.key).await;
            stats.sent.fetch_add(count, Relaxed);
            self.outbox.tell(stats);
            return None;
        };
        // Whatever else the collector says may be mended while we wait; this will not.
        if status.code() == Code::InvalidArgument {
            tracing::error!(%status, "the collector refused a batch for good");
            let count = self.outbox.done(&sent.key).await;
            stats.dropped.fetch_add(count, Relaxed);
            return None;
        }
        stats.resent_batches.fetch_add(1, Relaxed);
        let (code, message, pause_ms) = (status.code(), status.message(), pause.as_millis());
        tracing::warn!(?code, message, pause_ms, "the collector did not take a batch, trying again");
        self.outbox.to_disk().await;
        self.outbox.tell(stats);
        let batch = self.outbox.first().await.filter(|batch| batch.key == sent.key)?;
        let attempt = self.attempt::<T>(batch.body, Some(pause.mul_f64(0.5 + fastrand::f64() / 2.0)));
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Some(UnderWay { attempt, ..sent })
    }

    /// Ends with records that were not sent: on disk, as far as there is room; what is not is lost, and counted.
    async fn end<T: Exported>(mut self, mut packer: Packer, mut queue: mpsc::Receiver<T>, mut records: Vec<T>) {
        self.outbox.to_disk().await;
        loop {
            while records.len() < self.config.batch_records
                && let Ok(record) = queue.try_recv()
            {
                records.push(record);
            }
            if records.is_empty() || !self.pack(&mut packer, &mut records).await {
                break;
            }
        }
        let (kept, lost) = (self.outbox.records_on_disk(), self.outbox.give_up());
        T::stats(&self.stats).dropped.fetch_add(lost, Relaxed);
        tracing::warn!(signal = T::SIGNAL, kept, lost, "the collector did not take all records in time");
    }

    fn attempt<T: Exported>(&self, body: Bytes, pause: Option<Duration>) -> Try {
        let channel = self.channel.clone();
        Box::pin(async move {
            if let Some(pause) = pause {
                sleep(pause).await;
            }
            let mut grpc = Grpc::new(channel);
            grpc.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
            grpc.unary(Request::new(body), PathAndQuery::from_static(T::METHOD), BytesCodec).await?;
            Ok(())
        })
    }
}

/// What becomes of the try that is under way; never anything when none is.
async fn of(under_way: &mut Option<UnderWay>) -> Result<(), Status> {
    match under_way {
        Some(sent) => (&mut sent.attempt).await,
        None => std::future::pending().await,
    }
}

/// Fills a batch: as many as there are, or as come within the linger after the first. `false` when no more come. What
/// is in the batch stays there when this is cut off.
async fn fill<T>(config: &TelemetryConfig, queue: &mut mpsc::Receiver<T>, records: &mut Vec<T>) -> bool {
    if records.is_empty() {
        match timeout_at(Instant::now() + REPORT_INTERVAL, queue.recv()).await {
            Err(_) => return true,
            Ok(None) => return false,
            Ok(Some(first)) => records.push(first),
        }
    }
    let until = Instant::now() + config.linger;
    while records.len() < config.batch_records {
        let room = config.batch_records - records.len();
        match timeout_at(until, queue.recv_many(records, room)).await {
            Err(_) => return true,
            Ok(0) => return false,
            Ok(_) => {}
        }
    }
    true
}

/// Makes batches of records: gives them their numbers, and the counts of that moment.
struct Packer {
    instance: String,
    stats: Arc<Stats>,
    /// Number of the last batch.
    sequence: u64,
    /// What the last batch told of dropped records.
    dropped_told: u64,
}

impl Packer {
    /// The batch of these records, which tells that so many were dropped; without records none, unless that is news.
    fn pack<T: Exported>(&mut self, records: &mut Vec<T>, dropped: u64) -> Option<Batch> {
        let offered = T::stats(&self.stats).offered();
        if records.is_empty() && dropped == self.dropped_told {
            return None;
        }
        (self.sequence, self.dropped_told) = (self.sequence + 1, dropped);
        let stamp = BatchStamp { sequence: self.sequence, offered, dropped, doubtful: false };
        let source = Source { service: SERVICE.to_owned(), instance: self.instance.clone(), stamp: Some(stamp) };
        let body = Bytes::from(T::encode(&source, records));
        let batch = Batch { key: self.key(), records: records.len() as u64, body };
        records.clear();
        Some(batch)
    }

    /// The last batch's key.
    fn key(&self) -> Key {
        Key { instance: self.instance.clone(), sequence: self.sequence }
    }

    /// The last batch went nowhere: its number is free again.
    fn take_back(&mut self) {
        self.sequence -= 1;
    }
}

/// The innermost reason: tonic's own says only that there was a transport error.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Hands messages through as bytes: they are encoded already, and stay the same when they are sent again.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
