//! What a commit does to a table, and what becomes of it.

use std::{collections::HashSet, sync::Arc};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use object_store::path::Path;

use super::State;
use crate::{Writer, snapshot::key_of_life};

/// What one commit does to a table.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// `add` actions of files that become live.
    pub(crate) added: Vec<RecordBatch>,
    /// Files that are live no longer. All of them must be when the commit is made.
    pub(crate) removed: Arc<HashSet<Path>>,
    /// Who has come how far by it.
    pub(crate) advance: Option<Advance>,
    /// When its files were stored at the earliest: maintenance deletes files that no commit names after a day.
    pub(crate) since: DateTime<Utc>,
}

impl Change {
    /// The columns of ours that the table lacks, and nothing else.
    pub(crate) fn widening() -> Self {
        Self { kind: Kind::Widen, added: Vec::new(), removed: Arc::default(), advance: None, since: Utc::now() }
    }
}

/// How far a writer comes by a change.
#[derive(Clone, Debug)]
pub(crate) struct Advance {
    pub(crate) writer: Writer,
    /// Where the writer must have been, if it says so; 0 where it has committed nothing.
    pub(crate) after: Option<i64>,
    pub(crate) to: i64,
}

impl Advance {
    /// Whether the writer has come so far before, be it by an attempt whose answer was lost. What another life of it has
    /// committed is not this one's, unless it began behind that.
    pub(crate) fn is_made(&self, state: &State) -> bool {
        let Writer { id, life } = &self.writer;
        let is_ours = life.is_none_or(|life| state.life(id) == Some(life)) || self.after >= Some(self.to);
        state.position(id) >= Some(self.to) && is_ours
    }

    /// What the log keeps of it.
    pub(super) fn transactions(&self) -> impl Iterator<Item = (String, i64)> {
        let Writer { id, life } = &self.writer;
        std::iter::once((id.clone(), self.to)).chain(life.map(|life| (key_of_life(id), life)))
    }
}

/// Why the table changes; the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New rows.
    Append,
    /// The same rows in other files, so that a reader of changes has nothing to do.
    Rearrange,
    /// Rows that are not kept any longer.
    Remove,
    /// No rows: the columns of ours that the table lacks.
    Widen,
}

/// What became of one attempt to commit.
pub(crate) enum Attempt {
    Committed {
        state: State,
        commits_since_checkpoint: u64,
    },
    /// Another commit took the version.
    Conflicted,
    /// Files that were to be removed are not live any more, or columns that were to be added are there: another has done
    /// it, or this very change is made.
    Gone,
}
