//! The lock of a log's directory: one writer, or any number of readers. The system lets go of it when the process ends.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::WalError;

const LOCK: &str = "lock";

/// Who has the directory of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The process that writes it; its pid, unless it has not said yet.
    Writer(Option<u32>),
    /// Processes that only read it, for a moment.
    Readers,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(Some(pid)) => write!(f, "process {pid}"),
            Self::Writer(None) => f.write_str("another process"),
            Self::Readers => f.write_str("a process that reads it"),
        }
    }
}

/// What a lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To write: for one process alone.
    Write,
    /// To read: for any number, while nobody writes.
    Read,
}

/// A lock, held while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(directory: &Path, access: Access) -> Result<Self, WalError> {
        match access {
            Access::Write => Self::exclusive(directory),
            Access::Read => Self::shared(directory),
        }
    }

    /// The lock of the one writer. Leaves its pid, for whoever is refused.
    fn exclusive(directory: &Path) -> Result<Self, WalError> {
        let path = directory.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| WalError::io("open", &path, error))?;
        take(directory, &file, FlockOperation::NonBlockingLockExclusive)?;
        let pid = std::process::id().to_string();
        // In place of the last one: a full disk has room for that.
        let written = file.write_all_at(pid.as_bytes(), 0).and_then(|()| file.set_len(pid.len() as u64));
        match written.map_err(|error| WalError::io("write", &path, error).or_no_space()) {
            Ok(()) | Err(WalError::NoSpace { .. }) => Ok(Self { _file: file }),
            Err(error) => Err(error),
        }
    }

    /// The lock of a reader. Writes nothing, so the directory may be read-only.
    fn shared(directory: &Path) -> Result<Self, WalError> {
        let path = directory.join(LOCK);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => WalError::Missing { directory: directory.to_owned() },
            _ => WalError::io("open", &path, error),
        })?;
        take(directory, &file, FlockOperation::NonBlockingLockShared)?;
        Ok(Self { _file: file })
    }
}

fn take(directory: &Path, file: &File, operation: FlockOperation) -> Result<(), WalError> {
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(WalError::InUse { directory: directory.to_owned(), holder: holder(directory, file) })
        }
        Err(error) => Err(WalError::io("lock", &directory.join(LOCK), error.into())),
    }
}

/// Readers leave no pid, and the pid in the file outlives its process: it counts only while a writer has the lock.
fn holder(directory: &Path, file: &File) -> Holder {
    if flock(file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Holder::Readers;
    }
    Holder::Writer(fs::read_to_string(directory.join(LOCK)).ok().and_then(|pid| pid.parse().ok()))
}
