//! What a log gives back when its files are not as they were written.

use super::*;

const HEAD_BYTES: usize = segment::HEAD_BYTES;

/// The bytes of a frame whose body has 20.
const FRAME_BYTES: usize = frame::HEAD_BYTES + 20;

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

/// What stands in a log: the positions of intact frames, which must be as they were written (the body of position n is
/// full of n - 1), and the damage between them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    intact: Vec<u64>,
    damages: usize,
    lost_frames: u64,
}

fn told(replay: Replay) -> Told {
    let mut told = Told::default();
    for entry in replay {
        match entry.unwrap() {
            Entry::Frame(frame) => {
                let position = frame.position.get();
                assert_eq!((frame.kind, frame.received_us), (1, 7));
                assert_eq!(frame.body, vec![u8::try_from(position - 1).unwrap(); 20]);
                told.intact.push(position);
            }
            Entry::Damaged(damage) => {
                told.damages += 1;
                told.lost_frames += damage.lost_frames;
            }
        }
    }
    told
}

fn intact(positions: impl IntoIterator<Item = u64>) -> Told {
    Told { intact: positions.into_iter().collect(), ..Told::default() }
}

fn all(wal: &Wal) -> Told {
    told(wal.replay(Position::new(0)).unwrap().1)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_all_before_it_survives() {
    let (directory, path, whole) = one_segment(3);
    for torn_bytes in 1..FRAME_BYTES {
        let length = HEAD_BYTES + 2 * FRAME_BYTES + torn_bytes;
        fs::write(&path, &whole[..length]).unwrap();
        let read = Wal::read(directory.path()).unwrap().replay(Position::new(0)).unwrap().1;
        assert_eq!(told(read), intact([1, 2]));
        let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
        assert_eq!((opened.next, opened.cut_bytes), (Position::new(3), torn_bytes as u64));
        assert_eq!(fs::read(&path).unwrap(), whole[..HEAD_BYTES + 2 * FRAME_BYTES]);
        assert_eq!(wal.append(1, 7, &[2; 20]).unwrap(), Position::new(3));
        wal.sync().unwrap();
        assert_eq!(all(&wal), intact([1, 2, 3]));
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
    assert_eq!(all(&wal), intact(1..=3));
}

#[test]
fn a_flipped_byte_takes_its_frame_and_no_other_and_a_head_only_its_note() {
    let (_directory, source, whole) = one_segment(5);
    let id = fs::read(source.with_file_name("writer-id")).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x10;
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[]);
        fs::write(directory.path().join("writer-id"), &id).unwrap();
        fs::write(newest_segment(directory.path()), &bytes).unwrap();
        let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
        let damaged = index.checked_sub(HEAD_BYTES).map(|offset| (offset / FRAME_BYTES) as u64 + 1);
        let (cut, expected) = match damaged {
            None => (false, Told { damages: 1, ..intact(1..=5) }),
            // The last one cannot be told from one that was being written.
            Some(5) => (true, intact(1..=4)),
            Some(lost) => {
                let others = intact((1..=5).filter(|position| *position != lost));
                (false, Told { damages: 1, lost_frames: 1, ..others })
            }
        };
        assert_eq!((opened.cut_bytes > 0, opened.damaged_places), (cut, expected.damages), "byte {index}");
        let (note, replay) = wal.replay(Position::new(0)).unwrap();
        assert_eq!((note.is_some(), told(replay)), (damaged.is_some(), expected), "byte {index}");
        // It goes on behind the damage, and its truncation keeps the segment.
        let next = wal.append(1, 7, &[u8::try_from(opened.next.get() - 1).unwrap(); 20]).unwrap();
        wal.rotate(b"").unwrap();
        assert_eq!(all(&wal).intact.last(), Some(&next.get()));
        wal.truncate(next).unwrap();
        assert_eq!(kept_aside(directory.path(), "damaged").len(), opened.damaged_places, "byte {index}");
        assert_eq!(all(&wal), Told::default());
    }
}

#[test]
fn damage_in_an_older_segment_leaves_the_later_ones_and_the_segment_is_kept() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let segments = segment::list(&System, directory.path()).unwrap();
    assert!(segments.len() > 2);
    let last_of_second = segments[2].first().get() - 1;
    let whole = fs::read(segments[1].path()).unwrap();
    let torn = &whole[..whole.len() - 1];
    // Cut in the middle of a frame, or where one ends: that a frame is missing is told anyway.
    for torn in [torn, &whole[..whole.len() - FRAME_BYTES]] {
        fs::write(segments[1].path(), torn).unwrap();
        let expected =
            Told { damages: 1, lost_frames: 1, ..intact((1..=40).filter(|position| *position != last_of_second)) };
        let reader = Wal::read(directory.path()).unwrap();
        assert_eq!(told(reader.replay(Position::new(0)).unwrap().1), expected);
        drop(reader);
        let (wal, opened) = Wal::open(config(directory.path())).unwrap();
        assert_eq!((opened.damaged_places, opened.cut_bytes, opened.next), (0, 0, Position::new(41)));
        assert_eq!(all(&wal), expected);
    }
    fs::write(segments[1].path(), torn).unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    assert_eq!(all(&wal).lost_frames, 1);
    wal.truncate(Position::new(40)).unwrap();
    let kept = kept_aside(directory.path(), "damaged");
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(&kept[0]).unwrap(), torn);
}

#[test]
fn a_reading_without_its_own_note_begins_at_an_earlier_one() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    let segments = segment::list(&System, directory.path()).unwrap();
    let newest = segments.last().unwrap();
    let mut bytes = fs::read(newest.path()).unwrap();
    bytes[HEAD_BYTES] ^= 1;
    fs::write(newest.path(), bytes).unwrap();
    let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.next, opened.damaged_places), (Position::new(41), 1));
    let before = segments[segments.len() - 2].first().get();
    let (note, replay) = wal.replay_newest().unwrap();
    assert_eq!(note.unwrap().as_ref(), before.to_string().as_bytes());
    assert_eq!(told(replay), Told { damages: 1, ..intact(before..=40) });
    wal.rotate(b"anew").unwrap();
    assert_eq!(wal.replay_newest().unwrap().0.unwrap().as_ref(), b"anew");
}

#[test]
fn an_end_that_is_lost_while_the_log_is_in_use_is_told() {
    let (directory, path, whole) = one_segment(0);
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    for body in numbered(3) {
        wal.append(1, 7, &body).unwrap();
    }
    wal.sync().unwrap();
    // What is being written when the reading begins is not read.
    wal.append(1, 7, b"not synced").unwrap();
    assert_eq!(all(&wal), intact(1..=3));
    fs::File::options().write(true).open(&path).unwrap().set_len((whole.len() + FRAME_BYTES) as u64).unwrap();
    assert_eq!(all(&wal), Told { damages: 1, lost_frames: 2, ..intact([1]) });
}

#[test]
fn a_frame_inside_a_body_is_not_taken_for_one_of_the_log() {
    let directory = TempDir::new().unwrap();
    let (mut wal, _) = Wal::open(config(directory.path())).unwrap();
    // All that a sender can know: the format, and the next position.
    let mut forged = Vec::new();
    frame::encode(&mut forged, frame::Marker::new([7; 8]), Position::new(2), 1, 7, b"forged");
    wal.append(1, 7, &forged).unwrap();
    wal.append(1, 7, &[1; 20]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let path = newest_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    // Whatever the first frame's length says now.
    for length in 0..=255 {
        let mut bytes = whole.clone();
        bytes[HEAD_BYTES + 12] = length;
        bytes[HEAD_BYTES + 8] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (wal, opened) = Wal::open(config(directory.path())).unwrap();
        assert_eq!(opened.next, Position::new(3));
        assert_eq!(all(&wal), Told { damages: 1, lost_frames: 1, ..intact([2]) });
    }
}

#[test]
fn a_position_that_two_segments_claim_belongs_to_the_later_one() {
    let (directory, _, _) = one_segment(3);
    let head = Head { first: Position::new(3), previous: Position::new(2), note: Bytes::new() };
    Segment::create(&System, directory.path(), &head, None).unwrap();
    let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!(opened.next, Position::new(3));
    wal.append(1, 7, &[2; 20]).unwrap();
    wal.sync().unwrap();
    assert_eq!(all(&wal), Told { damages: 1, ..intact(1..=3) });
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
        let (note, replay) = Wal::read(directory.path()).unwrap().replay(Position::new(0)).unwrap();
        prop_assert_eq!((note.is_some(), replay.count()), (with_head, 0));
        let (mut wal, opened) = Wal::open(config(directory.path())).unwrap();
        prop_assert_eq!(opened.next, Position::new(1));
        wal.append(1, 7, &[0; 20]).unwrap();
        wal.sync().unwrap();
        prop_assert_eq!(all(&wal).intact, [1]);
    }

    #[test]
    fn any_damage_takes_the_frames_it_touches_and_no_other(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (directory, path, whole) = one_segment(6);
        let mut bytes = whole.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |at| at.index(bytes.len())));
        fs::write(&path, &bytes).unwrap();
        let is_whole = |position: &u64| {
            let begin = HEAD_BYTES + usize::try_from(position - 1).unwrap() * FRAME_BYTES;
            bytes.get(begin..begin + FRAME_BYTES) == Some(&whole[begin..begin + FRAME_BYTES])
        };
        let expected: Vec<u64> = (1..=6).filter(is_whole).collect();
        let (wal, opened) = Wal::open(config(directory.path())).unwrap();
        let told = all(&wal);
        prop_assert_eq!(&told.intact, &expected);
        let last = expected.last().copied().unwrap_or(0);
        prop_assert_eq!((opened.next.get(), told.lost_frames), (last + 1, last - expected.len() as u64));
    }
}
