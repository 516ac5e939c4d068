//! A store for tests that fails on purpose.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, memory::InMemory, path::Path,
};
use tokio::sync::Semaphore;

/// A store in memory.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: InMemory,
    /// Whether it overwrites where it was asked to create.
    pub(crate) ignores_create: bool,
    /// Whether it looks if an object is there, and only then writes it.
    pub(crate) looks_first: bool,
    /// This many commits are taken and then answered with an error.
    pub(crate) answers_to_lose: AtomicUsize,
    /// This many puts fail without effect.
    pub(crate) puts_to_fail: AtomicUsize,
    /// This many lists fail.
    pub(crate) lists_to_fail: AtomicUsize,
    /// This many puts wait for [`Self::release`], and take effect then.
    pub(crate) puts_to_hold: AtomicUsize,
    /// The same of commits alone.
    pub(crate) commits_to_hold: AtomicUsize,
    held: Semaphore,
    /// This many parts of uploads fail.
    pub(crate) parts_to_fail: Arc<AtomicUsize>,
    /// Uploads that were aborted.
    pub(crate) aborted: Arc<AtomicUsize>,
}

impl FaultyStore {
    pub(crate) fn lying() -> Self {
        Self { ignores_create: true, ..Self::default() }
    }

    pub(crate) fn racy() -> Self {
        Self { looks_first: true, ..Self::default() }
    }

    /// Lets the puts go on that are held.
    pub(crate) fn release(&self, puts: usize) {
        self.held.add_permits(puts);
    }

    pub(crate) fn objects(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        Arc::clone(self) as Arc<dyn ObjectStore>
    }
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self {
            inner: InMemory::new(),
            ignores_create: false,
            looks_first: false,
            answers_to_lose: AtomicUsize::new(0),
            puts_to_fail: AtomicUsize::new(0),
            lists_to_fail: AtomicUsize::new(0),
            puts_to_hold: AtomicUsize::new(0),
            commits_to_hold: AtomicUsize::new(0),
            held: Semaphore::new(0),
            parts_to_fail: Arc::default(),
            aborted: Arc::default(),
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "on purpose".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let is_commit = location.extension() == Some("json");
        if take(&self.puts_to_hold) || (is_commit && take(&self.commits_to_hold)) {
            self.held.acquire().await.expect("it is never closed").forget();
        }
        if take(&self.puts_to_fail) {
            return Err(failure());
        }
        if self.ignores_create {
            options.mode = PutMode::Overwrite;
        }
        if self.looks_first && matches!(options.mode, PutMode::Create) {
            if self.inner.head(location).await.is_ok() {
                return Err(Error::AlreadyExists { path: location.to_string(), source: "it is there".into() });
            }
            tokio::task::yield_now().await;
            options.mode = PutMode::Overwrite;
        }
        let result = self.inner.put_opts(location, payload, options).await?;
        if is_commit && take(&self.answers_to_lose) { Err(failure()) } else { Ok(result) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload {
            inner,
            parts_to_fail: Arc::clone(&self.parts_to_fail),
            aborted: Arc::clone(&self.aborted),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if take(&self.lists_to_fail) {
            return Box::pin(futures::stream::once(async { Err(failure()) }));
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    parts_to_fail: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        if take(&self.parts_to_fail) { Box::pin(async { Err(failure()) }) } else { self.inner.put_part(part) }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.fetch_add(1, Ordering::Relaxed);
        self.inner.abort().await
    }
}
