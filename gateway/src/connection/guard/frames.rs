//! The frames of an HTTP/2 connection (RFC 9113, section 4), counted: those that only make work must not be many.
//!
//! h2 bounds the memory that a peer can make it use, and the streams that it may reset; it answers any number of
//! SETTINGS and PING. This bounds these too, and empty DATA, PRIORITY and unknown frames: in a tick of the thread's timer
//! so many are let pass, and more as there are requests. It reads nothing but the nine bytes that each frame begins with.

/// The preface that a client begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A SETTINGS frame on a stream, where none may be: h2 ends the connection with GOAWAY, as it would for the client's.
pub(crate) const FAULT: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 1];

const HEADER_LEN: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A place in the frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frames {
    /// Bytes of the preface or a frame that need no look.
    skip: u64,
    header: [u8; HEADER_LEN],
    /// Bytes of the header that have come.
    have: u8,
    /// Frames that asked for nothing, less those that did, in this tick.
    idle: u32,
    tick: u32,
    most: u32,
}

impl Frames {
    /// Before the preface. So many frames may ask for nothing in a tick.
    pub(crate) fn new(most: u32) -> Self {
        Self { skip: PREFACE.len() as u64, header: [0; HEADER_LEN], have: 0, idle: 0, tick: 0, most }
    }

    /// Passes over bytes that came in this tick; where the frames become too many, the end of the one before.
    pub(crate) fn pass(&mut self, bytes: &[u8], tick: u32) -> Result<(), usize> {
        if self.tick != tick {
            self.tick = tick;
            self.idle = 0;
        }
        let mut at = 0;
        while at < bytes.len() {
            if self.skip > 0 {
                let len = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.skip -= len as u64;
                at += len;
                continue;
            }
            if self.have == 0 && self.idle > self.most {
                return Err(at);
            }
            self.header[usize::from(self.have)] = bytes[at];
            self.have += 1;
            at += 1;
            if usize::from(self.have) == HEADER_LEN {
                self.have = 0;
                self.frame();
            }
        }
        Ok(())
    }

    fn frame(&mut self) {
        let length = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]);
        self.skip = u64::from(length);
        self.idle = match (self.header[3], length) {
            // Work that is asked for pays for what goes with it: windows, resets of streams (which h2 bounds).
            (HEADERS, _) => self.idle.saturating_sub(8),
            (DATA, 1..) => self.idle.saturating_sub(2),
            (RST_STREAM | WINDOW_UPDATE | CONTINUATION, _) => self.idle,
            _ => self.idle + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        frame.resize(HEADER_LEN + usize::try_from(u32::from_be_bytes(length)).unwrap(), 7);
        frame
    }

    fn pass(frames: &[Vec<u8>], piece: usize) -> Option<usize> {
        let bytes = [PREFACE.to_vec(), frames.concat()].concat();
        let (mut own, mut passed) = (Frames::new(10), 0);
        for piece in bytes.chunks(piece) {
            match own.pass(piece, 0) {
                Ok(()) => passed += piece.len(),
                Err(at) => return Some(passed + at),
            }
        }
        None
    }

    #[test]
    fn frames_that_ask_for_nothing_are_bounded_and_requests_are_not() {
        let (settings, headers, data) = (frame(4, 0), frame(HEADERS, 30), frame(DATA, 100));
        for piece in [1, 7, 9, 1_000] {
            assert_eq!(pass(&vec![settings.clone(); 10], piece), None);
            assert_eq!(pass(&vec![settings.clone(); 20], piece), Some(PREFACE.len() + 11 * HEADER_LEN));
            assert!(pass(&vec![frame(6, 8); 20], piece).is_some());
            assert_eq!(pass(&vec![frame(DATA, 0); 20], piece), Some(PREFACE.len() + 11 * HEADER_LEN));
            let asked = [headers.clone(), data.clone(), frame(6, 8)];
            assert_eq!(pass(&asked.iter().cycle().take(300).cloned().collect::<Vec<_>>(), piece), None);
        }
    }

    #[test]
    fn a_ping_now_and_then_is_no_flood() {
        let mut frames = Frames::new(10);
        frames.pass(PREFACE, 0).unwrap();
        for tick in 0..100 {
            assert_eq!(frames.pass(&frame(6, 8), tick), Ok(()));
        }
    }
}
