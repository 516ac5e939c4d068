//! How far a spool was sent, and what its source had counted: one small file, written over in place.
//!
//! It is not fsynced: a process that is killed leaves it as it was last written; after a power cut it may be older or
//! unreadable, and then the batches themselves tell what they can.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

use super::segment::Entry;

/// All that the file can hold.
const MOST_BYTES: usize = 4_096;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The last number that was given.
    pub(crate) sequence: u64,
    /// Records that were made.
    pub(crate) offered: u64,
    /// Records that were dropped.
    pub(crate) dropped: u64,
    /// Those of them that had been in a numbered batch.
    pub(crate) dropped_numbered: u64,
    /// Records in all numbered batches.
    pub(crate) numbered: u64,
    /// The last batch that is done with: acknowledged, refused, or dropped.
    pub(crate) done_sequence: u64,
    /// Records in all batches up to that one.
    pub(crate) done_numbered: u64,
    /// Records of a batch that is under way and not on disk: it found no room, or the oldest were dropped.
    pub(crate) in_hand: u64,
    /// The number of that batch.
    #[serde(default)]
    pub(crate) in_hand_sequence: u64,
    /// Collectors that may have taken the batch in hand, or else the one after the last that is done with.
    pub(crate) sent_to: Vec<String>,
}

impl State {
    /// Adds what a batch that was given a number says.
    pub(super) fn number(&mut self, entry: &Entry) {
        self.sequence = self.sequence.max(entry.sequence);
        self.offered = self.offered.max(entry.offered);
        self.dropped = self.dropped.max(entry.dropped);
        self.numbered = self.numbered.max(entry.numbered);
    }

    /// Adds that a batch is done with.
    pub(super) fn finish(&mut self, sequence: u64, numbered: u64) {
        self.done_sequence = sequence;
        self.done_numbered = numbered;
    }

    /// Adds that a batch is in the sender's hands alone.
    pub(super) fn take_in_hand(&mut self, entry: &Entry) {
        (self.in_hand, self.in_hand_sequence) = (entry.records, entry.sequence);
    }

    /// Adds that records of numbered batches are lost. It is written together with what says that they are done with: a
    /// process that is killed between two writes would count them twice, or not at all.
    pub(super) fn lose(&mut self, records: u64) {
        self.dropped = self.dropped.saturating_add(records);
        self.dropped_numbered = self.dropped_numbered.saturating_add(records);
    }

    /// Records that were made, and are in no numbered batch and not dropped: they were in memory when this was written.
    pub(crate) fn in_memory(&self) -> u64 {
        let not_numbered = self.dropped.saturating_sub(self.dropped_numbered);
        let in_batches_or_dropped = self.numbered.saturating_add(not_numbered);
        self.offered.saturating_sub(in_batches_or_dropped)
    }

    /// Reads the file; none when it does not hold what was written.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; MOST_BYTES];
        let read = file.read_at(&mut bytes, 0)?;
        let line = bytes[..read].split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Some((checksum, json)) = line.split_at_checked(8) else { return Ok(None) };
        let is_whole = format!("{:08x}", crc32c::crc32c(json)).as_bytes() == checksum;
        let state = if is_whole { serde_json::from_slice(json).ok() } else { None };
        Ok(state.filter(Self::is_possible))
    }

    /// Whether its counters can have come about.
    fn is_possible(&self) -> bool {
        self.done_sequence <= self.sequence
            && self.done_numbered <= self.numbered
            && self.dropped_numbered <= self.dropped
    }

    /// Writes the file.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let line = format!("{:08x}{json}\n", crc32c::crc32c(json.as_bytes()));
        file.write_all_at(line.as_bytes(), 0)
    }
}
