//! What a log gives back after whatever happened to it.

mod crash;
mod damage;
mod versions;

use std::fs::{self, File};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SEGMENT_BYTES: u64 = 300;

fn config(directory: &Path) -> WalConfig {
    WalConfig { directory: directory.to_owned(), segment_bytes: SEGMENT_BYTES, budget_bytes: 1 << 20 }
}

fn bodies(replay: Replay) -> Vec<Vec<u8>> {
    frames(replay).map(|frame| frame.body.to_vec()).collect()
}

fn frames(replay: Replay) -> impl Iterator<Item = Frame> {
    replay.map(|entry| match entry.unwrap() {
        Entry::Frame(frame) => frame,
        Entry::Damaged(damage) => panic!("{damage:?}"),
    })
}

/// Bodies of 20 bytes, all different.
fn numbered(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 20]).collect()
}

/// Appends these bodies, one sync each; rotates when due, with the next position as the note.
fn write(directory: &Path, bodies: &[Vec<u8>]) {
    let (mut wal, _) = Wal::open(config(directory)).unwrap();
    for body in bodies {
        wal.append(1, 7, body).unwrap();
        wal.sync().unwrap();
        if wal.rotate_due() {
            let note = wal.end.next.get().to_string();
            wal.rotate(note.as_bytes()).unwrap();
        }
    }
}

fn newest_segment(directory: &Path) -> PathBuf {
    segment::list(&System, directory).unwrap().last().unwrap().path().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn frames_come_back_as_they_were_across_restarts_and_rotations(
        runs in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8), 1..5),
    ) {
        let directory = TempDir::new().unwrap();
        for run in &runs {
            write(directory.path(), run);
        }
        let reader = Wal::read(directory.path()).unwrap();
        let (_, replay) = reader.replay(Position::new(0)).unwrap();
        prop_assert_eq!(bodies(replay), runs.concat());
    }
}

#[test]
fn truncation_keeps_what_is_after_and_positions_go_on() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
    let before = wal.bytes();
    wal.truncate(Position::new(25)).unwrap();
    assert!(wal.bytes() < before);
    let (_, replay) = wal.replay(Position::new(25)).unwrap();
    let positions: Vec<_> = frames(replay).map(|frame| frame.position.get()).filter(|number| *number > 25).collect();
    assert_eq!(positions, (26..=40).collect::<Vec<_>>());
    wal.truncate(Position::new(u64::MAX)).unwrap();
    assert_eq!(wal.bytes(), newest_segment(directory.path()).metadata().unwrap().len());
    drop(wal);
    let (mut wal, reopened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((reopened.segments, reopened.next), (1, opened.next));
    assert_eq!(wal.append(1, 7, b"").unwrap(), opened.next);
}

#[test]
fn a_segment_that_cannot_be_deleted_is_deleted_by_the_next_truncation() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    // A directory in the place of a file refuses to be removed as one, whoever asks.
    let stubborn = wal.segments[1].path().to_owned();
    fs::remove_file(&stubborn).unwrap();
    fs::create_dir(&stubborn).unwrap();
    let before = wal.bytes();
    assert!(wal.truncate(Position::new(40)).is_err());
    assert_eq!(wal.bytes(), before);
    fs::remove_dir(&stubborn).unwrap();
    wal.truncate(Position::new(40)).unwrap();
    let left = segment::list(&System, directory.path()).unwrap();
    assert!(left.iter().map(Segment::path).eq(wal.segments.iter().map(Segment::path)));
}

#[test]
fn a_replay_begins_with_the_note_that_leads_to_its_frames() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let (wal, _) = Wal::open(config(directory.path())).unwrap();
    for after in 0..=40 {
        let (note, replay) = wal.replay(Position::new(after)).unwrap();
        let note = String::from_utf8(note.unwrap().to_vec()).unwrap();
        let first = frames(replay).next().map_or(41, |frame| frame.position.get());
        assert!(first <= after + 1);
        assert_eq!(note, if first == 1 { String::new() } else { first.to_string() });
    }
}

#[test]
fn a_full_log_refuses_and_takes_again_after_truncation() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(WalConfig { budget_bytes: 1_000, ..config(directory.path()) }).unwrap();
    let mut appended = 0;
    let error = loop {
        match wal.append(1, 7, &[0; 50]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        wal.sync().unwrap();
        if wal.rotate_due() {
            wal.rotate(b"").unwrap();
        }
    };
    assert!(error.is_retryable() && appended > 5, "{error}");
    wal.truncate(Position::new(appended)).unwrap();
    assert!(wal.append(1, 7, &[0; 50]).is_ok());
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let directory = TempDir::new().unwrap();
    let missing = Wal::read(directory.path()).unwrap_err();
    assert!(matches!(missing, WalError::Missing { .. }), "{missing}");
    let (wal, _) = Wal::open(config(directory.path())).unwrap();
    for error in [Wal::open(config(directory.path())).unwrap_err(), Wal::read(directory.path()).unwrap_err()] {
        let expected = Holder::Writer(Some(std::process::id()));
        assert!(matches!(&error, WalError::InUse { holder, .. } if *holder == expected), "{error}");
    }
    let id = wal.writer_id().to_owned();
    drop(wal);
    let readers = [Wal::read(directory.path()).unwrap(), Wal::read(directory.path()).unwrap()];
    assert!(readers.iter().all(|reader| reader.writer_id() == id));
    // The pid in the file is of a writer that is gone.
    let error = Wal::open(config(directory.path())).unwrap_err();
    assert!(matches!(error, WalError::InUse { holder: Holder::Readers, .. }), "{error}");
}

#[test]
fn a_log_keeps_its_name_and_does_not_take_a_new_one_for_old_frames() {
    let directory = TempDir::new().unwrap();
    let id = Wal::open(config(directory.path())).unwrap().0.writer_id().to_owned();
    assert_eq!(Wal::open(config(directory.path())).unwrap().0.writer_id(), id);
    let path = directory.path().join("writer-id");
    let whole = fs::read_to_string(&path).unwrap();
    for content in ["", "no uuid", &whole.replacen(&id[..1], if id.starts_with('a') { "b" } else { "a" }, 1)] {
        fs::write(&path, content).unwrap();
        assert!(matches!(Wal::open(config(directory.path())), Err(WalError::Damaged { .. })), "{content}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Wal::open(config(directory.path())), Err(WalError::Io { .. })));
}

#[test]
fn what_was_synced_is_there_without_an_orderly_end() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    wal.append(3, -5, b"body").unwrap();
    assert_eq!(wal.sync().unwrap(), Position::new(1));
    wal.append(3, -5, b"never synced").unwrap();
    // Files are copied as they are now, while the log is open: what a killed process leaves.
    let left = TempDir::new().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    let reader = Wal::read(left.path()).unwrap();
    let frames: Vec<_> = frames(reader.replay(Position::new(0)).unwrap().1).collect();
    let expected = Frame { position: Position::new(1), kind: 3, received_us: -5, body: Bytes::from_static(b"body") };
    assert_eq!(frames, [expected]);
}

#[test]
fn a_rotation_of_a_segment_without_frames_replaces_its_note() {
    let directory = TempDir::new().unwrap();
    let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
    wal.rotate(b"a note").unwrap();
    assert_eq!((wal.segments.len(), opened.next), (1, Position::new(1)));
    wal.truncate(Position::new(9)).unwrap();
    wal.append(1, 7, b"body").unwrap();
    wal.sync().unwrap();
    let (note, replay) = wal.replay(Position::new(0)).unwrap();
    assert_eq!((note.unwrap().as_ref(), bodies(replay)), (b"a note".as_slice(), vec![b"body".to_vec()]));
}

#[test]
fn positions_that_tables_have_committed_are_not_given_again() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &[b"one".to_vec()]);
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    wal.skip_past(Position::new(1), b"unused").unwrap();
    assert_eq!(wal.segments.len(), 1);
    wal.skip_past(Position::new(41), b"after the gap").unwrap();
    assert_eq!(wal.append(1, 7, b"two").unwrap(), Position::new(42));
    wal.sync().unwrap();
    drop(wal);
    let (wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.next, opened.damaged_places), (Position::new(43), 0));
    assert_eq!(bodies(wal.replay(Position::new(0)).unwrap().1), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(wal.replay(Position::new(41)).unwrap().0.unwrap().as_ref(), b"after the gap");
}

#[test]
fn an_error_of_the_disk_ends_the_log() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    // Refuses every write, for lack of space; and it cannot be cut back to what it was.
    wal.file = File::options().write(true).open("/dev/full").unwrap();
    wal.append(1, 7, b"body").unwrap();
    let first = wal.sync().unwrap_err();
    assert!(matches!(first, WalError::Io { action: "truncate", .. }) && !first.is_retryable(), "{first}");
    assert!(matches!(wal.sync(), Err(WalError::Failed)));
    assert!(matches!(wal.append(1, 7, b"body"), Err(WalError::Failed)));
    assert!(matches!(wal.rotate(b""), Err(WalError::Failed)));
    assert!(matches!(wal.truncate(Position::new(1)), Err(WalError::Failed)));
}

#[test]
fn a_frame_that_is_too_large_is_refused_and_the_log_goes_on() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    let error = wal.append(1, 7, &vec![0; MOST_FRAME_BYTES]).unwrap_err();
    assert!(matches!(error, WalError::TooLarge { .. }), "{error}");
    assert_eq!(wal.append(1, 7, b"body").unwrap(), Position::new(1));
}
