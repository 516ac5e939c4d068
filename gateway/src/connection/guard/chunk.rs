//! The chunks of a request's body, read strictly (RFC 9112, section 7.1): no extensions, no bare CR or LF, no more than
//! sixteen digits in a size.

use super::{
    super::refused::Reason,
    head::{TOKEN, VALUE},
};

/// The most that trailers may take, bytes.
const MOST_TRAILER_BYTES: u32 = 8_192;

/// A place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In a size, after so many digits.
    Size { value: u64, digits: u8 },
    /// After the CR of a size.
    SizeLf { value: u64 },
    /// In data, with so many bytes to come.
    Data { left: u64 },
    /// After data.
    DataCr,
    /// After the CR of data.
    DataLf,
    /// At the beginning of a line after the last chunk, after so many bytes of trailers.
    Line { bytes: u32 },
    /// In a trailer's name.
    Name { bytes: u32 },
    /// In a trailer's value.
    Value { bytes: u32 },
    /// After the CR of a trailer.
    ValueLf { bytes: u32 },
    /// After the last CR.
    EndLf,
    /// Nothing more belongs to the body.
    End,
}

/// Why a body goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Bytes before the one that is wrong.
    pub at: usize,
}

impl Chunk {
    /// Before the first chunk.
    pub(crate) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Passes over bytes of the body; how many of them belong to it.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Bad> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            if let Self::Data { left } = self {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= len as u64;
                at += len;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            *self = self.step(bytes[at]).ok_or(Bad { at })?;
            at += 1;
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Option<Self> {
        let grown = |bytes: u32| (bytes < MOST_TRAILER_BYTES).then_some(bytes + 1);
        let next = match (self, byte) {
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf { value },
            (Self::Size { value, digits: digits @ 0..16 }, byte) => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::SizeLf { value: 0 }, b'\n') => Self::Line { bytes: 0 },
            (Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::Line { .. }, b'\r') => Self::EndLf,
            (Self::Line { bytes } | Self::Name { bytes }, byte) if TOKEN[usize::from(byte)] => {
                Self::Name { bytes: grown(bytes)? }
            }
            (Self::Name { bytes }, b':') => Self::Value { bytes: grown(bytes)? },
            (Self::Value { bytes }, b'\r') => Self::ValueLf { bytes },
            (Self::Value { bytes }, byte) if VALUE[usize::from(byte)] => Self::Value { bytes: grown(bytes)? },
            (Self::ValueLf { bytes }, b'\n') => Self::Line { bytes },
            (Self::EndLf, b'\n') => Self::End,
            _ => return None,
        };
        Some(next)
    }
}

impl From<Bad> for Reason {
    fn from(_: Bad) -> Self {
        Self::Chunk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes belong to the body, when they come in pieces of this size.
    fn pass(bytes: &[u8], piece: usize) -> Result<usize, usize> {
        let (mut chunk, mut passed) = (Chunk::START, 0);
        for piece in bytes.chunks(piece) {
            passed += chunk.pass(piece).map_err(|bad| passed + bad.at)?;
        }
        if chunk == Chunk::End { Ok(passed) } else { Err(passed) }
    }

    #[test]
    fn a_body_ends_with_its_last_chunk_however_it_comes() {
        let bodies: [&[u8]; 5] = [
            b"0\r\n\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"00000000000000a\r\n0123456789\r\n0\r\n\r\n",
            b"1\r\na\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n",
            b"A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
        ];
        for body in bodies {
            let with_next = [body, b"GET / HTTP/1.1"].concat();
            for piece in 1..=with_next.len() {
                assert_eq!(pass(&with_next, piece), Ok(body.len()), "{}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn what_has_two_readings_is_refused_where_it_stands() {
        let bodies: [(&[u8], usize); 17] = [
            (b"3;a=b\r\nabc\r\n0\r\n\r\n", 1),
            (b"3 \r\nabc\r\n0\r\n\r\n", 1),
            (b" 3\r\nabc\r\n0\r\n\r\n", 0),
            (b"+3\r\nabc\r\n0\r\n\r\n", 0),
            (b"-1\r\n", 0),
            (b"0x3\r\nabc", 1),
            (b"\r\n", 0),
            (b"3\nabc\r\n0\r\n\r\n", 1),
            (b"3\r\rabc", 2),
            (b"3\r\nabcd\r\n0\r\n\r\n", 6),
            (b"3\r\nabc\n0\r\n\r\n", 6),
            (b"3\r\nabc\r0\r\n\r\n", 7),
            (b"10000000000000000\r\n", 16),
            (b"00000000000000000\r\n", 16),
            (b"0\r\n folded: 1\r\n\r\n", 3),
            (b"0\r\na : 1\r\n\r\n", 4),
            (b"0\r\na: 1\n\r\n", 7),
        ];
        for (body, at) in bodies {
            assert_eq!(pass(body, body.len()), Err(at), "{}", body.escape_ascii());
        }
        let long = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(3_000), b"\r\n"].concat();
        assert!(pass(&long, long.len()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_passes_whole_in_pieces_of_any_size(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            piece in 1_usize..50,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            prop_assert_eq!(pass(&body, piece), Ok(body.len()));
        }
    }
}
