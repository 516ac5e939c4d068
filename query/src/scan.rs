//! The scan of a table's live files: which are read, in which order, with what known beforehand.
//!
//! Files are skipped by the statistics in the commits, before any is opened; within a file DataFusion skips row groups
//! and pages by the file's own. The newest files come first, because most questions are about now, and a statement that
//! needs only the newest rows can then skip the others while it runs.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::cast,
    datatypes::{DataType, Field, SchemaRef, TimestampMicrosecondType},
};
use datafusion::{
    catalog::Session,
    common::{Column, ColumnStatistics, Result, ScalarValue, Statistics, pruning::PruningStatistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::CachedParquetFileReaderFactory},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    execution::object_store::ObjectStoreUrl,
    physical_expr::PhysicalExpr,
    physical_expr_adapter::{
        DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
        replace_columns_with_literals,
    },
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::ExecutionPlan,
};
use object_store::{ObjectMeta, ObjectStore};
use weir_lake::{LiveFile, LiveFiles, PARTITION_COLUMN, Table};

/// The lake's store as DataFusion knows it.
pub(crate) const STORE_URL: &str = "weir-lake://store";

/// What is read of a file's end at first: enough for the footer of most.
const FOOTER_BYTES: usize = 64 << 10;

/// When a row happened. Every table has it.
pub(crate) const TIME: &str = "time";

/// The live files of a table, to be scanned.
pub(crate) struct FileScan<'a> {
    table: Table,
    files: &'a LiveFiles,
    store: &'a Arc<dyn ObjectStore>,
    columns: TableSchema,
}

impl<'a> FileScan<'a> {
    pub(crate) fn new(table: Table, files: &'a LiveFiles, store: &'a Arc<dyn ObjectStore>) -> Self {
        let date = Arc::new(Field::new(PARTITION_COLUMN, DataType::Date32, true));
        let columns = TableSchema::builder(table.schema()).with_table_partition_cols(vec![date]).build();
        Self { table, files, store, columns }
    }

    /// The columns in the order that DataFusion keeps: those of the files, then the partition column.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.columns.table_schema()
    }

    /// The plan that reads the files which may hold matching rows; none if no file does.
    ///
    /// `projection` counts columns as the table does, with the partition column first; `filter` as [`Self::schema`].
    pub(crate) fn plan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let kept = self.kept(filter.as_ref())?;
        if kept.is_empty() {
            return Ok(None);
        }
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(Arc::clone(self.store), cache);
        let mut source = ParquetSource::new(self.columns.clone())
            .with_parquet_file_reader_factory(Arc::new(reader))
            .with_metadata_size_hint(FOOTER_BYTES);
        if let Some(filter) = filter {
            source = source.with_predicate(filter);
        }
        let all = (0..self.schema().fields().len()).collect();
        let projection = self.reordered(projection.unwrap_or(&all));
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
            .with_statistics(self.total_statistics(&kept))
            .with_file_groups(self.groups(kept, session.config().target_partitions()))
            .with_projection_indices(Some(projection))?
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::new(OlderFiles(self.table))))
            .build();
        Ok(Some(DataSourceExec::from_data_source(scan)))
    }

    /// The numbers of the files that may hold matching rows, the newest first.
    fn kept(&self, filter: Option<&Arc<dyn PhysicalExpr>>) -> Result<Vec<usize>> {
        let mut kept: Vec<usize> = (0..self.files.len()).collect();
        if let Some(filter) = filter
            && let Some(predicate) =
                PruningPredicateBuilder::new().with_file_schema(Arc::clone(self.schema())).build(Arc::clone(filter))
        {
            let may_match = predicate.prune(&FileStatistics(self.files))?;
            kept.retain(|file| may_match[*file]);
        }
        kept.sort_by_cached_key(|file| Reverse(time_of(self.files.largest_values(TIME), *file)));
        Ok(kept)
    }

    /// The files dealt out like cards, so that each partition begins with its newest.
    fn groups(&self, kept: Vec<usize>, partitions: usize) -> Vec<FileGroup> {
        let mut groups = vec![Vec::new(); partitions.clamp(1, kept.len())];
        let count = groups.len();
        let files: Vec<&LiveFile> = self.files.iter().collect();
        for (number, file) in kept.into_iter().enumerate() {
            groups[number % count].push(self.partitioned(files[file], file));
        }
        groups.into_iter().map(FileGroup::new).collect()
    }

    fn partitioned(&self, file: &LiveFile, number: usize) -> PartitionedFile {
        let meta = ObjectMeta {
            location: file.path.clone(),
            last_modified: file.modified,
            size: file.size_bytes,
            e_tag: None,
            version: None,
        };
        let partitioned =
            PartitionedFile::new_from_meta(meta).with_partition_values(vec![ScalarValue::Date32(file.date)]);
        let Some(rows) = file.rows else { return partitioned };
        let fields = self.columns.file_schema().fields();
        let mut columns = vec![ColumnStatistics::new_unknown(); fields.len()];
        if let Some((time, _)) = fields.find(TIME) {
            columns[time].min_value = bound(time_of(self.files.smallest_values(TIME), number));
            columns[time].max_value = bound(time_of(self.files.largest_values(TIME), number));
        }
        let statistics =
            Statistics { num_rows: exact(rows), total_byte_size: Precision::Absent, column_statistics: columns };
        partitioned.with_statistics(Arc::new(statistics))
    }

    /// What is known of all files together; counting all rows then reads none.
    fn total_statistics(&self, kept: &[usize]) -> Statistics {
        let mut statistics = Statistics::new_unknown(self.schema());
        let files: Vec<&LiveFile> = self.files.iter().collect();
        let rows: Option<u64> = kept.iter().map(|file| files[*file].rows).sum();
        statistics.num_rows = rows.map_or(Precision::Absent, exact);
        let bytes: u64 = kept.iter().map(|file| files[*file].size_bytes).sum();
        statistics.total_byte_size = exact(bytes).to_inexact();
        statistics
    }

    /// Columns counted as the table does, counted as DataFusion does.
    fn reordered(&self, projection: &[usize]) -> Vec<usize> {
        let last = self.schema().fields().len() - 1;
        projection.iter().map(|column| column.checked_sub(1).unwrap_or(last)).collect()
    }
}

/// The commits' statistics in the form that skips files.
struct FileStatistics<'a>(&'a LiveFiles);

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.0.smallest_values(&column.name).map(Arc::clone)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.0.largest_values(&column.name).map(Arc::clone)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        cast(self.0.null_counts(&column.name)?, &DataType::UInt64).ok()
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        cast(self.0.row_counts(), &DataType::UInt64).ok()
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// What stands in a column that a file of an older version lacks: 0 where it counts, else null.
#[derive(Debug)]
struct OlderFiles(Table);

impl PhysicalExprAdapterFactory for OlderFiles {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let lacked = table.fields().iter().filter(|column| file.field_with_name(column.name()).is_err());
        let counts = lacked.filter(|column| self.0.counts(column));
        let zeros = counts.map(|column| (column.name().clone(), ScalarValue::Int64(Some(0)))).collect();
        Ok(Arc::new(OlderFile { zeros, nulls: DefaultPhysicalExprAdapterFactory.create(table, file)? }))
    }
}

/// The columns that one file lacks.
#[derive(Debug)]
struct OlderFile {
    zeros: HashMap<String, ScalarValue>,
    /// Sees to all others, and to those that are there.
    nulls: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for OlderFile {
    fn rewrite(&self, expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.nulls.rewrite(replace_columns_with_literals(expression, &self.zeros)?)
    }
}

fn time_of(values: Option<&ArrayRef>, file: usize) -> Option<i64> {
    let times = values?.as_primitive_opt::<TimestampMicrosecondType>()?;
    times.is_valid(file).then(|| times.value(file))
}

/// A bound as DataFusion wants it, to skip files while a statement runs: exact, although it may be farther than the true
/// value. Of an exact value DataFusion would only conclude more if the smallest were the largest, and these are at least
/// 999 µs apart.
fn bound(time_us: Option<i64>) -> Precision<ScalarValue> {
    match time_us {
        Some(_) => Precision::Exact(ScalarValue::TimestampMicrosecond(time_us, Some("UTC".into()))),
        None => Precision::Absent,
    }
}

fn exact(count: u64) -> Precision<usize> {
    usize::try_from(count).map_or(Precision::Absent, Precision::Exact)
}

#[cfg(test)]
mod tests;
