//! The local directory as an object store that keeps what it acknowledged.
//!
//! `object_store`'s own [`LocalFileSystem`] writes atomically but never syncs: after a power failure an acknowledged
//! commit may be gone, or a file may stand there empty. [`DurableFileSystem`] writes by itself and leaves all else to
//! the original.
//!
//! What always holds: when a put has returned, the object's bytes, its name and the names of the directories above it
//! are on disk; an object is either not there or whole. When a directory cannot be synced, what is in it may be seen and
//! yet not survive: from then on nothing is read or written any more, so that nobody rests on it.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, local::LocalFileSystem, path::Path,
};

/// A local file system whose puts are synced.
#[derive(Clone, Debug)]
pub(crate) struct DurableFileSystem {
    inner: Arc<LocalFileSystem>,
    directories: Arc<Directories>,
}

/// What is known of directories.
#[derive(Debug, Default)]
struct Directories {
    /// Those whose own names are on disk: synced by this process, whoever made them.
    named: Mutex<HashSet<PathBuf>>,
    /// Whether one could not be synced.
    failed: AtomicBool,
}

impl Directories {
    fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            let source = "a directory could not be synced, so what it holds may not survive; start again".into();
            return Err(Error::Generic { store: "local directory", source });
        }
        Ok(())
    }

    /// Has the name of a directory on disk. Another process may have made it, and ended before it did that.
    fn name(&self, directory: &FilePath) -> io::Result<()> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains(directory) {
            create_directory(directory)?;
            // Without a handle (too many open files) nothing is known, and the next put tries again.
            self.sync(&File::open(directory.parent().unwrap_or(directory))?)?;
            named.insert(directory.to_owned());
        }
        Ok(())
    }

    fn sync(&self, directory: &File) -> io::Result<()> {
        directory.sync_all().inspect_err(|_| self.failed.store(true, Ordering::SeqCst))
    }
}

impl DurableFileSystem {
    /// The file system from its root on.
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()), directories: Arc::default() }
    }

    async fn write(&self, location: &Path, payload: PutPayload, create: bool) -> Result<PutResult> {
        self.directories.check()?;
        let path = self.inner.path_to_filesystem(location)?;
        let directories = Arc::clone(&self.directories);
        let written = tokio::task::spawn_blocking(move || {
            write(&directories, &path, &payload, create).map_err(|error| store_error(&path, error))
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
        self.directories.check()?;
        let path = self.inner.path_to_filesystem(location)?;
        let upload = Upload { store: self.clone(), path, staged: Arc::default() };
        let begin = |path: &FilePath, directories: &Directories, staged: &mut Option<Staged>| {
            directories.name(parent(path)?)?;
            *staged = Some(Staged::beside(path)?);
            Ok(())
        };
        upload.blocking(begin).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.directories.check()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.directories.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.directories.check() {
            Ok(()) => self.inner.list_with_offset(prefix, offset),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.directories.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A put in parts. They are written beside the object as they come, in order, and become it when the upload is complete.
#[derive(Debug)]
struct Upload {
    store: DurableFileSystem,
    path: PathBuf,
    staged: Arc<Mutex<Option<Staged>>>,
}

impl Upload {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FilePath, &Directories, &mut Option<Staged>) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (path, staged) = (self.path.clone(), Arc::clone(&self.staged));
        let directories = Arc::clone(&self.store.directories);
        let done = tokio::task::spawn_blocking(move || {
            let mut staged = staged.lock().unwrap_or_else(PoisonError::into_inner);
            work(&path, &directories, &mut staged).map_err(|error| store_error(&path, error))
        });
        done.await?
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        // Written at once: parts come in order, and are as many as there is room for in memory.
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match staged.as_mut() {
            Some(staged) => part.iter().try_for_each(|bytes| staged.file.write_all(bytes)),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let written = written.map_err(|error| store_error(&self.path, error));
        Box::pin(async { written })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.directories.check()?;
        let written = self.blocking(|path, directories, staged| {
            let staged = staged.take().ok_or(io::ErrorKind::NotFound)?;
            let handle = File::open(parent(path)?)?;
            staged.become_object(path, false)?;
            directories.sync(&handle)
        });
        written.await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let forget = |_: &FilePath, _: &Directories, staged: &mut Option<Staged>| {
            *staged = None;
            Ok(())
        };
        self.blocking(forget).await
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

fn write(directories: &Directories, path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let directory = parent(path)?;
    directories.name(directory)?;
    // Before the object gets its name: from then on only the disk may fail.
    let handle = File::open(directory)?;
    let mut staged = Staged::beside(path)?;
    payload.iter().try_for_each(|bytes| staged.file.write_all(bytes))?;
    staged.become_object(path, create)?;
    directories.sync(&handle)
}

fn parent(path: &FilePath) -> io::Result<&FilePath> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A file that will become an object. [`LocalFileSystem`] hides names that end in `#` and digits from every list.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    fn beside(object: &FilePath) -> io::Result<Self> {
        let mut path = object.as_os_str().to_owned();
        path.push(format!("#{}", fastrand::u64(..)));
        let path = PathBuf::from(path);
        let open = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_directory(parent(object)?)?;
                open()?
            }
            opened => opened?,
        };
        Ok(Self { path, file })
    }

    /// Gives the file the object's name, once its bytes are on disk. With `create` the name must be free.
    fn become_object(self, object: &FilePath, create: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if create { fs::hard_link(&self.path, object) } else { fs::rename(&self.path, object) }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone when it was renamed. What a crash leaves behind is hidden from every list.
        let _ = fs::remove_file(&self.path);
    }
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

pub(crate) fn sync_directory(directory: &FilePath) -> io::Result<()> {
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
    async fn when_a_directory_cannot_be_synced_nothing_is_rested_on_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let (store, object) = (DurableFileSystem::new(), location(&directory, "object"));
        store.put(&object, "bytes".into()).await.unwrap();
        // Something that cannot be synced.
        assert!(store.directories.sync(&File::open("/proc/self/status").unwrap()).is_err());
        assert!(store.put(&object, "more".into()).await.is_err());
        assert!(store.get(&object).await.is_err());
        assert!(store.list(None).try_next().await.is_err());
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

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (store, object) = (DurableFileSystem::new(), location(&directory, "object"));
        let mut upload = store.put_multipart(&object).await.unwrap();
        upload.put_part("half".into()).await.unwrap();
        upload.abort().await.unwrap();
        assert!(upload.complete().await.is_err());
        drop(store.put_multipart(&object).await.unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
