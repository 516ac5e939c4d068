//! How messages come in: OTLP over gRPC and over HTTP. Each protocol has one file, which also maps refusals to it; what
//! they share is the reception: who may send ([`senders`]), how much memory messages under way take, what is logged.

mod body;
mod buffers;
mod examples;
pub(crate) mod grpc;
pub(crate) mod http;
mod in_flight;
mod reception;
pub mod senders;

use std::{path::PathBuf, time::Duration};

pub(crate) use in_flight::WorkLease;
pub(crate) use reception::Reception;
use senders::SenderLimit;
use weir_station::{
    config::{ByteSize, Section},
    listener::Guard,
    server::Limits,
    tls::ServerTlsConfig,
};

/// The largest message that is taken, bytes, before and after decompression. Larger ones are refused alone.
pub const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

/// What stands before messages.
#[derive(Clone, Debug)]
pub struct ReceiveConfig {
    /// TLS of all listeners; none: plain text.
    pub tls: Option<ServerTlsConfig>,
    /// The file of the tokens that are let in; none: no token is asked for.
    pub token_file: Option<PathBuf>,
    /// Bounds on the connections of each listener.
    pub connections: Limits,
    /// Memory of the messages that are under way.
    pub in_flight_bytes: ByteSize,
    /// How long a message may take to arrive.
    pub message_timeout: Duration,
    /// What each sender may send.
    pub sender_limit: SenderLimit,
}

impl ReceiveConfig {
    /// Reads its keys of the section `[collector]`, and `[collector.tls]` and `[collector.sender_limit]`. Messages under
    /// way have a quarter of `memory`, unless the section says otherwise.
    #[must_use]
    pub fn read(section: &Section, memory: ByteSize) -> Self {
        let config = Self {
            tls: ServerTlsConfig::read(&section.section("tls")),
            token_file: section.optional("token_file"),
            connections: Limits::read(section),
            in_flight_bytes: section.value("in_flight_bytes", ByteSize(memory.0 / 4)),
            message_timeout: section.value("message_timeout", Duration::from_secs(10)),
            sender_limit: SenderLimit::read(&section.section("sender_limit")),
        };
        if config.in_flight_bytes.0 > memory.0 / 4 {
            section.fault("in_flight_bytes", "is more than a quarter of memory", "at most a quarter of memory");
        }
        if config.message_timeout.is_zero() {
            section.fault("message_timeout", "leaves a message no time", "a time such as \"10s\"");
        }
        config
    }

    /// What stands before the listeners.
    #[must_use]
    pub fn guard(&self) -> Guard {
        let asks_certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        Guard { tls: self.tls.is_some(), authentication: asks_certificates || self.token_file.is_some() }
    }
}
