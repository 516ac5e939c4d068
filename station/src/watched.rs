//! Values that stand in files, and are read again when the files change or the process gets SIGHUP: certificates,
//! tokens.
//!
//! What always holds: a change is taken whole or not at all. Files that cannot be used are logged, once for each state of
//! them, and the value from before stays.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Between two looks at the files. A look is one `stat` for each.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Times of files are coarser than the clock.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}; expected {expected}", .file.display())]
pub struct FileFault {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub expected: &'static str,
}

impl FileFault {
    /// A fault in this file.
    pub fn new(file: &Path, problem: impl Into<String>, expected: &'static str) -> Self {
        Self { file: file.to_owned(), problem: problem.into(), expected }
    }

    /// Reads a file; `expected` says what should be in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &Path, expected: &'static str) -> Result<Vec<u8>, Self> {
        fs::read(file).map_err(|error| Self::new(file, format!("cannot be read: {error}"), expected))
    }
}

type Load<T> = Box<dyn Fn() -> Result<T, FileFault> + Send + Sync>;

/// A value, and the files that it was read from.
pub struct Watched<T> {
    files: Vec<PathBuf>,
    load: Load<T>,
    current: RwLock<Arc<T>>,
    /// The state of the files when they were last read, whatever came of it.
    seen: Mutex<Vec<Option<State>>>,
}

/// What tells one state of a file from another. Symbolic links are followed: secrets are often mounted through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    inode: u64,
    size_bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl State {
    fn of(file: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(file)?;
        Ok(Self {
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            changed_s: metadata.mtime(),
            changed_ns: metadata.mtime_nsec(),
        })
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the value for the first time. `load` reads it from the files, all of which `files` names.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, FileFault> + Send + Sync + 'static,
    ) -> Result<Self, FileFault> {
        let seen = Mutex::new(states(&files));
        let current = RwLock::new(Arc::new(load()?));
        Ok(Self { files, load: Box::new(load), current, seen })
    }

    /// The value as it was last read well.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again if they have changed.
    ///
    /// # Errors
    /// When a file cannot be used; the value stays.
    pub fn refresh(&self) -> Result<bool, FileFault> {
        // Taken before the files are read: what changes in between is seen at the next look.
        let states = states(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == states {
            return Ok(false);
        }
        *seen = states;
        drop(seen);
        self.reload().map(|()| true)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// When a file cannot be used; the value stays.
    pub fn reload(&self) -> Result<(), FileFault> {
        let value = Arc::new((self.load)()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(())
    }

    /// Reads the files again if they have changed, and says so in the log; for whoever has no time to [`Self::follow`] them.
    pub fn look(&self) {
        self.tell(self.refresh());
    }

    fn tell(&self, outcome: Result<bool, FileFault>) {
        match outcome {
            Ok(false) => {}
            Ok(true) => tracing::info!(files = ?self.files, "read again"),
            Err(fault) => tracing::error!(%fault, "a changed file cannot be used; what was read before stays"),
        }
    }

    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = hang_up.recv() => self.reload().map(|()| true),
                _ = look.tick() => self.refresh(),
            };
            self.tell(outcome);
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

/// How files were when they were last looked at; for whoever reads them in a way of their own.
#[derive(Debug)]
pub struct Seen(Vec<Option<State>>);

impl Seen {
    /// As they are now.
    #[must_use]
    pub fn of(files: &[PathBuf]) -> Self {
        Self(states(files))
    }

    /// As they were at this time, when they were read: one that may have changed since then counts as changed at the next
    /// look, even if it was changed shortly before.
    #[must_use]
    pub fn at(files: &[PathBuf], read: SystemTime) -> Self {
        let since = read.checked_sub(CLOCK_MARGIN).unwrap_or(read);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // A file that was moved here has its old time of change, but not its old time of moving.
        let is_older = |file: &PathBuf| {
            fs::metadata(file).is_ok_and(|own| own.mtime().max(own.ctime()) < i64::try_from(since).unwrap_or(i64::MAX))
        };
        Self(files.iter().map(|file| State::of(file).ok().filter(|_| is_older(file))).collect())
    }

    /// Whether one of the files is not as it was at the last look.
    pub fn has_changed(&mut self, files: &[PathBuf]) -> bool {
        let now = states(files);
        let has_changed = self.0 != now;
        self.0 = now;
        has_changed
    }
}

fn states(files: &[PathBuf]) -> Vec<Option<State>> {
    files.iter().map(|file| State::of(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &Path) -> Result<u32, FileFault> {
        let text = String::from_utf8(FileFault::read(file, "a number")?).unwrap();
        text.parse().map_err(|_| FileFault::new(file, format!("is {text:?}"), "a number"))
    }

    #[test]
    fn a_change_is_taken_and_a_bad_one_leaves_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        let load = |file: &Path| {
            let file = file.to_owned();
            move || number(&file)
        };
        let absent = Watched::open(vec![file.clone()], load(&file)).unwrap_err();
        assert!(
            absent
                .to_string()
                .ends_with("number: cannot be read: No such file or directory (os error 2); expected a number")
        );
        fs::write(&file, "1").unwrap();
        let watched = Watched::open(vec![file.clone()], load(&file)).unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Ok(false), 1));
        fs::write(&file, "22").unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Ok(true), 22));
        fs::write(&file, "bad").unwrap();
        assert!(watched.refresh().is_err());
        assert_eq!((watched.refresh(), *watched.current()), (Ok(false), 22));
        fs::remove_file(&file).unwrap();
        assert!(watched.refresh().is_err() && watched.reload().is_err());
        fs::write(&file, "333").unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Ok(true), 333));
    }

    #[test]
    fn a_file_that_changed_after_it_was_read_and_before_the_first_look_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        fs::write(&file, "1").unwrap();
        let files = [file];
        let (long_ago, later) = (UNIX_EPOCH, SystemTime::now() + Duration::from_secs(60));
        assert!(Seen::at(&files, long_ago).has_changed(&files));
        assert!(!Seen::at(&files, later).has_changed(&files));
        assert!(!Seen::at(&[directory.path().join("absent")], later).has_changed(&[directory.path().join("absent")]));
    }
}
