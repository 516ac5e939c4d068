//! Memory of bodies, used again: pages that go back to the system and come again are cleared each time, which would cost a
//! busy collector more than reading its messages.
//!
//! What always holds: what is kept unused is bounded.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Of what may be kept, the most that one buffer may have.
const LARGEST_SHARE: usize = 4;

/// Buffers that nobody uses now.
#[derive(Debug)]
pub(super) struct Buffers {
    most_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that is given back when nobody uses it any more.
struct Borrowed {
    buffer: Vec<u8>,
    of: Arc<Buffers>,
}

impl Buffers {
    pub(super) fn new(most_bytes: usize) -> Arc<Self> {
        Arc::new(Self { most_bytes, kept: Mutex::default() })
    }

    /// An empty buffer with room for so many bytes.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = kept.buffers.iter().position(|buffer| buffer.capacity() >= capacity) else {
            drop(kept);
            return Vec::with_capacity(capacity);
        };
        let buffer = kept.buffers.swap_remove(place);
        kept.bytes -= buffer.capacity();
        buffer
    }

    /// The bytes of a buffer. When the last of them is let go, the buffer comes back.
    pub(super) fn lend(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Borrowed { buffer, of: Arc::clone(self) })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (one, all) = (buffer.capacity(), kept.bytes + buffer.capacity());
        if one <= self.most_bytes / LARGEST_SHARE && all <= self.most_bytes {
            kept.bytes = all;
            kept.buffers.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.of.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_its_last_bytes_are_let_go() {
        let buffers = Buffers::new(4_000);
        let mut buffer = buffers.take(1_000);
        buffer.extend_from_slice(b"body");
        let place = buffer.as_ptr();
        let bytes = buffers.lend(buffer);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert!(buffers.kept.lock().unwrap().buffers.is_empty());
        assert_eq!(part, "od");
        drop(part);
        let again = buffers.take(500);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::new(4_000);
        let lent: Vec<_> = [900; 10].map(|bytes| buffers.lend(buffers.take(bytes))).into();
        drop(lent);
        drop(buffers.lend(buffers.take(1_001)));
        let kept = buffers.kept.lock().unwrap();
        assert_eq!((kept.buffers.len(), kept.bytes), (4, 3_600));
    }
}
