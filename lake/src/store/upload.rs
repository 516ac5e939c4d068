//! Puts a data file into the store. A large one goes in parts: each has a deadline of its own, so that a slow store makes
//! progress where one long request would be given up again and again.
//!
//! What always holds: the bytes are never copied, and no more than a part of them is on its way; the object is there
//! whole or not at all; what was begun and failed is aborted.

use std::time::Duration;

use bytes::Bytes;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, Result, path::Path};

/// The least that S3 takes as a part
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>). At the longest that a request may take, 60 s,
/// a store needs to take 87 KiB a second.
const PART_BYTES: usize = 5 << 20;

/// Puts an object. Each request has so long.
///
/// # Errors
/// When it is not known to be there. It may be.
pub(crate) async fn upload(store: &dyn ObjectStore, path: &Path, bytes: Bytes, deadline: Duration) -> Result<()> {
    // The last part may be up to twice as large, so that none is tiny.
    if bytes.len() < 2 * PART_BYTES {
        return within(deadline, store.put(path, bytes.into())).await.map(drop);
    }
    let mut upload = within(deadline, store.put_multipart(path)).await?;
    let outcome = send_parts(upload.as_mut(), bytes, deadline).await;
    if outcome.is_err()
        && let Err(error) = within(deadline, upload.abort()).await
    {
        tracing::warn!(%path, %error, "parts of a file stay in the store; a lifecycle rule of the bucket can remove them");
    }
    outcome
}

async fn send_parts(upload: &mut dyn MultipartUpload, mut bytes: Bytes, deadline: Duration) -> Result<()> {
    while bytes.len() >= 2 * PART_BYTES {
        within(deadline, upload.put_part(bytes.split_to(PART_BYTES).into())).await?;
    }
    within(deadline, upload.put_part(bytes.into())).await?;
    within(deadline, upload.complete()).await.map(drop)
}

/// Gives a request to the store up when its time is over. It may come through nevertheless.
///
/// # Errors
/// What the request says, or that it was given up.
pub(crate) async fn within<T>(deadline: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(deadline, request).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let source = format!("no answer within {} s", deadline.as_secs_f32()).into();
            Err(Error::Generic { store: "store", source })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::faulty::FaultyStore;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn bytes(length: usize) -> Bytes {
        (0..length).map(|index| (index / 1_000) as u8).collect::<Vec<_>>().into()
    }

    #[tokio::test]
    async fn objects_of_all_sizes_arrive_whole() {
        let (store, path) = (FaultyStore::default(), Path::from("object"));
        for length in [0, 1, 2 * PART_BYTES - 1, 2 * PART_BYTES, 2 * PART_BYTES + 1, 3 * PART_BYTES + 7] {
            upload(&store, &path, bytes(length), DEADLINE).await.unwrap();
            assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes(length), "{length}");
        }
    }

    #[tokio::test]
    async fn an_upload_whose_part_fails_is_aborted_and_leaves_no_object() {
        let (store, path) = (FaultyStore::default(), Path::from("object"));
        store.parts_to_fail.store(1, Ordering::Relaxed);
        upload(&store, &path, bytes(3 * PART_BYTES), DEADLINE).await.unwrap_err();
        assert_eq!(store.aborted.load(Ordering::Relaxed), 1);
        assert!(store.get(&path).await.is_err());
    }

    #[tokio::test]
    async fn a_store_that_hangs_is_given_up() {
        let store = FaultyStore::default();
        store.puts_to_hold.store(1, Ordering::Relaxed);
        let deadline = Duration::from_millis(10);
        let error = upload(&store, &Path::from("object"), bytes(1), deadline).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 0.01 s"), "{error}");
    }
}
