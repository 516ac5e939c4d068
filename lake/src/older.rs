//! Tables and rows of older versions: which of our columns they may lack, and what stands there when they are read.
//!
//! Columns are told by their names, in whatever order they stand. What always holds: rows that are conformed have the
//! columns of [`Table::schema`], and no value of theirs is another than it was.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, new_null_array},
    datatypes::{DataType, Field},
    error::ArrowError,
};

use crate::{PARTITION_COLUMN, Table};

/// Why rows are not rows of a table, of whatever version.
#[derive(Debug, thiserror::Error)]
pub enum UnfitRows {
    /// They lack a column that every version has.
    #[error("they have no column {0:?}")]
    Lacking(String),
    /// They have a column that this version does not know.
    #[error("they have an unknown column {0:?}")]
    Unknown(String),
    /// A column is of another type.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl Table {
    /// Whether a table of an older version may lack the column. Those that files are in the order of, or have statistics
    /// of, have always been there.
    pub(crate) fn may_lack(self, column: &str) -> bool {
        let always = [self.order(), self.statistics_columns(), &[PARTITION_COLUMN]];
        !always.into_iter().flatten().any(|name| *name == column)
    }

    /// Whether the column counts something, so that it is 0 in a file that lacks it: what such a file's writer had no name
    /// for, it has counted by another. Every other column is null there.
    #[must_use]
    pub fn counts(self, column: &Field) -> bool {
        matches!(self, Self::Metrics | Self::Ledger) && *column.data_type() == DataType::Int64
    }

    /// Rows of any version as rows of this one, without the partition column.
    ///
    /// # Errors
    /// When they are no rows of this table, or of a version that has more columns.
    pub(crate) fn conform(self, rows: &RecordBatch) -> Result<RecordBatch, UnfitRows> {
        let (ours, theirs) = (self.schema(), rows.schema());
        if theirs.fields() == ours.fields() {
            return Ok(rows.clone());
        }
        if let Some(unknown) = theirs.fields().iter().find(|field| ours.field_with_name(field.name()).is_err()) {
            return Err(UnfitRows::Unknown(unknown.name().clone()));
        }
        let column = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
            Some(column) => Ok(Arc::clone(column)),
            None if self.may_lack(field.name()) => Ok(self.stands_for(field, rows.num_rows())),
            None => Err(UnfitRows::Lacking(field.name().clone())),
        };
        let columns = ours.fields().iter().map(column).collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&ours), columns)?)
    }

    /// What stands in a column that rows lack.
    fn stands_for(self, column: &Field, rows: usize) -> ArrayRef {
        if self.counts(column) {
            Arc::new(Int64Array::from_value(0, rows))
        } else {
            new_null_array(column.data_type(), rows)
        }
    }
}

#[cfg(test)]
mod tests;
