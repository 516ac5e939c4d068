//! The spool: batches that the collector has not taken, on disk, each a file of its own.
//!
//! A file's name tells all that is needed to keep order: `INSTANCE-NUMBER-RECORDS.otlp`, where instances are UUIDs of
//! version 7, which sort by time, and the number has all its digits. It holds a CRC32C and the bytes as they go over the
//! wire. A file is written aside, fsynced and renamed, so it is there whole or not at all, after a crash of the process
//! and of the machine.
//!
//! What always holds: the files take at most `limit_bytes`; a file is deleted when the collector has acknowledged it, or
//! dropped and counted; a directory belongs to one process at a time. What an earlier process has left is sent first,
//! under that process's name and numbers.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use weir_station::crash_point;

/// Directories that are tried: so many gateways may share a data directory.
const MOST_SLOTS: usize = 64;

const EXTENSION: &str = "otlp";
const CHECKSUM_BYTES: usize = 4;

/// Which batch: its instance, and its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) instance: String,
    pub(crate) sequence: u64,
}

/// An encoded batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) key: Key,
    /// Records in it; 0 in one that only tells counts.
    pub(crate) records: u64,
    pub(crate) body: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    records: u64,
    bytes: u64,
}

/// The lock of a directory of spools; held by all spools in it.
#[derive(Debug)]
pub(crate) struct Slot {
    directory: PathBuf,
    _lock: File,
}

impl Slot {
    /// Takes the first directory below this one that no other process has.
    pub(crate) fn take(directory: &Path) -> io::Result<Arc<Self>> {
        for number in 0..MOST_SLOTS {
            let directory = directory.join(format!("gateway-{number}"));
            fs::create_dir_all(&directory)?;
            let lock = File::create(directory.join("lock"))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Arc::new(Self { directory, _lock: lock })),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{MOST_SLOTS} gateways use this directory already")))
    }
}

/// The batches of one signal on disk. Blocks.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    limit_bytes: u64,
    entries: BTreeMap<Key, Entry>,
    bytes: u64,
    _slot: Arc<Slot>,
}

impl Spool {
    /// Opens the spool of a signal, with what is in it.
    pub(crate) fn open(slot: &Arc<Slot>, signal: &str, limit_bytes: u64) -> io::Result<Self> {
        let directory = slot.directory.join(signal);
        fs::create_dir_all(&directory)?;
        let mut entries = BTreeMap::new();
        for file in fs::read_dir(&directory)? {
            let file = file?;
            let name = file.file_name();
            if let Some((key, records)) = name.to_str().and_then(parse) {
                let entry = Entry { records, bytes: file.metadata()?.len() };
                match entries.get(&key) {
                    // A batch and the counts in whose place it is: the batch has newer ones.
                    Some(Entry { records: known, .. }) if *known > records => fs::remove_file(file.path())?,
                    Some(_) => {
                        fs::remove_file(directory.join(name_of(&key, 0)))?;
                        entries.insert(key, entry);
                    }
                    None => drop(entries.insert(key, entry)),
                }
            } else if Path::new(&name).extension().is_some_and(|extension| extension == "unfinished") {
                fs::remove_file(file.path())?;
            }
        }
        let bytes = entries.values().map(|entry| entry.bytes).sum();
        Ok(Self { directory, limit_bytes, entries, bytes, _slot: Arc::clone(slot) })
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records in it.
    pub(crate) fn records(&self) -> u64 {
        self.entries.values().map(|entry| entry.records).sum()
    }

    /// Bytes that its files take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest batch's key.
    pub(crate) fn oldest(&self) -> Option<&Key> {
        self.entries.keys().next()
    }

    /// The newest batch's key, when it has no records: its counts can be told anew under the same number.
    pub(crate) fn newest_tally(&self) -> Option<&Key> {
        self.entries.last_key_value().filter(|(_, entry)| entry.records == 0).map(|(key, _)| key)
    }

    /// Whether a batch of this size has room.
    pub(crate) fn has_room(&self, body: &Bytes) -> bool {
        self.bytes + (CHECKSUM_BYTES + body.len()) as u64 <= self.limit_bytes
    }

    /// Keeps a batch, on disk when this returns; in place of one with the same number.
    pub(crate) fn keep(&mut self, batch: &Batch) -> io::Result<()> {
        let path = self.path(&batch.key, batch.records);
        let unfinished = path.with_extension("unfinished");
        let written = (|| {
            let mut file = File::create(&unfinished)?;
            file.write_all(&crc32c::crc32c(&batch.body).to_le_bytes())?;
            file.write_all(&batch.body)?;
            file.sync_data()?;
            crash_point!("spool::written");
            fs::rename(&unfinished, &path)?;
            File::open(&self.directory)?.sync_all()
        })();
        if let Err(error) = written {
            // What is not there needs no removing.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        crash_point!("spool::kept");
        // The one in whose place it is goes last: at no moment is there neither.
        if let Some(replaced) = self.entries.get(&batch.key)
            && replaced.records != batch.records
        {
            self.forget(&batch.key)?;
        }
        self.remove(&batch.key);
        let bytes = (CHECKSUM_BYTES + batch.body.len()) as u64;
        self.entries.insert(batch.key.clone(), Entry { records: batch.records, bytes });
        self.bytes += bytes;
        Ok(())
    }

    /// Reads a batch. One that is damaged is set aside, and `Err` tells how many records it had.
    pub(crate) fn read(&mut self, key: &Key) -> Result<Batch, u64> {
        let records = self.entries.get(key).map_or(0, |entry| entry.records);
        let path = self.path(key, records);
        let bytes = fs::read(&path).unwrap_or_default();
        match bytes.split_first_chunk::<CHECKSUM_BYTES>() {
            Some((checksum, body)) if crc32c::crc32c(body) == u32::from_le_bytes(*checksum) => {
                Ok(Batch { key: key.clone(), records, body: Bytes::from(bytes).slice(CHECKSUM_BYTES..) })
            }
            _ => {
                let aside = path.with_extension("damaged");
                let kept = fs::rename(&path, &aside);
                tracing::error!(file = %aside.display(), records, ?kept, "a batch in the spool is damaged, its records are lost");
                self.remove(key);
                Err(records)
            }
        }
    }

    /// Deletes a batch. The records that it had.
    pub(crate) fn forget(&mut self, key: &Key) -> io::Result<u64> {
        let Some(entry) = self.entries.get(key) else { return Ok(0) };
        let records = entry.records;
        match fs::remove_file(self.path(key, records)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crash_point!("spool::forgotten");
        self.remove(key);
        Ok(records)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }

    fn path(&self, key: &Key, records: u64) -> PathBuf {
        self.directory.join(name_of(key, records))
    }
}

fn name_of(key: &Key, records: u64) -> String {
    format!("{}-{:020}-{records}.{EXTENSION}", key.instance, key.sequence)
}

/// What a file's name tells.
fn parse(name: &str) -> Option<(Key, u64)> {
    let mut parts = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.rsplitn(3, '-');
    let (records, sequence, instance) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    Some((Key { instance: instance.to_owned(), sequence }, records))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn batch(instance: &str, sequence: u64, records: u64) -> Batch {
        let key = Key { instance: instance.to_owned(), sequence };
        Batch { key, records, body: Bytes::from(vec![u8::try_from(sequence).unwrap(); 100]) }
    }

    #[test]
    fn what_a_process_left_comes_first_and_in_order() {
        let directory = TempDir::new().unwrap();
        let open = || Spool::open(&Slot::take(directory.path()).unwrap(), "logs", 10_000).unwrap();
        let mut spool = open();
        for sequence in [2, 10, 1] {
            spool.keep(&batch("b-1", sequence, sequence)).unwrap();
        }
        spool.keep(&batch("a-1", 7, 7)).unwrap();
        drop(spool);
        let mut spool = open();
        assert_eq!((spool.records(), spool.bytes()), (20, 4 * 104));
        let mut seen = Vec::new();
        while let Some(key) = spool.oldest().cloned() {
            let read = spool.read(&key).unwrap();
            assert_eq!(read.body, batch("", key.sequence, 0).body);
            seen.push((key.instance.clone(), key.sequence));
            assert_eq!(spool.forget(&key).unwrap(), key.sequence);
        }
        assert_eq!(seen, [("a-1".into(), 7), ("b-1".into(), 1), ("b-1".into(), 2), ("b-1".into(), 10)]);
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn a_batch_in_place_of_another_takes_its_room() {
        let directory = TempDir::new().unwrap();
        let mut spool = Spool::open(&Slot::take(directory.path()).unwrap(), "logs", 250).unwrap();
        spool.keep(&batch("a", 1, 0)).unwrap();
        assert_eq!(spool.newest_tally().map(|key| key.sequence), Some(1));
        spool.keep(&batch("a", 1, 5)).unwrap();
        assert_eq!((spool.records(), spool.bytes(), spool.newest_tally()), (5, 104, None));
        // As a crash between the two steps leaves it.
        fs::copy(spool.path(&batch("a", 1, 5).key, 5), spool.path(&batch("a", 1, 0).key, 0)).unwrap();
        drop(spool);
        let mut spool = Spool::open(&Slot::take(directory.path()).unwrap(), "logs", 250).unwrap();
        assert_eq!((spool.records(), spool.bytes()), (5, 104));
        assert!(spool.has_room(&batch("a", 2, 0).body));
        spool.keep(&batch("a", 2, 5)).unwrap();
        assert!(!spool.has_room(&batch("a", 3, 0).body));
    }

    #[test]
    fn a_damaged_batch_is_set_aside_and_counted() {
        let directory = TempDir::new().unwrap();
        let mut spool = Spool::open(&Slot::take(directory.path()).unwrap(), "logs", 1_000).unwrap();
        spool.keep(&batch("a", 1, 3)).unwrap();
        let key = spool.oldest().unwrap().clone();
        let path = spool.path(&key, 3);
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(spool.read(&key).unwrap_err(), 3);
        assert!(spool.is_empty() && path.with_extension("damaged").exists());
    }

    #[test]
    fn two_processes_have_two_directories() {
        let directory = TempDir::new().unwrap();
        let (one, other) = (Slot::take(directory.path()).unwrap(), Slot::take(directory.path()).unwrap());
        assert_ne!(one.directory, other.directory);
        let first = one.directory.clone();
        drop(one);
        assert_eq!(Slot::take(directory.path()).unwrap().directory, first);
    }
}
