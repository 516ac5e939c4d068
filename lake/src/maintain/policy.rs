//! What maintenance strives for: the section `[maintenance]`.

use std::time::Duration;

use weir_station::config::{ByteSize, Section};

use crate::{Table, metrics::CELL_SECONDS};

pub(crate) const MINUTE_SECONDS: u32 = 60;
pub(crate) const HOUR_SECONDS: u32 = 3_600;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How the tables are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a collector does it at all.
    pub enabled: bool,
    /// How often it is looked whether something is due.
    pub interval: Duration,
    /// How often unused files are looked for, which takes a list of all.
    pub vacuum_interval: Duration,
    /// Files smaller than this are merged.
    pub target_bytes: u64,
    /// Memory that a merge may take, bytes.
    pub memory_bytes: u64,
    /// Cells of a date become minutes so long after its end.
    pub minutes_after: Duration,
    /// Cells of a date become hours so long after its end.
    pub hours_after: Duration,
    /// How long after a date's end its rows are kept, in the order of [`Table::ALL`]; `None`: for ever.
    pub retention: [Option<Duration>; Table::ALL.len()],
    /// How long a file is kept after it was merged or removed, for those who still read it.
    pub keep_removed: Duration,
    /// How long entries of the log are kept that a checkpoint has summed up.
    pub keep_log: Duration,
}

impl Policy {
    /// Reads the section `[maintenance]`. `memory_bytes` is the share of the process that it is done in.
    #[must_use]
    pub fn read(section: &Section, memory_bytes: u64) -> Self {
        let default = Self::with_memory(memory_bytes);
        let retention = section.section("retention");
        let policy = Self {
            enabled: section.value("enabled", default.enabled),
            interval: section.value("interval", default.interval),
            vacuum_interval: section.value("vacuum_interval", default.vacuum_interval),
            target_bytes: section.value("target_size", ByteSize::mebibytes(128)).0,
            memory_bytes,
            minutes_after: section.value("minutes_after", default.minutes_after),
            hours_after: section.value("hours_after", default.hours_after),
            retention: Table::ALL.map(|table| retention.optional(table.name())),
            keep_removed: section.value("keep_removed_files", default.keep_removed),
            keep_log: section.value("keep_log", default.keep_log),
        };
        policy.check(section, &retention);
        policy
    }

    /// The defaults, with this memory.
    #[must_use]
    pub fn with_memory(memory_bytes: u64) -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            vacuum_interval: HOUR,
            target_bytes: ByteSize::mebibytes(128).0,
            memory_bytes,
            minutes_after: DAY,
            hours_after: 30 * DAY,
            retention: [None; Table::ALL.len()],
            keep_removed: HOUR,
            keep_log: 2 * DAY,
        }
    }

    fn check(&self, section: &Section, retention: &Section) {
        if self.interval < Duration::from_millis(100) {
            section.fault("interval", "is less than a tenth of a second", "at least \"100ms\"");
        }
        if self.target_bytes < ByteSize::mebibytes(1).0 {
            section.fault("target_size", "is less than 1MiB", "at least \"1MiB\"");
        }
        if self.hours_after < self.minutes_after {
            section.fault("hours_after", "comes before minutes_after", "at least minutes_after");
        }
        if self.keep_log < HOUR {
            section.fault("keep_log", "is less than an hour, and somebody may still be reading", "at least \"1h\"");
        }
        for (table, kept) in Table::ALL.into_iter().zip(self.retention) {
            if kept.is_some_and(|kept| kept < HOUR) {
                retention.fault(table.name(), "is less than an hour", "at least \"1h\", or nothing: for ever");
            }
        }
    }

    /// How long a time the cells of a date should cover, seconds, so long after the date's end.
    pub(crate) fn cell_seconds(&self, since_end: Duration) -> u32 {
        if since_end >= self.hours_after {
            HOUR_SECONDS
        } else if since_end >= self.minutes_after {
            MINUTE_SECONDS
        } else {
            CELL_SECONDS
        }
    }
}
