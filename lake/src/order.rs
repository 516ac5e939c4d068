//! The order of a file's rows, [`Table::order`]: keys that compare as the rows do.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::Schema,
    error::ArrowError,
    row::{RowConverter, Rows, SortField},
};
use parquet::file::metadata::SortingColumn;

use crate::Table;

/// Makes keys of the rows of one table.
#[derive(Debug)]
pub(crate) struct Order {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Order {
    pub(crate) fn of(table: Table) -> Self {
        let schema = table.schema();
        let columns = columns(table);
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
        let converter = RowConverter::new(fields).expect("every column of an order can be compared");
        Self { columns, converter }
    }

    /// The key of each row. Keys of all batches of the table compare with each other.
    pub(crate) fn keys(&self, rows: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| Arc::clone(rows.column(*column))).collect();
        self.converter.convert_columns(&columns)
    }
}

/// The same order as a Parquet file of these columns declares it. Only what declares it is taken for being in it.
pub(crate) fn sorting_columns(table: Table, of_file: &Schema) -> Vec<SortingColumn> {
    let sorting = |column| SortingColumn { column_idx: column, descending: false, nulls_first: true };
    let places = table.order().iter().filter_map(|name| of_file.index_of(name).ok());
    places.filter_map(|place| i32::try_from(place).ok()).map(sorting).collect()
}

/// Where the order's columns stand. Only columns before the first nested one are in it: so this is also where they stand
/// among a Parquet file's columns.
fn columns(table: Table) -> Vec<usize> {
    let schema = table.schema();
    table.order().iter().map(|name| schema.index_of(name).expect("a table's order names columns of it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nested_column_stands_before_a_column_of_an_order() {
        for table in Table::ALL {
            let nested = table.schema().fields().iter().position(|field| field.data_type().is_nested());
            let last = columns(table).into_iter().max();
            assert!(nested.is_none() || last < nested, "{}", table.name());
        }
    }
}
