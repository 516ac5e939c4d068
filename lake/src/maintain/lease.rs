//! Who maintains a table: a small object beside the tables, so that no two do the same work. It saves work and no more:
//! what keeps rows right is that a commit looks whether the files it removes are live.
//!
//! The object is taken and renewed by conditional puts where the store has them; a local directory has none, and there
//! the last one that wrote it has it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

/// A holder who is not heard of for so long has it no longer.
const TERM: TimeDelta = TimeDelta::minutes(5);

/// How often a holder is to be heard of.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(60);

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Names the process.
    pub(crate) holder: String,
    /// Until when.
    pub(crate) until: DateTime<Utc>,
}

/// Takes the lease, or renews it. `Err` names who has it.
pub(crate) async fn take(
    store: &dyn ObjectStore,
    path: &Path,
    holder: &str,
    now: DateTime<Utc>,
) -> Result<Result<(), Lease>, Error> {
    put(store, path, &Lease { holder: holder.to_owned(), until: now + TERM }, now).await
}

/// Gives it back, if one has it.
pub(crate) async fn give_back(store: &dyn ObjectStore, path: &Path, holder: &str, now: DateTime<Utc>) {
    // Who cannot give it back loses it soon enough.
    if let Err(error) = put(store, path, &Lease { holder: holder.to_owned(), until: now }, now).await {
        tracing::debug!(%path, %error, "the lease was not given back");
    }
}

async fn put(
    store: &dyn ObjectStore,
    path: &Path,
    lease: &Lease,
    now: DateTime<Utc>,
) -> Result<Result<(), Lease>, Error> {
    let (mode, held) = match store.get(path).await {
        Ok(found) => {
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            // What cannot be read was written by none of us, or torn: it is nobody's.
            let held: Option<Lease> = serde_json::from_slice(&found.bytes().await?).ok();
            (PutMode::Update(version), held)
        }
        Err(Error::NotFound { .. }) => (PutMode::Create, None),
        Err(error) => return Err(error),
    };
    if let Some(held) = held.filter(|held| held.holder != lease.holder && held.until > now) {
        return Ok(Err(held));
    }
    let bytes = serde_json::to_vec(lease).map_err(|error| Error::Generic { store: "lease", source: error.into() })?;
    match store.put_opts(path, bytes.clone().into(), mode.into()).await {
        Ok(_) => Ok(Ok(())),
        // Another was faster; who, it will say the next time.
        Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {
            Ok(Err(Lease { holder: "another process".to_owned(), until: now }))
        }
        Err(Error::NotImplemented { .. }) => store.put(path, bytes.into()).await.map(|_| Ok(())),
        Err(error) => Err(error),
    }
}
