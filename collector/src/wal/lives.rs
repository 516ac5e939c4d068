//! The lives of a log: which processes have written it, one after the other.
//!
//! Whoever copies a log's directory copies its name. Two collectors that write under one name give the same positions to different
//! messages, and each would take what the other has committed for its own. So each start of a collector is a life, with a random
//! number that stands in its commits; the file `lives` has a line for each: the number, the first position that was free when
//! it began, and the CRC32C of the two, in hexadecimal.
//!
//! What always holds: a life is in the file before its first commit; a table that names a life which is not there, or which is
//! there but ended before that position, has been written to by another log of this name.

use std::path::Path;

use super::{
    Position, WalError,
    disk::{Disk, DiskFile},
    durable,
};

const LIVES: &str = "lives";

/// Lives that are remembered. A log that has had more since it last reached its tables takes any life for its own.
const MOST_LIVES: usize = 4_096;

/// Length of a line: two numbers, a checksum, what stands between them, and its end.
const LINE_BYTES: usize = 16 + 1 + 16 + 1 + 8 + 1;

/// A process that writes, or wrote, the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    number: i64,
    first_free: Position,
}

/// All lives that a log remembers, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives(Vec<Life>);

impl Lives {
    pub(super) fn read<D: Disk>(disk: &D, directory: &Path) -> Result<Self, WalError> {
        let path = directory.join(LIVES);
        let mut bytes = vec![0; MOST_LIVES * LINE_BYTES];
        match disk.open_to_read(&path).and_then(|file| file.read_at(&mut bytes, 0)) {
            Ok(read) => bytes.truncate(read),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(WalError::io("read", &path, error)),
        }
        let lives: Option<Vec<Life>> = String::from_utf8_lossy(&bytes).lines().map(Life::from_line).collect();
        Ok(Self(lives.unwrap_or_else(|| {
            tracing::error!(path = %path.display(), "it is damaged: a copy of this log that others write cannot be told from it");
            Vec::new()
        })))
    }

    /// Whether a table that has this position of this life has it from this log. A log without memory of its lives is
    /// believed.
    #[must_use]
    pub fn have_committed(&self, number: i64, position: Position) -> bool {
        let Self(lives) = self;
        if lives.is_empty() || lives.len() == MOST_LIVES {
            return true;
        }
        let Some(which) = lives.iter().position(|life| life.number == number) else { return false };
        lives.get(which + 1).is_none_or(|next| position < next.first_free)
    }

    /// The one that began last.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.0.last().map(|life| life.number)
    }

    /// Another life begins. Those before the oldest of `in_tables`, the ones that tables name, are not needed any more.
    pub(super) fn begin(&mut self, number: i64, first_free: Position, in_tables: &[i64]) {
        let Self(lives) = self;
        if let Some(oldest) = lives.iter().position(|life| in_tables.contains(&life.number)) {
            lives.drain(..oldest);
        }
        if lives.is_empty() {
            // It was believed; from here on it is known.
            let known = in_tables.iter().enumerate().filter(|(index, number)| !in_tables[..*index].contains(number));
            lives.extend(known.map(|(_, number)| Life { number: *number, first_free }));
        }
        lives.push(Life { number, first_free });
        lives.drain(..lives.len().saturating_sub(MOST_LIVES));
    }

    pub(super) fn write<D: Disk>(&self, disk: &D, directory: &Path) -> Result<(), WalError> {
        let text: String = self.0.iter().copied().map(Life::to_line).collect();
        durable::write(disk, &directory.join(LIVES), text.as_bytes()).map_err(WalError::or_no_space)
    }
}

impl Life {
    fn to_line(self) -> String {
        let said = format!("{:016x} {:016x}", self.number, self.first_free.get());
        format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes()))
    }

    fn from_line(line: &str) -> Option<Self> {
        let (said, checksum) = line.rsplit_once(' ')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(said.as_bytes()) {
            return None;
        }
        let (number, first_free) = said.split_once(' ')?;
        let number = u64::from_str_radix(number, 16).ok()?.cast_signed();
        Some(Self { number, first_free: Position::new(u64::from_str_radix(first_free, 16).ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{System, simulated::SimulatedDisk};

    fn lives(begun: &[(i64, u64)]) -> Lives {
        let mut lives = Lives::default();
        begun.iter().for_each(|(number, first_free)| lives.begin(*number, Position::new(*first_free), &[]));
        lives
    }

    #[test]
    fn a_position_is_of_the_life_that_had_come_so_far_and_of_no_other() {
        let lives = lives(&[(7, 1), (-8, 5), (9, 5)]);
        for (number, position, expected) in
            [(7, 4, true), (7, 5, false), (-8, 4, true), (-8, 5, false), (9, 1 << 40, true), (10, 1, false)]
        {
            assert_eq!(lives.have_committed(number, Position::new(position)), expected, "{number} at {position}");
        }
    }

    #[test]
    fn a_log_without_memory_of_its_lives_is_believed_and_takes_those_of_the_tables_for_its_own() {
        let mut lives = Lives::default();
        assert!(lives.have_committed(10, Position::new(1)));
        lives.begin(7, Position::new(5), &[10, 11, 10]);
        for (number, position, expected) in [(10, 4, true), (11, 4, true), (11, 5, false), (7, 9, true), (12, 1, false)]
        {
            assert_eq!(lives.have_committed(number, Position::new(position)), expected, "{number} at {position}");
        }
    }

    #[test]
    fn lives_come_back_from_disk_and_those_before_the_tables_are_forgotten() {
        let disk = SimulatedDisk::new(1);
        let directory = Path::new("/log");
        disk.create_directory(directory).unwrap();
        assert_eq!(Lives::read(&disk, directory).unwrap(), Lives::default());
        let mut written = lives(&[(1, 1), (2, 1), (i64::MIN, 9)]);
        written.write(&disk, directory).unwrap();
        assert_eq!(Lives::read(&disk, directory).unwrap(), written);
        written.begin(4, Position::new(9), &[i64::MIN, 2]);
        assert_eq!(written, lives(&[(2, 1), (i64::MIN, 9), (4, 9)]));
        (0..10_000).for_each(|number| written.begin(number, Position::new(9), &[]));
        assert_eq!(written.0.len(), MOST_LIVES);
        assert!(written.have_committed(1, Position::new(1)), "it has forgotten too many to say no");
    }

    #[test]
    fn a_damaged_file_of_lives_stops_nobody() {
        let directory = tempfile::TempDir::new().unwrap();
        lives(&[(1, 1), (2, 3)]).write(&System, directory.path()).unwrap();
        let path = directory.path().join(LIVES);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x02;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Lives::read(&System, directory.path()).unwrap(), Lives::default(), "byte {place}");
        }
    }
}
