//! Protobuf, field by field, over borrowed bytes: what the [walk](super::walk) reads messages with.
//!
//! It takes what `prost` takes, unknown fields and groups included, and allocates nothing.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Groups within groups that an unknown field may hold. Nobody sends any; each costs a call.
const GROUP_DEPTH: usize = 32;

/// Bytes that are no protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end within a field.
    #[error("the bytes end within a field")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Number,
    /// A field number or a kind of field that protobuf does not have.
    #[error("there is no such field number or kind of field")]
    Tag,
    /// A group that ends before it began, or not at all, or that is nested too deeply.
    #[error("a group has no beginning, no end, or too many within it")]
    Group,
    /// A field is there, but of another kind than the message defines.
    #[error("field {0} is of another kind than the message defines")]
    Kind(u32),
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    Group,
}

/// The fields of a message: number and value, in the order in which they stand. After an error there is nothing more.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The value of the next field, if it is one of bytes with this number, below 16, as it is usually written.
    #[inline]
    pub(super) fn next_bytes(&mut self, number: u32) -> Option<&'a [u8]> {
        let (tag, rest) = self.0.split_first()?;
        if u32::from(*tag) != number << 3 | 2 {
            return None;
        }
        let mut fields = Self(rest);
        let length = usize::try_from(fields.varint().ok()?).ok()?;
        let (bytes, rest) = fields.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    fn read(&mut self) -> Result<(u32, Field<'a>), WireError> {
        let (number, kind) = self.tag()?;
        let field = match kind {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Field::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group(number, GROUP_DEPTH)?;
                Field::Group
            }
            4 => return Err(WireError::Group),
            5 => {
                self.array::<4>()?;
                Field::Fixed32
            }
            _ => return Err(WireError::Tag),
        };
        Ok((number, field))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u32), WireError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::Tag)?;
        if tag >> 3 == 0 { Err(WireError::Tag) } else { Ok((tag >> 3, tag & 7)) }
    }

    fn skip_group(&mut self, group: u32, depth: usize) -> Result<(), WireError> {
        if depth == 0 {
            return Err(WireError::Group);
        }
        loop {
            if self.0.is_empty() {
                return Err(WireError::Group);
            }
            let before = self.0;
            let (number, kind) = self.tag()?;
            match kind {
                3 => self.skip_group(number, depth - 1)?,
                4 if number == group => return Ok(()),
                4 => return Err(WireError::Group),
                _ => {
                    self.0 = before;
                    self.read()?;
                }
            }
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        if let [first @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*first));
        }
        self.long_varint()
    }

    /// Apart, so that the usual number of one byte is read in place.
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            if at == 9 && *byte > 1 {
                return Err(WireError::Number);
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(WireError::Truncated)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// A number that these bytes are, all of them.
#[inline]
pub(super) fn whole_varint(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields(bytes);
    let number = fields.varint().ok()?;
    fields.0.is_empty().then_some(number)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(bytes: &[u8]) -> Result<(u32, Field<'_>), WireError> {
        Fields::new(bytes).last().expect("there are bytes")
    }

    #[test]
    fn fields_read_as_they_were_written() {
        assert_eq!(last(b"\x08\x96\x01"), Ok((1, Field::Varint(150))));
        assert_eq!(last(b"\x12\x02ab"), Ok((2, Field::Bytes(b"ab"))));
        assert_eq!(last(b"\x19\x01\0\0\0\0\0\0\0"), Ok((3, Field::Fixed64(1))));
        assert_eq!(last(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Ok((1, Field::Varint(u64::MAX))));
    }

    #[test]
    fn groups_are_stepped_over() {
        assert_eq!(last(b"\x0b\x13\x08\x01\x14\x0c\x10\x05"), Ok((2, Field::Varint(5))));
        for broken in [&b"\x0b"[..], b"\x0c", b"\x0b\x14", &[0x0b; 100]] {
            assert_eq!(last(broken), Err(WireError::Group), "{broken:?}");
        }
    }

    #[test]
    fn broken_bytes_are_errors() {
        assert_eq!(last(b"\x12\x05ab"), Err(WireError::Truncated));
        assert_eq!(last(b"\x08"), Err(WireError::Truncated));
        assert_eq!(last(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Err(WireError::Number));
        assert_eq!(last(b"\x00\x00"), Err(WireError::Tag));
        assert_eq!(last(b"\x0f"), Err(WireError::Tag));
    }
}
