//! The cut that a statement reads: for each table a snapshot, and what each collector has pending after exactly that
//! snapshot's position.
//!
//! Together they are every row acknowledged before the statement began, once (I9): a row is in the snapshot if its
//! position is not after the snapshot's, and pending otherwise. A collector that has committed past the position and let
//! the rows go says so; then newer snapshots are taken and all are asked anew, because in newer snapshots the positions
//! of all writers have moved. A collector that is still reading its log is waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use weir_lake::{Lake, ReadError, Table, TableSnapshot};

use crate::{
    error::QueryError,
    pending::{Pending, PendingError, PendingSource},
};

/// How often snapshots are renewed before the statement is given up. A collector commits a table every few seconds at
/// most, and asking takes milliseconds: even a second attempt is rare.
const ATTEMPTS: usize = 5;

/// How long a snapshot serves without a look at the store. It bounds how long the commits of a writer that is not among
/// the sources stay unseen, and how long files that compaction has replaced are read.
const SNAPSHOT_SERVES: Duration = Duration::from_secs(5);

/// How long a statement waits for a collector that reads its log, and how often it asks.
const LAG_PATIENCE: Duration = Duration::from_secs(10);
const LAG_PAUSE: Duration = Duration::from_millis(50);

/// What a statement reads of one table.
#[derive(Debug)]
pub(crate) struct TableCut {
    pub(crate) table: Table,
    pub(crate) snapshot: TableSnapshot,
    pub(crate) pending: Vec<RecordBatch>,
}

/// What a statement reads.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) tables: Vec<TableCut>,
    /// Bytes of pending rows that had to be brought into this process.
    pub(crate) received_bytes: usize,
}

/// The lake and everybody who holds rows that are not yet in it.
#[derive(Debug)]
pub(crate) struct Fresh {
    lake: Arc<Lake>,
    sources: Vec<Arc<dyn PendingSource>>,
    refreshed: Mutex<HashMap<Table, Instant>>,
}

impl Fresh {
    pub(crate) fn new(lake: Arc<Lake>, sources: Vec<Arc<dyn PendingSource>>) -> Self {
        Self { lake, sources, refreshed: Mutex::default() }
    }

    /// The cut of these tables as of now: with what is pending, or of the committed rows only.
    pub(crate) async fn cut(&self, tables: &[Table], with_pending: bool) -> Result<Cut, QueryError> {
        if tables.is_empty() || self.sources.is_empty() || !with_pending {
            return Ok(Cut::committed(self.newest(tables).await?));
        }
        let (began, mut attempts) = (Instant::now(), 0);
        let mut snapshots = self.recent(tables).await?;
        loop {
            match self.with_pending(&snapshots).await.map_err(QueryError::CollectorUnreachable)? {
                Asked::Rows(pending, received_bytes) => {
                    let mut cut = Cut::committed(snapshots);
                    cut.add(pending, received_bytes);
                    return Ok(cut);
                }
                Asked::Lags { collector, messages } if began.elapsed() >= LAG_PATIENCE => {
                    return Err(QueryError::CollectorLags { collector, messages });
                }
                Asked::Lags { .. } => tokio::time::sleep(LAG_PAUSE).await,
                Asked::Gone { collector } => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Err(QueryError::NoConsistentCut { collector });
                    }
                    tracing::debug!(collector, "committed past the snapshot, taking a newer one");
                    snapshots = self.newest(tables).await?;
                }
            }
        }
    }

    /// Asks every source for what it has after the snapshots' positions.
    async fn with_pending(&self, snapshots: &[(Table, TableSnapshot)]) -> Result<Asked, PendingError> {
        let answers = self.sources.iter().map(|source| async move {
            let writer = source.writer().await?;
            let position = |snapshot: &TableSnapshot| snapshot.position(&writer).unwrap_or(0);
            let positions: Vec<_> = snapshots.iter().map(|(table, snapshot)| (*table, position(snapshot))).collect();
            Ok((source.pending_after(&positions).await?, writer))
        });
        let (mut rows, mut bytes, mut writers) = (Vec::new(), 0, HashMap::new());
        for (source, (answer, writer)) in self.sources.iter().zip(try_join_all(answers).await?) {
            if let Some(other) = writers.insert(writer, source.name()) {
                let (source_name, other_name) = (source.name().to_owned(), other.to_owned());
                return Err(PendingError::Twice { source_name, other_name });
            }
            match answer {
                Pending::Rows { tables, received_bytes } => {
                    rows.extend(tables);
                    bytes += received_bytes;
                }
                Pending::Gone => return Ok(Asked::Gone { collector: source.name().to_owned() }),
                Pending::Lags { loaded, newest } => {
                    let (collector, messages) = (source.name().to_owned(), newest.saturating_sub(loaded));
                    return Ok(Asked::Lags { collector, messages });
                }
            }
        }
        Ok(Asked::Rows(rows, bytes))
    }

    /// Snapshots that are new enough, without a look at the store where one is at hand.
    async fn recent(&self, tables: &[Table]) -> Result<Vec<(Table, TableSnapshot)>, QueryError> {
        let snapshots = tables.iter().map(|&table| async move {
            let refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).get(&table).copied();
            match refreshed {
                Some(at) if at.elapsed() < SNAPSHOT_SERVES => {
                    let snapshot = self.lake.table(table).cached_snapshot().await.map_err(unreadable)?;
                    Ok((table, snapshot))
                }
                _ => self.refresh(table).await,
            }
        });
        try_join_all(snapshots).await
    }

    /// The newest snapshots.
    async fn newest(&self, tables: &[Table]) -> Result<Vec<(Table, TableSnapshot)>, QueryError> {
        try_join_all(tables.iter().map(|&table| self.refresh(table))).await
    }

    async fn refresh(&self, table: Table) -> Result<(Table, TableSnapshot), QueryError> {
        let began = Instant::now();
        let snapshot = self.lake.table(table).snapshot().await.map_err(unreadable)?;
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).insert(table, began);
        Ok((table, snapshot))
    }
}

/// What the sources have, or that one of them let go of it, or has yet to read it.
enum Asked {
    Rows(Vec<(Table, Vec<RecordBatch>)>, usize),
    Gone { collector: String },
    Lags { collector: String, messages: u64 },
}

impl Cut {
    fn committed(snapshots: Vec<(Table, TableSnapshot)>) -> Self {
        let tables = snapshots.into_iter().map(|(table, snapshot)| TableCut { table, snapshot, pending: Vec::new() });
        Self { tables: tables.collect(), received_bytes: 0 }
    }

    fn add(&mut self, pending: Vec<(Table, Vec<RecordBatch>)>, received_bytes: usize) {
        self.received_bytes += received_bytes;
        for (table, batches) in pending {
            if let Some(cut) = self.tables.iter_mut().find(|cut| cut.table == table) {
                cut.pending.extend(batches);
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn unreadable(error: ReadError) -> QueryError {
    QueryError::Store(error.to_string())
}

#[cfg(test)]
mod tests;
