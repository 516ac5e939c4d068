//! Logs of other versions of Weir are refused, and left as they are.

use super::*;

/// Whoever opens the log, to write or to read it, is told so; no byte of it changes.
fn assert_refused(directory: &Path, because: &str) {
    let files = || {
        let listed = System.list(directory).unwrap().into_iter().filter(|(path, _)| !path.ends_with("lock"));
        listed.map(|(path, _)| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = files();
    for error in [Wal::open(config(directory)).unwrap_err(), Wal::read(directory).unwrap_err()] {
        assert!(matches!(error, WalError::OtherVersion { .. }) && error.to_string().contains(because), "{error}");
    }
    assert_eq!(files(), before);
}

#[test]
fn a_log_of_another_version_is_refused_as_such_whichever_of_its_segments_is() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(40));
    for segment in segment::list(&System, directory.path()).unwrap() {
        let whole = fs::read(segment.path()).unwrap();
        for (digit, because) in [(b'1', "let that version commit"), (b'3', "start that version again")] {
            let mut bytes = whole.clone();
            // The checksum of another version covers other bytes.
            (bytes[7], bytes[28]) = (digit, !bytes[28]);
            fs::write(segment.path(), &bytes).unwrap();
            assert_refused(directory.path(), because);
        }
        fs::write(segment.path(), whole).unwrap();
    }
    Wal::open(config(directory.path())).unwrap();
}

#[test]
fn a_log_whose_name_is_of_another_version_is_refused_as_such() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(4));
    let path = directory.path().join("writer-id");
    let said = format!("{} 0123456789abcdef and what only a newer version knows", uuid::Uuid::nil());
    let newer = format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes()));
    for (text, because) in [(uuid::Uuid::nil().to_string(), "older version"), (newer, "newer version")] {
        fs::write(&path, text).unwrap();
        assert_refused(directory.path(), because);
    }
}

#[test]
fn a_digit_of_the_version_that_flipped_is_damage_and_stops_nobody() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &numbered(4));
    let path = newest_segment(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_, opened) = Wal::open(config(directory.path())).unwrap();
    assert_eq!((opened.next, opened.damaged_places), (Position::new(5), 1));
}
