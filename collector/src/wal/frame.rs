//! A frame and its bytes, as the table in [`super`] has them.

use std::fmt;

use bytes::Bytes;

/// The largest frame, bytes, its head included.
pub const MOST_FRAME_BYTES: usize = 64 << 20;

/// Bytes before the body. No frame has fewer.
pub(super) const HEAD_BYTES: usize = 33;

/// Bytes of a frame that its length does not count: the marker, the checksum, and the length.
const PREFIX_BYTES: usize = 16;

/// What each frame of a log begins with, random and kept to the log: what bears it was written by the log, however the
/// bytes around it look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker([u8; Self::BYTES]);

impl Marker {
    pub(super) const BYTES: usize = 8;

    pub(super) const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(self) -> [u8; Self::BYTES] {
        self.0
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marker(..)")
    }
}

/// The position of a frame: 1, 2, 3 … over the life of a log; 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The last there can be. No log gets that far.
    pub const LAST: Self = Self(u64::MAX);

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
    (HEAD_BYTES + body.len()) as u64
}

/// Appends the bytes of a frame. The body must keep the frame within [`MOST_FRAME_BYTES`].
pub(super) fn encode(to: &mut Vec<u8>, marker: Marker, position: Position, kind: u8, received_us: i64, body: &[u8]) {
    let length = HEAD_BYTES - PREFIX_BYTES + body.len();
    let length = u32::try_from(length).expect("the caller keeps frames within MOST_FRAME_BYTES");
    let start = to.len();
    to.extend(marker.bytes());
    to.extend([0; 4]);
    to.extend(length.to_le_bytes());
    to.extend(position.get().to_le_bytes());
    to.push(kind);
    to.extend(received_us.to_le_bytes());
    to.extend_from_slice(body);
    let checksum = crc32c::crc32c(&to[start + 12..]);
    to[start + 8..start + 12].copy_from_slice(&checksum.to_le_bytes());
}

/// The size of the frame that begins with these bytes, the head of one.
pub(super) fn size(head: &[u8], marker: Marker) -> Result<usize, &'static str> {
    let Some(rest) = head.strip_prefix(&marker.bytes()) else { return Err("no frame begins there") };
    let Some((length, _)) = rest.get(4..).and_then(|rest| rest.split_first_chunk()) else {
        return Err("a frame is cut short");
    };
    let size = PREFIX_BYTES + u32::from_le_bytes(*length) as usize;
    if (HEAD_BYTES..=MOST_FRAME_BYTES).contains(&size) { Ok(size) } else { Err("no frame has such a length") }
}

/// The frame in these bytes, which are as many as [`size`] says; none when they are not what the checksum says.
pub(super) fn decode(bytes: &[u8]) -> Option<Frame> {
    let (checksum, rest) = bytes.get(8..)?.split_first_chunk()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (position, rest) = rest.get(4..)?.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (received_us, body) = rest.split_first_chunk()?;
    Some(Frame {
        position: Position(u64::from_le_bytes(*position)),
        kind: *kind,
        received_us: i64::from_le_bytes(*received_us),
        body: Bytes::copy_from_slice(body),
    })
}
