//! Whatever bytes stand where a note should: they are no note, or one that is written and read again as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_collector::sources::Sources;

fuzz_target!(|bytes: &[u8]| {
    if let Some(sources) = Sources::from_note(bytes) {
        assert_eq!(Sources::from_note(&sources.to_note()).as_ref(), Some(&sources));
    }
});
