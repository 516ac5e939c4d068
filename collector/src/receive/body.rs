//! A message's body, from the connection to the protobuf of its message: read, taken out of its frame, decompressed.
//!
//! What always holds: what is allocated is held first ([`BodyLease`], [`WorkLease`]), and follows what has really come, not what a sender
//! says will come; nothing is read or decompressed beyond [`MESSAGE_LIMIT_BYTES`].

use std::{
    io::{self, Read},
    sync::Arc,
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::{
    MESSAGE_LIMIT_BYTES,
    buffers::Buffers,
    in_flight::{BodyLease, WorkLease},
};
use crate::Refusal;

/// Bytes before a gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Room for the first part of a body whose length is not known, and of a decompressed one.
const STEP_BYTES: usize = 64 << 10;

/// Room for the first part of a body whose length is known, at most: further ones are made room for when they come.
const FIRST_BYTES: usize = 1 << 20;

/// The largest window that a zstd frame may ask for, as a power of two: the 8 MiB that RFC 8878 has every decoder support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// How many times its length a message has when it is decompressed, about.
    pub(super) fn times(self) -> usize {
        if self == Self::None { 1 } else { 8 }
    }

    /// By the name that HTTP and gRPC both give it.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "" | "identity" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// How a message stands in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It is the body.
    Http,
    /// One message behind its prefix: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
    Grpc,
}

/// Reads a body to its end, into one of the buffers; `declared_bytes` is how long its sender says that it is. Gives the
/// message, and whether it is compressed as its headers say.
///
/// # Errors
/// When it breaks off, is too large, or there is no room for it.
pub(super) async fn read(
    body: &mut Body,
    framing: Framing,
    declared_bytes: Option<usize>,
    buffers: &Arc<Buffers>,
    lease: &mut BodyLease,
) -> Result<(bool, Bytes), Refusal> {
    let prefix_bytes = if framing == Framing::Grpc { PREFIX_BYTES } else { 0 };
    let most_bytes = MESSAGE_LIMIT_BYTES + prefix_bytes;
    if declared_bytes.is_some_and(|declared| declared > most_bytes) {
        return Err(Refusal::TooLarge);
    }
    let mut read = Vec::new();
    let mut declared_bytes = declared_bytes;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::BrokenOff(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.is_empty() && framing == Framing::Grpc && data.len() >= PREFIX_BYTES {
            declared_bytes = Some(PREFIX_BYTES.saturating_add(message_bytes(&data)?));
        }
        let needed = read.len() + data.len();
        if needed > most_bytes {
            return Err(Refusal::TooLarge);
        }
        if read.capacity() == 0 {
            let first = declared_bytes.unwrap_or(STEP_BYTES).clamp(needed, FIRST_BYTES.max(needed));
            lease.wait_for(first).await?;
            read = buffers.take(first);
        } else if needed > read.capacity() {
            let more = (4 * needed).min(declared_bytes.unwrap_or(most_bytes)).max(needed);
            lease.hold(more)?;
            read.reserve_exact(more - read.len());
        }
        read.extend_from_slice(&data);
    }
    let read = buffers.lend(read);
    match framing {
        Framing::Http => Ok((true, read)),
        Framing::Grpc => unframe(&read),
    }
}

/// The length that a gRPC prefix tells.
fn message_bytes(read: &[u8]) -> Result<usize, Refusal> {
    let length = read.get(1..PREFIX_BYTES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_LIMIT_BYTES { Err(Refusal::TooLarge) } else { Ok(length) }
}

fn unframe(read: &Bytes) -> Result<(bool, Bytes), Refusal> {
    let broken = |text: &str| Refusal::Broken(format!("the body is no gRPC message: {text}"));
    let is_compressed = match read.first() {
        Some(0) if read.len() >= PREFIX_BYTES => false,
        Some(1) if read.len() >= PREFIX_BYTES => true,
        _ => return Err(broken("it does not begin with the prefix of one")),
    };
    if message_bytes(read)? != read.len() - PREFIX_BYTES {
        return Err(broken("its length is not the one that its prefix tells"));
    }
    Ok((is_compressed, read.slice(PREFIX_BYTES..)))
}

/// Decompresses a message.
///
/// # Errors
/// When it does not decompress, comes to too much, or there is no room for it.
pub(super) fn decompress(compression: Compression, body: Bytes, lease: &mut WorkLease) -> Result<Bytes, Refusal> {
    let unfolded = match compression {
        Compression::None => return Ok(body),
        Compression::Gzip => unfold(flate2::read::MultiGzDecoder::new(&body[..]), body.len(), lease)?,
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&body[..]).map_err(|error| broken(&error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|error| broken(&error))?;
            unfold(decoder, body.len(), lease)?
        }
    };
    Ok(unfolded.into())
}

/// Reads no further than the largest message: a small body can unfold to any size.
fn unfold(mut reader: impl Read, body_bytes: usize, lease: &mut WorkLease) -> Result<Vec<u8>, Refusal> {
    let mut unfolded = Vec::new();
    loop {
        if unfolded.len() == unfolded.capacity() {
            let capacity = (2 * unfolded.capacity()).clamp(STEP_BYTES, MESSAGE_LIMIT_BYTES + 1);
            lease.hold_at_least(body_bytes + capacity)?;
            unfolded.reserve_exact(capacity - unfolded.len());
        }
        let room = unfolded.capacity() - unfolded.len();
        let begun = unfolded.len();
        (&mut reader).take(room as u64).read_to_end(&mut unfolded).map_err(|error| broken(&error))?;
        if unfolded.len() > MESSAGE_LIMIT_BYTES {
            return Err(Refusal::TooLarge);
        }
        if unfolded.len() - begun < room {
            return Ok(unfolded);
        }
    }
}

fn broken(error: &io::Error) -> Refusal {
    Refusal::Broken(format!("the body does not decompress: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{receive::in_flight::InFlight, refusal::Bound};

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn framed(flag: u8, length: usize, message: &[u8]) -> Body {
        let mut bytes = vec![flag];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(message);
        Body::from(bytes)
    }

    #[tokio::test]
    async fn a_grpc_message_is_what_its_prefix_says_or_nothing() {
        let (all, buffers) = (InFlight::new(1 << 20), Buffers::new(1 << 20));
        let read = |mut body| {
            let (mut lease, buffers) = (all.body(&Arc::default()), Arc::clone(&buffers));
            async move { read(&mut body, Framing::Grpc, None, &buffers, &mut lease).await }
        };
        assert_eq!(read(framed(0, 3, b"abc")).await.unwrap(), (false, Bytes::from("abc")));
        assert_eq!(read(framed(1, 0, b"")).await.unwrap(), (true, Bytes::new()));
        for body in
            [framed(0, 3, b"abcd"), framed(0, 4, b"abc"), framed(2, 3, b"abc"), Body::empty(), Body::from("\0\0")]
        {
            assert!(matches!(read(body).await, Err(Refusal::Broken(_))));
        }
        assert!(matches!(read(framed(0, MESSAGE_LIMIT_BYTES + 1, b"a")).await, Err(Refusal::TooLarge)));
    }

    #[tokio::test]
    async fn what_is_held_follows_what_has_come_and_not_what_is_said() {
        let (all, buffers) = (InFlight::new(8 << 20), Buffers::new(1 << 20));
        let mut lease = all.body(&Arc::default());
        let mut body = Body::from(vec![7; 1_000]);
        read(&mut body, Framing::Http, Some(MESSAGE_LIMIT_BYTES), &buffers, &mut lease).await.unwrap();
        assert_eq!(all.held_bytes(), FIRST_BYTES);
        let mut body = Body::from(vec![7; 1_000]);
        let declared = Some(MESSAGE_LIMIT_BYTES + 1);
        assert!(matches!(read(&mut body, Framing::Http, declared, &buffers, &mut lease).await, Err(Refusal::TooLarge)));
    }

    #[tokio::test]
    async fn a_bomb_is_refused_at_the_limit_or_when_there_is_no_room() {
        let all = InFlight::new(8 * MESSAGE_LIMIT_BYTES);
        let mut lease = all.work(0).await.unwrap();
        let (fits, bomb) = (vec![0; MESSAGE_LIMIT_BYTES], vec![0; 64 << 20]);
        let zstd = |bytes: &[u8]| Bytes::from(zstd::bulk::compress(bytes, 1).unwrap());
        for (compression, fits, bomb) in
            [(Compression::Gzip, gzip(&fits), gzip(&bomb)), (Compression::Zstd, zstd(&fits), zstd(&bomb))]
        {
            let unfolded = decompress(compression, fits, &mut lease).unwrap();
            assert_eq!(unfolded.len(), MESSAGE_LIMIT_BYTES);
            assert!((MESSAGE_LIMIT_BYTES..MESSAGE_LIMIT_BYTES * 110 / 100).contains(&all.held_bytes()));
            assert!(matches!(decompress(compression, bomb, &mut lease), Err(Refusal::TooLarge)));
        }
        lease.settle(0);
        let _other = all.work(4 * MESSAGE_LIMIT_BYTES - STEP_BYTES).await.unwrap();
        let refused = decompress(Compression::Gzip, gzip(&fits), &mut lease);
        assert!(matches!(refused, Err(Refusal::Full(Bound::InFlight))));
    }

    #[tokio::test]
    async fn a_zstd_frame_does_not_get_a_window_of_its_liking() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).unwrap();
        encoder.write_all(b"small").unwrap();
        let body = encoder.finish().unwrap().into();
        let mut lease = InFlight::new(1 << 20).work(0).await.unwrap();
        assert!(matches!(decompress(Compression::Zstd, body, &mut lease), Err(Refusal::Broken(_))));
        assert!(matches!(decompress(Compression::Gzip, "no gzip".into(), &mut lease), Err(Refusal::Broken(_))));
    }
}
