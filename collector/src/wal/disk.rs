//! What the log asks of a disk, and the system's answer to it.
//!
//! What always holds, of each disk: bytes survive a crash only once [`DiskFile::sync`] has returned after they were
//! appended; a name, its change or its end only once [`Disk::sync_directory`] has.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    WalError,
    lock::{Access, Lock},
};

/// Where a log keeps its files.
pub trait Disk: Clone + Debug + Send + 'static {
    /// An open file.
    type File: DiskFile;
    /// Is held while a log is open.
    type Lock: Debug + Send;

    /// Takes the lock of a log's directory.
    ///
    /// # Errors
    /// [`WalError::InUse`] when another process has it; or what the system says.
    fn lock(&self, directory: &Path, access: Access) -> Result<Self::Lock, WalError>;

    /// Makes a directory and those above it, durably.
    ///
    /// # Errors
    /// What the system says; of every call below too.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// The files of a directory, and their sizes in bytes.
    fn list(&self, directory: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    /// Has the names in a directory on disk.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to append to it.
    fn open_to_append(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to read it.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, in place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// A new random UUID, which nobody can guess.
    fn uuid(&self) -> Uuid;
}

/// An open file.
pub trait DiskFile: Debug + Send {
    /// Writes at the end. After an error some of the bytes may be there.
    ///
    /// # Errors
    /// What the system says; of every call below too.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads from this offset on, and gives how many bytes there were: fewer than asked for at the end only.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file to this many bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Has all that was appended, and the file's length, on disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Disk for System {
    type File = File;
    type Lock = Lock;

    fn lock(&self, directory: &Path, access: Access) -> Result<Lock, WalError> {
        Lock::take(directory, access)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let made: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        fs::create_dir_all(directory)?;
        made.into_iter()
            .filter(|made| !made.as_os_str().is_empty())
            .try_for_each(|made| self.sync_directory(parent(made)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.path(), entry.metadata()?.len()))
        };
        fs::read_dir(directory)?.map(entry).collect()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(path).and_then(|file| file.set_len(0).map(|()| file))
    }

    fn open_to_append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).open(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match FileExt::read_at(self, &mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The directory that a file stands in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
