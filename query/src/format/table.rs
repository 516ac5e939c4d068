//! A table for people: aligned columns in plain ASCII, numbers to the right, and how many rows there are.
//!
//! Widths are known only when the rows are, so the rows are held until the end; [`MOST_ROWS`] bounds them.

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::{AnswerWriter, Width, cell::Cells};

/// Rows that a table shows; what comes after is counted, not shown.
pub(super) const MOST_ROWS: usize = 10_000;

/// A line below the header, bars between the columns, nothing else; the places are comfy-table's.
const LINES: &str = "     -+ |          ";

/// Draws rows as a table.
pub(super) struct TableWriter {
    table: Table,
    rows: usize,
}

impl TableWriter {
    pub(super) fn new(schema: &SchemaRef, width: Width) -> Self {
        let mut table = Table::new();
        table.load_preset(LINES);
        if let Width::AtMost(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.set_header(schema.fields().iter().map(|field| field.name().as_str()));
        for (column, field) in table.column_iter_mut().zip(schema.fields()) {
            if field.data_type().is_numeric() {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table, rows: 0 }
    }
}

impl AnswerWriter for TableWriter {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let cells = Cells::new(batch)?;
        let shown = batch.num_rows().min(MOST_ROWS.saturating_sub(self.rows));
        self.rows += batch.num_rows();
        for row in 0..shown {
            let texts = (0..batch.num_columns()).map(|column| {
                let mut text = String::new();
                cells.read(column, row, &mut text)?;
                Ok(printable(text))
            });
            self.table.add_row(texts.collect::<Result<Vec<_>, ArrowError>>()?);
        }
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push_str(&match self.rows {
            1 => "(1 row)\n".to_owned(),
            rows if rows > MOST_ROWS => {
                format!("({rows} rows, the first {MOST_ROWS} shown; --format csv, json or ndjson writes all)\n")
            }
            rows => format!("({rows} rows)\n"),
        });
        Ok(text.into_bytes())
    }
}

/// Texts in the tables are what clients sent: a terminal must not obey them.
fn printable(text: String) -> String {
    let is_harmful = |character: char| character.is_control() && character != '\n';
    if !text.contains(is_harmful) {
        return text;
    }
    let escaped = |character: char| match is_harmful(character) {
        true => character.escape_default().collect(),
        false => String::from(character),
    };
    text.chars().map(escaped).collect()
}
