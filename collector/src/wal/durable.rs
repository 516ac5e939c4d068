//! Files and names that are on disk before the caller goes on.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    WalError,
    disk::{Disk, DiskFile, parent},
};

/// What a file is called until all of it is on disk.
const UNFINISHED: &str = "unfinished";

/// Writes a whole file so that after a crash it is there as a whole or not at all.
pub(super) fn write<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    write_after(disk, path, bytes, || Ok(()))
}

/// As [`write()`]; `first` makes place for it, when nothing but the name is left to be given.
pub(super) fn write_after<D: Disk>(
    disk: &D,
    path: &Path,
    bytes: &[u8],
    first: impl FnOnce() -> Result<(), WalError>,
) -> Result<(), WalError> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let failed = |error| WalError::io("write", path, error);
    let written = disk.create(&unfinished).and_then(|mut file| {
        file.append(bytes)?;
        file.sync()
    });
    written.map_err(failed).and_then(|()| first()).inspect_err(|_| {
        // It takes room, perhaps the very room that is missing.
        let _ = disk.remove(&unfinished);
    })?;
    disk.rename(&unfinished, path).map_err(failed)?;
    sync_directory(disk, parent(path))
}

/// Removes what a crash left of [`write()`].
pub(super) fn remove_unfinished<D: Disk>(disk: &D, directory: &Path) -> Result<(), WalError> {
    let listed = disk.list(directory).map_err(|error| WalError::io("list", directory, error))?;
    let mut unfinished = listed.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == UNFINISHED));
    unfinished.try_for_each(|(path, _)| disk.remove(path).map_err(|error| WalError::io("delete", path, error)))
}

/// Has the names in a directory on disk.
pub(super) fn sync_directory<D: Disk>(disk: &D, directory: &Path) -> Result<(), WalError> {
    disk.sync_directory(directory).map_err(|error| WalError::io("fsync", directory, error))
}

/// A name beside a file that nothing has yet: `x.wal` becomes `x.damaged-1`, or `-2`.
pub(super) fn name_aside<D: Disk>(disk: &D, path: &Path, extension: &str) -> Result<PathBuf, WalError> {
    let directory = parent(path);
    let listed = disk.list(directory).map_err(|error| WalError::io("list", directory, error))?;
    let taken: HashSet<_> = listed.into_iter().filter_map(|(path, _)| Some(path.file_name()?.to_owned())).collect();
    let mut names = (1..u64::MAX).map(|number| path.with_extension(format!("{extension}-{number}")));
    let free = names.find(|name| name.file_name().is_some_and(|name| !taken.contains(name)));
    Ok(free.expect("a directory holds fewer files than there are numbers"))
}
