//! What can go wrong with the log.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{MOST_FRAME_BYTES, lock::Holder};

/// Said of files that an older Weir wrote.
pub(super) const OLD_VERSION: &str = "an older version of Weir wrote it, which this one cannot read; let that version commit what \
                                      is in the log, then move the directory away";

/// Said of files that a newer Weir wrote.
pub(super) const NEW_VERSION: &str = "a newer version of Weir wrote it, which this one cannot read; start that version again, or let it \
                                      commit what is in the log and move the directory away";

/// An operation on the log that failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Another process has the directory.
    #[error("{} is in use by {holder}; one process may use a data directory at a time", .directory.display())]
    InUse {
        /// The log's directory.
        directory: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// There is nothing to read.
    #[error("there is no write-ahead log in {}", .directory.display())]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The budget does not allow another frame.
    #[error("the write-ahead log has reached its budget of {budget_bytes} bytes")]
    Full {
        /// The budget.
        budget_bytes: u64,
    },
    /// The disk is full. Nothing that was synced is touched.
    #[error("there is no space left for {}", .path.display())]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The frame, or the note, is larger than any may be.
    #[error("{bytes} bytes are more than a frame ({MOST_FRAME_BYTES}) or a note may have")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged at byte {offset}: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there, and what can be done.
        what: &'static str,
    },
    /// Another version of Weir wrote the log. Nothing of it was touched.
    #[error("{}: {what}", .path.display())]
    OtherVersion {
        /// The file that says so.
        path: PathBuf,
        /// Which version, and what can be done.
        what: &'static str,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call failed, and what is on disk is not known.
    #[error("the write-ahead log has failed before")]
    Failed,
}

impl WalError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace { .. })
    }

    /// The same error, unless what the system said of a write is that there is no space. Of anything else, an fsync above
    /// all, it is an error like any other: what was done before it may stand.
    pub(super) fn or_no_space(self) -> Self {
        match self {
            Self::Io { action: "write", path, source }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Self::NoSpace { path }
            }
            other => other,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
