//! Whatever text is given as an OpenAPI document: its faults are told or its routes are made, within their limits, and
//! nothing panics (I10).

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_gateway::fuzzing_of_documents::routes;

fuzz_target!(|text: &[u8]| {
    for is_rest in [false, true] {
        match routes(text, is_rest) {
            Ok(routes) => assert!(routes <= 300, "more routes than an API may have"),
            Err(faults) => assert!(!faults.is_empty(), "refused without a word"),
        }
    }
});
