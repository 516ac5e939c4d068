//! What is acknowledged and not yet committed: who can be asked for it, and what they answer.
//!
//! A collector keeps the rows that it has acknowledged in memory until they are committed. A statement asks it for those
//! after the position that the snapshot it reads has committed; so the two together are every acknowledged row, once
//! (I9). [`HttpCollector`](crate::collector::HttpCollector) asks over the network; a process that runs the collector
//! itself gives its own [`PendingSource`].

use std::fmt::Debug;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_lake::Table;

/// Somebody who holds acknowledged rows that are not yet committed: one collector, one writer of the tables.
#[async_trait]
pub trait PendingSource: Debug + Send + Sync {
    /// Where it is, for messages: an address, a path.
    fn name(&self) -> &str;

    /// The id under which it commits. It is asked for at each statement: a collector that was started anew on another
    /// disk is another writer.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn writer(&self) -> Result<String, PendingError>;

    /// What it holds of each of these tables after the position given with it, all tables as of one moment.
    ///
    /// Position 0 stands before the first row. The rows have the table's own schema, without `date`.
    ///
    /// # Errors
    /// When it cannot be asked or its answer cannot be read.
    async fn pending_after(&self, positions: &[(Table, i64)]) -> Result<Pending, PendingError>;
}

/// The answer of a [`PendingSource`].
#[derive(Debug)]
pub enum Pending {
    /// All rows after the positions asked for.
    Rows {
        /// The tables that have any.
        tables: Vec<(Table, Vec<RecordBatch>)>,
        /// Bytes that the answer added to this process's memory; 0 where the rows are shared with their keeper.
        received_bytes: usize,
    },
    /// At least one of the tables is committed past the position asked for, and the rows between are no longer held: a
    /// newer snapshot has them.
    Gone,
    /// Some of the rows stand in the collector's write-ahead log alone, after a start or because its memory was full; it
    /// is reading them.
    Lags {
        /// Messages up to this position are in its memory, or committed.
        loaded: u64,
        /// Position of the newest message.
        newest: u64,
    },
}

/// A collector that did not say what it has pending.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    /// No connection, or no answer in time.
    #[error("the collector {source_name} does not answer: {reason}")]
    Unreachable {
        /// Which collector.
        source_name: String,
        /// What happened.
        reason: String,
    },
    /// An answer that means nothing to us.
    #[error("the collector {source_name} gave an answer that cannot be read: {reason}")]
    Unreadable {
        /// Which collector.
        source_name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More rows than this process may hold.
    #[error("the collector {source_name} has more than {limit_bytes} bytes pending, the limit for one statement")]
    TooLarge {
        /// Which collector.
        source_name: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// One collector under two names: its rows would be in the answer twice.
    #[error("{source_name} and {other_name} are one collector; name it once in query.collectors")]
    Twice {
        /// One name of it.
        source_name: String,
        /// Another.
        other_name: String,
    },
}
