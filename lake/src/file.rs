//! Parquet files from rows: one file for each date, its rows in the order that the table wants
//! ([`Table::order`]), with the statistics that let a query skip it.
//!
//! What always holds: a file holds rows of one UTC date only; its rows are in order, and it says so; its statistics, in
//! the commit, cover all of its rows.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
    row::{Row, Rows},
};
use delta_kernel::{
    FileMeta, KernelError,
    engine::arrow_data::ArrowEngineData,
    expressions::Scalar,
    transaction::{BoundWriteContext, WriteState},
};
use delta_kernel_default_engine::{build_add_file_metadata, parquet::DataFileMetadata, stats::FileStatsAccumulator};
use object_store::path::Path;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};
use url::Url;
use uuid::Uuid;

use crate::{
    PARTITION_COLUMN, Table,
    order::{Order, sorting_columns},
};

/// Rows of a row group, which is what a reader has in memory at once.
pub(crate) const ROWS_PER_ROW_GROUP: usize = 65_536;

/// Our data files, and only they, are named so: `date=2026-11-23/part-<uuid>.zstd.parquet`.
const NAME_START: &str = "part-";
const NAME_END: &str = ".zstd.parquet";

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// How hard a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For a file that will soon be merged with others.
    Fast,
    /// For a file that will be kept.
    Thorough,
}

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
    let order = Order::of(table);
    let keys: Vec<Rows> = rows.iter().map(|batch| order.keys(batch)).collect::<Result<_, _>>()?;
    places_in_order(rows, &keys)?
        .chunk_by(|one, next| one.day == next.day)
        .map(|of_one_date| encode_date(table, state, rows, of_one_date))
        .collect()
}

/// A row: its date, its key, and where it stands in the batches.
struct Place<'a> {
    day: i32,
    key: Row<'a>,
    batch: usize,
    row: usize,
}

fn places_in_order<'a>(rows: &[RecordBatch], keys: &'a [Rows]) -> Result<Vec<Place<'a>>, EncodeError> {
    let mut places = Vec::with_capacity(rows.iter().map(RecordBatch::num_rows).sum());
    for (batch, (rows, keys)) in rows.iter().zip(keys).enumerate() {
        let times = rows.column_by_name("time").ok_or(EncodeError::NoTime)?.as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return Err(EncodeError::NoTime);
        }
        let timed = times.values().iter().zip(keys.iter()).enumerate();
        places.extend(timed.map(|(row, (time_us, key))| Place { day: day(*time_us), key, batch, row }));
    }
    // Stable: rows of one key stay in the order in which they came.
    places.sort_by(|one, other| one.day.cmp(&other.day).then_with(|| one.key.cmp(&other.key)));
    Ok(places)
}

/// The UTC date of a time, as days since the Unix epoch.
pub(crate) fn day(time_us: i64) -> i32 {
    i32::try_from(time_us.div_euclid(DAY_US)).expect("64 bits of microseconds are fewer days than 32 bits hold")
}

fn encode_date(
    table: Table,
    state: &Arc<WriteState>,
    rows: &[RecordBatch],
    places: &[Place<'_>],
) -> Result<DataFile, EncodeError> {
    let date = places.first().map_or(0, |first| first.day);
    let mut file = FileWriter::new(table, state, date, Effort::Fast)?;
    let batches: Vec<&RecordBatch> = rows.iter().collect();
    for group in places.chunks(ROWS_PER_ROW_GROUP) {
        let places: Vec<_> = group.iter().map(|place| (place.batch, place.row)).collect();
        file.write(&interleave_record_batch(&batches, &places)?)?;
    }
    file.finish()
}

/// A Parquet file under construction. Its rows come in order.
pub(crate) struct FileWriter {
    context: BoundWriteContext,
    statistics: FileStatsAccumulator,
    writer: ArrowWriter<Vec<u8>>,
    /// Bytes that were taken away already.
    taken_bytes: u64,
    url: Url,
}

impl FileWriter {
    /// An empty file for rows of one date.
    pub(crate) fn new(table: Table, state: &Arc<WriteState>, date: i32, effort: Effort) -> Result<Self, EncodeError> {
        let context = state
            .write_context_builder()
            .with_partition_values(HashMap::from([(PARTITION_COLUMN.to_owned(), Scalar::Date(date))]))
            .build()?;
        // The Parquet schema alone: readers take the Arrow schema from the table, not from each file.
        let options =
            ArrowWriterOptions::new().with_properties(properties(table, effort)).with_skip_arrow_metadata(true);
        let name = format!("{NAME_START}{}{NAME_END}", Uuid::now_v7());
        Ok(Self {
            statistics: FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema()),
            writer: ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options)?,
            taken_bytes: 0,
            url: context.write_dir().join(&name).map_err(KernelError::from)?,
            context,
        })
    }

    /// Where the file belongs in the store.
    pub(crate) fn path(&self) -> Result<Path, EncodeError> {
        Ok(Path::from_url_path(self.url.path())?)
    }

    /// Adds rows that come after those before.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        self.statistics.merge(rows)?;
        Ok(self.writer.write(rows)?)
    }

    /// Bytes that were taken away already.
    pub(crate) const fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// What the file has come to since it was asked last, so that it needs not be kept until the end.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(self.writer.inner_mut());
        self.taken_bytes += bytes.len() as u64;
        bytes
    }

    /// Ends the file; its bytes are those that were not taken before.
    pub(crate) fn finish(self) -> Result<DataFile, EncodeError> {
        let path = self.path()?;
        let bytes = self.writer.into_inner()?;
        let statistics = self.statistics.finish()?.ok_or_else(|| KernelError::generic("a file has no rows"))?;
        let size_bytes = self.taken_bytes + bytes.len() as u64;
        let file = FileMeta::new(self.url, chrono::Utc::now().timestamp_millis(), size_bytes);
        let add = build_add_file_metadata(DataFileMetadata::new(file, statistics), &self.context)?;
        Ok(DataFile { path, bytes, add: (*ArrowEngineData::try_from_engine_data(add)?).into() })
    }
}

/// Whether an object of a table is a data file of ours, by its name.
pub(crate) fn is_data_file(path: &Path) -> bool {
    let mut parts = path.parts().rev();
    let name = parts.next();
    let id = name.as_ref().and_then(|name| name.as_ref().strip_prefix(NAME_START)?.strip_suffix(NAME_END));
    let in_date = parts.next().is_some_and(|date| date.as_ref().starts_with(&format!("{PARTITION_COLUMN}=")));
    in_date && id.is_some_and(|id| Uuid::try_parse(id).is_ok())
}

fn properties(table: Table, effort: Effort) -> WriterProperties {
    let level = match effort {
        Effort::Fast => 1,
        Effort::Thorough => 6,
    };
    let level = ZstdLevel::try_new(level).expect("these are levels of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROWS_PER_ROW_GROUP))
        .set_sorting_columns(Some(sorting_columns(table)))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled("time".into(), EnabledStatistics::Page)
        .set_column_dictionary_enabled("time".into(), false)
        .set_column_encoding("time".into(), Encoding::DELTA_BINARY_PACKED);
    for column in table.id_columns() {
        // Lengths apart from the digits: what compresses, compresses, and the rest takes the bits that it has.
        properties = properties
            .set_column_dictionary_enabled((*column).into(), false)
            .set_column_encoding((*column).into(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    for column in table.lookup_columns() {
        properties = properties
            .set_column_bloom_filter_enabled((*column).into(), true)
            .set_column_bloom_filter_max_ndv((*column).into(), ROWS_PER_ROW_GROUP as u64);
    }
    properties.build()
}

#[cfg(test)]
pub(crate) mod tests {
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
        let ours = format!("lake/requests/date=2026-11-23/part-{}.zstd.parquet", Uuid::now_v7());
        assert!(is_data_file(&Path::from(ours)));
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
