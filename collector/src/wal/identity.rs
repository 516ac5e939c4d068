//! Who a log is: the name that the tables know it by, and the marker that its frames begin with.
//!
//! Both are made once and stand in the file `writer-id`, as text: the UUID, the marker, and the CRC32C of the two, in
//! hexadecimal. Nobody outside is told the marker, so that no sender can put into a body what looks like a frame.
//!
//! A version of Weir that writes what this one cannot read says more before the checksum, so that this one refuses the log.

use std::path::Path;

use uuid::Uuid;

use super::{
    WalError,
    disk::{Disk, DiskFile},
    durable,
    error::{NEW_VERSION, OLD_VERSION},
    frame::Marker,
};

const WRITER_ID: &str = "writer-id";

/// The most that the file can have, bytes.
const MOST_BYTES: usize = 256;

/// Who a log is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) writer_id: String,
    pub(super) marker: Marker,
}

impl Identity {
    /// Of the log in a directory; a new one for a new log. Frames without their name would be committed a second time.
    pub(super) fn open<D: Disk>(disk: &D, directory: &Path, is_new: bool) -> Result<Self, WalError> {
        match Self::read(disk, directory) {
            Err(WalError::Io { source, .. }) if is_new && source.kind() == std::io::ErrorKind::NotFound => {
                // Of a UUID's two halves each has some fixed bits, in different places.
                let (upper, lower) = disk.uuid().as_u64_pair();
                let identity =
                    Self { writer_id: disk.uuid().to_string(), marker: Marker::new((upper ^ lower).to_le_bytes()) };
                durable::write(disk, &directory.join(WRITER_ID), identity.to_text().as_bytes())?;
                Ok(identity)
            }
            read => read,
        }
    }

    /// Of the log in a directory.
    pub(super) fn read<D: Disk>(disk: &D, directory: &Path) -> Result<Self, WalError> {
        let path = directory.join(WRITER_ID);
        let mut bytes = vec![0; MOST_BYTES];
        let read = disk.open_to_read(&path).and_then(|file| file.read_at(&mut bytes, 0));
        bytes.truncate(read.map_err(|error| WalError::io("read", &path, error))?);
        let text = String::from_utf8_lossy(&bytes);
        if let Some(identity) = Self::from_text(text.trim()) {
            return Ok(identity);
        }
        if Uuid::try_parse(text.trim()).is_ok() {
            return Err(WalError::OtherVersion { path, what: OLD_VERSION });
        }
        if checked(text.trim()).is_some() {
            return Err(WalError::OtherVersion { path, what: NEW_VERSION });
        }
        let what = "it is not what it was written as; without it nothing in the log can be told from what is committed";
        Err(WalError::Damaged { path, offset: 0, what })
    }

    fn to_text(&self) -> String {
        let said = format!("{} {:016x}", self.writer_id, u64::from_le_bytes(self.marker.bytes()));
        let checksum = crc32c::crc32c(said.as_bytes());
        format!("{said} {checksum:08x}\n")
    }

    fn from_text(text: &str) -> Option<Self> {
        let (writer_id, marker) = checked(text)?.split_once(' ')?;
        let marker = u64::from_str_radix(marker, 16).ok()?;
        Some(Self { writer_id: writer_id.to_owned(), marker: Marker::new(marker.to_le_bytes()) })
    }
}

/// What stands before the checksum, if that is right.
fn checked(text: &str) -> Option<&str> {
    let (said, checksum) = text.rsplit_once(' ')?;
    (u32::from_str_radix(checksum, 16).ok()? == crc32c::crc32c(said.as_bytes())).then_some(said)
}
