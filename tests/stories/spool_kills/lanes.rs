//! What a gateway that has ended left in its spool, read from the files by a reader of our own.
//!
//! The format stands in the gateway's `telemetry/spool/segment.rs`. A batch that is not whole is none.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use weir_record::otlp;

const MAGIC_BYTES: usize = 8;
const PREFIX_BYTES: usize = 8;
const COUNTERS_BYTES: usize = 40;

/// A source and a signal.
pub(super) type Key = (String, String);

/// Whether there is nothing that a gateway has still to send or to tell.
pub(super) fn is_empty(spool: &Path) -> anyhow::Result<bool> {
    Ok(lanes(spool)?.is_empty())
}

/// What the lanes take on disk.
pub(super) fn bytes(spool: &Path) -> anyhow::Result<u64> {
    let files = lanes(spool)?.iter().map(|directory| paths(directory)).collect::<io::Result<Vec<_>>>()?;
    Ok(files.iter().flatten().map(|file| Ok(file.metadata()?.len())).sum::<io::Result<u64>>()?)
}

/// The records in all lanes that processes left in a spool: request ids of access records, ids of spans.
pub(super) fn read(spool: &Path) -> anyhow::Result<Vec<(Key, BTreeSet<String>)>> {
    lanes(spool)?.iter().map(|directory| read_lane(directory)).collect()
}

/// A lane that was sent leaves what was damaged, but no state.
fn lanes(spool: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(spool) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Ok(paths(spool)?.into_iter().filter(|directory| directory.join("state").exists()).collect()),
    }
}

fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

fn read_lane(directory: &Path) -> anyhow::Result<(Key, BTreeSet<String>)> {
    let name = directory.file_name().and_then(|name| name.to_str()).context("a lane without a name")?;
    let (source, signal) = name.split_once('.').context("a lane without a signal")?;
    let mut ids = BTreeSet::new();
    let segments = paths(directory)?.into_iter().filter(|path| path.extension().is_some_and(|own| own == "spool"));
    for segment in segments {
        read_segment(&fs::read(segment)?, source, signal, &mut ids)?;
    }
    Ok(((source.to_owned(), signal.to_owned()), ids))
}

fn read_segment(bytes: &[u8], source: &str, signal: &str, ids: &mut BTreeSet<String>) -> anyhow::Result<()> {
    // Behind the magic bytes stand the instance's length, its name and a checksum.
    let head = MAGIC_BYTES + 2 + source.len() + 4;
    let mut rest = bytes.get(head..).unwrap_or_default();
    while let Some((prefix, more)) = rest.split_first_chunk::<PREFIX_BYTES>() {
        let [a, b, c, d, ..] = *prefix;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((batch, more)) = more.split_at_checked(length) else { break };
        let body = batch.get(COUNTERS_BYTES..).context("a batch without its counters")?;
        read_batch(body, signal, ids)?;
        rest = more;
    }
    Ok(())
}

fn read_batch(body: &[u8], signal: &str, ids: &mut BTreeSet<String>) -> anyhow::Result<()> {
    if signal == "logs" {
        let records = otlp::decode_logs(body)?.into_iter().flat_map(|batch| batch.records);
        ids.extend(records.map(|record| record.request_id));
    } else {
        let spans = otlp::decode_traces(body)?.into_iter().flat_map(|spans| spans.batch.records);
        ids.extend(spans.map(|span| span.span_id.to_string()));
    }
    Ok(())
}
