//! Cells of metrics, added up: rows of one key and time become one, and ten seconds become minutes and hours.
//!
//! What always holds: every sum and every sketch over the rows of a key and of a coarser time stays what it was (I4, I5).

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryBuilder, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
        UInt32Array,
    },
    compute::{concat_batches, take},
    datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
    row::{RowConverter, SortField},
};

use crate::{Sketch, SketchError, Table};

/// What tells the rows of different cells apart.
const KEY: [&str; 6] = ["api", "stage", "route", "method", "time", "seconds"];

/// The cells with their time cut to a longer one. Cells that cover more already stay as they are. The order of rows that
/// were in [`Table::order`] stays as it is.
pub(crate) fn coarser(cells: &RecordBatch, seconds: u32) -> Result<RecordBatch, ArrowError> {
    let length_us = i64::from(seconds) * 1_000_000;
    let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    let (time, covered) = (cells.schema().index_of("time")?, cells.schema().index_of("seconds")?);
    let times = cells.column(time).as_primitive::<TimestampMicrosecondType>();
    let cut: TimestampMicrosecondArray = times.unary(|time_us| time_us - time_us.rem_euclid(length_us));
    let covers: Int32Array = cells.column(covered).as_primitive::<Int32Type>().unary(|covered| covered.max(seconds));
    let mut columns = cells.columns().to_vec();
    columns[time] = Arc::new(cut.with_data_type(times.data_type().clone()));
    columns[covered] = Arc::new(covers);
    RecordBatch::try_new(cells.schema(), columns)
}

/// Adds up neighbouring cells of one key, over as many batches as come.
#[derive(Debug, Default)]
pub(crate) struct Adder {
    /// The last cell, to which the next batch may add.
    last: Option<RecordBatch>,
}

impl Adder {
    /// Takes cells; gives those that nothing more can be added to.
    pub(crate) fn add(&mut self, cells: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let cells = match self.last.take() {
            Some(last) => concat_batches(&cells.schema(), [&last, &cells])?,
            None => cells,
        };
        let sums = add_up(&cells)?;
        let ended = sums.num_rows().saturating_sub(1);
        self.last = (sums.num_rows() > 0).then(|| sums.slice(ended, 1));
        Ok(sums.slice(0, ended))
    }

    /// The last cell.
    pub(crate) fn finish(self) -> Option<RecordBatch> {
        self.last
    }
}

/// One row for each run of rows of one key.
fn add_up(cells: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let runs = runs(cells)?;
    if runs.len() == cells.num_rows() {
        return Ok(cells.clone());
    }
    let firsts: UInt32Array = runs.iter().map(|run| u32::try_from(run.start).ok()).collect();
    let schema = cells.schema();
    let column = |(field, column): (&Arc<arrow::datatypes::Field>, &ArrayRef)| match field.data_type() {
        DataType::Int64 => Ok(sums(column.as_primitive(), &runs)),
        DataType::Binary => merged_sketches(column, &runs).map_err(|error| ArrowError::ExternalError(Box::new(error))),
        _ => take(column, &firsts, None),
    };
    let columns = schema.fields().iter().zip(cells.columns()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(Table::Metrics.schema(), columns)
}

fn runs(cells: &RecordBatch) -> Result<Vec<Range<usize>>, ArrowError> {
    let columns: Vec<ArrayRef> = KEY.iter().filter_map(|name| cells.column_by_name(name).cloned()).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in 0..keys.num_rows() {
        match runs.last_mut() {
            Some(run) if keys.row(run.start) == keys.row(row) => run.end = row + 1,
            _ => runs.push(row..row + 1),
        }
    }
    Ok(runs)
}

/// Nulls count as nothing; a sum of nulls alone is null.
fn sums(column: &Int64Array, runs: &[Range<usize>]) -> ArrayRef {
    let sum = |run: &Range<usize>| {
        let values = run.clone().filter(|row| column.is_valid(*row)).map(|row| column.value(row));
        values.reduce(i64::saturating_add)
    };
    Arc::new(runs.iter().map(sum).collect::<arrow::array::PrimitiveArray<Int64Type>>())
}

fn merged_sketches(column: &ArrayRef, runs: &[Range<usize>]) -> Result<ArrayRef, SketchError> {
    let sketches = column.as_binary::<i32>();
    let mut builder = BinaryBuilder::new();
    let mut merged = Sketch::new();
    for run in runs {
        let mut present = run.clone().filter(|row| sketches.is_valid(*row));
        match (present.next(), present.next()) {
            (None, _) => builder.append_null(),
            (Some(only), None) => builder.append_value(sketches.value(only)),
            (Some(_), Some(_)) => {
                merged.clear();
                for row in run.clone().filter(|row| sketches.is_valid(*row)) {
                    merged.merge_bytes(sketches.value(row))?;
                }
                builder.append_value(merged.to_bytes());
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests;
