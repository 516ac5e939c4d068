//! Whatever bytes stand in a lane of the spool: it opens, gives only batches that stand whole in one of its files, each
//! number once and in order, and can be appended to and read again (I10).

#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;
use weir_gateway::fuzzing_of_the_spool::{append, drain};

/// What a segment of the instance `a` begins with.
const HEAD: &[u8] = b"WEIRSPL1\x01\x00a";
const PREFIX_BYTES: usize = 8;

/// Stands between the files in an input: the state, then segments.
const BORDER: &[u8] = b"\n----\n";

fuzz_target!(|bytes: &[u8]| {
    // In memory, where the machine has such a place: fsyncs are not what is tried here.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let lane = directory.path().join("a.logs");
    fs::create_dir(&lane).expect("there is room");
    let files = split(bytes);
    let segments: Vec<_> = files.iter().skip(1).map(|bytes| segment(bytes)).collect();
    write(&lane.join("state"), &state(files[0]));
    for (number, segment) in segments.iter().enumerate() {
        write(&lane.join(format!("{:08}.spool", number + 1)), segment);
    }

    let mut last = None;
    for (sequence, batch) in drain(directory.path()).expect("no bytes stop the reading") {
        assert!(Some(sequence) > last, "numbers come in order, once");
        last = Some(sequence);
        assert!(segments.iter().any(|segment| contains(segment, &batch)), "a batch that nobody wrote");
    }
    assert!(drain(directory.path()).expect("it can be read again").is_empty(), "what is done with stays done with");
    let appended = append(directory.path(), b"body").expect("it can be appended to");
    let found = drain(directory.path()).expect("it can be read again");
    assert_eq!(found, Vec::from_iter(appended), "what was appended is read");
});

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(BORDER.len()).position(|window| window == BORDER) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + BORDER.len()..];
    }
    parts.push(bytes);
    parts
}

/// A state whose checksum is eight zeros gets the right one, which no fuzzer finds.
fn state(bytes: &[u8]) -> Vec<u8> {
    match bytes.strip_prefix(b"00000000") {
        Some(json) => [format!("{:08x}", crc32c::crc32c(json)).as_bytes(), json, b"\n"].concat(),
        None => bytes.to_vec(),
    }
}

/// Batches behind an intact head, by which more is reached than with bytes of any kind; those whose checksum is zero
/// get the right one. After a mark the bytes stand as they are.
fn segment(bytes: &[u8]) -> Vec<u8> {
    if let Some(bytes) = bytes.strip_prefix(b"as it is:") {
        return bytes.to_vec();
    }
    let mut segment = [HEAD, &crc32c::crc32c(b"a").to_le_bytes(), bytes].concat();
    let mut at = segment.len() - bytes.len();
    while let Some(prefix) = segment.get(at..).and_then(|rest| rest.first_chunk::<PREFIX_BYTES>()) {
        let [a, b, c, d, checksum @ ..] = *prefix;
        let end = (at + PREFIX_BYTES).saturating_add(u32::from_le_bytes([a, b, c, d]) as usize);
        let Some(batch) = segment.get(at + PREFIX_BYTES..end) else { break };
        if checksum == [0; 4] {
            let right = crc32c::crc32c(batch).to_le_bytes();
            segment[at + 4..at + PREFIX_BYTES].copy_from_slice(&right);
        }
        at = end;
    }
    segment
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("there is room");
}
