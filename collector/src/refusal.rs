//! Why a message is not taken: said to its sender, counted by its reason, and shown once a minute in the log.

use std::time::Duration;

use weir_record::otlp::DecodeError;

use crate::receive::MESSAGE_LIMIT_BYTES;

/// A message that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no OTLP. Sending it again will not help.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It does not decompress, or is not framed as its protocol demands.
    #[error("{0}")]
    Broken(String),
    /// Its content type or its compression is none of ours.
    #[error("{0}")]
    Unsupported(String),
    /// It is larger than [`MESSAGE_LIMIT_BYTES`], compressed or not.
    #[error("the message is larger than {MESSAGE_LIMIT_BYTES} bytes; send smaller batches")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the message did not arrive within {0:?}")]
    Slow(Duration),
    /// Its connection ended before it did.
    #[error("the message broke off: {0}")]
    BrokenOff(String),
    /// Its sender is not known.
    #[error("no valid bearer token; expected the header `authorization: Bearer TOKEN`")]
    Unauthenticated,
    /// Its sender has reached a limit of its own.
    #[error("this sender has reached its limit of {limit}; try again later")]
    SenderLimit {
        /// Which one, in words.
        limit: &'static str,
        /// When there is room again.
        retry_after: Duration,
    },
    /// A bound of the whole collector is reached; the sender should come again.
    #[error("the collector is full: {}; try again later", .0.text())]
    Full(Bound),
    /// The collector is going down; the sender should come again.
    #[error("the collector is shutting down")]
    Closed,
}

/// A bound of the whole collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Messages on their way into the log have their share of memory.
    InFlight,
    /// The write-ahead log has reached its budget.
    WalBudget,
    /// The disk of the write-ahead log is full.
    Disk,
}

impl Bound {
    fn text(self) -> &'static str {
        match self {
            Self::InFlight => "messages under way have reached in_flight_bytes",
            Self::WalBudget => "the write-ahead log has reached wal_budget",
            Self::Disk => "the disk of the write-ahead log is full",
        }
    }

    /// Messages under way end within milliseconds; the log gets room with the next commits; a disk, when somebody acts.
    fn retry_after(self) -> Duration {
        Duration::from_secs(match self {
            Self::InFlight => 1,
            Self::WalBudget => 2,
            Self::Disk => 5,
        })
    }
}

/// The reasons, as `weir_collector_refused_total` counts them. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Refusal::Malformed`], [`Refusal::Broken`].
    Malformed,
    /// [`Refusal::Unsupported`].
    Unsupported,
    /// [`Refusal::TooLarge`].
    TooLarge,
    /// [`Refusal::Slow`].
    Slow,
    /// [`Refusal::BrokenOff`].
    BrokenOff,
    /// [`Refusal::Unauthenticated`].
    Unauthenticated,
    /// [`Refusal::SenderLimit`].
    SenderLimit,
    /// [`Bound::InFlight`].
    InFlight,
    /// [`Bound::WalBudget`].
    WalBudget,
    /// [`Bound::Disk`].
    Disk,
    /// [`Refusal::Closed`].
    Shutdown,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unsupported,
        Self::TooLarge,
        Self::Slow,
        Self::BrokenOff,
        Self::Unauthenticated,
        Self::SenderLimit,
        Self::InFlight,
        Self::WalBudget,
        Self::Disk,
        Self::Shutdown,
    ];

    /// The reason's name, as self metrics and logs give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::BrokenOff => "broken_off",
            Self::Unauthenticated => "unauthenticated",
            Self::SenderLimit => "sender_limit",
            Self::InFlight => "in_flight",
            Self::WalBudget => "wal_budget",
            Self::Disk => "disk_full",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Refusal {
    /// By which it is counted.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::Broken(_) => Reason::Malformed,
            Self::Unsupported(_) => Reason::Unsupported,
            Self::TooLarge => Reason::TooLarge,
            Self::Slow(_) => Reason::Slow,
            Self::BrokenOff(_) => Reason::BrokenOff,
            Self::Unauthenticated => Reason::Unauthenticated,
            Self::SenderLimit { .. } => Reason::SenderLimit,
            Self::Full(Bound::InFlight) => Reason::InFlight,
            Self::Full(Bound::WalBudget) => Reason::WalBudget,
            Self::Full(Bound::Disk) => Reason::Disk,
            Self::Closed => Reason::Shutdown,
        }
    }

    /// Whether sending the same message again can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Broken(_) | Self::Unsupported(_) | Self::TooLarge | Self::Unauthenticated => {
                false
            }
            Self::Slow(_) | Self::BrokenOff(_) | Self::SenderLimit { .. } | Self::Full(_) | Self::Closed => true,
        }
    }

    /// When to send it again, if that can succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full(bound) => Some(bound.retry_after()),
            Self::SenderLimit { retry_after, .. } => Some(*retry_after),
            other => other.is_retryable().then_some(Duration::from_secs(1)),
        }
    }
}
