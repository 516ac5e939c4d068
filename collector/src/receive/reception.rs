//! A message's way in, whatever protocol it came by: who sends it, how much it may be, its body, the intake.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, http::HeaderMap};
use bytes::Bytes;
use tokio::time::timeout;
use weir_record::otlp;
use weir_station::{server::Peer, token::Tokens};

use super::{
    MESSAGE_LIMIT_BYTES, ReceiveConfig,
    body::{self, Compression, Framing},
    buffers::Buffers,
    examples::{Examples, Shown},
    in_flight::{InFlight, WorkLease},
    senders::{Senders, Visit},
};
use crate::{Accepted, Counters, Intake, Refusal, Signal, intake::now_us};

/// How many times its length a message takes while it is worked on, about: itself and its rows.
const WORK_TIMES: usize = 3;

/// The same of a message in JSON, which becomes protobuf first.
const JSON_TIMES: usize = 8;

/// Beside the memory of messages under way, this part of it is kept for those that come next.
const BUFFERS_SHARE: usize = 8;

/// What all receivers share.
#[derive(Debug)]
pub(crate) struct Reception {
    intake: Intake,
    tokens: Option<Arc<Tokens>>,
    senders: Senders,
    in_flight: Arc<InFlight>,
    buffers: Arc<Buffers>,
    examples: Examples,
    counters: Arc<Counters>,
    message_timeout: std::time::Duration,
}

/// How a message is written; the answer is written alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
}

/// A request, as its receiver understands it.
#[derive(Debug)]
pub(super) struct Arrival<'b> {
    pub(super) signal: Signal,
    pub(super) peer: Peer,
    pub(super) headers: HeaderMap,
    pub(super) envelope: Result<Envelope, Refusal>,
    pub(super) body: &'b mut Body,
}

/// What the headers say of the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) form: Form,
    pub(super) compression: Compression,
    pub(super) framing: Framing,
    /// How long it is, when its sender says so.
    pub(super) declared_bytes: Option<usize>,
}

impl Reception {
    pub(crate) fn new(
        intake: Intake,
        tokens: Option<Arc<Tokens>>,
        config: &ReceiveConfig,
        counters: Arc<Counters>,
    ) -> Self {
        let in_flight_bytes = usize::try_from(config.in_flight_bytes.0).unwrap_or(usize::MAX);
        Self {
            intake,
            tokens,
            senders: Senders::new(config.sender_limit),
            in_flight: InFlight::new(in_flight_bytes),
            buffers: Buffers::new(in_flight_bytes / BUFFERS_SHARE),
            examples: Examples::new(Arc::clone(&counters)),
            counters,
            message_timeout: config.message_timeout,
        }
    }

    /// What messages under way hold now, bytes.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight.held_bytes()
    }

    /// Each sender that was refused for its limits, and how often.
    pub(crate) fn refused_senders(&self) -> Vec<(Arc<str>, u64)> {
        self.senders.refused()
    }

    /// Takes a message. When it returns `Ok`, the message is on disk.
    ///
    /// # Errors
    /// When it was not taken, and why.
    pub(super) async fn take(&self, arrival: Arrival<'_>) -> Result<Accepted, Refusal> {
        self.counters.messages.add(1);
        let (signal, mut shown) = (arrival.signal, Shown::default());
        let sender = self.sender(&arrival);
        let name = sender.clone().unwrap_or_else(|| arrival.peer.0.ip().to_string());
        let taken = match sender {
            Some(_) => self.take_from(&name, arrival, &mut shown).await,
            None => Err(Refusal::Unauthenticated),
        };
        match &taken {
            Ok(accepted) => self.examples.rejected(signal, &name, accepted.rejected, &shown, now_us()),
            Err(refusal) => self.examples.refused(signal, &name, refusal, &shown, now_us()),
        }
        taken
    }

    /// The name of the sender: its token's, or its address where none is asked for. `None` when it is not known.
    fn sender(&self, arrival: &Arrival<'_>) -> Option<String> {
        match &self.tokens {
            Some(tokens) => tokens.holder(&arrival.headers).map(|name| name.to_string()),
            None => Some(arrival.peer.0.ip().to_string()),
        }
    }

    async fn take_from(&self, name: &str, arrival: Arrival<'_>, shown: &mut Shown) -> Result<Accepted, Refusal> {
        let visit = self.senders.enter(name, Instant::now())?;
        let taken = self.read_and_take(&visit, arrival, shown).await;
        // What was read has cost as much, whatever became of it.
        let records = taken.as_ref().map_or(0, |accepted| accepted.records);
        visit.charge(records, shown.size_bytes, Instant::now());
        taken
    }

    async fn read_and_take(&self, visit: &Visit, arrival: Arrival<'_>, shown: &mut Shown) -> Result<Accepted, Refusal> {
        let envelope = arrival.envelope?;
        let mut lease = self.in_flight.body(visit.held_bytes());
        let read = body::read(arrival.body, envelope.framing, envelope.declared_bytes, &self.buffers, &mut lease);
        let (is_compressed, body) =
            timeout(self.message_timeout, read).await.map_err(|_| Refusal::Slow(self.message_timeout))??;
        *shown = Shown::of(&body);
        let compression = if is_compressed { envelope.compression } else { Compression::None };
        let size_bytes = body.len().saturating_mul(compression.times()).min(MESSAGE_LIMIT_BYTES);
        let mut work = self.in_flight.work(size_bytes.saturating_mul(WORK_TIMES)).await?;
        drop(lease);
        // From here to the rows nothing waits: as many messages as there are threads come to more than they hold.
        let body = body::decompress(compression, body, &mut work)?;
        *shown = Shown::of(&body);
        let body = match envelope.form {
            Form::Protobuf => body,
            Form::Json => to_protobuf(arrival.signal, &body, &mut work)?,
        };
        self.intake.take(arrival.signal, body, &mut work).await
    }
}

fn to_protobuf(signal: Signal, body: &[u8], work: &mut WorkLease) -> Result<Bytes, Refusal> {
    work.hold_at_least(body.len().saturating_mul(JSON_TIMES))?;
    let protobuf = match signal {
        Signal::Logs => otlp::logs_json_to_protobuf(body)?,
        Signal::Traces => otlp::traces_json_to_protobuf(body)?,
    };
    Ok(protobuf.into())
}
