//! What is acknowledged and not yet committed, in memory, in columns: as much of it as memory may hold.
//!
//! Frames go into the open generation in the order of the log. A flush seals it, commits each table, and lets it go;
//! frames that arrive meanwhile go into the next one. A query asks for what follows the position that its snapshot of
//! a table bears, and gets exactly the rows between the two (I9).
//!
//! Memory is bounded, the log is not so tightly (I7). When the rows take all they may, because the store is away or
//! slow, and at a start, memory *lags*: newer frames stand in the log alone, and a [backlog](crate::backlog) reads them
//! in as there is room. Meanwhile a query is told so, never answered short.
//!
//! What always holds: a row is in the answer for a position if and only if its frame comes after that position; a
//! position that is flushed already is told so.

mod generation;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arrow::array::RecordBatch;
use tokio::sync::Notify;
use weir_lake::Table;

pub use generation::Generation;

use crate::{Message, sources::Growth, wal::Position};

/// What each table has committed of this collector's frames, in the order of [`Table::ALL`].
pub type Committed = [Position; Table::ALL.len()];

/// Of the memory that rows may take, the part that frames which arrive while memory lags may take: the rest is for
/// those that come from the log, or else they would never catch up.
const JOINING_SHARE: usize = 4;

/// Where the rows of all tables are kept until they are committed.
#[derive(Debug)]
pub struct Pending {
    /// The log's name, for the ledger's rows about the log itself.
    writer_id: String,
    state: Mutex<State>,
    limit_bytes: usize,
    /// Told when memory begins to lag.
    lags: Notify,
    /// Told when rows were let go: the backlog, and the writer.
    room: Notify,
    let_go: Condvar,
}

#[derive(Debug)]
struct State {
    committed: Committed,
    sealed: Option<Arc<Generation>>,
    open: Generation,
    /// Every frame up to this one is committed, sealed or open.
    loaded: Position,
    /// `None` while memory has every frame that the tables have not.
    lag: Option<Lag>,
}

/// That memory has not all that the log has.
#[derive(Debug)]
struct Lag {
    /// The log's newest frame.
    newest: Position,
    /// Frames that arrived since the backlog was last read from the log: what follows the last frame of that reading.
    joining: Option<Joining>,
}

#[derive(Debug)]
struct Joining {
    after: Position,
    rows: Generation,
}

/// Why the rows asked for cannot be had at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// They are committed already: take a newer snapshot.
    Gone {
        /// What each of the tables asked for has committed.
        committed: Vec<(Table, Position)>,
    },
    /// Some of them stand in the log alone, and are being read.
    Lags {
        /// Frames up to this one are in memory, or committed.
        loaded: Position,
        /// The log's newest frame.
        newest: Position,
    },
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
    pub fn new(writer_id: &str, committed: Committed, limit_bytes: usize) -> Self {
        Self::with(writer_id, State::begin(committed, None), limit_bytes)
    }

    /// Nothing in memory of a log whose newest frame this is, and what the tables have committed is not known yet: it
    /// lags until [`Self::begin`] and a backlog have been there.
    #[must_use]
    pub fn unknown(writer_id: &str, newest: Position, limit_bytes: usize) -> Self {
        let lag = Lag { newest, joining: None };
        Self::with(writer_id, State::begin(Committed::default(), Some(lag)), limit_bytes)
    }

    fn with(writer_id: &str, state: State, limit_bytes: usize) -> Self {
        let (lags, room, let_go) = (Notify::new(), Notify::new(), Condvar::new());
        Self { writer_id: writer_id.to_owned(), state: Mutex::new(state), limit_bytes, lags, room, let_go }
    }

    /// Learns what the tables have committed; called once, before anything was read from the log.
    pub fn begin(&self, committed: Committed) {
        let mut state = self.lock();
        let begun = State::begin(committed, state.lag.take());
        let before = std::mem::replace(&mut *state, begun);
        // Nothing but what was counted of resent messages.
        state.open.absorb(before.open);
        self.lags.notify_one();
    }

    /// Blocks while memory is full, as long as that lasts or `patience` does: a store that takes its time is better waited
    /// for, and its senders slowed down, than to read all again from the log. When memory lags already there is no
    /// use in it.
    pub fn wait_for_room(&self, patience: Duration) {
        let is_full = |state: &mut State| state.lag.is_none() && state.bytes() >= self.limit_bytes;
        // Whether in time or not, the frames that come next are kept.
        drop(self.let_go.wait_timeout_while(self.lock(), patience, is_full));
    }

    /// Adds the message of a frame that was just written; each of its parts with what became of it.
    pub fn add(&self, position: Position, message: Message, taken: &[Taken]) {
        let mut state = self.lock();
        let has_room = state.bytes() < self.limit_bytes;
        if state.lag.is_none() && has_room {
            return state.load(position, message, taken);
        }
        let lag = state.lag.get_or_insert_with(|| {
            self.lags.notify_one();
            Lag { newest: position, joining: None }
        });
        lag.newest = position;
        if let Some(joining) = &mut lag.joining {
            if joining.rows.bytes() < self.limit_bytes / JOINING_SHARE {
                joining.rows.add(position, [true; Table::ALL.len()], message, taken);
            } else {
                lag.joining = None;
            }
        }
    }

    /// Adds the message of a frame that was read from the log, and how many frames right before it were damaged.
    /// Tables that have committed the frame leave it out.
    pub fn replay(&self, position: Position, message: Message, taken: &[Taken], damaged_frames: u64) {
        let mut state = self.lock();
        state.load(position, message, taken);
        if damaged_frames > 0 && position > state.committed[Table::Ledger as usize] {
            // With the frame, not before it: so that both are in one commit.
            state.open.count_damaged(&self.writer_id, damaged_frames);
        }
    }

    /// Counts the parts of a message that brought nothing new and is in no frame.
    pub fn count_duplicate(&self, message: &Message) {
        self.lock().open.count_duplicate(message);
    }

    /// Counts frames that are damaged behind all others. It is committed with the next frame.
    pub fn count_damaged(&self, frames: u64) {
        self.lock().open.count_damaged(&self.writer_id, frames);
    }

    /// Whether frames from the log may be added.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // Not counting those that join: they leave only when frames from the log have come before them.
        self.lock().loaded_bytes() < self.limit_bytes - self.limit_bytes / JOINING_SHARE
    }

    /// Waits until [`Self::has_room`].
    pub async fn room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// Waits until memory lags.
    pub async fn lags(&self) {
        while self.lock().lag.is_none() {
            self.lags.notified().await;
        }
    }

    /// From here on keeps what arrives in memory, as far as it may, to follow on a reading of the log that ends with
    /// this frame. To be called where nothing can be written meanwhile.
    pub fn join_after(&self, through: Position) {
        if let Some(lag) = &mut self.lock().lag {
            lag.joining = Some(Joining { after: through, rows: Generation::after(through) });
        }
    }

    /// Ends the lag when all frames up to this one are loaded, and all after it joined. `false` when some of them have
    /// to be read from the log.
    #[must_use]
    pub fn caught_up(&self, through: Position) -> bool {
        let mut state = self.lock();
        let Some(lag) = state.lag.take() else { return true };
        match lag.joining {
            Some(joining) if joining.after == through => {
                state.loaded = state.loaded.max(lag.newest);
                state.open.absorb(joining.rows);
                true
            }
            joining => {
                state.lag = Some(Lag { joining, ..lag });
                false
            }
        }
    }

    /// Every frame up to this one is committed, or in memory.
    #[must_use]
    pub fn loaded(&self) -> Position {
        self.lock().loaded
    }

    /// Frames that stand in the log alone, at most: positions may be missing.
    #[must_use]
    pub fn lag_frames(&self) -> u64 {
        let state = self.lock();
        state.lag.as_ref().map_or(0, |lag| lag.newest.get().saturating_sub(state.loaded.get()))
    }

    /// Memory that all rows take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Memory that the rows take which no flush has begun to commit, bytes.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.lock().open.bytes()
    }

    /// Rows of `requests` that are in memory.
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
        let committed = &mut self.lock().committed[table as usize];
        *committed = through.max(*committed);
    }

    /// Lets go of the sealed generation, which every table has committed.
    pub fn release(&self) {
        let mut state = self.lock();
        if let Some(sealed) = state.sealed.take() {
            debug_assert!(state.committed.iter().all(|committed| *committed >= sealed.through()), "released too early");
        }
        drop(state);
        self.room.notify_one();
        self.let_go.notify_all();
    }

    /// The position that a table has committed.
    #[must_use]
    pub fn committed_by(&self, table: Table) -> Position {
        self.lock().committed[table as usize]
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
    /// When a table has committed beyond the position, or memory lags.
    pub fn after(&self, asked: &[(Table, Position)], now_us: i64) -> Result<Vec<(Table, Vec<RecordBatch>)>, NotNow> {
        let (sealed, open) = {
            let state = self.lock();
            if let Some(lag) = &state.lag {
                return Err(NotNow::Lags { loaded: state.loaded, newest: lag.newest });
            }
            let committed = |(table, _): &(Table, Position)| (*table, state.committed[*table as usize]);
            if asked.iter().any(|question| question.1 < committed(question).1) {
                return Err(NotNow::Gone { committed: asked.iter().map(committed).collect() });
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

impl State {
    fn begin(committed: Committed, lag: Option<Lag>) -> Self {
        // A flush may come before all frames are loaded that some table lacks: it may not claim those that are not.
        let loaded = committed.into_iter().min().unwrap_or_default();
        Self { committed, sealed: None, open: Generation::after(loaded), loaded, lag }
    }

    fn load(&mut self, position: Position, message: Message, taken: &[Taken]) {
        let wanted = self.committed.map(|committed| position > committed);
        self.open.add(position, wanted, message, taken);
        self.loaded = position;
    }

    fn bytes(&self) -> usize {
        let joining = self.lag.as_ref().and_then(|lag| lag.joining.as_ref());
        let joining = joining.map_or(0, |joining| joining.rows.bytes());
        self.loaded_bytes() + joining
    }

    fn loaded_bytes(&self) -> usize {
        self.open.bytes() + self.sealed.as_ref().map_or(0, |sealed| sealed.bytes())
    }
}
