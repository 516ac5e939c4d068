//! Sorted files, read side by side and merged into one sorted stream of rows: a batch of each file in memory, never more.
//!
//! What always holds: the rows that come out are those that went in, in the order of [`Order`]; rows of one key come in
//! the order of the files. A file whose rows are not in the order it declares is refused when that shows.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::interleave_record_batch,
    row::{OwnedRow, Rows},
};
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};

use super::{
    cells,
    input::{Input, InputError, Reason, open},
};
use crate::{LiveFile, Table, order::Order};

/// Files being merged.
pub(crate) struct Merge {
    table: Table,
    order: Order,
    /// Cells are cut to this many seconds; 0: rows stay as they are.
    seconds: u32,
    cursors: Vec<Cursor>,
    /// The next row of each file that has one, the first of them on top.
    heads: BinaryHeap<Reverse<Head>>,
    /// The batches that rows are being picked from.
    held: Vec<RecordBatch>,
}

/// How far one file is read.
struct Cursor {
    path: Path,
    stream: Input,
    keys: Rows,
    /// Its batch, among those held.
    batch: usize,
    row: usize,
}

/// Keys compare first, then the files' places.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: OwnedRow,
    cursor: usize,
}

impl Merge {
    /// Opens the files and reads the first rows of each.
    pub(crate) async fn open(
        store: &Arc<dyn ObjectStore>,
        table: Table,
        files: &[LiveFile],
        seconds: u32,
    ) -> Result<Self, InputError> {
        let order = Order::of(table);
        let (cursors, held) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
        let mut merge = Self { table, order, seconds, cursors, heads: BinaryHeap::new(), held };
        for file in files {
            let failed = |reason: Reason| InputError { path: file.path.clone(), reason };
            let stream = open(store, table, file).await.map_err(failed)?;
            let keys =
                merge.order.keys(&RecordBatch::new_empty(table.schema())).map_err(|error| failed(error.into()))?;
            merge.cursors.push(Cursor { path: file.path.clone(), stream, keys, batch: usize::MAX, row: 0 });
            merge.read_on(merge.cursors.len() - 1, None).await?;
        }
        Ok(merge)
    }

    /// The next rows, at most so many; `None` at the end.
    pub(crate) async fn next(&mut self, rows: usize) -> Result<Option<RecordBatch>, InputError> {
        let mut picked = Vec::with_capacity(rows);
        let mut last = None;
        while picked.len() < rows {
            let Some(Reverse(head)) = self.heads.pop() else { break };
            let which = head.cursor;
            let cursor = &mut self.cursors[which];
            // Files follow each other in time, so that rows come in runs.
            let run = cursor.run_before(self.heads.peek().map(|next| &next.0), which, rows - picked.len());
            picked.extend((cursor.row..cursor.row + run).map(|row| (cursor.batch, row)));
            last = Some(which);
            cursor.row += run;
            if cursor.row < cursor.keys.num_rows() {
                let key = cursor.keys.row(cursor.row).owned();
                self.heads.push(Reverse(Head { key, cursor: which }));
            } else {
                let ended = cursor.keys.row(cursor.row - 1).owned();
                self.read_on(which, Some(ended)).await?;
            }
        }
        let Some(which) = last else { return Ok(None) };
        let held: Vec<&RecordBatch> = self.held.iter().collect();
        let merged = interleave_record_batch(&held, &picked);
        self.let_go();
        merged.map(Some).map_err(|error| InputError { path: self.cursors[which].path.clone(), reason: error.into() })
    }

    /// Reads the next batch of a file, of which `last` was the last key; at its end the file has no head any more.
    async fn read_on(&mut self, which: usize, last: Option<OwnedRow>) -> Result<(), InputError> {
        let (table, order, seconds) = (self.table, &self.order, self.seconds);
        let cursor = &mut self.cursors[which];
        let failed = |reason: Reason| InputError { path: cursor.path.clone(), reason };
        loop {
            let next = cursor.stream.try_next().await.map_err(|error| failed(error.into()))?;
            let Some(batch) = next else {
                cursor.batch = usize::MAX;
                return Ok(());
            };
            let mut batch = table.conform(&batch).map_err(|unfit| failed(unfit.into()))?;
            if seconds > 0 {
                batch = cells::coarser(&batch, seconds).map_err(|error| failed(error.into()))?;
            }
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = order.keys(&batch).map_err(|error| failed(error.into()))?;
            let key = keys.row(0).owned();
            let in_order = (1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row));
            if !in_order || last.is_some_and(|last| key < last) {
                return Err(failed(Reason::Disordered));
            }
            (cursor.keys, cursor.batch, cursor.row) = (keys, self.held.len(), 0);
            self.held.push(batch);
            self.heads.push(Reverse(Head { key, cursor: which }));
            return Ok(());
        }
    }

    /// Forgets batches of which every row was picked.
    fn let_go(&mut self) {
        let mut held = Vec::with_capacity(self.cursors.len());
        for cursor in &mut self.cursors {
            if let Some(batch) = self.held.get(cursor.batch) {
                held.push(batch.clone());
                cursor.batch = held.len() - 1;
            }
        }
        self.held = held;
    }
}

impl Cursor {
    /// How many of its next rows come before another file's next one, at most so many. The first does, or there is no other.
    fn run_before(&self, other: Option<&Head>, which: usize, most: usize) -> usize {
        let left = (self.keys.num_rows() - self.row).min(most);
        let Some(other) = other else { return left };
        let limit = (other.key.row(), other.cursor);
        let is_before = |run: &usize| (self.keys.row(self.row + run), which) < limit;
        // Twice as far each time, then back to where it ends.
        let mut end = 1;
        while end < left && is_before(&end) {
            end *= 2;
        }
        let (mut inside, mut outside) = (end / 2, end.min(left));
        while inside + 1 < outside {
            let middle = usize::midpoint(inside, outside);
            if is_before(&middle) { inside = middle } else { outside = middle }
        }
        inside + 1
    }
}
