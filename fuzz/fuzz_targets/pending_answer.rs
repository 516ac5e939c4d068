//! Whatever a collector answers to `POST /pending`: it is no rows of ours, or rows that are the same when they are
//! encoded and decoded again (I10).

#![no_main]

use std::panic::{PanicHookInfo, set_hook};

use libfuzzer_sys::fuzz_target;
use weir_lake::pending;

/// Panics of Arrow's reader are caught and told as errors: they need not end the process at once, as the others do when
/// nobody has caught them.
fn tell(panicked: &PanicHookInfo<'_>) {
    if panicked.location().is_none_or(|location| !location.file().contains("/arrow-")) {
        eprintln!("{panicked}");
    }
}

fuzz_target!(init: set_hook(Box::new(tell)), |bytes: &[u8]| {
    if let Ok(tables) = pending::decode(bytes) {
        for (table, rows) in &tables {
            assert!(rows.iter().all(|batch| batch.schema().fields() == table.schema().fields()));
        }
        let encoded = pending::encode(&tables).expect("rows of our tables can be encoded");
        let again = pending::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(again, tables.into_iter().filter(|(_, rows)| !rows.is_empty()).collect::<Vec<_>>());
    }
});
