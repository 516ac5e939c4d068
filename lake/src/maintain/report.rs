//! What maintenance did, or would do: a line a step, for people and for programs.

use std::{fmt, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use weir_station::config::ByteSize;

use super::{compact::Merged, plan::Job};

/// A step of maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Small files became fewer, larger ones; cells became coarser.
    Merged {
        /// The date of their rows.
        date: Option<NaiveDate>,
        /// Files before.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Their rows.
        rows: u64,
        /// Files after.
        into_files: usize,
        /// Their bytes.
        into_bytes: u64,
        /// Their rows.
        into_rows: u64,
        /// How long it took, milliseconds.
        elapsed_ms: u64,
        /// Whether it only would be done.
        dry_run: bool,
    },
    /// Rows that were old enough were removed.
    Retired {
        /// Files that are live no longer.
        files: usize,
        /// Their rows.
        rows: u64,
        /// The first date that is kept, days since the Unix epoch.
        before: i32,
        /// Whether it only would be done.
        dry_run: bool,
    },
    /// Unused files were deleted.
    Deleted {
        /// Data files.
        files: usize,
        /// Entries of the log.
        log: usize,
        /// Bytes of both.
        bytes: u64,
        /// Whether it only would be done.
        dry_run: bool,
    },
    /// A file that cannot be merged stays as it is.
    SetAside {
        /// Which, and why.
        reason: String,
    },
    /// Another process is at work on the table.
    Busy {
        /// Who.
        holder: String,
        /// How long its turn is, unless it goes on.
        until: DateTime<Utc>,
    },
}

impl Step {
    pub(super) fn merged(job: &Job, merged: Merged, elapsed: Duration, dry_run: bool) -> Self {
        Self::Merged {
            date: date(job.date),
            files: job.files.len(),
            bytes: job.files.iter().map(|file| file.size_bytes).sum(),
            rows: job.files.iter().filter_map(|file| file.rows).sum(),
            into_files: merged.files,
            into_bytes: merged.bytes,
            into_rows: merged.rows,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            dry_run,
        }
    }
}

fn date(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(days)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = |dry_run: &bool| if *dry_run { "would be " } else { "" };
        match self {
            Self::Merged { date, files, bytes, rows, dry_run: true, .. } => {
                write!(f, "{files} files of {} would be merged ({rows} rows, {})", shown(*date), ByteSize(*bytes))
            }
            Self::Merged { date, files, bytes, rows, into_files, into_bytes, into_rows, elapsed_ms, .. } => {
                write!(
                    f,
                    "{files} files of {} merged into {into_files}: {rows} rows, {} to {into_rows} rows, {} ({:.1} s)",
                    shown(*date),
                    ByteSize(*bytes),
                    ByteSize(*into_bytes),
                    Duration::from_millis(*elapsed_ms).as_secs_f64()
                )
            }
            Self::Retired { files, rows, before, dry_run } => {
                let before = shown(date(*before));
                write!(f, "{rows} rows in {files} files of before {before} {}removed", would(dry_run))
            }
            Self::Deleted { files, log, bytes, dry_run } => {
                write!(
                    f,
                    "{files} unused files and {log} entries of the log {}deleted ({})",
                    would(dry_run),
                    ByteSize(*bytes)
                )
            }
            Self::SetAside { reason } => write!(f, "left as it is: {reason}"),
            Self::Busy { holder, until } => {
                write!(f, "another process is at work: {holder}, until {}", until.format("%H:%M:%S UTC"))
            }
        }
    }
}

fn shown(date: Option<NaiveDate>) -> String {
    date.map_or_else(|| "a date beyond the calendar".to_owned(), |date| date.to_string())
}
