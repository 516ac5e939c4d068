//! What a collector in this process has pending, for the queries in it; and what a stopped one had.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use weir_collector::{pending::NotNow, wal::Position};
use weir_lake::Table;
use weir_query::pending::{Pending, PendingError, PendingSource};

/// The pending rows of a log, shared with their keeper.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub(crate) name: String,
    pub(crate) writer_id: String,
    pub(crate) pending: Arc<weir_collector::Pending>,
}

#[async_trait]
impl PendingSource for InProcess {
    fn name(&self) -> &str {
        &self.name
    }

    async fn writer(&self) -> Result<String, PendingError> {
        Ok(self.writer_id.clone())
    }

    async fn pending_after(&self, positions: &[(Table, i64)]) -> Result<Pending, PendingError> {
        let position = |number: i64| Position::new(u64::try_from(number).unwrap_or(0));
        let asked: Vec<_> = positions.iter().map(|(table, number)| (*table, position(*number))).collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Ok(match self.pending.after(&asked, now_us) {
            Ok(tables) => Pending::Rows { tables, received_bytes: 0 },
            Err(NotNow::Gone { .. }) => Pending::Gone,
            Err(NotNow::Lags { loaded, newest }) => Pending::Lags { loaded: loaded.get(), newest: newest.get() },
        })
    }
}
