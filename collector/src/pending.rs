//! What is acknowledged and not yet committed, in memory, in columns.
//!
//! Frames go into the open generation in the order of the log. A flush seals it, commits each table, and lets it go;
//! frames that arrive meanwhile go into the next one. A query asks for what follows the position that its snapshot of
//! a table bears, and gets exactly the rows between the two (I9).
//!
//! What always holds: a row is in the answer for a position if and only if its frame comes after that position; a
//! position that is flushed already is told so, never answered short.

mod generation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use weir_lake::Table;

pub use generation::Generation;

use crate::{Message, sources::Growth, wal::Position};

/// What each table has committed of this collector's frames, in the order of [`Table::ALL`].
pub type Committed = [Position; Table::ALL.len()];

/// Where the rows of all tables are kept until they are committed.
#[derive(Debug)]
pub struct Pending {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    committed: Committed,
    sealed: Option<Arc<Generation>>,
    open: Generation,
}

/// The rows asked for are committed already: take a newer snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// What each of the tables asked for has committed.
    pub committed: Vec<(Table, Position)>,
}

/// What became of one part of a message.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// It is new; this is what its source's counters grew by.
    New(Growth),
    /// It had been taken before.
    Duplicate,
}

impl Pending {
    /// Nothing pending, after what the tables have committed.
    #[must_use]
    pub fn new(committed: Committed) -> Self {
        let last = committed.into_iter().max().unwrap_or_default();
        Self { state: Mutex::new(State { committed, sealed: None, open: Generation::after(last) }) }
    }

    /// Adds the message of a frame; each of its parts with what became of it. Tables that have committed the frame
    /// already (it is being replayed) leave it out.
    pub fn add(&self, position: Position, message: Message, taken: &[Taken]) {
        let mut state = self.lock();
        let wanted = state.committed.map(|committed| position > committed);
        state.open.add(position, wanted, message, taken);
    }

    /// Counts the parts of a message that brought nothing new and is in no frame.
    pub fn count_duplicate(&self, message: &Message) {
        self.lock().open.count_duplicate(message);
    }

    /// Memory that all rows take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.open.bytes() + state.sealed.as_ref().map_or(0, |sealed| sealed.bytes())
    }

    /// Memory that the rows take which no flush has begun to commit, bytes.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.lock().open.bytes()
    }

    /// Rows of `requests` that are pending.
    #[must_use]
    pub fn records(&self) -> u64 {
        let state = self.lock();
        state.open.records() + state.sealed.as_ref().map_or(0, |sealed| sealed.records())
    }

    /// Seals what is open, to be committed; `None` when nothing is. What was sealed and not released is sealed still.
    #[must_use]
    pub fn seal(&self) -> Option<Arc<Generation>> {
        let mut state = self.lock();
        if state.sealed.is_none() && !state.open.is_empty() {
            let next = Generation::after(state.open.through());
            state.sealed = Some(Arc::new(std::mem::replace(&mut state.open, next)));
        }
        state.sealed.clone()
    }

    /// Notes that a table has committed all frames up to this one.
    pub fn committed(&self, table: Table, through: Position) {
        self.lock().committed[table as usize] = through;
    }

    /// Lets go of the sealed generation, which every table has committed.
    pub fn release(&self) {
        let mut state = self.lock();
        if let Some(sealed) = state.sealed.take() {
            debug_assert!(state.committed.iter().all(|committed| *committed >= sealed.through()), "released too early");
        }
    }

    /// The position that every table has committed.
    #[must_use]
    pub fn committed_by_all(&self) -> Position {
        self.lock().committed.into_iter().min().unwrap_or_default()
    }

    /// The furthest position that any table has committed.
    #[must_use]
    pub fn committed_by_any(&self) -> Position {
        self.lock().committed.into_iter().max().unwrap_or_default()
    }

    /// For each table asked for, the rows of all frames after its position: all at one moment.
    ///
    /// # Errors
    /// When a table has committed beyond the position.
    pub fn after(&self, asked: &[(Table, Position)], now_us: i64) -> Result<Vec<(Table, Vec<RecordBatch>)>, Gone> {
        let (sealed, open) = {
            let state = self.lock();
            let committed = |(table, _): &(Table, Position)| (*table, state.committed[*table as usize]);
            if asked.iter().any(|question| question.1 < committed(question).1) {
                return Err(Gone { committed: asked.iter().map(committed).collect() });
            }
            (state.sealed.clone(), state.open.freeze())
        };
        // Columns are built outside the lock: a large answer must not hold up an acknowledgement.
        let rows = asked.iter().map(|(table, position)| {
            let mut rows = Vec::new();
            if let Some(sealed) = sealed.as_ref().filter(|sealed| sealed.through() > *position) {
                rows.extend(sealed.rows(*table, now_us));
            }
            rows.extend(open.rows(*table, now_us));
            (*table, rows)
        });
        Ok(rows.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock ends the process (the task's owner sees it); until then reading is harmless.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
