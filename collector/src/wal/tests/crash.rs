//! What a log gives back when power, process or disk fail at any of its operations, on a simulated disk.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::simulated::{Fault, SimulatedDisk},
    *,
};

type SimulatedWal = Wal<SimulatedDisk>;

/// What a log was told, and what it has promised.
#[derive(Default)]
struct Told {
    /// The body of each frame that was appended last at its position.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Those up to this one were synced.
    synced: u64,
    /// Those up to this one were deleted.
    truncated: u64,
    /// Nobody reads beyond this one: what follows may not be deleted.
    read: Option<u64>,
    /// Those that a power cut took before they were synced, while it left later ones.
    holes: BTreeSet<u64>,
}

fn simulated() -> WalConfig {
    WalConfig { directory: PathBuf::from("/log"), segment_bytes: 2_000, budget_bytes: 1 << 20 }
}

impl Told {
    /// Appends, syncs, rotates and truncates as the owner does, until something fails; `None` when nothing did.
    fn work(&mut self, wal: &mut SimulatedWal, rng: &mut fastrand::Rng, steps: usize) -> Option<WalError> {
        (0..steps).find_map(|_| self.step(wal, rng).err())
    }

    fn step(&mut self, wal: &mut SimulatedWal, rng: &mut fastrand::Rng) -> Result<(), WalError> {
        for _ in 0..rng.usize(1..4) {
            let body: Vec<u8> = (0..rng.usize(0..900)).map(|_| rng.u8(..)).collect();
            let position = wal.append(1, 7, &body)?;
            self.appended.insert(position.get(), body);
        }
        self.synced = wal.sync()?.get();
        if wal.rotate_due() {
            wal.rotate(&self.synced.to_le_bytes())?;
        }
        if rng.u8(0..8) == 0 {
            self.truncated = rng.u64(self.truncated..=self.read.unwrap_or(self.synced));
            wal.truncate(Position::new(self.truncated))?;
        }
        Ok(())
    }

    /// Reads all that should be there: every synced frame, nothing that was not appended, and notes that lead there.
    fn check<D: Disk>(&mut self, wal: &Wal<D>, next: u64) {
        assert!(next > self.synced, "{next} follows {}", self.synced);
        let (note, replay) = wal.replay(Position::new(self.truncated)).unwrap();
        let through = replay.through().get();
        assert!(note.is_some());
        let mut expected = self.truncated + 1;
        for entry in replay {
            let (from, to) = match entry.unwrap() {
                Entry::Frame(frame) => {
                    let position = frame.position.get();
                    assert_eq!(Some(&frame.body[..]), self.appended.get(&position).map(|body| &body[..]));
                    (position, position + 1)
                }
                Entry::Damaged(damage) => {
                    let (from, to) = (damage.after.get() + 1, damage.next.unwrap().get());
                    self.holes.extend(from.max(self.synced + 1)..to);
                    assert!((from..to).all(|lost| self.holes.contains(&lost)), "{damage}");
                    (from, to)
                }
            };
            assert!(from <= expected, "{from} follows {expected}");
            expected = expected.max(to);
        }
        assert_eq!((through + 1, expected), (next, next.max(self.truncated + 1)));
    }
}

/// Opens the log, and checks it.
fn reopen(disk: &SimulatedDisk, told: &mut Told) -> SimulatedWal {
    let (wal, opened) = Wal::open_on(disk.clone(), simulated()).unwrap();
    told.check(&wal, opened.next.get());
    wal
}

#[test]
fn whatever_was_synced_survives_a_power_cut_or_a_kill_at_every_operation() {
    for seed in 0..25 {
        for fault in [Fault::PowerCut, Fault::Kill] {
            for operations in 1.. {
                let disk = SimulatedDisk::new(seed << 32 | operations);
                let (mut rng, mut told) = (fastrand::Rng::with_seed(seed), Told::default());
                disk.fail_after(operations, fault);
                let failed = match Wal::open_on(disk.clone(), simulated()) {
                    Ok((mut wal, _)) => told.work(&mut wal, &mut rng, 30),
                    Err(error) => Some(error),
                };
                if failed.is_none() {
                    break;
                }
                // The next start fails too, at any of its operations; then it goes on.
                disk.restart();
                disk.fail_after(rng.u64(1..12), fault);
                let _ = Wal::open_on(disk.clone(), simulated());
                disk.restart();
                let mut wal = reopen(&disk, &mut told);
                assert!(told.work(&mut wal, &mut rng, 5).is_none());
                drop(wal);
                disk.fail_after(1, fault);
                assert!(disk.create(Path::new("/log/x")).is_err() && disk.is_down());
                disk.restart();
                reopen(&disk, &mut told);
            }
        }
    }
}

#[test]
fn a_disk_that_fills_up_at_any_byte_takes_nothing_and_the_log_goes_on_when_there_is_room() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let (mut rng, mut told) = (fastrand::Rng::with_seed(seed), Told::default());
        let (mut wal, _) = Wal::open_on(disk.clone(), simulated()).unwrap();
        assert!(told.work(&mut wal, &mut rng, 5).is_none());
        for _ in 0..5 {
            disk.set_capacity_bytes(disk.used_bytes() + rng.u64(0..6_000));
            let error = told.work(&mut wal, &mut rng, 100_000).unwrap();
            assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
            told.check(&wal, wal.end.next.get());
            if rng.bool() {
                // A start needs no room, whatever a power cut left.
                drop(wal);
                disk.fail_after(rng.u64(1..3), Fault::PowerCut);
                let _ = Wal::open_on(disk.clone(), simulated());
                disk.restart();
                wal = reopen(&disk, &mut told);
            }
            disk.set_capacity_bytes(u64::MAX);
            assert!(told.work(&mut wal, &mut rng, 5).is_none());
        }
        drop(wal);
        reopen(&disk, &mut told);
    }
}

#[test]
fn a_sync_that_fails_ends_the_log_and_is_not_tried_again() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let (mut rng, mut told) = (fastrand::Rng::with_seed(seed), Told::default());
        let (mut wal, _) = Wal::open_on(disk.clone(), simulated()).unwrap();
        disk.fail_after(rng.u64(1..60), Fault::Sync);
        let error = told.work(&mut wal, &mut rng, 100).unwrap();
        assert!(matches!(error, WalError::Io { .. }) && !error.is_retryable(), "{error}");
        assert!(matches!(wal.sync(), Err(WalError::Failed)));
        drop(wal);
        disk.fail_after(1, Fault::PowerCut);
        let _ = disk.create(Path::new("/log/x"));
        disk.restart();
        reopen(&disk, &mut told);
    }
}

#[test]
fn a_start_reads_the_newest_segment_alone() {
    let disk = SimulatedDisk::new(1);
    let (mut wal, _) = Wal::open_on(disk.clone(), simulated()).unwrap();
    for _ in 0..1_000 {
        wal.append(1, 7, &[1; 500]).unwrap();
        wal.sync().unwrap();
        if wal.rotate_due() {
            wal.rotate(&[2; 100]).unwrap();
        }
    }
    let (segments, bytes) = (wal.segments.len() as u64, wal.bytes());
    drop(wal);
    disk.take_read_bytes();
    let (wal, opened) = Wal::open_on(disk.clone(), simulated()).unwrap();
    let (_, newest) = wal.replay_newest().unwrap();
    assert!(newest.count() < 5);
    let read = disk.take_read_bytes();
    assert!(segments > 200 && read < 8 * segments + 4 * simulated().segment_bytes, "{read} of {bytes}");
    assert_eq!(opened.next, Position::new(1_001));
}

#[test]
fn a_reading_sees_what_was_synced_when_it_began_while_the_log_goes_on() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (mut rng, mut told) = (fastrand::Rng::with_seed(seed), Told::default());
        let (mut wal, _) = Wal::open_on(disk, simulated()).unwrap();
        assert!(told.work(&mut wal, &mut rng, 20).is_none());
        let after = told.truncated;
        told.read = Some(after);
        let (_, replay) = wal.replay(Position::new(after)).unwrap();
        let (through, mut last) = (replay.through().get(), after);
        for entry in replay {
            let Entry::Frame(frame) = entry.unwrap() else { panic!("nothing is damaged") };
            let position = frame.position.get();
            assert_eq!(Some(&frame.body[..]), told.appended.get(&position).map(|body| &body[..]));
            if position > after {
                assert_eq!(position, last + 1);
                last = position;
            }
            // What was read is committed, perhaps, and deleted; more is written meanwhile.
            told.read = Some(last);
            assert!(told.work(&mut wal, &mut rng, 1).is_none());
        }
        assert_eq!(last, through);
    }
}
