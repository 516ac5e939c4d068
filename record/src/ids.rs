//! Trace and span ids: W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::{fmt, str::FromStr};

/// A text that is not the id it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits, not all zero")]
pub struct ParseIdError {
    expected: usize,
}

macro_rules! id {
    ($(#[$meta:meta])* $type:ident, $bytes:literal) => {
        $(#[$meta])*
        ///
        /// Never all zero: W3C and OpenTelemetry call that value invalid.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type([u8; $bytes]);

        impl $type {
            /// The id of these bytes, unless they are all zero or not as many as an id has.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                let bytes: [u8; $bytes] = bytes.try_into().ok()?;
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// The bytes, most significant first.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The hexadecimal digits, as ASCII: what [`Display`](fmt::Display) prints.
            #[must_use]
            pub const fn digits(&self) -> [u8; 2 * $bytes] {
                let (mut digits, mut at) = ([0; 2 * $bytes], 0);
                while at < $bytes {
                    digits[2 * at] = HEX_DIGITS[(self.0[at] >> 4) as usize];
                    digits[2 * at + 1] = HEX_DIGITS[(self.0[at] & 15) as usize];
                    at += 1;
                }
                digits
            }
        }

        impl FromStr for $type {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { expected: 2 * $bytes };
                let digits = text.as_bytes();
                if digits.len() != 2 * $bytes {
                    return Err(error);
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let (Some(high), Some(low)) = (hex_digit(pair[0]), hex_digit(pair[1])) else { return Err(error) };
                    *byte = high << 4 | low;
                }
                Self::from_slice(&bytes).ok_or(error)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Digits are ASCII.
                f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// The id of a trace.
    TraceId, 16
}
id! {
    /// The id of a span within a trace.
    SpanId, 8
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_it_was_read() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
    }

    #[test]
    fn zero_and_misspelt_ids_are_refused() {
        for text in
            ["0000000000000000", "00f067aa0ba902b", "00F067AA0BA902B7", "00f067aa0ba902bg", "", "é0f067aa0ba902b"]
        {
            assert!(text.parse::<SpanId>().is_err(), "{text:?} was taken");
        }
    }
}
