//! A collector without threads, files and tables: its writer, log, memory and backlog are the real ones, on a simulated
//! disk and beside tables in memory. A seed decides the order of everything, and what fails.
//!
//! | what fails | how |
//! |---|---|
//! | machine and process | power cuts and kills at any operation on the disk, starts included; kills between fsync and answer |
//! | disk | full for a while; an fsync fails, which ends the process |
//! | network | messages are repeated, reordered, late, and sent again until they are answered |
//! | store | away for a while, also at a start; commits fail, or are done and their answer is lost |
//! | clock | set an hour forward or back, at any moment |
//!
//! What is looked for: no record is committed twice; each answered one is committed, or in memory, or memory says that it
//! lags (I9); when all trouble is over, everything sent is in every table once, and the sums of the ledger agree.

mod world;

use std::{collections::HashSet, path::PathBuf, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use futures::FutureExt;
use tokio::sync::oneshot;
use weir_lake::Table;

use self::world::{Advance, Batch, Clock, RECORDS, Senders, Tables};
use crate::{
    Message, Pending, Signal,
    backlog::{Read, Turn},
    pending::{Generation, NotNow},
    replay::Replayer,
    run::{begin_afresh, known_sources},
    tables::UNKNOWN_GAP,
    wal::{
        Lives, Position, Wal, WalConfig, WalError,
        simulated::{Fault, SimulatedDisk},
    },
    writer::{Answer, Order, Submission, Writer},
};

/// Memory that rows may take, bytes: a few dozen messages.
const LIMIT_BYTES: usize = 200_000;

/// Steps of all seeds together.
const STEPS: u64 = 100_000;

const SEEDS: u64 = 20;

#[test]
fn nothing_is_lost_and_nothing_counted_twice_in_100_000_steps() {
    thread::scope(|scope| {
        for seed in 0..SEEDS {
            // The name is said when it fails.
            let thread = thread::Builder::new().name(format!("seed {seed}"));
            thread.spawn_scoped(scope, move || Simulation::new(seed).run(STEPS / SEEDS)).unwrap();
        }
    });
}

struct Simulation {
    rng: Rng,
    disk: SimulatedDisk,
    senders: Senders,
    tables: Tables,
    clock: Clock,
    process: Option<Process>,
    starts: u64,
}

/// All that a collector has in memory.
struct Process {
    writer: Writer<SimulatedDisk>,
    pending: Arc<Pending>,
    /// The log's first free position when it started.
    first_free: Position,
    /// Those before this one, and this one.
    lives: Lives,
    life: Option<i64>,
    /// Whether it has learned what the tables have committed.
    knows_tables: bool,
    turn: Option<Turn<SimulatedDisk>>,
    replayer: Option<Replayer>,
    flush: Option<Flush>,
}

/// A generation that is being committed, to one table after the other.
struct Flush {
    generation: Arc<Generation>,
    next: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let (senders, tables) = (Senders::new(), Tables::default());
        let (disk, rng) = (SimulatedDisk::new(seed), Rng::with_seed(seed));
        Self { rng, disk, senders, tables, clock: Clock::new(), process: None, starts: 0 }
    }

    fn run(&mut self, steps: u64) {
        for step in 1..=steps {
            self.step();
            if step % 1_000 == 0 {
                self.settle_all();
            }
        }
        assert!(self.starts > 20, "{} starts", self.starts);
    }

    fn step(&mut self) {
        self.clock.pass(&mut self.rng);
        let Some(mut process) = self.process.take() else {
            self.process = self.start().ok();
            return;
        };
        let worked = match self.rng.u8(0..100) {
            0..50 => self.deliver(&mut process),
            50..70 => process.read(self.rng.usize(1..30)),
            70..93 => self.commit(&mut process),
            93..95 => self.learn(&mut process),
            95 => {
                self.tables.is_away = self.rng.bool();
                Ok(())
            }
            96 => {
                let room = if self.rng.bool() { u64::MAX } else { self.rng.u64(0..20_000) };
                self.disk.set_capacity_bytes(self.disk.used_bytes().saturating_add(room));
                Ok(())
            }
            97 => {
                let fault = [Fault::PowerCut, Fault::PowerCut, Fault::Kill, Fault::Sync][self.rng.usize(0..4)];
                self.disk.fail_after(self.rng.u64(1..60), fault);
                Ok(())
            }
            _ => {
                self.check(&process);
                Ok(())
            }
        };
        if worked.is_ok() {
            self.process = Some(process);
        }
    }

    /// As `Collector::start` does.
    fn start(&mut self) -> Result<Process, WalError> {
        self.starts += 1;
        self.disk.restart();
        if self.rng.u8(0..4) == 0 {
            self.disk.fail_after(self.rng.u64(1..12), Fault::PowerCut);
        }
        let directory = PathBuf::from("/log");
        let config = WalConfig { directory, segment_bytes: 4_000, budget_bytes: 60_000 };
        let (mut wal, opened) = Wal::open_on(self.disk.clone(), config)?;
        let sources = known_sources(&wal)?;
        if opened.damaged_places > 0 {
            begin_afresh(&mut wal, &sources)?;
        }
        let pending = Arc::new(Pending::unknown(wal.writer_id(), opened.next.previous(), LIMIT_BYTES));
        let mut first_free = opened.next;
        let knows_tables = !self.tables.is_away;
        let (lives, mut in_tables) = (wal.lives()?, Vec::new());
        if knows_tables {
            self.tables.assert_written_by(&lives);
            in_tables.extend(self.tables.lives.into_iter().flatten());
            pending.begin(self.tables.committed);
            assert!(pending.committed_by_any() < first_free, "the tables have what the log has not");
        } else {
            let behind = Position::new(first_free.get() + UNKNOWN_GAP);
            if let Err(error) = wal.skip_past(behind, &sources.to_note()) {
                self.disk.set_capacity_bytes(u64::MAX);
                return Err(error);
            }
            first_free = behind.next();
        }
        let life = match wal.begin_life(lives.clone(), &in_tables) {
            Ok(life) => Some(life),
            Err(error) if error.is_retryable() => lives.last(),
            Err(error) => return Err(error),
        };
        let writer = Writer::new(wal, sources, Arc::clone(&pending), Arc::default(), Duration::ZERO);
        Ok(Process { writer, pending, first_free, lives, life, knows_tables, turn: None, replayer: None, flush: None })
    }

    /// A start without the store: it is there now, or still not.
    fn learn(&mut self, process: &mut Process) -> Result<(), WalError> {
        if !process.knows_tables && !self.tables.is_away {
            self.tables.assert_written_by(&process.lives);
            process.pending.begin(self.tables.committed);
            process.knows_tables = true;
            assert!(process.pending.committed_by_any() < process.first_free, "the log gave positions again");
        }
        Ok(())
    }

    /// A group of messages: appended, one fsync for all, and answered.
    fn deliver(&mut self, process: &mut Process) -> Result<(), WalError> {
        let batches: Vec<Batch> = (0..self.rng.usize(1..4)).map(|_| self.senders.next(&mut self.rng)).collect();
        let answers = process.take(&batches, self.clock.now_us())?;
        if self.rng.u8(0..200) == 0 {
            // Killed when all is on disk and nobody is answered.
            return Err(WalError::Failed);
        }
        for (batch, answer) in answers {
            if answer == Answer::Taken {
                self.senders.answer(batch);
            }
        }
        Ok(())
    }

    /// As the flusher does: seals, commits to one table, lets go after the last.
    fn commit(&mut self, process: &mut Process) -> Result<(), WalError> {
        if !process.knows_tables {
            return Ok(());
        }
        let flush = process.flush.take();
        let flush = flush.or_else(|| process.pending.seal().map(|generation| Flush { generation, next: 0 }));
        let Some(mut flush) = flush else { return Ok(()) };
        let (table, through) = (Table::ALL[flush.next], flush.generation.through());
        let advance = Advance { life: process.life, after: process.pending.committed_by(table), to: through };
        let rows = flush.generation.rows_to_commit(table, self.clock.now_us());
        if self.tables.append(table, &rows, &advance, &mut self.rng) {
            process.pending.committed(table, through);
            flush.next += 1;
        }
        if flush.next < Table::ALL.len() {
            process.flush = Some(flush);
            return Ok(());
        }
        process.pending.release();
        process.writer.carry_out(Order::Truncate(process.pending.committed_by_all()))
    }

    /// What a query gets: every answered record once, or that it must wait.
    fn check(&self, process: &Process) {
        if !process.knows_tables {
            return;
        }
        let asked = [(Table::Requests, self.tables.committed[Table::Requests as usize])];
        let rows = match process.pending.after(&asked, self.clock.now_us()) {
            Ok(mut rows) => rows.remove(0).1,
            Err(NotNow::Lags { .. }) => return,
            Err(gone @ NotNow::Gone { .. }) => panic!("{gone:?}"),
        };
        let mut seen = HashSet::new();
        for id in world::ids(&rows) {
            assert!(!self.tables.requests.contains(&id) && seen.insert(id.clone()), "{id} is seen twice");
        }
        for (sender, number) in &self.senders.answered {
            let id = format!("{sender}-{number}-0");
            assert!(self.tables.requests.contains(&id) || seen.contains(&id), "{id} was answered and is lost");
        }
    }

    /// All trouble is over: everything is sent until it is answered, and committed.
    fn settle_all(&mut self) {
        self.disk.set_capacity_bytes(u64::MAX);
        self.tables.is_away = false;
        for round in 0.. {
            assert!(round < 10_000, "it never settles");
            let Some(mut process) = self.process.take() else {
                self.process = self.start().ok();
                continue;
            };
            self.clock.pass(&mut self.rng);
            let (unanswered, now_us) = (self.senders.unanswered(), self.clock.now_us());
            let worked = self
                .learn(&mut process)
                .and_then(|()| process.read(1_000))
                .and_then(|()| self.commit(&mut process))
                .and_then(|()| process.take(unanswered.as_slice(), now_us));
            let Ok(answers) = worked else { continue };
            for (batch, _) in answers.iter().filter(|(_, answer)| *answer == Answer::Taken) {
                self.senders.answer(*batch);
            }
            let is_settled = unanswered.is_none()
                && process.pending.lags().now_or_never().is_none()
                && process.flush.is_none()
                && process.pending.seal().is_none();
            self.process = Some(process);
            if is_settled {
                break;
            }
        }
        let offered = self.senders.offered();
        let Tables { requests, counted, stored, offered: told, .. } = &self.tables;
        assert_eq!((requests.len() as u64, *counted, *stored, *told), (offered, offered, offered, offered));
        assert_eq!(self.senders.answered.len() as u64 * RECORDS, offered);
    }
}

impl Process {
    /// Takes messages as the writer's thread does; gives what each was answered.
    fn take(&mut self, batches: &[Batch], now_us: i64) -> Result<Vec<(Batch, Answer)>, WalError> {
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        for batch in batches {
            let body: Bytes = world::body(*batch);
            let message = Message::decode(Signal::Logs, now_us, &body).unwrap();
            let (answer, answered) = oneshot::channel();
            self.writer.append(Submission { message, body, received_us: now_us, answer }, &mut group)?;
            answers.push((*batch, answered));
        }
        self.writer.settle(group)?;
        self.writer.rotate_when_due()?;
        Ok(answers.into_iter().map(|(batch, mut answered)| (batch, answered.try_recv().unwrap())).collect())
    }

    /// As the backlog does, when memory lags: so many frames of the log, as long as there is room.
    fn read(&mut self, frames: usize) -> Result<(), WalError> {
        if !self.knows_tables || self.pending.lags().now_or_never().is_none() {
            return Ok(());
        }
        let turn = match self.turn.take() {
            Some(turn) => turn,
            None => self.begin_turn()?,
        };
        let through = turn.frames.through();
        let (turn, read) = turn.take(&self.pending, frames);
        if read? == Read::Some {
            self.turn = Some(turn);
        } else if self.pending.caught_up(through) {
            turn.replayer.end(&self.pending);
        } else {
            self.replayer = Some(turn.replayer);
        }
        Ok(())
    }

    fn begin_turn(&mut self) -> Result<Turn<SimulatedDisk>, WalError> {
        let replayer = self.replayer.take();
        let from = replayer.as_ref().map_or_else(|| self.pending.loaded(), Replayer::position);
        let (answer, mut reading) = oneshot::channel();
        self.writer.carry_out(Order::Replay { after: from, answer })?;
        let (note, frames) = reading.try_recv().unwrap()?;
        Ok(Turn { replayer: replayer.unwrap_or_else(|| Replayer::new(note.as_deref(), from)), frames })
    }
}
