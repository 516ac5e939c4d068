//! Whatever is asked for as a path: what the gateway compares and sends on means to a server what the client's spelling
//! means, has no way up in it, and is its own normal form; and nothing panics (I10).

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_gateway::fuzzing_of_targets::{decoded, joined, normalised};

fuzz_target!(|path: &str| {
    let Some(normal) = normalised(path) else { return };
    assert_eq!(normalised(&normal).as_deref(), Some(&normal[..]), "a normal form that is not its own");
    assert_eq!(decoded(&normal), decoded(path), "another path than was asked for");
    let is_dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    // Slashes that are encoded stay so: what is between them is no segment of ours.
    assert!(!normal.split('/').any(|segment| is_dots(segment.as_bytes())), "a way up");
    let inner = normal.strip_prefix('/').unwrap_or(&normal);
    assert_eq!(joined(&normal), inner.strip_suffix('/').unwrap_or(inner));
});
