//! Where records come from: a source declares who it is and numbers its batches, so that a resent batch is known.

/// A process that sends records, and the stamp it put on one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `service.name` of the sender; `weir-gateway` for our own.
    pub service: String,
    /// `service.instance.id`: new at each start of the process. Empty when the sender does not say.
    pub instance: String,
    /// The batch's number and the source's counters. A source without it is accepted at least once.
    pub stamp: Option<BatchStamp>,
}

/// What a source with identity says on each batch. Counters cover the batch's signal (logs or traces) since the
/// source's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchStamp {
    /// Number of this batch: 1, 2, 3 … for each signal. Resent batches bear the number they had.
    pub sequence: u64,
    /// Records that were offered to the sender so far, dropped ones included.
    pub offered: u64,
    /// Records that the source had to drop so far.
    pub dropped: u64,
    /// Whether the batch was sent to another collector before, which never answered: it may have kept it too.
    pub doubtful: bool,
    /// What the source told another collector before this batch, which acknowledged it: the one that gets this batch counts
    /// from there, so that the sum over all collectors is what the source has counted.
    pub elsewhere: Option<Told>,
}

/// What a batch told of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Number of the batch.
    pub sequence: u64,
    /// Its [`BatchStamp::offered`].
    pub offered: u64,
    /// Its [`BatchStamp::dropped`].
    pub dropped: u64,
}

/// Records of one source, in one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<T> {
    /// Who sent it.
    pub source: Source,
    /// What was sent.
    pub records: Vec<T>,
}
