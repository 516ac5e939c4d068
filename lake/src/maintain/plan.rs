//! What is due: which files of a table to merge next. Values in, values out: no clock, no store.
//!
//! Files of one date are sorted into tiers by their size, each eight times the one before. While a date lasts, a tier is
//! merged when it has eight files; when it is over, when it has two; when nothing more has come for an hour, all that is
//! left is merged. So each row is written anew a few times only, however many small files come, and late rows do not
//! have a large file written anew each time.
//!
//! What always holds: a file is in one job at most; a job has files of one date; a job leaves fewer files that are due
//! than it took, so that planning and doing come to an end.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::policy::Policy;
use crate::{
    LiveFile, Table,
    file::{DAY_US, ROWS_PER_ROW_GROUP},
};

/// Files of a tier that are merged while their date lasts, and when it is over.
const FILES_WHILE_OPEN: usize = 8;
const FILES_WHEN_OVER: usize = 2;

/// Tier 0 goes to this size; each further one to eight times the size of the one before.
const SMALLEST_TIER_BYTES: u64 = 64 << 10;
const TIER_FACTOR: u64 = 8;

/// How long after its end a date is over, and after its newest file it is at rest.
const SETTLING: TimeDelta = TimeDelta::hours(1);

/// Memory of one input beside its row group: rows being decoded and their keys; and for each column a page as it is stored and
/// decompressed and what zstd has of it, which is less in a file of few rows.
const DECODED_BYTES_PER_ROW: u64 = 1 << 10;
const COLUMN_BYTES: u64 = 40 << 10;
const COLUMN_BYTES_PER_ROW: u64 = 32;
const COLUMN_BYTES_OF_ROWS: u64 = 160 << 10;

/// Rows of an input that are decoded at once.
pub(crate) const ROWS_DECODED: usize = 1_024;

/// Memory of the output: a row group under construction, and parts on their way to the store.
const OUTPUT_BYTES: u64 = 24 << 20;

/// Files to be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Their date, days since the Unix epoch.
    pub(crate) date: i32,
    /// The files, oldest first.
    pub(crate) files: Vec<LiveFile>,
    /// How long a time cells are to cover at least, seconds; 0 for tables that have none.
    pub(crate) seconds: u32,
}

/// A file as planning sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) file: LiveFile,
    /// The least time that a cell in it covers, seconds; `None` for tables that have no cells.
    pub(crate) seconds: Option<u32>,
}

/// What is due now. With `at_rest` every date counts as over and at rest.
pub(crate) fn plan(
    table: Table,
    candidates: &[Candidate],
    policy: &Policy,
    now: DateTime<Utc>,
    at_rest: bool,
) -> Vec<Job> {
    let mut sorted: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.file.date.is_some()).collect();
    // Names tell when a file was begun, so that merged files are of one time.
    sorted.sort_by(|one, other| (one.file.date, &one.file.path).cmp(&(other.file.date, &other.file.path)));
    let dates = sorted.chunk_by(|one, next| one.file.date == next.file.date);
    dates.flat_map(|of_date| plan_date(table, of_date, policy, now, at_rest)).collect()
}

fn plan_date(table: Table, files: &[&Candidate], policy: &Policy, now: DateTime<Utc>, at_rest: bool) -> Vec<Job> {
    let Some(date) = files.first().and_then(|first| first.file.date) else { return Vec::new() };
    let since_end = now - end_of(date);
    let seconds = match table {
        Table::Metrics => policy.cell_seconds(since_end.to_std().unwrap_or(Duration::ZERO)),
        Table::Requests | Table::Spans | Table::Ledger => 0,
    };
    let is_fine = |candidate: &Candidate| candidate.seconds.is_some_and(|covered| covered < seconds);
    let due: Vec<&LiveFile> = files
        .iter()
        .filter(|candidate| candidate.file.size_bytes < full_bytes(policy) || is_fine(candidate))
        .map(|candidate| &candidate.file)
        .collect();
    let newest = due.iter().map(|file| file.modified).max().unwrap_or(now);
    let is_over = at_rest || since_end >= SETTLING;
    let is_at_rest = at_rest || is_over && now - newest >= SETTLING;
    let groups = if files.iter().any(|candidate| is_fine(candidate)) {
        // A cell's minute must come to stand in one file, or it would stay in as many rows.
        groups(table, &due, policy, 1)
    } else if is_at_rest {
        groups(table, &due, policy, FILES_WHEN_OVER)
    } else {
        let least = if is_over { FILES_WHEN_OVER } else { FILES_WHILE_OPEN };
        tiers(&due)
            .into_iter()
            .filter(|tier| tier.len() >= least)
            .flat_map(|tier| groups(table, &tier, policy, 2))
            .collect()
    };
    groups.into_iter().map(|files| Job { date, files, seconds }).collect()
}

fn end_of(date: i32) -> DateTime<Utc> {
    DateTime::from_timestamp_micros((i64::from(date) + 1).saturating_mul(DAY_US)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// From this size on a file is left as it is.
fn full_bytes(policy: &Policy) -> u64 {
    policy.target_bytes / 4 * 3
}

fn tiers<'a>(files: &[&'a LiveFile]) -> Vec<Vec<&'a LiveFile>> {
    let mut tiers: Vec<Vec<&LiveFile>> = Vec::new();
    for file in files {
        let tier =
            (file.size_bytes / SMALLEST_TIER_BYTES).checked_ilog(TIER_FACTOR).map_or(0, |tier| tier as usize + 1);
        tiers.resize_with(tiers.len().max(tier + 1), Vec::new);
        tiers[tier].push(file);
    }
    tiers
}

/// Neighbouring files in groups that a merge has memory for, none of them larger than it needs to be; groups of fewer
/// than `least` files are not worth it.
fn groups(table: Table, files: &[&LiveFile], policy: &Policy, least: usize) -> Vec<Vec<LiveFile>> {
    let room = policy.memory_bytes.saturating_sub(OUTPUT_BYTES);
    let memory_of = |file: &LiveFile| memory_of(table, file);
    let mut groups: Vec<Vec<LiveFile>> = Vec::new();
    let (mut memory, mut size) = (0, 0);
    for file in files {
        let is_full = groups.last().is_none_or(|group: &Vec<LiveFile>| {
            size >= policy.target_bytes || group.len() >= FILES_WHEN_OVER && memory + memory_of(file) > room
        });
        if is_full {
            groups.push(Vec::new());
            (memory, size) = (0, 0);
        }
        (memory, size) = (memory + memory_of(file), size + file.size_bytes);
        if let Some(group) = groups.last_mut() {
            group.push(LiveFile::clone(file));
        }
    }
    groups.retain(|group| group.len() >= least);
    groups
}

/// What reading a file takes: one of its row groups as it is stored, a page of each column, and some rows decoded.
fn memory_of(table: Table, file: &LiveFile) -> u64 {
    let rows = file.rows.unwrap_or(u64::MAX).max(1);
    let row_group =
        u128::from(file.size_bytes) * ROWS_PER_ROW_GROUP as u128 / u128::from(rows.max(ROWS_PER_ROW_GROUP as u64));
    let of_rows = rows.saturating_mul(COLUMN_BYTES_PER_ROW).min(COLUMN_BYTES_OF_ROWS);
    let columns = table.schema().fields().len() as u64 * (COLUMN_BYTES + of_rows);
    let decoded = rows.min(ROWS_DECODED as u64) * DECODED_BYTES_PER_ROW;
    u64::try_from(row_group).unwrap_or(u64::MAX).saturating_add(decoded).saturating_add(columns)
}

#[cfg(test)]
mod tests;
