//! Which entry of a table's log is damaged, when the log cannot be read: the kernel says what it stumbled over, and not where.

use std::fmt::Display;

use delta_kernel::{Engine as _, KernelError, KernelResult};
use url::Url;

use crate::delta::Engine;

/// Entries that are looked at, the newest first: more than lie between two checkpoints.
const ENTRIES: usize = 128;

/// The same error, with the name of the entry that is no JSON, if there is one.
pub(crate) fn named(engine: &Engine, table: &Url, error: KernelError) -> KernelError {
    // Nothing is read anew when it is the store that fails.
    if !error.to_string().contains("Json error") {
        return error;
    }
    match damaged_entry(engine, table) {
        Ok(Some(name)) => KernelError::generic(format!("{name} is damaged: {}", without_backtrace(&error))),
        Ok(None) | Err(_) => error,
    }
}

fn without_backtrace(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn damaged_entry(engine: &Engine, table: &Url) -> KernelResult<Option<String>> {
    let storage = engine.storage_handler();
    let begin = table.join("_delta_log/0").map_err(KernelError::from)?;
    let listed = storage.list_from(&begin)?.collect::<KernelResult<Vec<_>>>()?;
    let entries = listed.into_iter().map(|file| file.location).filter(|url| url.path().ends_with(".json"));
    let entries: Vec<Url> = entries.collect();
    for entry in entries.into_iter().rev().take(ENTRIES) {
        let name = entry.path().rsplit('/').next().unwrap_or_default().to_owned();
        for bytes in storage.read_files(vec![(entry, None)])? {
            let bytes = bytes?;
            let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            if lines.any(|line| serde_json::from_slice::<serde_json::Value>(line).is_err()) {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}
