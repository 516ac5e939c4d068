//! Comma-separated values, RFC 4180 with line feeds: a header, then a line a row. Null is an empty field, and an empty
//! text a quoted one.

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};

use super::{AnswerWriter, cell::Cells};

/// Writes rows as CSV.
pub(super) struct CsvWriter {
    /// Until it is written, which is with the first rows, so that an error before them finds nothing written.
    header: String,
}

impl CsvWriter {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let mut header = String::new();
        for (number, field) in schema.fields().iter().enumerate() {
            separate(&mut header, number);
            push(&mut header, field.name());
        }
        header.push('\n');
        Self { header }
    }
}

impl AnswerWriter for CsvWriter {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut text = std::mem::take(&mut self.header);
        let cells = Cells::new(batch)?;
        let mut cell = String::new();
        for row in 0..batch.num_rows() {
            for column in 0..batch.num_columns() {
                separate(&mut text, column);
                if cells.read(column, row, &mut cell)? {
                    push(&mut text, &cell);
                }
            }
            text.push('\n');
        }
        Ok(text.into_bytes())
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        Ok(std::mem::take(&mut self.header).into_bytes())
    }
}

fn separate(line: &mut String, column: usize) {
    if column > 0 {
        line.push(',');
    }
}

fn push(line: &mut String, field: &str) {
    if !field.is_empty() && !field.contains([',', '"', '\n', '\r']) {
        line.push_str(field);
        return;
    }
    line.push('"');
    line.push_str(&field.replace('"', "\"\""));
    line.push('"');
}
