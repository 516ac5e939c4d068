//! What a stopped collector had acknowledged and not committed, read from its log without changing anything.
//!
//! `weir sql --data` reads a directory in which nothing runs; this makes its answers as exact as a running station's.

use std::{path::Path, sync::Arc};

use weir_lake::Lake;

use crate::{
    Pending,
    replay::{ReplayError, Replayer, committed},
    wal::Wal,
};

/// Memory that uncommitted rows may take when they are only read, bytes.
const LIMIT_BYTES: usize = 2 << 30;

/// The pending rows of a log that no process writes.
#[derive(Debug)]
pub struct Offline {
    /// The log's id in the tables' commits.
    pub writer_id: String,
    /// Its rows that are not committed.
    pub pending: Arc<Pending>,
}

impl Offline {
    /// Reads the log in a directory.
    ///
    /// # Errors
    /// When a process writes the log (`WalError::InUse`), when it cannot be read, or when it is a copy of one that went on.
    pub async fn read(directory: &Path, lake: &Lake) -> Result<Self, ReplayError> {
        let reader = Wal::read(directory)?;
        let writer_id = reader.writer_id().to_owned();
        let (committed, _) = committed(lake, &writer_id, &reader.lives()?).await?;
        let pending = Arc::new(Pending::new(&writer_id, committed, LIMIT_BYTES));
        let after = pending.committed_by_all();
        let (note, frames) = reader.replay(after)?;
        let mut replayer = Replayer::new(note.as_deref(), after);
        for entry in frames {
            replayer.replay(entry?, &pending);
            if pending.bytes() > LIMIT_BYTES {
                return Err(ReplayError::TooMuch { limit_bytes: LIMIT_BYTES });
            }
        }
        replayer.end(&pending);
        Ok(Self { writer_id, pending })
    }
}
