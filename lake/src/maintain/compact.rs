//! One merge: its files read side by side, the rows written to new files, and both exchanged in one commit.
//!
//! What always holds: a reader sees the old files or the new ones; of two that merge the same file one commits, and the
//! other deletes what it wrote (I3). Memory is that of a few batches and a row group, whatever the files hold.

use std::{collections::HashSet, sync::Arc};

use arrow::array::RecordBatch;
use chrono::Utc;
use object_store::{buffered::BufWriter, path::Path};
use tokio::io::AsyncWriteExt;
use weir_station::crash_point;

use super::{MaintainError, cells::Adder, merge::Merge, plan::Job};
use crate::{
    CommitError, LakeTable, Table,
    commit::Committed,
    delta::{Change, Kind},
    file::{Effort, FileWriter},
};

/// Rows that are handed from the merge to the file at once.
const ROWS_AT_ONCE: usize = 8_192;

/// An output larger than this is stored in parts of this size.
const PART_BYTES: usize = 5 << 20;

/// Parts on their way to the store at once.
const PARTS_AT_ONCE: usize = 1;

/// What a merge came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) files: usize,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Merges the files of a job. `None` when another was faster: then nothing was changed.
///
/// # Errors
/// When nothing is known to have changed.
pub(crate) async fn compact(table: &LakeTable, job: &Job, target_bytes: u64) -> Result<Option<Merged>, MaintainError> {
    let since = Utc::now();
    let mut outputs =
        Outputs { table, date: job.date, target_bytes, open: None, stored: Vec::new(), merged: Merged::default() };
    if let Err(error) = outputs.write(job).await {
        outputs.give_up().await;
        return Err(error);
    }
    crash_point!("maintain::outputs_stored");
    let change = Change {
        kind: Kind::Rearrange,
        added: outputs.stored.iter().map(|(_, add)| add.clone()).collect(),
        removed: Arc::new(job.files.iter().map(|file| file.path.clone()).collect::<HashSet<_>>()),
        advance: None,
        since,
    };
    match table.commit(&change).await? {
        Committed::Now { .. } => Ok(Some(outputs.merged)),
        Committed::Before | Committed::Never => {
            // An attempt of ours, the answer of which was lost, may have been the one that made them go.
            let ours = outputs.stored.first().map(|(path, _)| path.clone());
            let snapshot = table.snapshot().await?;
            if snapshot.files().iter().any(|file| Some(&file.path) == ours.as_ref()) {
                return Ok(Some(outputs.merged));
            }
            outputs.give_up().await;
            Ok(None)
        }
    }
}

/// The files that a merge writes, one after the other.
struct Outputs<'a> {
    table: &'a LakeTable,
    date: i32,
    target_bytes: u64,
    open: Option<Output>,
    /// Path and `add` action of each that is in the store.
    stored: Vec<(Path, RecordBatch)>,
    merged: Merged,
}

struct Output {
    file: FileWriter,
    upload: BufWriter,
}

impl Outputs<'_> {
    async fn write(&mut self, job: &Job) -> Result<(), MaintainError> {
        let table = self.table.table();
        let mut merge = Merge::open(self.table.store(), table, &job.files, job.seconds).await?;
        let mut adder = Adder::default();
        while let Some(mut rows) = merge.next(ROWS_AT_ONCE).await? {
            if table == Table::Metrics {
                rows = adder.add(rows).map_err(|error| self.wrong(error.to_string()))?;
            }
            self.append(&rows).await?;
        }
        if let Some(last) = adder.finish() {
            self.append(&last).await?;
        }
        self.close().await
    }

    async fn append(&mut self, rows: &RecordBatch) -> Result<(), MaintainError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (table, store) = (self.table.table(), Arc::clone(self.table.store()));
        let wrong = |error: crate::file::EncodeError| {
            MaintainError::Commit(CommitError::Rows { table, reason: error.to_string() })
        };
        let output = match &mut self.open {
            Some(output) => output,
            none => {
                let (state, sample) = (self.table.write_state().await?, std::slice::from_ref(rows));
                let file = FileWriter::new(table, &state, self.date, Effort::Thorough, sample).map_err(wrong)?;
                let path = file.path().map_err(wrong)?;
                let upload = BufWriter::with_capacity(store, path, PART_BYTES).with_max_concurrency(PARTS_AT_ONCE);
                none.insert(Output { file, upload })
            }
        };
        output.file.write(rows).map_err(wrong)?;
        self.merged.rows += rows.num_rows() as u64;
        let bytes = output.file.take_bytes();
        if !bytes.is_empty() {
            output.upload.put(bytes.into()).await?;
        }
        if output.file.taken_bytes() >= self.target_bytes { self.close().await } else { Ok(()) }
    }

    async fn close(&mut self) -> Result<(), MaintainError> {
        let Some(output) = self.open.take() else { return Ok(()) };
        let (taken, Output { file, mut upload }) = (output.file.taken_bytes(), output);
        let file = file.finish().map_err(|error| self.wrong(error.to_string()))?;
        let bytes = taken + file.bytes.len() as u64;
        // Also the one that fails now: it may have come through.
        self.stored.push((file.path, file.add));
        upload.put(file.bytes.into()).await?;
        upload.shutdown().await.map_err(|error| {
            MaintainError::Store(object_store::Error::Generic { store: "upload", source: error.into() })
        })?;
        self.merged.files += 1;
        self.merged.bytes += bytes;
        Ok(())
    }

    fn wrong(&self, reason: String) -> MaintainError {
        MaintainError::Commit(CommitError::Rows { table: self.table.table(), reason })
    }

    /// Deletes what was stored.
    async fn give_up(&mut self) {
        if let Some(mut output) = self.open.take()
            && let Err(error) = output.upload.abort().await
        {
            tracing::warn!(%error, "a part of a merged file stays in the store");
        }
        self.table.delete_unless_live(self.stored.drain(..).map(|(path, _)| path)).await;
    }
}
