//! The two signals that are kept: access records come as logs, spans as traces.

/// A signal of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Access records.
    Logs,
    /// Spans.
    Traces,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 2] = [Self::Logs, Self::Traces];

    /// Its name, in the ledger and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// What a frame of the write-ahead log calls it. These numbers are on disk: they never change.
    #[must_use]
    pub const fn frame_kind(self) -> u8 {
        match self {
            Self::Logs => 1,
            Self::Traces => 2,
        }
    }

    /// The signal of a frame, if there is one of that number.
    #[must_use]
    pub fn from_frame_kind(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.frame_kind() == kind)
    }
}
