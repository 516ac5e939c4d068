//! A Parquet file under construction, row group by row group.
//!
//! What always holds: rows come in order; a row group that is written column by column takes the memory of one column
//! beside the file's own bytes.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
    error::ArrowError,
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
    arrow::{
        ArrowSchemaConverter,
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    errors::ParquetError,
    file::writer::SerializedFileWriter,
};
use url::Url;
use uuid::Uuid;

use super::{
    DataFile, Effort, EncodeError, NAME_END, NAME_START, ROWS_PER_ROW_GROUP, checksum, properties::properties,
};
use crate::{PARTITION_COLUMN, Table};

/// A Parquet file under construction.
pub(crate) struct FileWriter {
    context: BoundWriteContext,
    statistics: FileStatsAccumulator,
    schema: SchemaRef,
    /// The columns that the commit has statistics of, in the order of the schema.
    known: Vec<usize>,
    writer: SerializedFileWriter<Vec<u8>>,
    row_groups: ArrowRowGroupWriterFactory,
    open: Option<RowGroup>,
    /// Bytes that were taken away already.
    taken_bytes: u64,
    /// Their checksum.
    taken_crc: u32,
    url: Url,
}

/// A row group that rows come to bit by bit.
struct RowGroup {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl FileWriter {
    /// An empty file for rows of one date. `sample` is what its rows are like: what repeats there is written by means of a
    /// dictionary.
    pub(crate) fn new(
        table: Table,
        state: &Arc<WriteState>,
        date: i32,
        effort: Effort,
        sample: &[RecordBatch],
    ) -> Result<Self, EncodeError> {
        let context = state
            .write_context_builder()
            .with_partition_values(HashMap::from([(PARTITION_COLUMN.to_owned(), Scalar::Date(date))]))
            .build()?;
        let schema = table.schema();
        // The Parquet schema alone: readers take the Arrow schema from the table, not from each file.
        let parquet_schema = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        let properties = Arc::new(properties(table, effort, sample));
        let writer = SerializedFileWriter::new(Vec::new(), parquet_schema, properties)?;
        let mut known: Vec<usize> =
            table.statistics_columns().iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        known.sort_unstable();
        let name = format!("{NAME_START}{}{}{NAME_END}", Uuid::now_v7(), checksum::MARK);
        Ok(Self {
            statistics: FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema()),
            row_groups: ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&schema)),
            schema,
            known,
            writer,
            open: None,
            taken_bytes: 0,
            taken_crc: 0,
            url: context.write_dir().join(&name).map_err(KernelError::from)?,
            context,
        })
    }

    /// Where the file belongs in the store.
    pub(crate) fn path(&self) -> Result<Path, EncodeError> {
        Ok(Path::from_url_path(self.url.path())?)
    }

    /// Adds rows that come after those before. A row group is written when it is full.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        self.statistics.merge(&rows.project(&self.known)?)?;
        let mut at = 0;
        while at < rows.num_rows() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => RowGroup { columns: self.next_columns()?, rows: 0 },
            };
            let count = (rows.num_rows() - at).min(ROWS_PER_ROW_GROUP - open.rows);
            open.write(&self.schema, &rows.slice(at, count))?;
            at += count;
            self.open = Some(open);
            if self.open.as_ref().is_some_and(|open| open.rows == ROWS_PER_ROW_GROUP) {
                self.close_row_group()?;
            }
        }
        Ok(())
    }

    /// Adds a row group of rows that come after those before. It asks for one column after the other, by its place in the
    /// table, and keeps none.
    pub(crate) fn write_row_group(
        &mut self,
        mut column: impl FnMut(usize) -> Result<ArrayRef, ArrowError>,
    ) -> Result<(), EncodeError> {
        let mut writers = self.next_columns()?.into_iter();
        let mut row_group = self.writer.next_row_group()?;
        let mut known = Vec::with_capacity(self.known.len());
        for (index, field) in self.schema.fields().iter().enumerate() {
            let values = column(index)?;
            for (leaf, mut writer) in compute_leaves(field, &values)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
                writer.close()?.append_to_row_group(&mut row_group)?;
            }
            if self.known.contains(&index) {
                known.push(values);
            }
        }
        row_group.close()?;
        let known = RecordBatch::try_new(Arc::new(self.schema.project(&self.known)?), known)?;
        Ok(self.statistics.merge(&known)?)
    }

    fn next_columns(&self) -> Result<Vec<ArrowColumnWriter>, ParquetError> {
        self.row_groups.create_column_writers(self.writer.flushed_row_groups().len())
    }

    fn close_row_group(&mut self) -> Result<(), ParquetError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut row_group = self.writer.next_row_group()?;
        for column in open.columns {
            column.close()?.append_to_row_group(&mut row_group)?;
        }
        row_group.close().map(|_| ())
    }

    /// Bytes that were taken away already.
    pub(crate) const fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// What the file has come to since it was asked last, so that it needs not be kept until the end.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(self.writer.inner_mut());
        self.taken_bytes += bytes.len() as u64;
        self.taken_crc = crc32c::crc32c_append(self.taken_crc, &bytes);
        bytes
    }

    /// Ends the file; its bytes are those that were not taken before.
    pub(crate) fn finish(mut self) -> Result<DataFile, EncodeError> {
        self.close_row_group()?;
        let path = self.path()?;
        self.writer.append_key_value_metadata(checksum::placeholder());
        let mut bytes = self.writer.into_inner()?;
        if !checksum::seal(self.taken_crc, &mut bytes) {
            return Err(EncodeError::Checksum);
        }
        let statistics = self.statistics.finish()?.ok_or_else(|| KernelError::generic("a file has no rows"))?;
        let size_bytes = self.taken_bytes + bytes.len() as u64;
        let file = FileMeta::new(self.url, chrono::Utc::now().timestamp_millis(), size_bytes);
        let add = build_add_file_metadata(DataFileMetadata::new(file, statistics), &self.context)?;
        Ok(DataFile { path, bytes, add: (*ArrowEngineData::try_from_engine_data(add)?).into() })
    }
}

impl RowGroup {
    fn write(&mut self, schema: &SchemaRef, rows: &RecordBatch) -> Result<(), ParquetError> {
        let mut writers = self.columns.iter_mut();
        for (field, values) in schema.fields().iter().zip(rows.columns()) {
            for (leaf, writer) in compute_leaves(field, values)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
            }
        }
        self.rows += rows.num_rows();
        Ok(())
    }
}
