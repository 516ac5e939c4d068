//! JSON: an array of objects, or an object a line. Nulls are written, so that every row has every column.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StructArray},
    datatypes::{Field, FieldRef},
    error::ArrowError,
    json::writer::{EncoderOptions, make_encoder},
};

use super::{AnswerWriter, cell::UTC_TIMESTAMP};

/// Writes rows as JSON objects.
pub(super) struct JsonWriter {
    /// What stands before the first row, between two rows, after the last.
    before: &'static str,
    between: &'static str,
    after: &'static str,
    options: EncoderOptions,
    begun: bool,
}

impl JsonWriter {
    pub(super) fn array() -> Self {
        Self::new("[", ",\n", "]\n")
    }

    pub(super) fn lines() -> Self {
        Self::new("", "\n", "\n")
    }

    fn new(before: &'static str, between: &'static str, after: &'static str) -> Self {
        Self { before, between, after, options: options(), begun: false }
    }
}

impl AnswerWriter for JsonWriter {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut text = Vec::new();
        let field = Arc::new(Field::new_struct("", batch.schema_ref().fields().clone(), false));
        let rows = StructArray::from(batch.clone());
        let mut encoder = make_encoder(&field, &rows, &self.options)?;
        for row in 0..batch.num_rows() {
            let lead = if self.begun { self.between } else { self.before };
            self.begun = true;
            text.extend_from_slice(lead.as_bytes());
            encoder.encode(row, &mut text);
        }
        Ok(text)
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        let end = match (self.begun, self.before.is_empty()) {
            (true, _) => self.after.to_owned(),
            (false, true) => String::new(),
            (false, false) => format!("{}{}", self.before, self.after),
        };
        Ok(end.into_bytes())
    }
}

/// Each value of a column as JSON text; none for null.
pub(super) fn texts(field: &FieldRef, column: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let options = options();
    let mut encoder = make_encoder(field, column, &options)?;
    let text = |row| {
        column.is_valid(row).then(|| {
            let mut text = Vec::new();
            encoder.encode(row, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    Ok((0..column.len()).map(text).collect())
}

fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_timestamp_format(UTC_TIMESTAMP.to_owned())
}
