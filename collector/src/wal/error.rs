//! What can go wrong with the log.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::MOST_FRAME_BYTES;

/// An operation on the log that failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Another process has the directory.
    #[error("{} is in use by process {holder}; one process may use a data directory at a time", .directory.display())]
    InUse {
        /// The log's directory.
        directory: PathBuf,
        /// The pid of that process, or `?`.
        holder: String,
    },
    /// The budget does not allow another frame.
    #[error("the write-ahead log has reached its budget of {budget_bytes} bytes")]
    Full {
        /// The budget.
        budget_bytes: u64,
    },
    /// The frame is larger than any may be.
    #[error("a frame of {bytes} bytes is larger than the most, {MOST_FRAME_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A file does not hold what it should.
    #[error(
        "{} is damaged at byte {offset}: {what}; what stands before is intact. To go on without the rest, move the file away",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
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
    #[error("the log has failed before")]
    Failed,
}

impl WalError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
