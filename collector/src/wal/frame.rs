//! A frame and its bytes, as the table in [`super`] has them.

use std::fmt;

use bytes::Bytes;

/// The largest frame, bytes, its head included.
pub const MOST_FRAME_BYTES: usize = 64 << 20;

/// Bytes of length and checksum.
pub(super) const PREFIX_BYTES: usize = 8;

/// Bytes between the checksum and the body.
const HEAD_BYTES: usize = 17;

/// The position of a frame: 1, 2, 3 … over the life of a log; 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The position of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its position.
    pub position: Position,
    /// Its kind: the owner's.
    pub kind: u8,
    /// When its body arrived, microseconds since the Unix epoch.
    pub received_us: i64,
    /// What was appended.
    pub body: Bytes,
}

/// Bytes that a frame with this body takes.
pub(super) fn encoded_bytes(body: &[u8]) -> u64 {
    (PREFIX_BYTES + HEAD_BYTES + body.len()) as u64
}

/// Appends the bytes of a frame. The body must keep the frame within [`MOST_FRAME_BYTES`].
pub(super) fn encode(to: &mut Vec<u8>, position: Position, kind: u8, received_us: i64, body: &[u8]) {
    let length = u32::try_from(HEAD_BYTES + body.len()).expect("the caller keeps frames within MOST_FRAME_BYTES");
    let start = to.len();
    to.extend(length.to_le_bytes());
    to.extend([0; 4]);
    to.extend(position.get().to_le_bytes());
    to.push(kind);
    to.extend(received_us.to_le_bytes());
    to.extend_from_slice(body);
    let checksum = crc32c::crc32c(&to[start + PREFIX_BYTES..]);
    to[start + 4..start + PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The length and the checksum of the frame whose first bytes these are; none when no frame has that length.
pub(super) fn prefix(bytes: [u8; PREFIX_BYTES]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (HEAD_BYTES..=MOST_FRAME_BYTES - PREFIX_BYTES).contains(&length).then(|| (length, u32::from_le_bytes([e, f, g, h])))
}

/// The frame in the bytes that follow a prefix; none when they are not what the checksum says.
pub(super) fn decode(bytes: Vec<u8>, checksum: u32) -> Option<Frame> {
    if crc32c::crc32c(&bytes) != checksum {
        return None;
    }
    let (position, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (received_us, _) = rest.split_first_chunk()?;
    let (position, received_us) = (Position(u64::from_le_bytes(*position)), i64::from_le_bytes(*received_us));
    Some(Frame { position, kind: *kind, received_us, body: Bytes::from(bytes).slice(HEAD_BYTES..) })
}
