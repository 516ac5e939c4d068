//! The section `[collector]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use weir_lake::{StoreConfig, maintain::Policy};
use weir_station::{
    config::{ByteSize, Document},
    listener::Exposure,
};

use crate::{flush::FlushPolicy, receive::ReceiveConfig};

/// How a collector runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// Health, self metrics, and what is pending.
    pub admin: SocketAddr,
    /// Whether these may be reached by others.
    pub exposure: Exposure,
    /// What stands before messages.
    pub receive: ReceiveConfig,
    /// Directory of the write-ahead log.
    pub wal: PathBuf,
    /// Size at which the log begins a new segment.
    pub wal_segment: ByteSize,
    /// The most that the log may take on disk.
    pub wal_budget: ByteSize,
    /// When to flush.
    pub flush: FlushPolicy,
    /// Memory of the whole collector, of which each part of it has its share.
    pub memory: ByteSize,
    /// How long the last commits may take when the process is asked to end.
    pub shutdown_deadline: Duration,
    /// Where the tables are.
    pub store: StoreConfig,
    /// How the tables are kept.
    pub maintenance: Policy,
}

impl Config {
    /// Reads the sections `[collector]`, `[store]` and `[maintenance]`. `data` is the directory that defaults stand in.
    #[must_use]
    pub fn read(document: &Document, data: &std::path::Path) -> Self {
        let section = document.section("collector");
        let address = |key, port: u16| section.value(key, SocketAddr::from(([127, 0, 0, 1], port)));
        let size = |key, default| section.value(key, default);
        let memory: ByteSize = size("memory", ByteSize::mebibytes(256));
        let wal_budget = size("wal_budget", ByteSize::mebibytes(2_048));
        let config = Self {
            grpc: address("grpc", 4317),
            http: address("http", 4318),
            admin: address("admin", 4319),
            exposure: Exposure::read(&section),
            receive: ReceiveConfig::read(&section, memory),
            wal: section.value("wal", data.join("wal")),
            wal_segment: size("wal_segment", ByteSize::mebibytes(64)),
            wal_budget,
            flush: FlushPolicy {
                interval: section.value("flush_interval", Duration::from_secs(60)),
                bytes: usize::try_from(size("flush_size", ByteSize::mebibytes(32)).0).unwrap_or(usize::MAX),
                wal_bytes: size("wal_soft_budget", ByteSize(wal_budget.0 / 4 * 3)).0,
            },
            memory,
            maintenance: Policy::read(&document.section("maintenance"), memory.0 / 4),
            shutdown_deadline: section.value("shutdown_deadline", Duration::from_secs(30)),
            store: StoreConfig::read(&document.section("store"), &data.join("tables").display().to_string()),
        };
        config.check(&section);
        config
    }

    fn check(&self, section: &weir_station::config::Section) {
        if self.wal_budget.0 < self.wal_segment.0.saturating_mul(2) {
            section.fault("wal_budget", "is less than two segments", "at least twice wal_segment");
        }
        if self.flush.wal_bytes < self.wal_segment.0 || self.flush.wal_bytes > self.wal_budget.0 {
            let range = "at least wal_segment and at most wal_budget";
            section.fault("wal_soft_budget", "is less than a segment, or more than the budget", range);
        }
        if self.wal_segment < ByteSize::mebibytes(1) {
            section.fault("wal_segment", "is less than 1MiB", "at least \"1MiB\"");
        }
        if self.flush.bytes > self.pending_bytes() / 2 {
            section.fault("flush_size", "is more than an eighth of memory", "at most an eighth of memory");
        }
    }

    /// The share of rows that wait to be committed, bytes: a quarter. Beyond it they wait in the log alone.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        usize::try_from(self.memory.0 / 4).unwrap_or(usize::MAX)
    }
}
