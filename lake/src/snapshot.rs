//! A table as it stood at one version: the files that are live, and how far each writer had committed.
//!
//! This is what a query reads. What always holds: the files hold every row that was committed up to the version and
//! none that came after, so that the rows which a collector has after [`TableSnapshot::position`] are exactly the
//! others (I9).

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, RecordBatch, StructArray},
    compute::concat_batches,
    datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use url::Url;

use crate::{PARTITION_COLUMN, ReadError, Table, delta::State};

/// Delta's statistics cut times down to milliseconds, the largest ones too: a row may be this much later.
const LARGEST_TIME_CUT_US: i64 = 999;

/// Stands among the writers, and its position is a date: rows of the dates before were removed by retention.
pub(crate) const RETENTION: &str = "weir:retention";

/// Ends the keys of lives, which stand among the writers too: the position of such a key is the number of the life.
const LIFE: &str = "/life";

pub(crate) fn key_of_life(writer: &str) -> String {
    format!("{writer}{LIFE}")
}

/// A table at one version. Cheap to clone.
#[derive(Clone)]
pub struct TableSnapshot {
    table: Table,
    state: State,
    files: Arc<LiveFiles>,
}

impl fmt::Debug for TableSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, version, files) = (self.table.name(), self.version(), self.files.len());
        f.debug_struct("TableSnapshot")
            .field("table", &table)
            .field("version", &version)
            .field("files", &files)
            .finish()
    }
}

impl TableSnapshot {
    pub(crate) const fn new(table: Table, state: State, files: Arc<LiveFiles>) -> Self {
        Self { table, state, files }
    }

    /// Which table it is of.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.table
    }

    /// The version: 0 for the empty table, one more for each commit.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.version()
    }

    /// How far a writer had committed; `None` when it never has.
    #[must_use]
    pub fn position(&self, writer: &str) -> Option<i64> {
        self.state.position(writer)
    }

    /// Every writer that has committed, and how far.
    pub fn positions(&self) -> impl Iterator<Item = (&str, i64)> {
        let positions = self.state.positions.iter().map(|(writer, position)| (writer.as_str(), *position));
        positions.filter(|(writer, _)| *writer != RETENTION && !writer.ends_with(LIFE))
    }

    /// The first date, days since the Unix epoch, of which rows are kept; `None` when none were removed for their age.
    #[must_use]
    pub fn first_date_kept(&self) -> Option<i32> {
        self.position(RETENTION).and_then(|date| i32::try_from(date).ok())
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// The live files.
    #[must_use]
    pub const fn files(&self) -> &Arc<LiveFiles> {
        &self.files
    }
}

/// One live Parquet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile {
    /// Where it is in [`Lake::store`](crate::Lake::store).
    pub path: Path,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written.
    pub modified: DateTime<Utc>,
    /// The UTC date of its rows, days since the Unix epoch. It is not a column of the file.
    pub date: Option<i32>,
    /// How many rows it holds, if its writer said.
    pub rows: Option<u64>,
}

/// The live files of a table, and per file the statistics that let a query skip it.
///
/// All arrays have one entry for each file, in the order of [`LiveFiles::iter`].
#[derive(Debug)]
pub struct LiveFiles {
    files: Vec<LiveFile>,
    dates: ArrayRef,
    rows: Int64Array,
    smallest: Option<StructArray>,
    largest: Option<StructArray>,
    nulls: Option<StructArray>,
}

impl LiveFiles {
    /// From the log's rows.
    pub(crate) fn read(table: Table, root: &Url, log: &[RecordBatch]) -> Result<Self, ReadError> {
        let malformed = |reason: String| ReadError::Files { table, reason };
        let Some(first) = log.first() else { return Ok(Self::none()) };
        let log = concat_batches(&first.schema(), log).map_err(|error| malformed(error.to_string()))?;
        let rows = LogRows { log: &log };
        let parse = || -> Result<Self, String> {
            if rows.column("deletionVector")?.null_count() < log.num_rows() {
                return Err("a file has a deletion vector, which another writer made".to_owned());
            }
            let statistics = rows.column("stats_parsed")?.as_struct_opt().ok_or("stats_parsed is no struct")?;
            let partitions =
                rows.column("partitionValues_parsed")?.as_struct_opt().ok_or("partitionValues_parsed is no struct")?;
            let dates = partitions.column_by_name(PARTITION_COLUMN).ok_or("the files have no date")?;
            let dates_of_files = dates.as_primitive_opt::<Date32Type>().ok_or("the date of a file is no date")?;
            let counts =
                statistics.column_by_name("numRecords").and_then(|column| column.as_primitive_opt::<Int64Type>());
            let counts = counts.cloned().unwrap_or_else(|| Int64Array::new_null(log.num_rows()));
            let of = |name: &str| statistics.column_by_name(name).and_then(|column| column.as_struct_opt()).cloned();
            Ok(Self {
                files: rows.files(root, dates_of_files, &counts)?,
                dates: Arc::clone(dates),
                smallest: of("minValues"),
                largest: of("maxValues")
                    .map(|values| with_later_times(&values))
                    .transpose()
                    .map_err(|e| e.to_string())?,
                nulls: of("nullCount"),
                rows: counts,
            })
        };
        parse().map_err(malformed)
    }

    fn none() -> Self {
        let dates = Arc::new(Date32Array::from(Vec::<i32>::new()));
        let rows = Int64Array::from(Vec::<i64>::new());
        Self { files: Vec::new(), dates, rows, smallest: None, largest: None, nulls: None }
    }

    /// How many files are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether the table has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Each file.
    pub fn iter(&self) -> std::slice::Iter<'_, LiveFile> {
        self.files.iter()
    }

    /// All rows of all files; `None` when the writer of one did not say.
    #[must_use]
    pub fn total_rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Rows of each file; null where its writer did not say.
    #[must_use]
    pub const fn row_counts(&self) -> &Int64Array {
        &self.rows
    }

    /// A bound that no value of the column is below, for each file; for the partition column its value. `None` for a
    /// column without statistics.
    #[must_use]
    pub fn smallest_values(&self, column: &str) -> Option<&ArrayRef> {
        self.values(self.smallest.as_ref(), column)
    }

    /// A bound that no value of the column is above, for each file; for the partition column its value. `None` for a
    /// column without statistics. Times are up to 999 µs too late: Delta's statistics are cut to milliseconds.
    #[must_use]
    pub fn largest_values(&self, column: &str) -> Option<&ArrayRef> {
        self.values(self.largest.as_ref(), column)
    }

    /// Nulls of the column in each file, bigint. `None` for a column without statistics.
    #[must_use]
    pub fn null_counts(&self, column: &str) -> Option<&ArrayRef> {
        self.nulls.as_ref()?.column_by_name(column)
    }

    fn values<'a>(&'a self, of: Option<&'a StructArray>, column: &str) -> Option<&'a ArrayRef> {
        if column == PARTITION_COLUMN { Some(&self.dates) } else { of?.column_by_name(column) }
    }
}

/// The log's rows, whose columns are known by name.
struct LogRows<'a> {
    log: &'a RecordBatch,
}

impl LogRows<'_> {
    fn column(&self, name: &str) -> Result<&ArrayRef, String> {
        self.log.column_by_name(name).ok_or_else(|| format!("the log's rows have no {name}"))
    }

    fn files(&self, root: &Url, dates: &Date32Array, rows: &Int64Array) -> Result<Vec<LiveFile>, String> {
        let paths = self.column("path")?.as_string_opt::<i32>().ok_or("path is no text")?;
        let sizes = self.column("size")?.as_primitive_opt::<Int64Type>().ok_or("size is no bigint")?;
        let times =
            self.column("modificationTime")?.as_primitive_opt::<Int64Type>().ok_or("modificationTime is no bigint")?;
        let file = |row: usize| {
            // Paths in the log are URLs, relative to the table.
            let url = root.join(paths.value(row)).map_err(|error| error.to_string())?;
            Ok(LiveFile {
                path: Path::from_url_path(url.path()).map_err(|error| error.to_string())?,
                size_bytes: u64::try_from(sizes.value(row)).map_err(|error| error.to_string())?,
                modified: DateTime::from_timestamp_millis(times.value(row)).unwrap_or_default(),
                date: dates.is_valid(row).then(|| dates.value(row)),
                rows: rows.is_valid(row).then(|| rows.value(row)).and_then(|rows| u64::try_from(rows).ok()),
            })
        };
        (0..self.log.num_rows()).map(file).collect()
    }
}

/// The largest values, with times as late as they may have been before they were cut.
fn with_later_times(values: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = values.columns().iter().map(|column| match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            let later =
                times.unary::<_, TimestampMicrosecondType>(|time_us| time_us.saturating_add(LARGEST_TIME_CUT_US));
            Arc::new(later.with_timezone_opt(zone.clone())) as ArrayRef
        }
        _ => Arc::clone(column),
    });
    StructArray::try_new(values.fields().clone(), columns.collect(), values.nulls().cloned())
}
