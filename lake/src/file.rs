//! Parquet files from rows: one file for each date, its rows in the order of `time`, with the statistics that let a
//! query skip it.
//!
//! What always holds: a file holds rows of one UTC date only; its statistics, in the commit, cover all of its rows.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
};
use delta_kernel::{
    FileMeta, KernelError, engine::arrow_data::ArrowEngineData, expressions::Scalar, transaction::WriteState,
};
use delta_kernel_default_engine::{build_add_file_metadata, parquet::DataFileMetadata, stats::FileStatsAccumulator};
use object_store::path::Path;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};
use uuid::Uuid;

use crate::{PARTITION_COLUMN, Table};

/// Rows of a row group, which is what a query decodes at once.
const ROWS_PER_ROW_GROUP: usize = 131_072;

const DAY_US: i64 = 86_400_000_000;

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
    let order = in_order_of_time(rows)?;
    order
        .chunk_by(|one, next| day(one.time_us) == day(next.time_us))
        .map(|of_one_date| encode_date(table, state, rows, of_one_date))
        .collect()
}

/// A row: its time, and where it stands in the batches.
struct Place {
    time_us: i64,
    batch: usize,
    row: usize,
}

fn in_order_of_time(rows: &[RecordBatch]) -> Result<Vec<Place>, EncodeError> {
    let mut order = Vec::with_capacity(rows.iter().map(RecordBatch::num_rows).sum());
    for (batch, rows) in rows.iter().enumerate() {
        let times = rows.column_by_name("time").ok_or(EncodeError::NoTime)?.as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return Err(EncodeError::NoTime);
        }
        order.extend(times.values().iter().enumerate().map(|(row, time_us)| Place { time_us: *time_us, batch, row }));
    }
    // Stable: rows of one time stay in the order in which they came.
    order.sort_by_key(|place| place.time_us);
    Ok(order)
}

/// The UTC date of a time, as days since the Unix epoch.
fn day(time_us: i64) -> i32 {
    i32::try_from(time_us.div_euclid(DAY_US)).expect("64 bits of microseconds are fewer days than 32 bits hold")
}

fn encode_date(
    table: Table,
    state: &Arc<WriteState>,
    rows: &[RecordBatch],
    order: &[Place],
) -> Result<DataFile, EncodeError> {
    let date = Scalar::Date(order.first().map_or(0, |first| day(first.time_us)));
    let context = state
        .write_context_builder()
        .with_partition_values(HashMap::from([(PARTITION_COLUMN.to_owned(), date)]))
        .build()?;
    let mut statistics = FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema());
    // The Parquet schema alone: readers take the Arrow schema from the table, not from each file.
    let options =
        ArrowWriterOptions::new().with_properties(properties(table, order.len())).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options)?;
    let batches: Vec<&RecordBatch> = rows.iter().collect();
    for group in order.chunks(ROWS_PER_ROW_GROUP) {
        let places: Vec<_> = group.iter().map(|place| (place.batch, place.row)).collect();
        let group = interleave_record_batch(&batches, &places)?;
        statistics.merge(&group)?;
        writer.write(&group)?;
    }
    let bytes = writer.into_inner()?;

    let name = format!("part-{}.zstd.parquet", Uuid::now_v7());
    let url = context.write_dir().join(&name).map_err(KernelError::from)?;
    let path = Path::from_url_path(url.path())?;
    let statistics = statistics.finish()?.ok_or_else(|| KernelError::generic("a file has no rows"))?;
    let file = FileMeta::new(url, chrono::Utc::now().timestamp_millis(), bytes.len() as u64);
    let add = build_add_file_metadata(DataFileMetadata::new(file, statistics), &context)?;
    Ok(DataFile { path, bytes, add: (*ArrowEngineData::try_from_engine_data(add)?).into() })
}

fn properties(table: Table, rows: usize) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROWS_PER_ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled("time".into(), EnabledStatistics::Page);
    for column in table.lookup_columns() {
        properties = properties
            .set_column_dictionary_enabled((*column).into(), false)
            .set_column_bloom_filter_enabled((*column).into(), true)
            .set_column_bloom_filter_max_ndv((*column).into(), rows.min(ROWS_PER_ROW_GROUP) as u64);
    }
    properties.build()
}
