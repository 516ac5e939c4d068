//! Whatever a file of the log holds behind its head: the log opens, and it can be written to and read again (I10).

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use weir_collector::wal::{Entry, Position, Wal, WalConfig};

/// Of a log whose frames begin with eight zeros, which the fuzzer finds.
const IDENTITY: &str = "00000000-0000-0000-0000-000000000000 0000000000000000 b782e81a\n";

fuzz_target!(|bytes: &[u8]| {
    // In memory, where the machine has such a place: fsyncs are not what is tried here.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let config = || WalConfig { directory: directory.path().to_owned(), segment_bytes: 1 << 20, budget_bytes: 1 << 30 };
    fs::write(directory.path().join("writer-id"), IDENTITY).expect("there is room");
    drop(Wal::open(config()).expect("a new log opens"));
    let segment = directory.path().join("00000000000000000001.wal");
    // Behind an intact head more is reached than with bytes of any kind.
    let head = fs::read(&segment).expect("the segment was made");
    fs::write(&segment, [head, frames(bytes)].concat()).expect("the segment can be written");
    let (mut wal, _) = Wal::open(config()).expect("no bytes behind its head stop a start");
    let position = wal.append(1, 2, b"body").expect("there is room");
    wal.sync().expect("it is written");
    let (_, entries) = wal.replay(Position::default()).expect("it can be read");
    let mut last = None;
    for entry in entries {
        if let Entry::Frame(frame) = entry.expect("no damage ends the reading") {
            assert!(Some(frame.position) > last, "frames come in order");
            last = Some(frame.position);
        }
    }
    assert_eq!(last, Some(position), "what was written is read");
});

/// Frames whose checksum is zero get the right one, which no fuzzer finds.
fn frames(bytes: &[u8]) -> Vec<u8> {
    let (mut frames, mut at) = (bytes.to_vec(), 0);
    while let Some(prefix) = frames.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let [.., a, b, c, d] = *prefix;
        let end = (at + 16).saturating_add(u32::from_le_bytes([a, b, c, d]) as usize);
        if end > frames.len() {
            break;
        }
        if prefix[8..12] == [0; 4] {
            let right = crc32c::crc32c(&frames[at + 12..end]).to_le_bytes();
            frames[at + 8..at + 12].copy_from_slice(&right);
        }
        at = end;
    }
    frames
}
