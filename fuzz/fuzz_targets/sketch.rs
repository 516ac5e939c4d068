//! Whatever bytes stand in a column of sketches: they are refused, or they are a sketch that can be asked and merged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_lake::Sketch;

fuzz_target!(|bytes: &[u8]| {
    let mut merged = Sketch::new();
    merged.record(1_000);
    let merges = merged.merge_bytes(bytes).is_ok();
    if let Ok(sketch) = Sketch::from_bytes(bytes) {
        assert!(merges, "what can be read can be merged");
        assert_eq!(merged.count(), sketch.count() + 1);
        assert!(sketch.quantile(0.5) <= sketch.quantile(1.0));
    }
});
