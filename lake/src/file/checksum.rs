//! The checksum of a data file: CRC32C of all its bytes. It stands in the file itself, in the footer's metadata, as eight
//! hexadecimal digits that count as zeros while it is computed.
//!
//! Parquet knows checksums of pages, but the `parquet` crate does not write them, and there is none in its zstd frames either: a
//! flipped bit of a compressed text may decompress to another text. So whoever needs to know reads the whole file: `weir verify`,
//! and every merge, whose output would otherwise vouch for what was damaged before.
//!
//! What always holds: a file that has one says so in its name, which is in the Delta log; so damage cannot hide that it had one.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use parquet::file::metadata::KeyValue;

/// In the names of files that have a checksum.
pub(super) const MARK: &str = ".crc32c";

const KEY: &str = "weir.crc32c";
const ZEROS: &str = "00000000";

/// What stands between the key and the digits: the header of a field of text, and the length of the text (Thrift's compact protocol).
const BETWEEN: [u8; 2] = [0x18, ZEROS.len() as u8];

/// Length of the footer, and Parquet's magic.
const END_BYTES: usize = 8;

/// What is read of a file's end at first.
const TAIL_BYTES: u64 = 64 << 10;

/// What a file's footer is given before it is written.
pub(super) fn placeholder() -> KeyValue {
    KeyValue::new(KEY.to_owned(), ZEROS.to_owned())
}

/// Puts the checksum in the place of its placeholder. `rest` is the file's end, footer and all; `before` the checksum of
/// what stands before it. `false` when there is no placeholder.
pub(super) fn seal(before: u32, rest: &mut [u8]) -> bool {
    let Some(place) = digits(rest) else { return false };
    let checksum = crc32c::crc32c_append(before, rest);
    rest[place..place + ZEROS.len()].copy_from_slice(format!("{checksum:08x}").as_bytes());
    true
}

/// What is wrong with the bytes of a file, in words; nothing when they are what was written, or when the file has no
/// checksum.
///
/// # Errors
/// When the store does not give them.
pub(crate) async fn difference(
    store: &dyn ObjectStore,
    path: &Path,
    size_bytes: u64,
) -> object_store::Result<Option<String>> {
    if !has_checksum(path) {
        return Ok(None);
    }
    let Some(footer) = footer(store, path, size_bytes).await? else {
        return Ok(Some("it is damaged: its footer is none".to_owned()));
    };
    let Some(place) = digits(&footer) else {
        return Ok(Some("it is damaged: its footer bears no checksum".to_owned()));
    };
    let begin = size_bytes - footer.len() as u64;
    let mut checksum = 0;
    if begin > 0 {
        let options = GetOptions { range: Some(GetRange::Bounded(0..begin)), ..GetOptions::default() };
        let mut stream = store.get_opts(path, options).await?.into_stream();
        while let Some(bytes) = stream.try_next().await? {
            checksum = crc32c::crc32c_append(checksum, &bytes);
        }
    }
    let (before, rest) = footer.split_at(place);
    let (said, after) = rest.split_at(ZEROS.len());
    for part in [before, ZEROS.as_bytes(), after] {
        checksum = crc32c::crc32c_append(checksum, part);
    }
    let is_said = said == format!("{checksum:08x}").as_bytes();
    Ok((!is_said).then(|| "it is damaged: its bytes do not match its checksum".to_owned()))
}

/// Whether the file of this name has a checksum.
pub(crate) fn has_checksum(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.contains(MARK))
}

/// The footer, from where it begins to the end of the file; `None` when there is none.
async fn footer(store: &dyn ObjectStore, path: &Path, size_bytes: u64) -> object_store::Result<Option<Bytes>> {
    let begin = size_bytes.saturating_sub(TAIL_BYTES);
    let tail = store.get_range(path, begin..size_bytes).await?;
    let Some((_, end)) = tail.split_last_chunk::<END_BYTES>() else { return Ok(None) };
    let (length, _) = end.split_at(END_BYTES / 2);
    let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default())) + END_BYTES as u64;
    if length > size_bytes {
        return Ok(None);
    }
    let footer_begin = size_bytes - length;
    if footer_begin >= begin {
        let skipped = usize::try_from(footer_begin - begin).unwrap_or(tail.len());
        return Ok(Some(tail.slice(skipped..)));
    }
    store.get_range(path, footer_begin..size_bytes).await.map(Some)
}

/// Where the digits are. Behind them are only names of the writer and of orders: what looks like them before is a value.
fn digits(bytes: &[u8]) -> Option<usize> {
    let mark = [KEY.as_bytes(), &BETWEEN].concat();
    let place = bytes.windows(mark.len()).rposition(|window| window == mark)? + mark.len();
    (place + ZEROS.len() <= bytes.len()).then_some(place)
}

#[cfg(test)]
mod tests {
    use object_store::{PutPayload, memory::InMemory};
    use weir_record::AccessRecord;

    use super::*;
    use crate::{Lake, StoreConfig, Table, requests, verify};

    /// A file as a flush writes it: its bytes and its name.
    async fn written() -> (Vec<u8>, Path) {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(&StoreConfig::local(&directory)).await.unwrap();
        let table = lake.table(Table::Requests);
        // The key itself among the values, which stand in the footer too, as statistics.
        let record = |index: u64| AccessRecord {
            request_id: fastrand::u128(..).to_string(),
            route: format!("weir.crc32c\u{18}\u{8}0123456{index}"),
            ..AccessRecord::default()
        };
        let rows = requests::batch(&(0..200).map(record).collect::<Vec<_>>(), "gateway", 0);
        table.append(&[rows], "w", 1).await.unwrap();
        let snapshot = table.snapshot().await.unwrap();
        let file = snapshot.files().iter().next().unwrap();
        let bytes = lake.store().get(&file.path).await.unwrap().bytes().await.unwrap();
        (bytes.into(), Path::from(file.path.filename().unwrap()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bit_that_flips_anywhere_in_a_file_and_a_file_cut_anywhere_are_found() {
        let (bytes, path) = written().await;
        let (store, size_bytes) = (InMemory::new(), bytes.len() as u64);
        let found = async |bytes: Vec<u8>| {
            store.put(&path, PutPayload::from(bytes)).await.unwrap();
            verify::difference(&store, &path, size_bytes).await.unwrap()
        };
        assert_eq!(found(bytes.clone()).await, None);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            let difference = found(damaged).await.unwrap_or_else(|| panic!("byte {place}"));
            assert!(difference.starts_with("it is damaged"), "byte {place}: {difference}");
        }
        for length in (0..bytes.len()).step_by(7) {
            let difference = found(bytes[..length].to_vec()).await.unwrap();
            assert_eq!(difference, format!("it has {length} bytes, not {size_bytes}"));
        }
    }

    #[tokio::test]
    async fn a_file_of_before_there_were_checksums_is_compared_by_its_size_alone() {
        let (store, path) = (InMemory::new(), Path::from("date=2026-11-23/part-1.zstd.parquet"));
        store.put(&path, "PAR1 PAR1".into()).await.unwrap();
        assert_eq!(verify::difference(&store, &path, 9).await.unwrap(), None);
        assert!(verify::difference(&store, &path, 8).await.unwrap().is_some());
    }
}
