//! Answers as text: tables for people, CSV and JSON for programs, Arrow for our own client.
//!
//! One way for every value, in every format: times are RFC 3339 with `Z` and as many digits as the type has, binary is
//! hexadecimal, a map is a JSON object. All formats but the table are written batch by batch and hold no rows.

mod arrow_ipc;
mod cell;
mod csv;
mod json;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns in plain ASCII, for a terminal.
    Table,
    /// Comma-separated values with a header line, RFC 4180.
    Csv,
    /// One JSON array of objects, one object a row.
    Json,
    /// One JSON object a row, each on a line of its own.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
}

/// A name that is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}; there are: table, csv, json, ndjson, arrow")]
pub struct UnknownFormat(String);

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Table, Self::Csv, Self::Json, Self::Ndjson, Self::Arrow];

    /// The name that a user types.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
        }
    }

    /// The media type that HTTP names.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain",
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// Begins to write an answer with these columns.
    ///
    /// # Errors
    /// When the format has no form for one of the types.
    pub fn writer(self, schema: &SchemaRef, width: Width) -> Result<Box<dyn AnswerWriter>, ArrowError> {
        Ok(match self {
            Self::Table => Box::new(table::TableWriter::new(schema, width)),
            Self::Csv => Box::new(csv::CsvWriter::new(schema)),
            Self::Json => Box::new(json::JsonWriter::array()),
            Self::Ndjson => Box::new(json::JsonWriter::lines()),
            Self::Arrow => Box::new(arrow_ipc::ArrowWriter::new(schema)?),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// How wide a table may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// As wide as its content.
    #[default]
    Content,
    /// At most this many characters; longer cells are broken into lines.
    AtMost(u16),
}

/// Writes one answer. What it returns is to be sent in the order of the calls.
pub trait AnswerWriter: Send {
    /// The next rows.
    ///
    /// # Errors
    /// When the format has no form for one of the values.
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError>;

    /// The end of the answer.
    ///
    /// # Errors
    /// As for `batch`.
    fn finish(&mut self) -> Result<Vec<u8>, ArrowError>;
}
