//! One value as the text of a cell, for tables and CSV.

use arrow::{
    array::{Array, RecordBatch},
    error::ArrowError,
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};

use super::json;

/// Times with a zone are RFC 3339 already; times without one are UTC, and say so.
pub(super) const UTC_TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

const OPTIONS: FormatOptions<'static> =
    FormatOptions::new().with_timestamp_format(Some(UTC_TIMESTAMP)).with_duration_format(DurationFormat::ISO8601);

/// The columns of a batch, ready to be read cell by cell.
pub(super) struct Cells<'a>(Vec<Column<'a>>);

enum Column<'a> {
    Plain(&'a dyn Array, ArrayFormatter<'a>),
    /// Maps, lists and structs, written as JSON.
    Nested(Vec<Option<String>>),
}

impl<'a> Cells<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema_ref();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, array)| {
            Ok(match array.data_type().is_nested() {
                true => Column::Nested(json::texts(field, array)?),
                false => Column::Plain(array.as_ref(), ArrayFormatter::try_new(array, &OPTIONS)?),
            })
        });
        Ok(Self(columns.collect::<Result<_, ArrowError>>()?))
    }

    /// Writes a cell's text to `text`, which is emptied before; false for null.
    pub(super) fn read(&self, column: usize, row: usize, text: &mut String) -> Result<bool, ArrowError> {
        text.clear();
        match &self.0[column] {
            Column::Plain(array, _) if array.is_null(row) => return Ok(false),
            Column::Plain(_, formatter) => {
                formatter.value(row).write(text)?;
            }
            Column::Nested(texts) => match &texts[row] {
                Some(json) => text.push_str(json),
                None => return Ok(false),
            },
        }
        Ok(true)
    }
}
