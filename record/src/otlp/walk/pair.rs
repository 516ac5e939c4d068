//! Keys and values as protobuf has them (`KeyValue`, `AnyValue` of
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/common/v1/common.proto>): most of a
//! record's bytes, and so most of the walk's time.
//!
//! What always holds: the usual pair is read in one look, and means what the fields one by one would say; what is rare is
//! left to `prost`, once it is known not to be nested too deeply.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use prost::Message;

use super::{NESTING, Rejection};
use crate::otlp::{
    meaning::Keys,
    view::{AccessView, Value},
    wire::{Field, Fields, whole_varint},
};

/// The bytes of a message that is a field of another. When it stands there more than once, protobuf merges the pieces,
/// which is to read them as one.
#[derive(Default)]
pub(super) enum Pieces<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Several(Vec<u8>),
}

impl<'a> Pieces<'a> {
    pub(super) fn add(&mut self, piece: &'a [u8]) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(piece),
            Self::One(first) => Self::Several([first, piece].concat()),
            Self::Several(mut pieces) => {
                pieces.extend_from_slice(piece);
                Self::Several(pieces)
            }
        };
    }
}

/// Has the view take the pair, if it has a value.
pub(super) fn take_pair<'a>(pair: &'a [u8], keys: &mut Keys<'a>, view: &mut AccessView<'a>) -> Result<(), Rejection> {
    // Values are handed on from where they are read: to move them about costs more than to read them.
    match usual_pair(pair) {
        Some((key, TEXT, text)) => view.take_text(&keys.read(key)?, utf8(text)?),
        Some((key, TRUTH, &[truth])) => view.take(&keys.read(key)?, Value::Truth(truth != 0)),
        Some((key, INTEGER, number)) if let Some(number) = whole_varint(number) => {
            view.take(&keys.read(key)?, Value::Integer(number.cast_signed()));
        }
        _ => return take_unusual_pair(pair, keys, view),
    }
    Ok(())
}

fn take_unusual_pair<'a>(pair: &'a [u8], keys: &mut Keys<'a>, view: &mut AccessView<'a>) -> Result<(), Rejection> {
    let (mut key, mut value) = (&[][..], Pieces::None);
    for field in Fields::new(pair) {
        match field? {
            (1, Field::Bytes(text)) => key = utf8(text)?.as_bytes(),
            (2, Field::Bytes(piece)) => value.add(piece),
            (3, Field::Varint(_)) | (4.., _) => {}
            _ => return Err(Rejection::Malformed),
        }
    }
    if let Some(value) = any_value(&value)? {
        view.take(&keys.read(key)?, value);
    }
    Ok(())
}

/// The tags of the kinds of values.
const TEXT: u8 = 0x0a;
const TRUTH: u8 = 0x10;
const INTEGER: u8 = 0x18;

/// A pair as every sender writes it, and nearly all of them are: the key, then the value, both shorter than 128 bytes, each
/// there once. Gives the key, the value's tag and what follows it, which is one text, or not yet known to be one number. `None`
/// for any other, which the fields tell one by one.
#[inline]
fn usual_pair(pair: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (key, rest) = short_field(0x0a, pair)?;
    let (value, []) = short_field(0x12, rest)? else { return None };
    match value {
        [TEXT, ..] => match short_field(TEXT, value)? {
            (text, []) => Some((key, TEXT, text)),
            _ => None,
        },
        [TRUTH, truth @ ..] if matches!(truth, [0..0x80]) => Some((key, TRUTH, truth)),
        [INTEGER, number @ ..] => Some((key, INTEGER, number)),
        _ => None,
    }
}

/// A field of bytes, fewer than 128, with this tag; and what comes after it.
#[inline]
fn short_field(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [found, length @ 0..0x80, rest @ ..] if *found == tag => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

/// The value that these bytes are, if they are one.
pub(super) fn any_value<'a>(pieces: &Pieces<'a>) -> Result<Option<Value<'a>>, Rejection> {
    match pieces {
        Pieces::None => Ok(None),
        Pieces::One(bytes) => match scalar(bytes)? {
            Scalar::Value(value) => Ok(value),
            Scalar::Other => Ok(other(bytes)?.map(Value::Other)),
        },
        Pieces::Several(bytes) => Ok(other(bytes)?.map(Value::Other)),
    }
}

/// An `AnyValue` as far as it is a text, a whole number or a truth.
enum Scalar<'a> {
    Value(Option<Value<'a>>),
    Other,
}

fn scalar(bytes: &[u8]) -> Result<Scalar<'_>, Rejection> {
    let mut value = None;
    for field in Fields::new(bytes) {
        value = Some(match field? {
            (1, Field::Bytes(text)) => Value::Text(utf8(text)?),
            (2, Field::Varint(truth)) => Value::Truth(truth != 0),
            (3, Field::Varint(number)) => Value::Integer(number.cast_signed()),
            (1..=8, _) => return Ok(Scalar::Other),
            _ => continue,
        });
    }
    Ok(Scalar::Value(value))
}

fn other(bytes: &[u8]) -> Result<Option<any_value::Value>, Rejection> {
    check_nesting(bytes, NESTING)?;
    Ok(AnyValue::decode(bytes).map_err(|_| Rejection::Malformed)?.value)
}

/// Checks an `AnyValue` before `prost` builds it: how deeply it is nested, and its texts.
fn check_nesting(any: &[u8], deeper: usize) -> Result<(), Rejection> {
    for field in Fields::new(any) {
        let (number, Field::Bytes(bytes)) = field? else { continue };
        match number {
            1 => drop(utf8(bytes)?),
            5 | 6 if deeper == 0 => return Err(Rejection::TooDeep),
            5 => check_items(bytes, |item| check_nesting(item, deeper - 1))?,
            6 => check_items(bytes, |pair| check_pair(pair, deeper - 1))?,
            _ => {}
        }
    }
    Ok(())
}

fn check_items(list: &[u8], check: impl Fn(&[u8]) -> Result<(), Rejection>) -> Result<(), Rejection> {
    for field in Fields::new(list) {
        if let (1, Field::Bytes(item)) = field? {
            check(item)?;
        }
    }
    Ok(())
}

fn check_pair(pair: &[u8], deeper: usize) -> Result<(), Rejection> {
    for field in Fields::new(pair) {
        match field? {
            (1, Field::Bytes(key)) => drop(utf8(key)?),
            (2, Field::Bytes(value)) => check_nesting(value, deeper)?,
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(bytes).map_err(|_| Rejection::InvalidUtf8)
}
