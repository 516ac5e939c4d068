//! The lines of access logs: to standard output, or to files that are set aside when they are full.
//!
//! What always holds: a request never waits for a line (I6). A line that finds no room is left out and counted; so is one
//! that the disk does not take. The collector has the records all the same.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
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
}

/// A file that lines go to.
#[derive(Debug)]
struct LogFile {
    file: Option<File>,
    bytes: u64,
    /// When it may be tried again, after it could not be written.
    not_before: Option<std::time::Instant>,
}

/// Both ends.
pub(crate) fn lines(stats: Arc<Stats>) -> (Lines, Writer) {
    let (near, far) = mpsc::channel(QUEUE_LINES);
    let writer = Writer { queue: far, stats: Arc::clone(&stats), files: HashMap::new() };
    (Lines { queue: near, stats }, writer)
}

impl Writer {
    /// Writes lines until no more can come. Files are opened anew after SIGHUP: whoever moved them away has them.
    pub(crate) async fn run(mut self) -> io::Result<()> {
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
            if let Err(error) = written {
                self.stats.lines_dropped.fetch_add(count, Relaxed);
                tracing::warn!(%error, lines = count, to = ?to.file, "lines of the access log were not written");
            }
        }
    }
}

impl LogFile {
    fn new() -> Self {
        Self { file: None, bytes: 0, not_before: None }
    }

    fn write(&mut self, path: &Path, to: &Destination, text: &str) -> io::Result<()> {
        if self.not_before.is_some_and(|time| time > std::time::Instant::now()) {
            return Err(io::Error::other("it could not be written a moment ago"));
        }
        let written = self.try_write(path, to, text);
        if written.is_err() {
            *self = Self { not_before: Some(std::time::Instant::now() + PAUSE), ..Self::new() };
        }
        written
    }

    fn try_write(&mut self, path: &Path, to: &Destination, text: &str) -> io::Result<()> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        if self.bytes > 0 && self.bytes + text.len() as u64 > to.rotate_bytes {
            set_aside(path, to.keep)?;
            self.file = Some(OpenOptions::new().append(true).create(true).open(path)?);
            self.bytes = 0;
        }
        if let Some(file) = &mut self.file {
            file.write_all(text.as_bytes())?;
            self.bytes += text.len() as u64;
        }
        Ok(())
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
