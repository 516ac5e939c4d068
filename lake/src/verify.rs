//! Whether the files that a table's log names are there, each once and of the size that it says.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use object_store::ObjectStoreExt;

use crate::{LakeTable, ReadError};

/// Requests to the store at once.
const REQUESTS_AT_ONCE: usize = 16;

/// What looking at all live files of a table found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesVerified {
    /// Live files.
    pub files: usize,
    /// Bytes that they should have.
    pub bytes: u64,
    /// The first that is not as the log says, in words.
    pub difference: Option<String>,
}

/// Looks at every live file of a table, without reading it.
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
        if !seen.insert(&file.path) {
            verified.difference.get_or_insert_with(|| format!("{} is in the log twice", file.path));
        }
    }
    let mut looked = stream::iter(snapshot.files().iter())
        .map(|file| async move {
            match table.store().head(&file.path).await {
                Ok(found) if found.size == file.size_bytes => None,
                Ok(found) => Some(format!("{} has {} bytes, not {}", file.path, found.size, file.size_bytes)),
                Err(error) => Some(format!("{}: {error}", file.path)),
            }
        })
        .buffered(REQUESTS_AT_ONCE);
    while let Some(difference) = looked.next().await {
        verified.difference = verified.difference.or(difference);
    }
    Ok(verified)
}
