//! Columns from rows: one pass over the rows for each column, texts straight into Arrow's buffers.
//!
//! What always holds: a column has the type that [`schema`](crate::schema) names. The text of one column of one batch
//! must stay below 2 GiB, which the bounds of a message and of a flush see to.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};

use crate::Table;

/// The rows of a table, from its columns in their order.
pub(crate) fn batch(table: Table, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(table.schema(), columns).expect("the columns are the schema's, in its order")
}

/// The years 1 to 9999, microseconds since the Unix epoch: what Delta's statistics and every reader can write out.
const EARLIEST_US: i64 = -62_135_596_800_000_000;
const LATEST_US: i64 = 253_402_300_799_999_999;

/// A time column from microseconds since the Unix epoch; beyond the years 1 to 9999 a time counts as their bound.
pub(crate) fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    let values = values.map(|time_us| time_us.clamp(EARLIEST_US, LATEST_US));
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// A text column without nulls.
pub(crate) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A text column; `None` is null.
pub(crate) fn optional_texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// A text column of ids, in hexadecimal digits; `None` is null.
pub(crate) fn ids<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| append_id(&mut builder, value));
    Arc::new(builder.finish())
}

/// Appends an id of at most 16 bytes, in hexadecimal digits; `None` is null.
pub(crate) fn append_id(builder: &mut StringBuilder, id: Option<&[u8]>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    let Some(id) = id else { return builder.append_null() };
    for (digits, byte) in text.chunks_exact_mut(2).zip(id) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
    let digits = text.get(..2 * id.len()).and_then(|digits| std::str::from_utf8(digits).ok());
    builder.append_value(digits.expect("ids have at most 16 bytes, and hexadecimal digits are ASCII"));
}

/// An int column without nulls; what does not fit counts as the largest that does.
pub(crate) fn ints(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values.map(|value| i32::try_from(value).unwrap_or(i32::MAX))))
}

/// A bigint column without nulls; what does not fit counts as the largest that does.
pub(crate) fn bigints(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(saturated)))
}

/// A map column under construction.
pub(crate) fn map_builder(rows: usize) -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    MapBuilder::with_capacity(Some(names), StringBuilder::new(), StringBuilder::new(), rows)
}

/// A map column.
pub(crate) fn maps<'a>(values: impl Iterator<Item = &'a BTreeMap<String, String>>) -> ArrayRef {
    let mut builder = map_builder(0);
    for map in values {
        for (key, value) in map {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true).expect("keys and values are appended in pairs");
    }
    Arc::new(builder.finish())
}

/// A binary column; `None` is null.
pub(crate) fn optional_binaries(values: impl Iterator<Item = Option<Vec<u8>>>) -> ArrayRef {
    let mut builder = BinaryBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

pub(crate) fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
