//! Protobuf, written: <https://protobuf.dev/programming-guides/encoding/>. As `prost` does it, a field with its type's
//! default value is not written, where the type is no message and no list.

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// `KeyValue.key` and `KeyValue.value`.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// `AnyValue.string_value`, `.bool_value`, `.int_value`.
const TEXT: u32 = 1;
const TRUTH: u32 = 2;
const INTEGER: u32 = 3;

/// Bytes left free for a length that is not known yet: enough for 16,383.
const ROOM: usize = 2;

/// The longest key that may be known beforehand: with a number behind it, its attribute takes less than 128 bytes.
const LONGEST_KNOWN: usize = 100;

/// A key that is known when this is compiled: its bytes in a `KeyValue`, up to the value's length.
macro_rules! known {
    ($key:expr) => {
        const { &$crate::otlp::encode::writer::known_bytes::<{ $key.len() + 3 }>($key) }
    };
}
pub(super) use known;

pub(super) const fn known_bytes<const N: usize>(key: &str) -> [u8; N] {
    let (mut bytes, mut at) = ([0; N], 0);
    assert!(N == key.len() + 3 && key.len() <= LONGEST_KNOWN);
    (bytes[0], bytes[1], bytes[N - 1]) = (tag_byte(KEY, BYTES), low_byte(key.len() as u64), tag_byte(VALUE, BYTES));
    while at < key.len() {
        bytes[at + 2] = key.as_bytes()[at];
        at += 1;
    }
    bytes
}

/// The tag of a field whose number is less than 16.
const fn tag_byte(field: u32, wire_type: u32) -> u8 {
    low_byte((field << 3 | wire_type) as u64)
}

/// Writes fields behind what is there.
pub(super) struct Writer<'v>(pub(super) &'v mut Vec<u8>);

/// Where a field began whose length is not known yet.
#[must_use]
#[derive(Clone, Copy)]
pub(super) struct Begin(usize);

impl Writer<'_> {
    #[inline]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(low_byte(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_byte(number));
    }

    #[inline]
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.number(u64::from(field << 3 | wire_type));
    }

    /// Begins a message of so many bytes.
    #[inline]
    pub(super) fn begin(&mut self, field: u32, bytes: usize) {
        self.tag(field, BYTES);
        self.number(bytes as u64);
    }

    /// Begins a message whose length is known at its end.
    #[inline]
    pub(super) fn begin_unknown(&mut self, field: u32) -> Begin {
        self.tag(field, BYTES);
        self.0.extend_from_slice(&[0; ROOM]);
        Begin(self.0.len())
    }

    /// Ends a message.
    #[inline]
    pub(super) fn end(&mut self, Begin(from): Begin) {
        let length = (self.0.len() - from) as u64;
        let (bytes, used) = varint(length);
        if used == ROOM {
            self.0[from - ROOM..from].copy_from_slice(&bytes[..ROOM]);
        } else {
            // Rare: a message of less than 128 bytes, or of more than 16 KiB, moves to where it belongs.
            self.0.splice(from - ROOM..from, bytes[..used].iter().copied());
        }
    }

    /// A number, unless it is 0.
    #[inline]
    pub(super) fn varint(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.tag(field, VARINT);
            self.number(number);
        }
    }

    /// A number of eight bytes, unless it is 0.
    #[inline]
    pub(super) fn fixed64(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.tag(field, FIXED64);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Bytes, or a message that is encoded already.
    #[inline]
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.begin(field, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A text, unless it is empty.
    #[inline]
    pub(super) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    #[inline]
    fn begin_attribute(&mut self, field: u32, key: &str, value_bytes: usize) {
        self.begin(field, field_bytes(KEY, key.len()) + field_bytes(VALUE, value_bytes));
        self.bytes(KEY, key.as_bytes());
        self.begin(VALUE, value_bytes);
    }

    /// An attribute that holds a text.
    #[inline]
    pub(super) fn text_attribute(&mut self, field: u32, key: &str, text: &str) {
        self.begin_attribute(field, key, field_bytes(TEXT, text.len()));
        self.bytes(TEXT, text.as_bytes());
    }

    /// An attribute that holds a number; one beyond `i64` is written as the largest.
    #[inline]
    pub(super) fn integer_attribute(&mut self, field: u32, key: &str, number: u64) {
        let number = number.min(i64::MAX.unsigned_abs());
        self.begin_attribute(field, key, 1 + varint_bytes(number));
        self.tag(INTEGER, VARINT);
        self.number(number);
    }

    /// An attribute that holds a text, under a key that is known.
    #[inline]
    pub(super) fn known_text<const N: usize>(&mut self, field: u32, key: &[u8; N], text: &str) {
        let value = field_bytes(TEXT, text.len());
        self.begin(field, N + varint_bytes(value as u64) + value);
        self.0.extend_from_slice(key);
        self.begin_value(value, text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn begin_value(&mut self, value: usize, text: usize) {
        if value < 0x80 {
            self.0.extend_from_slice(&[low_byte(value as u64), tag_byte(TEXT, BYTES), low_byte(text as u64)]);
        } else {
            self.number(value as u64);
            self.begin(TEXT, text);
        }
    }

    /// An attribute that holds a number, under a key that is known.
    #[inline]
    pub(super) fn known_integer<const N: usize>(&mut self, field: u32, key: &[u8; N], number: u64) {
        let number = number.min(i64::MAX.unsigned_abs());
        let (bytes, used) = varint(number);
        self.begin(field, N + 2 + used);
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(&[low_byte(used as u64 + 1), tag_byte(INTEGER, VARINT)]);
        self.0.extend_from_slice(&bytes[..used]);
    }

    /// An attribute that is true.
    pub(super) fn truth_attribute(&mut self, field: u32, key: &str, value: bool) {
        self.begin_attribute(field, key, 2);
        self.tag(TRUTH, VARINT);
        self.number(u64::from(value));
    }
}

/// Bytes that a field of so many bytes takes, its tag and length included.
#[inline]
pub(super) const fn field_bytes(field: u32, bytes: usize) -> usize {
    varint_bytes((field << 3) as u64) + varint_bytes(bytes as u64) + bytes
}

/// Bytes that a number takes.
#[inline]
const fn varint_bytes(number: u64) -> usize {
    // Seven bits a byte; 0 takes one too.
    (((number | 1).ilog2() as usize) * 9 + 73) / 64
}

#[inline]
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut used) = ([0; 10], 0);
    while number >= 0x80 {
        bytes[used] = low_byte(number) | 0x80;
        (number, used) = (number >> 7, used + 1);
    }
    bytes[used] = low_byte(number);
    (bytes, used + 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
const fn low_byte(number: u64) -> u8 {
    number as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_as_many_bytes_as_are_counted_for_it() {
        for number in (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits]).chain([u64::MAX]) {
            let mut bytes = Vec::new();
            Writer(&mut bytes).number(number);
            assert_eq!((bytes.len(), varint(number).1), (varint_bytes(number), varint_bytes(number)), "{number}");
            assert_eq!(bytes, varint(number).0[..bytes.len()]);
        }
    }

    #[test]
    fn a_message_of_any_length_is_read_as_it_was_written() {
        for length in [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 3 << 20] {
            let mut bytes = b"before".to_vec();
            let mut to = Writer(&mut bytes);
            let begin = to.begin_unknown(7);
            to.0.resize(to.0.len() + length, b'x');
            to.end(begin);
            to.varint(8, 1);
            let mut expected = b"before".to_vec();
            let mut to = Writer(&mut expected);
            to.bytes(7, &vec![b'x'; length]);
            to.varint(8, 1);
            assert!(bytes == expected, "{length}");
        }
    }
}
