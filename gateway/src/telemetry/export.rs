//! The sender: takes what waits in a queue, batch by batch, to the collector over OTLP/gRPC.
//!
//! What always holds: one batch is under way at a time, so batches arrive in the order of their numbers; a batch that
//! was not acknowledged is sent again with the same bytes and the same number, so that the collector knows it; it is
//! given up only when the collector says that it will never take it, or when the gateway's time to end is over.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use weir_record::{AccessRecord, BatchStamp, Source, Span, otlp};

use super::SERVICE;
use crate::{
    config::TelemetryConfig,
    stats::{SignalStats, Stats},
};

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// With nothing to send, this often it is looked whether drops are still to be told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What is sent: a signal's records, their encoding, where they go, and how they are counted.
pub(crate) trait Exported: Sized + Send + 'static {
    /// The method of the collector's service.
    const METHOD: &'static str;
    /// The protobuf of a message.
    fn encode(source: &Source, records: &[Self]) -> Vec<u8>;
    /// The counters of the signal.
    fn stats(stats: &Stats) -> &SignalStats;
}

impl Exported for AccessRecord {
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

    fn encode(source: &Source, records: &[Self]) -> Vec<u8> {
        otlp::encode_logs(source, records)
    }

    fn stats(stats: &Stats) -> &SignalStats {
        &stats.logs
    }
}

impl Exported for Span {
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
    /// Resolves when the gateway's time to end is over.
    pub deadline: tokio_util::sync::CancellationToken,
}

impl Exporter {
    /// Sends what the queue holds.
    pub(crate) async fn run<T: Exported>(self, mut queue: mpsc::Receiver<T>) {
        let stats = T::stats(&self.stats);
        let mut sequence = 0;
        let mut dropped_told = 0;
        let mut batch = Vec::with_capacity(self.config.batch_records);
        loop {
            let is_open = self.fill(&mut queue, &mut batch).await;
            let (offered, dropped) = (stats.offered(), stats.dropped());
            if !batch.is_empty() || dropped != dropped_told {
                sequence += 1;
                let stamp = BatchStamp { sequence, offered, dropped, doubtful: false };
                let source =
                    Source { service: SERVICE.to_owned(), instance: self.instance.clone(), stamp: Some(stamp) };
                let body = Bytes::from(T::encode(&source, &batch));
                let count = batch.len() as u64;
                batch.clear();
                match self.deliver::<T>(body).await {
                    Delivery::Acknowledged => {
                        stats.sent.fetch_add(count, Relaxed);
                        dropped_told = dropped;
                    }
                    Delivery::Refused => drop(stats.dropped.fetch_add(count, Relaxed)),
                    Delivery::OutOfTime => {
                        let left = count + drain(&mut queue);
                        stats.dropped.fetch_add(left, Relaxed);
                        tracing::error!(
                            left,
                            method = T::METHOD,
                            "records are lost: the collector did not take them in time"
                        );
                        return;
                    }
                }
            }
            if !is_open {
                return;
            }
        }
    }

    /// Fills a batch: as many as there are, or as come within the linger after the first. `false` when no more come.
    async fn fill<T>(&self, queue: &mut mpsc::Receiver<T>, batch: &mut Vec<T>) -> bool {
        match timeout_at(Instant::now() + REPORT_INTERVAL, queue.recv()).await {
            Err(_) => return true,
            Ok(None) => return false,
            Ok(Some(first)) => batch.push(first),
        }
        let until = Instant::now() + self.config.linger;
        while batch.len() < self.config.batch_records {
            let room = self.config.batch_records - batch.len();
            match timeout_at(until, queue.recv_many(batch, room)).await {
                Err(_) => return true,
                Ok(0) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    async fn deliver<T: Exported>(&self, body: Bytes) -> Delivery {
        let mut pause = FIRST_PAUSE;
        loop {
            let status = tokio::select! {
                sent = self.send::<T>(body.clone()) => match sent {
                    Ok(()) => return Delivery::Acknowledged,
                    Err(status) => status,
                },
                () = self.deadline.cancelled() => return Delivery::OutOfTime,
            };
            // Whatever else the collector says may be mended while we wait; this will not.
            if status.code() == Code::InvalidArgument {
                tracing::error!(%status, "the collector refused a batch for good");
                return Delivery::Refused;
            }
            T::stats(&self.stats).resent_batches.fetch_add(1, Relaxed);
            let pause_ms = pause.as_millis();
            tracing::warn!(code = ?status.code(), message = status.message(), pause_ms, "the collector did not take a batch, trying again");
            tokio::select! {
                () = sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                () = self.deadline.cancelled() => return Delivery::OutOfTime,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn send<T: Exported>(&self, body: Bytes) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
        grpc.unary(Request::new(body), PathAndQuery::from_static(T::METHOD), BytesCodec).await?;
        Ok(())
    }
}

enum Delivery {
    Acknowledged,
    Refused,
    OutOfTime,
}

fn drain<T>(queue: &mut mpsc::Receiver<T>) -> u64 {
    let mut count = 0;
    while queue.try_recv().is_ok() {
        count += 1;
    }
    count
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
