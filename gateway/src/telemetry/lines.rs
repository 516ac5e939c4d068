//! The lines of access logs: to standard output, or to files that are set aside when they are full.
//!
//! What always holds: a request never waits for a line (I6). A line that finds no room is left out and counted; so is one
//! that the disk does not take. The collector has the records all the same.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{config::logs::Destination, stats::Stats};

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 8_192;

/// Between two tries to open a file that cannot be written.
const PAUSE: Duration = Duration::from_secs(1);

/// A line on its way.
type Line = (Arc<Destination>, String);

/// The near end.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: mpsc::Sender<Line>,
    stats: Arc<Stats>,
}

impl Lines {
    /// Takes a line. Never waits.
    pub(crate) fn offer(&self, to: &Arc<Destination>, line: String) {
        if self.queue.try_send((Arc::clone(to), line)).is_err() {
            self.stats.lines_dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The far end.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<Line>,
    stats: Arc<Stats>,
    files: HashMap<PathBuf, LogFile>,
    /// Where lines could not be written the last time; it has been told.
    failing: HashSet<Option<PathBuf>>,
}

/// An access log that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log {}: {source}", .path.display())]
pub struct AccessLogError {
    path: PathBuf,
    source: io::Error,
}

/// Looks whether lines could go there, so that a wrong path is told at the start.
pub(crate) fn check(to: &Destination) -> Result<(), AccessLogError> {
    let Some(path) = &to.file else { return Ok(()) };
    open(path).map(drop).map_err(|source| AccessLogError { path: path.clone(), source })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// A file that lines go to.
#[derive(Debug)]
struct LogFile {
    file: Option<File>,
    bytes: u64,
    /// When it may be tried again, after it could not be written.
    not_before: Option<Instant>,
}

/// Both ends.
pub(crate) fn lines(stats: Arc<Stats>) -> (Lines, Writer) {
    let (near, far) = mpsc::channel(QUEUE_LINES);
    let writer = Writer { queue: far, stats: Arc::clone(&stats), files: HashMap::new(), failing: HashSet::new() };
    (Lines { queue: near, stats }, writer)
}

impl Writer {
    /// Writes lines on a thread of its own: a disk or a terminal that takes none holds up nobody else. Tells when no more
    /// can come and all are written.
    ///
    /// # Errors
    /// When the system refuses the thread or its runtime.
    pub(crate) fn start(self) -> io::Result<oneshot::Receiver<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, end) = oneshot::channel();
        thread::Builder::new().name("weir-access-log".to_owned()).spawn(move || {
            match runtime.block_on(self.run()) {
                // Nobody waits for the end when the process is going down anyway.
                Ok(()) => drop(ended.send(())),
                Err(error) => tracing::error!(%error, "access logs are not written"),
            }
        })?;
        Ok(end)
    }

    /// Writes lines until no more can come. Files are opened anew after SIGHUP: whoever moved them away has them.
    async fn run(mut self) -> io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut waiting, QUEUE_LINES) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.write(&mut waiting);
                }
                _ = hangups.recv() => self.files.clear(),
            }
        }
    }

    fn write(&mut self, waiting: &mut Vec<Line>) {
        // Lines of one destination in one write each, in their order.
        let mut texts: Vec<(Arc<Destination>, String, u64)> = Vec::new();
        for (to, line) in waiting.drain(..) {
            let at = texts.iter().position(|(own, ..)| own.file == to.file);
            let at = at.unwrap_or_else(|| {
                texts.push((to, String::new(), 0));
                texts.len() - 1
            });
            let (_, text, count) = &mut texts[at];
            text.push_str(&line);
            text.push('\n');
            *count += 1;
        }
        for (to, text, count) in texts {
            let written = match &to.file {
                None => io::stdout().write_all(text.as_bytes()),
                Some(path) => self.files.entry(path.clone()).or_insert_with(LogFile::new).write(path, &to, &text),
            };
            self.told(&to, count, written);
        }
    }

    /// Counts the lines that were not written. Of an outage the first failure and the end are told.
    fn told(&mut self, to: &Destination, lines: u64, written: io::Result<()>) {
        match written {
            Err(error) => {
                self.stats.lines_dropped.fetch_add(lines, Relaxed);
                if self.failing.insert(to.file.clone()) {
                    tracing::warn!(%error, to = ?to.file, "lines of the access log are not written, but counted");
                }
            }
            Ok(()) => {
                if !self.failing.is_empty() && self.failing.remove(&to.file) {
                    tracing::info!(to = ?to.file, "lines of the access log are written again");
                }
            }
        }
    }
}

impl LogFile {
    fn new() -> Self {
        Self { file: None, bytes: 0, not_before: None }
    }

    fn write(&mut self, path: &Path, to: &Destination, text: &str) -> io::Result<()> {
        if self.not_before.is_some_and(|time| time > Instant::now()) {
            return Err(io::Error::other("it could not be written a moment ago"));
        }
        let written = self.try_write(path, to, text);
        if written.is_err() {
            *self = Self { not_before: Some(Instant::now() + PAUSE), ..Self::new() };
        }
        written
    }

    fn try_write(&mut self, path: &Path, to: &Destination, mut text: &str) -> io::Result<()> {
        while !text.is_empty() {
            if self.file.is_none() {
                let file = open(path)?;
                self.bytes = file.metadata()?.len();
                self.file = Some(file);
            }
            let (part, rest) =
                text.split_at(fitting(text, to.rotate_bytes.saturating_sub(self.bytes), self.bytes == 0));
            if part.is_empty() {
                set_aside(path, to.keep)?;
                self.file = None;
                continue;
            }
            if let Some(file) = &mut self.file {
                file.write_all(part.as_bytes()).inspect_err(|_| mend(file, self.bytes))?;
                self.bytes += part.len() as u64;
            }
            text = rest;
        }
        Ok(())
    }
}

/// How much of some whole lines has room, bytes; a file that is empty takes a line of any length.
fn fitting(lines: &str, room: u64, is_empty: bool) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    let after = |end: usize| end + 1;
    match lines.as_bytes()[..room].iter().rposition(|byte| *byte == b'\n').map(after) {
        None if is_empty => lines.find('\n').map_or(lines.len(), after),
        fitting => fitting.unwrap_or(0),
    }
}

/// Takes back the part of a line that a full disk took, so that the next one does not go on from there.
fn mend(file: &File, bytes: u64) {
    let is_longer = file.metadata().is_ok_and(|now| now.len() > bytes);
    if is_longer && let Err(error) = file.set_len(bytes) {
        tracing::warn!(%error, "the access log has a part of a line");
    }
}

/// `log` → `log.1` → `log.2`, and so on to the last that is kept.
fn set_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Option<String> {
        fs::read_to_string(path).ok()
    }

    #[tokio::test]
    async fn full_files_are_set_aside_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let to = Arc::new(Destination { file: Some(path.clone()), rotate_bytes: 8, keep: 2 });
        let (lines, mut writer) = lines(Arc::default());
        for line in ["first", "second", "third", "fourth"] {
            lines.offer(&to, line.to_owned());
            let mut waiting = vec![writer.queue.recv().await.unwrap()];
            writer.write(&mut waiting);
        }
        let aside = |number: u32| read(&directory.path().join(format!("log.{number}")));
        assert_eq!(read(&path).as_deref(), Some("fourth\n"));
        assert_eq!((aside(1).as_deref(), aside(2).as_deref(), aside(3)), (Some("third\n"), Some("second\n"), None));
    }

    #[tokio::test]
    async fn lines_that_come_together_are_parted_where_a_file_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let to = Arc::new(Destination { file: Some(path.clone()), rotate_bytes: 8, keep: 9 });
        let (_, mut writer) = lines(Arc::default());
        let mut waiting =
            ["a", "b", "a long line", "c", "d", "eeeee"].map(|line| (Arc::clone(&to), line.into())).into();
        writer.write(&mut waiting);
        let aside = |number: u32| read(&directory.path().join(format!("log.{number}")));
        assert_eq!(read(&path).as_deref(), Some("eeeee\n"));
        assert_eq!([aside(1), aside(2), aside(3)], ["c\nd\n", "a long line\n", "a\nb\n"].map(|text| Some(text.into())));
        assert_eq!(aside(4), None);
    }

    #[test]
    fn a_part_of_a_line_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "whole\npar").unwrap();
        mend(&open(&path).unwrap(), 6);
        assert_eq!(read(&path).as_deref(), Some("whole\n"));
        // Somebody else has shortened it meanwhile: nothing is put in its place.
        mend(&open(&path).unwrap(), 60);
        assert_eq!(read(&path).as_deref(), Some("whole\n"));
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_told_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let to = |file| Destination { file, rotate_bytes: 8, keep: 2 };
        assert!(check(&to(None)).is_ok() && check(&to(Some(directory.path().join("log")))).is_ok());
        let error = check(&to(Some(directory.path().join("absent/log")))).unwrap_err().to_string();
        assert!(error.contains("absent/log"), "{error}");
    }

    #[tokio::test]
    async fn lines_that_cannot_be_written_are_counted_and_stop_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = Some(directory.path().join("absent/log"));
        let to = Arc::new(Destination { file: nowhere, rotate_bytes: 8, keep: 2 });
        let stats = Arc::new(Stats::default());
        let (lines, writer) = lines(Arc::clone(&stats));
        for _ in 0..QUEUE_LINES + 3 {
            lines.offer(&to, "line".to_owned());
        }
        assert_eq!(stats.lines_dropped.load(Relaxed), 3);
        drop(lines);
        writer.run().await.unwrap();
        assert_eq!(stats.lines_dropped.load(Relaxed), QUEUE_LINES as u64 + 3);
    }
}
