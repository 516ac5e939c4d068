//! The way into the spool for the fuzz target `spool_lane`, which makes lanes that nobody wrote.

use std::{io, path::Path};

use bytes::Bytes;

use super::{Append, Entry, Lane, Spool};

/// Far beyond what a fuzzer makes.
const MOST_BYTES: u64 = 1 << 30;

/// A batch as it stands in a segment, and its number.
pub type Encoded = (u64, Vec<u8>);

/// Takes all batches out of the one lane of logs in a directory, as the next process does.
///
/// # Errors
/// When the system refuses, which no bytes of a lane may bring about.
pub fn drain(directory: &Path) -> io::Result<Vec<Encoded>> {
    let mut lane = adopt(directory)?;
    let mut batches = Vec::new();
    while let Some(entry) = lane.head()?.entry {
        batches.extend(entry.encode().map(|bytes| (entry.sequence, bytes)));
        lane.settle(0)?;
    }
    Ok(batches)
}

/// Appends a batch to that lane; none when there is no number left for it.
///
/// # Errors
/// When the system refuses, which no bytes of a lane may bring about.
pub fn append(directory: &Path, body: &[u8]) -> io::Result<Option<Encoded>> {
    let mut lane = adopt(directory)?;
    let state = lane.state();
    let (Some(sequence), Some(numbered)) = (state.sequence.checked_add(1), state.numbered.checked_add(1)) else {
        return Ok(None);
    };
    let (offered, dropped) = (state.offered, state.dropped);
    let entry = Entry { sequence, records: 1, offered, dropped, numbered, body: Bytes::copy_from_slice(body) };
    let appended = lane.append(&entry)? == Append::Done;
    Ok(entry.encode().filter(|_| appended).map(|bytes| (sequence, bytes)))
}

fn adopt(directory: &Path) -> io::Result<Lane> {
    let lane = Spool::open(directory.to_owned(), MOST_BYTES).adopt("logs")?.pop();
    lane.ok_or_else(|| io::Error::other("a lane that nobody has was not adopted"))
}
