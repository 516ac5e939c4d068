//! Parquet files from rows: one file for each date, its rows in the order that the table wants
//! ([`Table::order`]), with the statistics that let a query skip it.
//!
//! What always holds: a file holds rows of one UTC date only; its rows are in order, and it says so; its statistics, in
//! the commit, cover all of its rows; it bears a checksum of all its bytes.

pub(crate) mod checksum;
mod properties;
mod writer;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, new_null_array},
    compute::interleave,
    error::ArrowError,
};
use delta_kernel::{KernelError, transaction::WriteState};
use object_store::path::Path;
use parquet::errors::ParquetError;
pub(crate) use properties::Effort;
use uuid::Uuid;
pub(crate) use writer::FileWriter;

use crate::{
    PARTITION_COLUMN, Table,
    places::{Place, places_in_order},
};

/// Rows of a row group, which is what a reader has in memory at once.
pub(crate) const ROWS_PER_ROW_GROUP: usize = 32_768;

/// Our data files, and only they, are named so: `date=2026-11-23/part-<uuid>.crc32c.zstd.parquet`; without the third part those
/// that were written before there were checksums.
const NAME_START: &str = "part-";
const NAME_END: &str = ".zstd.parquet";

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// A Parquet file in memory, and its row in the log.
pub(crate) struct DataFile {
    /// Where it belongs in the store.
    pub(crate) path: Path,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its `add` action, one row.
    pub(crate) add: RecordBatch,
}

/// Rows that cannot be made into files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("the rows have other columns than the table")]
    Columns,
    #[error("a row has no time")]
    NoTime,
    #[error("the file's footer has no place for its checksum")]
    Checksum,
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error("{}", .0.without_backtrace())]
    Kernel(#[from] KernelError),
    #[error("the path of a file is not valid: {0}")]
    Path(#[from] object_store::path::Error),
}

/// The files of these rows, one for each date that they fall on. Takes as much processor time as the rows need.
pub(crate) fn encode(
    table: Table,
    state: &Arc<WriteState>,
    rows: &[RecordBatch],
) -> Result<Vec<DataFile>, EncodeError> {
    if rows.iter().any(|batch| batch.schema() != table.schema()) {
        return Err(EncodeError::Columns);
    }
    places_in_order(table, rows)
        .ok_or(EncodeError::NoTime)?
        .chunk_by(|one, next| one.day == next.day)
        .map(|of_one_date| encode_date(table, state, rows, of_one_date))
        .collect()
}

/// The UTC date of a time, as days since the Unix epoch.
pub(crate) fn day(time_us: i64) -> i32 {
    i32::try_from(time_us.div_euclid(DAY_US)).expect("64 bits of microseconds are fewer days than 32 bits hold")
}

fn encode_date(
    table: Table,
    state: &Arc<WriteState>,
    rows: &[RecordBatch],
    places: &[Place],
) -> Result<DataFile, EncodeError> {
    let date = places.first().map_or(0, |first| first.day);
    let mut file = FileWriter::new(table, state, date, Effort::Fast, rows)?;
    for group in places.chunks(ROWS_PER_ROW_GROUP) {
        let stand_at: Vec<_> = group.iter().map(Place::stands_at).collect();
        file.write_row_group(|column| gather(rows, column, &stand_at))?;
    }
    file.finish()
}

/// The values of a column that stand at these places: batch and row.
fn gather(rows: &[RecordBatch], column: usize, stand_at: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let values: Vec<&dyn Array> = rows.iter().map(|batch| batch.column(column).as_ref()).collect();
    match values.first() {
        Some(first) if values.iter().all(|values| values.null_count() == values.len()) => {
            Ok(new_null_array(first.data_type(), stand_at.len()))
        }
        _ => interleave(&values, stand_at),
    }
}

/// Whether an object of a table is a data file of ours, by its name.
pub(crate) fn is_data_file(path: &Path) -> bool {
    let mut parts = path.parts().rev();
    let name = parts.next();
    let id = name.as_ref().and_then(|name| name.as_ref().strip_prefix(NAME_START)?.strip_suffix(NAME_END));
    let in_date = parts.next().is_some_and(|date| date.as_ref().starts_with(&format!("{PARTITION_COLUMN}=")));
    let id = id.map(|id| id.strip_suffix(checksum::MARK).unwrap_or(id));
    in_date && id.is_some_and(|id| Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use delta_kernel::{FileMeta, engine::arrow_data::ArrowEngineData, expressions::Scalar};
    use delta_kernel_default_engine::{
        build_add_file_metadata, parquet::DataFileMetadata, stats::FileStatsAccumulator,
    };

    use super::*;

    /// The `add` action that another program would give a file of one date.
    pub(crate) fn add_of(state: &Arc<WriteState>, path: &Path, size_bytes: u64, rows: &RecordBatch) -> RecordBatch {
        let context = state
            .write_context_builder()
            .with_partition_values(HashMap::from([(PARTITION_COLUMN.to_owned(), Scalar::Date(0))]))
            .build()
            .unwrap();
        let mut statistics = FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema());
        statistics.merge(rows).unwrap();
        let url = context.write_dir().join(path.filename().unwrap()).unwrap();
        let file = FileMeta::new(url, 0, size_bytes);
        let metadata = DataFileMetadata::new(file, statistics.finish().unwrap().unwrap());
        (*ArrowEngineData::try_from_engine_data(build_add_file_metadata(metadata, &context).unwrap()).unwrap()).into()
    }

    #[test]
    fn only_our_own_files_are_taken_for_data_files() {
        for mark in ["", checksum::MARK] {
            let ours = format!("lake/requests/date=2026-11-23/part-{}{mark}.zstd.parquet", Uuid::now_v7());
            assert!(is_data_file(&Path::from(ours)));
        }
        for foreign in [
            "lake/requests/date=2026-11-23/part-00000-0.snappy.parquet",
            "lake/requests/part-019ab0de-0000-7000-8000-000000000000.zstd.parquet",
            "lake/requests/date=2026-11-23/notes.txt",
            "lake/requests/_delta_log/00000000000000000000.json",
        ] {
            assert!(!is_data_file(&Path::from(foreign)), "{foreign}");
        }
    }
}
