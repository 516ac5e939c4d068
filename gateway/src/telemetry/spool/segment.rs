//! The files of a spool: a head that says whose batches they are, then batches, each with its length and checksum.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `WEIRSPL1` |
//! | 2, n | length of the instance id, and the id |
//! | 4 | CRC32C of the instance id |
//! | then for each batch: 4, 4 | length of what follows, CRC32C of what follows |
//! | 5 × 8 | number, records, and the source's counters: offered, dropped, records in numbered batches |
//! | n | the message, as it goes over the wire |
//!
//! All numbers are little-endian. What always holds: a batch is read as it was written, or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use bytes::Bytes;

const MAGIC: &[u8; 8] = b"WEIRSPL1";
const PREFIX_BYTES: usize = 8;
const COUNTERS_BYTES: usize = 40;

/// The largest entry that is believed, bytes.
const MOST_ENTRY_BYTES: usize = 64 << 20;

/// A batch that bears its number: what is sent, and what is kept until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The number on its stamp.
    pub(crate) sequence: u64,
    /// Records in it; none in a batch that only tells counters.
    pub(crate) records: u64,
    /// The stamp's counter.
    pub(crate) offered: u64,
    /// The stamp's counter.
    pub(crate) dropped: u64,
    /// Records in all batches of the instance up to this one.
    pub(crate) numbered: u64,
    /// The OTLP message.
    pub(crate) body: Bytes,
}

impl Entry {
    /// Bytes that it takes in a segment.
    pub(super) fn encoded_bytes(&self) -> u64 {
        (PREFIX_BYTES + COUNTERS_BYTES + self.body.len()) as u64
    }

    /// Its bytes in a segment; none when they are too many.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let length = u32::try_from(COUNTERS_BYTES + self.body.len()).ok()?;
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + COUNTERS_BYTES + self.body.len());
        bytes.extend(length.to_le_bytes());
        bytes.extend([0; 4]);
        for counter in [self.sequence, self.records, self.offered, self.dropped, self.numbered] {
            bytes.extend(counter.to_le_bytes());
        }
        bytes.extend_from_slice(&self.body);
        let checksum = crc32c::crc32c(&bytes[PREFIX_BYTES..]);
        bytes[4..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (words, _) = bytes.get(..COUNTERS_BYTES)?.as_chunks::<8>();
        let [sequence, records, offered, dropped, numbered] = *words else { return None };
        let [sequence, records, offered, dropped, numbered] =
            [sequence, records, offered, dropped, numbered].map(u64::from_le_bytes);
        Some(Self { sequence, records, offered, dropped, numbered, body: Bytes::from(bytes).slice(COUNTERS_BYTES..) })
    }
}

/// What a segment of this instance begins with.
fn head(instance: &str) -> Vec<u8> {
    let length = u16::try_from(instance.len()).unwrap_or(u16::MAX);
    let mut head = MAGIC.to_vec();
    head.extend(length.to_le_bytes());
    head.extend_from_slice(instance.as_bytes());
    head.extend(crc32c::crc32c(instance.as_bytes()).to_le_bytes());
    head
}

/// The end of a segment at which batches are appended.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    bytes: u64,
}

impl Writer {
    /// Makes a new segment.
    pub(super) fn create(path: &Path, instance: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let head = head(instance);
        file.write_all(&head)?;
        Ok(Self { file, bytes: head.len() as u64 })
    }

    /// Appends a batch. After an error the segment ends where it ended before.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = entry.encode().ok_or_else(|| io::Error::other("a batch beyond 4 GiB"))?;
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Has on disk what was appended.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Bytes of the segment.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a segment has next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A batch.
    Entry(Entry),
    /// Nothing: it was read to its end.
    End,
    /// Bytes that are no whole batch.
    Damaged,
}

/// Reads a segment from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    /// Where the next batch begins.
    offset: u64,
}

impl Reader {
    /// Opens a segment; none when its head is not that of a segment of this instance.
    pub(super) fn open(path: &Path, instance: &str) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let expected = head(instance);
        let mut found = vec![0; expected.len()];
        match file.read_exact(&mut found) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok((found == expected).then_some(Self { file, offset: expected.len() as u64 }))
    }

    /// Reads the next batch.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        self.file.seek(SeekFrom::Start(self.offset))?;
        let left = self.file.metadata()?.len().saturating_sub(self.offset);
        if left == 0 {
            return Ok(Next::End);
        }
        let mut prefix = [0; PREFIX_BYTES];
        if left < prefix.len() as u64 {
            return Ok(Next::Damaged);
        }
        self.file.read_exact(&mut prefix)?;
        let [a, b, c, d, checksum @ ..] = prefix;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if !(COUNTERS_BYTES..=MOST_ENTRY_BYTES).contains(&length) || (left as usize) < PREFIX_BYTES + length {
            return Ok(Next::Damaged);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes)?;
        if crc32c::crc32c(&bytes) != u32::from_le_bytes(checksum) {
            return Ok(Next::Damaged);
        }
        let Some(entry) = Entry::decode(bytes) else { return Ok(Next::Damaged) };
        self.offset += (PREFIX_BYTES + length) as u64;
        Ok(Next::Entry(entry))
    }
}
