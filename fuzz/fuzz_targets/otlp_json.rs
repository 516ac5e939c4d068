//! Whatever text comes as a message in JSON: it is refused, or its protobuf decodes (I10).

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_record::otlp;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(protobuf) = otlp::logs_json_to_protobuf(bytes) {
        otlp::decode_logs(&protobuf).expect("what was encoded decodes");
    }
    if let Ok(protobuf) = otlp::traces_json_to_protobuf(bytes) {
        otlp::decode_traces(&protobuf).expect("what was encoded decodes");
    }
});
