//! The lock of a log's directory: one writer, or any number of readers. The system lets go of it when the process ends.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::WalError;

const LOCK: &str = "lock";

/// A lock, held while this lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// The lock of the one writer. Leaves its pid, for whoever is refused.
    pub(super) fn exclusive(directory: &Path) -> Result<Self, WalError> {
        let mut file = Self::take(directory, FlockOperation::NonBlockingLockExclusive)?;
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(|error| WalError::io("write", &directory.join(LOCK), error))?;
        Ok(Self { _file: file })
    }

    /// The lock of a reader.
    pub(super) fn shared(directory: &Path) -> Result<Self, WalError> {
        Ok(Self { _file: Self::take(directory, FlockOperation::NonBlockingLockShared)? })
    }

    fn take(directory: &Path, operation: FlockOperation) -> Result<File, WalError> {
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(operation == FlockOperation::NonBlockingLockExclusive).truncate(false);
        let mut file = options.open(&path).map_err(|error| WalError::io("open", &path, error))?;
        match flock(&file, operation) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let is_known = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
                let holder = if is_known { holder } else { "?".to_owned() };
                Err(WalError::InUse { directory: directory.to_owned(), holder })
            }
            Err(error) => Err(WalError::io("lock", &path, error.into())),
        }
    }
}
