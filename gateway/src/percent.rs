//! Percent-encoding (RFC 3986, section 2): one way to read it and one to write it, for signatures, mappings and events.

use std::borrow::Cow;

/// The bytes that a text stands for; `+` is a space where forms are written so. What encodes nothing stands for itself.
pub(crate) fn decode(text: &str, is_form: bool) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| *byte == b'%' || is_form && *byte == b'+') {
        return Cow::Borrowed(bytes);
    }
    let (mut decoded, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                decoded.push(digit(*high).unwrap_or_default() << 4 | digit(*low).unwrap_or_default());
                rest = after;
            }
            (b'+', _) if is_form => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(decoded)
}

/// Writes bytes so that they stand for themselves in a segment of a path or in a query: all but the unreserved characters
/// are encoded.
pub(crate) fn encode(to: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(byte);
        } else {
            to.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// A text, encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    encode(&mut bytes, text.as_bytes());
    bytes.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_encodes_nothing_stands_for_itself() {
        for (text, bytes) in [("a%2Fb", "a/b"), ("%zz%4%", "%zz%4%"), ("a+b%2B", "a b+"), ("", "")] {
            assert_eq!(&*decode(text, true), bytes.as_bytes());
        }
        assert_eq!(&*decode("a+b", false), b"a+b");
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(text in "\\PC{0,20}") {
            let encoded = encoded(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            prop_assert_eq!(&*decode(&encoded, true), text.as_bytes());
        }
    }
}
