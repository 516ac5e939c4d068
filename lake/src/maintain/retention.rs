//! Rows that are old enough to go, a date at a time.
//!
//! What always holds: what goes, goes by one commit, which also tells up to which date rows are gone; so whoever compares
//! tables knows what cannot be there any more.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::MaintainError;
use crate::{
    LakeTable, LiveFile,
    commit::Committed,
    delta::{Advance, Change, Kind},
    file::DAY_US,
    snapshot::RETENTION,
};

/// The first date that is kept, days since the Unix epoch: of those before, every row is older than `kept`.
pub(crate) fn first_date_kept(kept: Duration, now: DateTime<Utc>) -> i32 {
    let kept_us = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
    let oldest_us = now.timestamp_micros().saturating_sub(kept_us);
    i32::try_from(oldest_us.div_euclid(DAY_US)).unwrap_or(i32::MIN)
}

/// The files of the dates before.
pub(crate) fn files_before(first_date: i32, files: impl Iterator<Item = LiveFile>) -> Vec<LiveFile> {
    files.filter(|file| file.date.is_some_and(|date| date < first_date)).collect()
}

/// Removes the rows of all dates before this one; gives the files that went. `None` when others changed them meanwhile.
pub(crate) async fn remove_before(table: &LakeTable, first_date: i32) -> Result<Option<Vec<LiveFile>>, MaintainError> {
    let snapshot = table.snapshot().await?;
    let files = files_before(first_date, snapshot.files().iter().cloned());
    if files.is_empty() {
        return Ok(Some(files));
    }
    // A date that comes after: late rows of a date that is gone go again.
    let position = snapshot.position(RETENTION).is_none_or(|gone| gone < i64::from(first_date));
    let change = Change {
        kind: Kind::Remove,
        added: Vec::new(),
        removed: Arc::new(files.iter().map(|file| file.path.clone()).collect()),
        advance: position.then(|| Advance { writer: RETENTION.into(), after: None, to: i64::from(first_date) }),
        since: Utc::now(),
    };
    match table.commit(&change).await? {
        Committed::Now { .. } => Ok(Some(files)),
        Committed::Before | Committed::Never => Ok(None),
    }
}
