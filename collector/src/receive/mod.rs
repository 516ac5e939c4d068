//! How messages come in: OTLP over gRPC and over HTTP. Each protocol has one file, which also maps refusals to it.

pub mod grpc;
pub mod http;

/// The largest message that is taken, bytes, after decompression. Larger ones are refused alone.
pub const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

/// When a sender that was refused for a bound should come again, seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
