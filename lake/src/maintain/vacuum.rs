//! Files that nobody can need any more: those that were merged or removed, those that no commit ever named, and what the
//! log holds from before a checkpoint.
//!
//! What always holds: a live file is not deleted, nor one that a reader within the time allowed may be reading, nor one
//! that a writer may still commit, nor anything that has not a name of ours.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, path::Path};
use weir_station::crash_point;

use super::{MaintainError, policy::Policy};
use crate::{LakeTable, file::is_data_file};

/// A file that no commit names may still be committed by its writer for so long; writers see to it that it is not
/// longer ([`commit`](crate::commit)).
pub(crate) const KEEP_ORPHANS: TimeDelta = TimeDelta::hours(24);

/// Digits of a version in the names of the log.
const VERSION_DIGITS: usize = 20;

/// Objects that may go.
#[derive(Debug, Default)]
pub(crate) struct Waste {
    pub(crate) paths: Vec<Path>,
    pub(crate) bytes: u64,
}

impl Waste {
    fn add(&mut self, object: ObjectMeta) {
        self.bytes += object.size;
        self.paths.push(object.location);
    }

    /// Deletes them.
    pub(crate) async fn delete(&self, table: &LakeTable) -> Result<(), MaintainError> {
        if self.paths.is_empty() {
            return Ok(());
        }
        crash_point!("maintain::before_delete");
        let paths: Vec<_> = self.paths.iter().map(|path| Ok(path.clone())).collect();
        let mut deleted = table.store().delete_stream(stream::iter(paths).boxed());
        while let Some(done) = deleted.next().await {
            match done {
                Ok(_) => crash_point!("maintain::deleted"),
                // Another, or the attempt before the last.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Data files that may go.
pub(crate) async fn files(table: &LakeTable, policy: &Policy, now: DateTime<Utc>) -> Result<Waste, MaintainError> {
    let root = Path::from_url_path(table.url().path()).map_err(object_store::Error::from)?;
    let objects = table.store().list(Some(&root)).try_filter(|object| {
        let is_ours = is_data_file(&object.location);
        async move { is_ours }
    });
    let objects: Vec<ObjectMeta> = objects.try_collect().await?;
    // After the list: what has become live since then is not in it, or was young.
    let snapshot = table.snapshot().await?;
    let live: HashSet<&Path> = snapshot.files().iter().map(|file| &file.path).collect();
    let removed: HashMap<Path, i64> = table.tombstones(&snapshot).await?;
    let mut waste = Waste::default();
    for object in objects.into_iter().filter(|object| !live.contains(&object.location)) {
        let may_go = match removed.get(&object.location) {
            Some(removed_ms) => now.timestamp_millis().saturating_sub(*removed_ms) > millis(policy.keep_removed),
            None => now - object.last_modified > KEEP_ORPHANS,
        };
        if may_go {
            waste.add(object);
        }
    }
    Ok(waste)
}

/// Entries of the log that may go: those before the newest checkpoint which is older than the time that readers have.
pub(crate) async fn log(table: &LakeTable, policy: &Policy, now: DateTime<Utc>) -> Result<Waste, MaintainError> {
    let root = Path::from_url_path(table.url().path()).map_err(object_store::Error::from)?;
    let mut entries: Vec<(u64, ObjectMeta)> = table
        .store()
        .list(Some(&root.join("_delta_log")))
        .try_filter_map(|object| async move { Ok(version(&object.location).map(|version| (version, object))) })
        .try_collect()
        .await?;
    // The oldest first: what remains when the process is killed in between is a log without a hole.
    entries.sort_by(|one, other| (one.0, &one.1.location).cmp(&(other.0, &other.1.location)));
    let is_old = |object: &ObjectMeta| (now - object.last_modified).num_milliseconds() > millis(policy.keep_log);
    let checkpoint = entries.iter().filter(|(version, object)| {
        is_old(object) && object.location.filename() == Some(&format!("{version:0VERSION_DIGITS$}.checkpoint.parquet"))
    });
    let Some(checkpoint) = checkpoint.map(|(version, _)| *version).max() else { return Ok(Waste::default()) };
    let mut waste = Waste::default();
    entries.into_iter().filter(|(version, _)| *version < checkpoint).for_each(|(_, object)| waste.add(object));
    Ok(waste)
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The version that an entry of the log is of, if its name is one of those that Delta gives
/// (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md#file-types>).
fn version(path: &Path) -> Option<u64> {
    let (digits, kind) = path.filename()?.split_at_checked(VERSION_DIGITS)?;
    let is_entry = kind == ".json" || kind == ".crc" || kind.starts_with(".checkpoint.") && kind.ends_with(".parquet");
    (is_entry && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}
