//! What a log gives back after whatever happened to it.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SEGMENT_BYTES: u64 = 300;

fn config(directory: &Path) -> WalConfig {
    WalConfig { directory: directory.to_owned(), segment_bytes: SEGMENT_BYTES, budget_bytes: 1 << 20 }
}

fn bodies(replay: Replay) -> Vec<Vec<u8>> {
    replay.map(|frame| frame.unwrap().body.to_vec()).collect()
}

/// A log with these bodies, one sync each, rotated when due with its next position as the note.
fn write(directory: &Path, bodies: &[Vec<u8>]) {
    let (mut wal, _) = Wal::open(config(directory)).unwrap();
    for body in bodies {
        wal.append(1, 7, body).unwrap();
        wal.sync().unwrap();
        if wal.rotate_due() {
            let note = wal.next.get().to_string();
            wal.rotate(note.as_bytes()).unwrap();
        }
    }
}

fn only_segment(directory: &Path) -> PathBuf {
    segment::list(directory).unwrap().last().unwrap().path().to_owned()
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

    #[test]
    fn a_flipped_byte_never_yields_a_wrong_frame(at in 0.0..1.0f64, bit in 0..8u8) {
        let directory = TempDir::new().unwrap();
        let written: Vec<_> = (0..6u8).map(|index| vec![index; 20]).collect();
        write(directory.path(), &written);
        let path = only_segment(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
        let index = (at * bytes.len() as f64) as usize;
        bytes[index] ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        if let Ok((wal, _)) = Wal::open(config(directory.path())) {
            let read = bodies(wal.replay(Position::new(0)).unwrap().1);
            prop_assert_eq!(&read[..], &written[..read.len()]);
        }
    }

    #[test]
    fn no_bytes_stop_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), with_head in any::<bool>()) {
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[]);
        let path = only_segment(directory.path());
        let mut content = if with_head { fs::read(&path).unwrap() } else { Vec::new() };
        content.extend(bytes);
        fs::write(&path, content).unwrap();
        let _ = Wal::open(config(directory.path()));
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_all_before_it_survives() {
    let template = TempDir::new().unwrap();
    write(template.path(), &[b"first".to_vec(), b"second".to_vec()]);
    let whole = fs::read(only_segment(template.path())).unwrap();
    let last = usize::try_from(frame::encoded_bytes(b"second")).unwrap();
    for length in whole.len() - last + 1..whole.len() {
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[]);
        fs::write(only_segment(directory.path()), &whole[..length]).unwrap();
        let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
        assert_eq!((opened.next, opened.cut_bytes), (Position::new(2), (length + last - whole.len()) as u64));
        assert_eq!(wal.append(1, 7, b"third").unwrap(), Position::new(2));
        wal.sync().unwrap();
        assert_eq!(bodies(wal.replay(Position::new(0)).unwrap().1), [b"first".to_vec(), b"third".to_vec()]);
    }
}

#[test]
fn a_damaged_frame_in_an_older_segment_is_named_and_nothing_is_skipped() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &(0..40u8).map(|index| vec![index; 20]).collect::<Vec<_>>());
    let segments = segment::list(directory.path()).unwrap();
    assert!(segments.len() > 2);
    let mut bytes = fs::read(segments[1].path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(segments[1].path(), bytes).unwrap();
    let (wal, _) = Wal::open(config(directory.path())).unwrap();
    let read: Vec<_> = wal.replay(Position::new(0)).unwrap().1.collect();
    let (last, before) = read.split_last().unwrap();
    assert!(before.iter().all(Result::is_ok));
    let text = last.as_ref().unwrap_err().to_string();
    assert!(text.contains(&segments[1].path().display().to_string()) && text.contains("damaged at byte"), "{text}");
}

#[test]
fn truncation_keeps_what_is_after_and_positions_go_on() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &(0..40u8).map(|index| vec![index; 20]).collect::<Vec<_>>());
    let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
    let before = wal.bytes();
    wal.truncate(Position::new(25)).unwrap();
    assert!(wal.bytes() < before);
    let (_, replay) = wal.replay(Position::new(25)).unwrap();
    let positions: Vec<_> = replay.map(|frame| frame.unwrap().position.get()).filter(|number| *number > 25).collect();
    assert_eq!(positions, (26..=40).collect::<Vec<_>>());
    wal.truncate(Position::new(40)).unwrap();
    drop(wal);
    let (wal, reopened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((reopened.segments, reopened.next), (1, opened.next));
    drop(wal);
}

#[test]
fn a_replay_begins_with_the_note_that_leads_to_its_frames() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &(0..40u8).map(|index| vec![index; 20]).collect::<Vec<_>>());
    let (wal, _) = Wal::open(config(directory.path())).unwrap();
    for after in 0..=40 {
        let (note, mut replay) = wal.replay(Position::new(after)).unwrap();
        let note = String::from_utf8(note.unwrap().to_vec()).unwrap();
        let first = replay.next().map_or(41, |frame| frame.unwrap().position.get());
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
    let (wal, _) = Wal::open(config(directory.path())).unwrap();
    let pid = std::process::id().to_string();
    for error in [Wal::open(config(directory.path())).unwrap_err(), Wal::read(directory.path()).unwrap_err()] {
        assert!(matches!(&error, WalError::InUse { holder, .. } if *holder == pid), "{error}");
    }
    let id = wal.writer_id().to_owned();
    drop(wal);
    let readers = [Wal::read(directory.path()).unwrap(), Wal::read(directory.path()).unwrap()];
    assert!(readers.iter().all(|reader| reader.writer_id() == id));
}

#[test]
fn what_was_synced_is_there_without_an_orderly_end() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    wal.append(3, -5, b"body").unwrap();
    wal.sync().unwrap();
    wal.append(3, -5, b"never synced").unwrap();
    // The lock goes with the process; here it must be let go by hand, as a kill would.
    drop(wal);
    let reader = Wal::read(directory.path()).unwrap();
    let frames: Vec<_> = reader.replay(Position::new(0)).unwrap().1.map(Result::unwrap).collect();
    let expected = Frame { position: Position::new(1), kind: 3, received_us: -5, body: Bytes::from_static(b"body") };
    assert_eq!(frames, [expected]);
}
