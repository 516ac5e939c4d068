//! Files and names that are on disk before the caller goes on.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::WalError;

/// What a file is called until all of it is on disk.
const UNFINISHED: &str = "unfinished";

/// Writes a whole file so that after a crash it is there as a whole or not at all.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), WalError> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let written = File::create(&unfinished).and_then(|mut file| {
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    });
    written.map_err(|error| {
        // It takes room, perhaps the very room that is missing.
        let _ = fs::remove_file(&unfinished);
        WalError::io("write", path, error)
    })?;
    sync_directory(parent(path))
}

/// Removes what a crash left of [`write()`].
pub(super) fn remove_unfinished(directory: &Path) -> Result<(), WalError> {
    for entry in fs::read_dir(directory).map_err(|error| WalError::io("list", directory, error))? {
        let path = entry.map_err(|error| WalError::io("list", directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(&path).map_err(|error| WalError::io("delete", &path, error))?;
        }
    }
    Ok(())
}

/// Makes a directory and those above it.
pub(super) fn create_directory(directory: &Path) -> Result<(), WalError> {
    let made: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(directory).map_err(|error| WalError::io("create", directory, error))?;
    made.into_iter().filter(|made| !made.as_os_str().is_empty()).try_for_each(|made| sync_directory(parent(made)))
}

/// Has the names in a directory on disk.
pub(super) fn sync_directory(directory: &Path) -> Result<(), WalError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| WalError::io("fsync", directory, error))
}

/// A name beside a file that nothing has yet: `x.wal` becomes `x.damaged-1`, or `-2`.
pub(super) fn name_aside(path: &Path, extension: &str) -> PathBuf {
    let mut names = (1..u64::MAX).map(|number| path.with_extension(format!("{extension}-{number}")));
    names.find(|name| !name.exists()).expect("a directory holds fewer files than there are numbers")
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
