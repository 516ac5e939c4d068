//! Whatever bytes come as a message of logs: they are refused, or they become rows and cells that agree (I4, I10), and
//! the sources that a restart reads from them are those of the full decoding (I3).

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_collector::{Message, Signal};
use weir_record::otlp;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(Signal::Logs, 1_700_000_000_000_000, bytes) {
        for part in &message.parts {
            assert_eq!(part.received - part.rejected.total(), part.rows.num_rows() as u64);
        }
        let sources = otlp::sources(bytes).expect("what decodes in full decodes in part");
        assert!(sources.iter().eq(message.parts.iter().map(|part| &part.source)));
    }
});
