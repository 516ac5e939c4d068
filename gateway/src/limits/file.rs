//! The file of counts: how much of each quota is used, as far as a crash must not give it back.
//!
//! `counts` in a directory of its own, beside `lock`, which its process holds. Text: a first line with the format's
//! version, then a line for each write: CRC-32C and length, both hexadecimal, and a JSON list of counts; the last count
//! of a plan and key holds. A write is appended and synced; when much of the file is old, it is written anew beside itself, synced
//! and renamed.
//!
//! What always holds: once a write returned, its counts survive the end of the process and a power cut; a write that
//! did not return left at most a torn last line, which nobody counts on and which is cut. Damage anywhere else is an
//! error: to go on without would give back what is used.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The first line.
const HEADER: &str = "weir quota counts 1\n";

/// A file smaller than this is not written anew.
const SMALL_BYTES: u64 = 1 << 20;

/// The file of counts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CountsError {
    /// The system refused.
    #[error("quotas: {path}: {source}; the directory of counts must be one that this user may write to", path = .path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("quotas: {path} is in use by another gateway: each needs a quota_directory of its own", path = .0.display())]
    Locked(PathBuf),
    /// It does not hold what was written.
    #[error(
        "quotas: {path} is damaged at line {line}: put a copy in its place, or remove it, which gives back all that \
         is used of the quotas of the present periods",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// How much of a quota is used, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Name of the plan.
    pub plan: String,
    /// Id of the key.
    pub key: String,
    /// `day`, `week` or `month`.
    pub period: String,
    /// The day on which the period began, days since 1 January 1970.
    pub start: u32,
    /// Requests.
    pub used: u64,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct CountsFile {
    directory: PathBuf,
    file: File,
    /// Bytes of whole lines.
    bytes: u64,
    /// Bytes when it was last written anew.
    fresh_bytes: u64,
    /// Held until the process ends.
    _lock: File,
}

impl CountsFile {
    /// Opens the file in a directory, and says what it holds, in its order. Both are made when they are not there.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Entry>), CountsError> {
        let path = directory.join("counts");
        let refused = |source| CountsError::System { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(refused)?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).to_owned();
        let lock = options.open(directory.join("lock")).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CountsError::Locked(path)),
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                replace(directory, &[]).map_err(refused)?;
                HEADER.as_bytes().to_vec()
            }
            text => text.map_err(refused)?,
        };
        let (entries, whole) = read(&text).map_err(|line| CountsError::Damaged { path: path.clone(), line })?;
        if whole < text.len() {
            tracing::warn!(file = %path.display(), bytes = text.len() - whole, "cut a write that a crash left unfinished");
        }
        let bytes = whole as u64;
        let file = OpenOptions::new().append(true).open(&path).map_err(refused)?;
        file.set_len(bytes).and_then(|()| file.sync_all()).map_err(refused)?;
        Ok((Self { directory: directory.to_owned(), file, bytes, fresh_bytes: bytes, _lock: lock }, entries))
    }

    /// Adds counts. Once it returns they are on disk.
    ///
    /// # Errors
    /// When the system refused: then nothing of it can be counted on, and [`Self::rewrite`] mends the file.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let line = line(entries)?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Writes these counts in place of all that the file holds. A crash leaves the old file, or the new one.
    ///
    /// # Errors
    /// When the system refused.
    pub(crate) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        (self.file, self.bytes) = replace(&self.directory, entries)?;
        self.fresh_bytes = self.bytes;
        Ok(())
    }

    /// From now on the system refuses to append, as a full disk would.
    #[cfg(test)]
    pub(super) fn refuse_appends(&mut self) {
        self.file = File::open(self.directory.join("counts")).expect("the file is there");
    }

    /// Whether most of the file is old.
    pub(crate) fn is_long(&self) -> bool {
        self.bytes > SMALL_BYTES && self.bytes > 4 * self.fresh_bytes
    }
}

/// Bytes of a line before its JSON: checksum, length and the spaces after them.
const PREFIX: usize = 18;

/// A write: the checksum of the counts, their length in bytes, and the counts.
fn line(entries: &[Entry]) -> io::Result<String> {
    let json = serde_json::to_string(entries).map_err(io::Error::other)?;
    Ok(format!("{}{json}\n", prefix(json.as_bytes())))
}

fn prefix(json: &[u8]) -> String {
    format!("{:08x} {:08x} ", crc32c::crc32c(json), json.len())
}

/// Puts a file with these counts into a directory, and opens it for more.
fn replace(directory: &Path, entries: &[Entry]) -> io::Result<(File, u64)> {
    let (path, new) = (directory.join("counts"), directory.join("counts.new"));
    let mut text = HEADER.to_owned();
    if !entries.is_empty() {
        text += &line(entries)?;
    }
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()?;
    Ok((OpenOptions::new().append(true).open(&path)?, text.len() as u64))
}

/// The counts in a text, and the length of its whole lines; or the line that is damaged.
fn read(text: &[u8]) -> Result<(Vec<Entry>, usize), usize> {
    let rest = text.strip_prefix(HEADER.as_bytes()).ok_or(1_usize)?;
    let (mut entries, mut whole) = (Vec::new(), HEADER.len());
    for (index, line) in rest.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match parse(line) {
            Some(counts) => entries.extend(counts),
            None if whole + line.len() == text.len() && is_torn(line) => break,
            None => return Err(index + 2),
        }
        whole += line.len();
    }
    Ok((entries, whole))
}

fn parse(line: &[u8]) -> Option<Vec<Entry>> {
    let (own, json) = line.strip_suffix(b"\n")?.split_at_checked(PREFIX)?;
    if prefix(json).as_bytes() == own { serde_json::from_slice(json).ok() } else { None }
}

/// Whether a last line can be one write that did not return: it is not longer than the write says that it is.
fn is_torn(line: &[u8]) -> bool {
    let digits = line.get(9..17).and_then(|digits| std::str::from_utf8(digits).ok());
    let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    length.is_none_or(|length| line.len() <= PREFIX + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, used: u64) -> Entry {
        Entry { plan: "basic".into(), key: key.into(), period: "day".into(), start: 20_000, used }
    }

    fn written() -> (tempfile::TempDir, Vec<Entry>) {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, entries) = CountsFile::open(directory.path()).unwrap();
        assert_eq!(entries, []);
        let all = vec![entry("a", 1), entry("b\n\"", 2), entry("a", 3)];
        file.rewrite(&all[..1]).unwrap();
        file.append(&all[1..2]).unwrap();
        file.append(&all[2..]).unwrap();
        (directory, all)
    }

    #[test]
    fn what_was_written_is_read_in_its_order() {
        let (directory, all) = written();
        assert_eq!(CountsFile::open(directory.path()).unwrap().1, all);
    }

    #[test]
    fn a_write_that_was_cut_anywhere_takes_nothing_with_it_but_itself() {
        let (directory, all) = written();
        let path = directory.path().join("counts");
        let text = fs::read(&path).unwrap();
        let last = text.len() - line(&all[2..]).unwrap().len();
        for length in last..text.len() {
            for filled in [false, true] {
                let mut torn = text[..length].to_vec();
                if filled {
                    // A power cut may leave the length without the bytes.
                    torn.resize(text.len(), 0);
                }
                fs::write(&path, torn).unwrap();
                let (mut file, entries) = CountsFile::open(directory.path()).unwrap();
                assert_eq!(entries, all[..2], "{length} {filled}");
                file.append(&[entry("c", 9)]).unwrap();
                drop(file);
                let entries = CountsFile::open(directory.path()).unwrap().1;
                assert_eq!(entries, [&all[..2], &[entry("c", 9)]].concat(), "{length} {filled}");
            }
        }
    }

    #[test]
    fn damage_before_the_last_write_is_an_error_that_names_the_line() {
        let (directory, all) = written();
        let path = directory.path().join("counts");
        let text = fs::read(&path).unwrap();
        let last = text.len() - line(&all[2..]).unwrap().len();
        for at in 0..last {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            let error = CountsFile::open(directory.path()).unwrap_err();
            assert!(matches!(error, CountsError::Damaged { line: 1..=3, .. }), "{at} {error}");
        }
        fs::write(&path, "").unwrap();
        let error = CountsFile::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged at line 1: put a copy in its place"), "{error}");
    }

    #[test]
    fn a_crash_while_the_file_is_written_anew_leaves_the_old_one() {
        let (directory, all) = written();
        fs::write(directory.path().join("counts.new"), &HEADER[..7]).unwrap();
        assert_eq!(CountsFile::open(directory.path()).unwrap().1, all);
    }

    #[test]
    fn two_gateways_cannot_have_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let _first = CountsFile::open(directory.path()).unwrap();
        let error = CountsFile::open(directory.path()).unwrap_err();
        assert!(matches!(error, CountsError::Locked(_)), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let error = CountsFile::open(&directory.path().join("file/quotas")).unwrap_err().to_string();
        assert!(error.contains("file/quotas/counts") && error.contains("may write to"), "{error}");
    }
}
