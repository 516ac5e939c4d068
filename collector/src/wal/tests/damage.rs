//! What a log gives back when its files are not as they were written.

use super::*;

/// The bytes of a segment's head without a note.
const HEAD_BYTES: usize = 24;

/// The bytes of a frame whose body has 20.
const FRAME_BYTES: usize = 45;

/// A log of one segment with one frame for each body, and that segment's bytes.
fn one_segment(count: u8) -> (TempDir, PathBuf, Vec<u8>) {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(WalConfig { segment_bytes: u64::MAX, ..config(directory.path()) }).unwrap();
    for body in numbered(count) {
        wal.append(1, 7, &body).unwrap();
    }
    wal.sync().unwrap();
    let path = newest_segment(directory.path());
    let bytes = fs::read(&path).unwrap();
    (directory, path, bytes)
}

fn kept_aside(directory: &Path, what: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end.to_str().unwrap().starts_with(what))).collect()
}

/// The frames of a log, which must be as they were written: the body of position n is full of n - 1.
fn intact_positions(replay: Replay) -> Vec<u64> {
    let position = |frame: Frame| {
        let position = frame.position.get();
        assert_eq!((frame.kind, frame.received_us), (1, 7));
        assert_eq!(frame.body, vec![u8::try_from(position - 1).unwrap(); 20]);
        position
    };
    frames(replay).map(position).collect()
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_all_before_it_survives() {
    let (directory, path, whole) = one_segment(3);
    for torn_bytes in 1..FRAME_BYTES {
        let length = HEAD_BYTES + 2 * FRAME_BYTES + torn_bytes;
        fs::write(&path, &whole[..length]).unwrap();
        let read = Wal::read(directory.path()).unwrap().replay(Position::new(0)).unwrap().1;
        assert_eq!(intact_positions(read), [1, 2]);
        let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
        assert_eq!((opened.next, opened.cut_bytes), (Position::new(3), torn_bytes as u64));
        assert_eq!(fs::read(&path).unwrap(), whole[..HEAD_BYTES + 2 * FRAME_BYTES]);
        assert_eq!(wal.append(1, 7, &[2; 20]).unwrap(), Position::new(3));
        wal.sync().unwrap();
        assert_eq!(intact_positions(wal.replay(Position::new(0)).unwrap().1), [1, 2, 3]);
    }
    assert_eq!(kept_aside(directory.path(), "cut").len(), FRAME_BYTES - 1);
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let (directory, path, mut bytes) = one_segment(3);
    let length = bytes.len();
    bytes.extend([0; 4096]);
    fs::write(&path, bytes).unwrap();
    let (wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.next, opened.cut_bytes, opened.bytes), (Position::new(4), 4096, length as u64));
    assert_eq!(intact_positions(wal.replay(Position::new(0)).unwrap().1), [1, 2, 3]);
}

#[test]
fn a_flipped_byte_takes_at_most_its_frame_and_what_only_that_leads_to() {
    let (_directory, _, whole) = one_segment(5);
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x10;
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[]);
        fs::write(newest_segment(directory.path()), &bytes).unwrap();
        let Ok((wal, opened)) = Wal::open(config(directory.path())) else {
            assert!(index < HEAD_BYTES, "byte {index}");
            continue;
        };
        assert!(index >= HEAD_BYTES, "byte {index}");
        let damaged = (index - HEAD_BYTES) / FRAME_BYTES;
        let is_length = (index - HEAD_BYTES) % FRAME_BYTES < 4;
        let expected: Vec<u64> = match (damaged, is_length) {
            (4, _) | (_, true) => (1..=damaged as u64).collect(),
            (_, false) => (1..=5).filter(|position| *position != damaged as u64 + 1).collect(),
        };
        let (cut, taken_out) = (opened.cut_bytes > 0, opened.damaged_segments);
        assert_eq!((cut, taken_out), if damaged == 4 || is_length { (true, 0) } else { (false, 1) }, "byte {index}");
        assert_eq!(intact_positions(wal.replay(Position::new(0)).unwrap().1), expected, "byte {index}");
        assert_eq!(opened.next.get(), expected.last().unwrap_or(&0) + 1);
        drop(wal);
        let (_, again) = Wal::open(config(directory.path())).unwrap();
        assert_eq!((again.cut_bytes, again.damaged_segments, again.next), (0, 0, opened.next));
    }
}

#[test]
fn damage_in_an_older_segment_leaves_the_later_ones_and_is_kept_aside() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let segments = segment::list(directory.path()).unwrap();
    assert!(segments.len() > 2);
    let last_of_second = segments[2].first().get() - 1;
    let whole = fs::read(segments[1].path()).unwrap();
    let torn = &whole[..whole.len() - 1];
    fs::write(segments[1].path(), torn).unwrap();

    let reader = Wal::read(directory.path()).unwrap();
    let read: Vec<_> = reader.replay(Position::new(0)).unwrap().1.collect();
    let (last, before) = read.split_last().unwrap();
    assert!(before.iter().all(Result::is_ok));
    assert!(matches!(last, Err(WalError::Damaged { path, .. }) if path == segments[1].path()), "{last:?}");
    drop(reader);

    let (wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.damaged_segments, opened.cut_bytes, opened.next), (1, 0, Position::new(41)));
    let expected: Vec<_> = (1..=40).filter(|position| *position != last_of_second).collect();
    assert_eq!(intact_positions(wal.replay(Position::new(0)).unwrap().1), expected);
    let kept = kept_aside(directory.path(), "damaged");
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(&kept[0]).unwrap(), torn);
}

#[test]
fn a_reader_tells_damage_from_a_torn_tail() {
    let (directory, path, mut bytes) = one_segment(3);
    bytes[HEAD_BYTES + FRAME_BYTES + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let reader = Wal::read(directory.path()).unwrap();
    let read: Vec<_> = reader.replay(Position::new(0)).unwrap().1.collect();
    assert!(matches!(&read[..], [Ok(_), Err(WalError::Damaged { offset: 69, .. })]), "{read:?}");
}

#[test]
fn a_frame_inside_a_body_is_not_taken_for_one_of_the_log() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    let mut forged = Vec::new();
    frame::encode(&mut forged, Position::new(u64::MAX), 1, 7, b"forged");
    wal.append(1, 7, &forged).unwrap();
    wal.append(1, 7, b"second").unwrap();
    wal.sync().unwrap();
    drop(wal);
    let path = newest_segment(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    // The first frame's length now leads to where the forged one begins.
    bytes[HEAD_BYTES] = 17;
    fs::write(&path, bytes).unwrap();
    let (wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!(opened.next, Position::new(1));
    assert!(bodies(wal.replay(Position::new(0)).unwrap().1).is_empty());
}

#[test]
fn segments_that_overlap_are_refused() {
    let (directory, _, _) = one_segment(3);
    Segment::create(directory.path(), Position::new(2), b"").unwrap();
    assert!(matches!(Wal::open(config(directory.path())), Err(WalError::Damaged { .. })));
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let (directory, path, _) = one_segment(3);
    let unfinished = path.with_extension("wal.unfinished");
    fs::write(&unfinished, b"half a head").unwrap();
    let (_, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.next, unfinished.exists()), (Position::new(4), false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_bytes_stop_the_log(bytes in prop::collection::vec(any::<u8>(), 0..300), with_head in any::<bool>()) {
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[]);
        let path = newest_segment(directory.path());
        let mut content = if with_head { fs::read(&path).unwrap() } else { Vec::new() };
        content.extend(bytes);
        fs::write(&path, content).unwrap();
        let read = Wal::read(directory.path()).unwrap().replay(Position::new(0));
        prop_assert_eq!(read.is_ok(), with_head);
        if let Ok((_, replay)) = read {
            prop_assert_eq!(replay.count(), 0);
        }
        let opened = Wal::open(config(directory.path()));
        prop_assert_eq!(opened.is_ok(), with_head);
    }

    #[test]
    fn any_damage_leaves_only_frames_that_were_written(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (directory, path, mut bytes) = one_segment(6);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |at| at.index(bytes.len())));
        fs::write(&path, bytes).unwrap();
        if let Ok((wal, opened)) = Wal::open(config(directory.path())) {
            let positions = intact_positions(wal.replay(Position::new(0)).unwrap().1);
            prop_assert!(positions.is_sorted_by(|before, after| before < after));
            prop_assert_eq!(opened.next.get(), positions.last().unwrap_or(&0) + 1);
        }
    }
}
