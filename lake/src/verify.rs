//! Whether the files that a table's log names are there, each once, and every byte as it was written.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{LakeTable, ReadError, file::checksum};

/// Requests to the store at once.
const REQUESTS_AT_ONCE: usize = 16;

/// What looking at all live files of a table found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesVerified {
    /// Live files.
    pub files: usize,
    /// Bytes that they should have.
    pub bytes: u64,
    /// Those that bear no checksum, so that nothing but their size could be compared.
    pub without_checksum: usize,
    /// The first that is not as the log says, in words.
    pub difference: Option<String>,
}

/// Reads every live file of a table.
///
/// # Errors
/// When the log cannot be read.
pub async fn files(table: &LakeTable) -> Result<FilesVerified, ReadError> {
    let snapshot = table.snapshot().await?;
    let mut verified = FilesVerified::default();
    let mut seen = HashSet::new();
    for file in snapshot.files().iter() {
        verified.files += 1;
        verified.bytes += file.size_bytes;
        verified.without_checksum += usize::from(!checksum::has_checksum(&file.path));
        if !seen.insert(&file.path) {
            verified.difference.get_or_insert_with(|| format!("{} is in the log twice", file.path));
        }
    }
    let mut looked = stream::iter(snapshot.files().iter())
        .map(|file| async move {
            let found = difference(table.store().as_ref(), &file.path, file.size_bytes).await;
            let difference = found.unwrap_or_else(|error| Some(error.to_string()));
            difference.map(|difference| format!("{}: {difference}", file.path))
        })
        .buffered(REQUESTS_AT_ONCE);
    while let Some(difference) = looked.next().await {
        verified.difference = verified.difference.or(difference);
    }
    Ok(verified)
}

/// What is wrong with a data file, in words; nothing when it is as it was written.
///
/// # Errors
/// When the store does not give it.
pub async fn difference(
    store: &dyn ObjectStore,
    path: &Path,
    size_bytes: u64,
) -> Result<Option<String>, object_store::Error> {
    match store.head(path).await?.size {
        size if size == size_bytes => checksum::difference(store, path, size_bytes).await,
        size => Ok(Some(format!("it has {size} bytes, not {size_bytes}"))),
    }
}
