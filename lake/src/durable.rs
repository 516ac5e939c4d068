//! The local directory as an object store that keeps what it acknowledged.
//!
//! `object_store`'s own [`LocalFileSystem`] writes atomically but never syncs: after a power failure an acknowledged
//! commit may be gone, or a file may stand there empty. [`DurableFileSystem`] writes by itself and leaves all else to
//! the original.
//!
//! What always holds: when a put has returned, the object's bytes, its name and the names of the directories above it
//! are on disk; an object is either not there or whole.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, local::LocalFileSystem, path::Path,
};

/// A local file system whose puts are synced.
#[derive(Clone, Debug)]
pub(crate) struct DurableFileSystem {
    inner: Arc<LocalFileSystem>,
}

impl DurableFileSystem {
    /// The file system from its root on.
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()) }
    }

    async fn write(&self, location: &Path, payload: PutPayload, create: bool) -> Result<PutResult> {
        let path = self.inner.path_to_filesystem(location)?;
        let written = tokio::task::spawn_blocking(move || {
            write(&path, &payload, create).map_err(|error| store_error(&path, error))
        });
        written.await??;
        Ok(PutResult { e_tag: None, version: None })
    }
}

impl fmt::Display for DurableFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFileSystem({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DurableFileSystem {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Create if options.attributes.is_empty() => self.write(location, payload, true).await,
            PutMode::Overwrite if options.attributes.is_empty() => self.write(location, payload, false).await,
            // Refused by the original, with its own words.
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return self.inner.put_multipart_opts(location, options).await;
        }
        Ok(Box::new(Upload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A put in parts. They are kept in memory, like any other put's bytes, until the upload is complete.
#[derive(Debug)]
struct Upload {
    store: DurableFileSystem,
    location: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.push(part);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload: PutPayload =
            self.parts.drain(..).flat_map(PutPayload::into_iter).collect::<Vec<Bytes>>().into_iter().collect();
        self.store.write(&self.location, payload, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

fn store_error(path: &FilePath, error: io::Error) -> Error {
    let name = path.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: name, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path: name, source: error.into() },
        _ => Error::Generic { store: "local directory", source: format!("cannot write {name}: {error}").into() },
    }
}

fn write(path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let (staged, mut file) = stage(path, directory)?;
    let outcome = payload
        .iter()
        .try_for_each(|bytes| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| if create { fs::hard_link(&staged, path) } else { fs::rename(&staged, path) });
    if create || outcome.is_err() {
        // What a crash leaves behind is hidden from every list, so a failure to remove it harms nobody.
        let _ = fs::remove_file(&staged);
    }
    outcome?;
    sync_directory(directory)
}

/// A new file beside the object. [`LocalFileSystem`] hides names that end in `#` and digits from every list.
fn stage(path: &FilePath, directory: &FilePath) -> io::Result<(PathBuf, File)> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!("#{}", fastrand::u64(..)));
    let staged = PathBuf::from(staged);
    let open = || OpenOptions::new().write(true).create_new(true).open(&staged);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directory(directory)?;
            open()?
        }
        opened => opened?,
    };
    Ok((staged, file))
}

/// Creates a directory and what is missing above it; syncs every parent that got a new entry.
pub(crate) fn create_directory(directory: &FilePath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent();
    if let Some(parent) = parent {
        create_directory(parent)?;
    }
    match fs::create_dir(directory) {
        // Another writer was faster; it may not have synced yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        created => created?,
    }
    parent.map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &FilePath) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    use super::*;

    fn location(directory: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(directory.path().canonicalize().unwrap()).unwrap().join(name)
    }

    #[tokio::test]
    async fn what_is_created_once_cannot_be_created_again() {
        let directory = tempfile::tempdir().unwrap();
        let (store, object) = (DurableFileSystem::new(), location(&directory, "object"));
        store.put_opts(&object, "first".into(), PutMode::Create.into()).await.unwrap();
        let again = store.put_opts(&object, "second".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        store.put(&object, "third".into()).await.unwrap();
        assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), "third");
    }

    #[tokio::test]
    async fn directories_are_made_as_needed_and_no_staged_file_remains() {
        let directory = tempfile::tempdir().unwrap();
        let store = DurableFileSystem::new();
        let object = location(&directory, "a").join("b").join("object");
        store.put(&object, "bytes".into()).await.unwrap();
        let _ = store.put_opts(&object, "again".into(), PutMode::Create.into()).await;
        let names: Vec<_> =
            fs::read_dir(directory.path().join("a/b")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["object"]);
    }

    #[tokio::test]
    async fn a_staged_file_left_by_a_crash_is_in_no_list() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("0.json#17"), "torn").unwrap();
        let found: Vec<_> = DurableFileSystem::new().list(Some(&location(&directory, ""))).try_collect().await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }

    #[tokio::test]
    async fn parts_become_one_object() {
        let directory = tempfile::tempdir().unwrap();
        let (store, object) = (DurableFileSystem::new(), location(&directory, "object"));
        let mut upload = store.put_multipart(&object).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), "one two");
    }
}
