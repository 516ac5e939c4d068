//! The tables and their columns. The one place that names a column and its type; rows, files and commits follow it.
//!
//! A column that comes later may stand anywhere: a table that lacks it gets it, and files that lack it are read as
//! [`older`](crate::older) says. None goes, and none changes its type.
//!
//! What always holds: every column is nullable and of a type that Delta knows, so that the tables need no table
//! feature and every Delta reader can read them. Times are microseconds, UTC; ids are hexadecimal text.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_record::Outcome;

/// Name of the column that every table is partitioned by: the UTC date of `time`. It is part of the table and of the
/// paths of its files, not of the rows that are appended.
pub const PARTITION_COLUMN: &str = "date";

/// A table of the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row a request: the access records.
    Requests,
    /// One row a span of a kept trace.
    Spans,
    /// One row a cell: counts and sketches of one route, in 10 seconds, or a minute or an hour when they are older. Rows
    /// of one key are added up by the reader.
    Metrics,
    /// One row a source, signal and flush: what was offered, dropped, received, stored.
    Ledger,
}

impl Table {
    /// Every table, in the order that everything which lists them keeps.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Spans, Self::Metrics, Self::Ledger];

    /// The table's name in SQL, which is also its directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Spans => "spans",
            Self::Metrics => "metrics",
            Self::Ledger => "ledger",
        }
    }

    /// The table of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The columns of the rows that are appended: all columns but [`PARTITION_COLUMN`].
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 4]> = LazyLock::new(|| Table::ALL.map(|table| Arc::new(table.columns())));
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// The columns of the table: [`PARTITION_COLUMN`], then the columns of the rows.
    #[must_use]
    pub fn full_schema(self) -> SchemaRef {
        let date = Arc::new(Field::new(PARTITION_COLUMN, DataType::Date32, true));
        let fields: Vec<_> = std::iter::once(date).chain(self.schema().fields().iter().map(Arc::clone)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The columns whose smallest and largest value stands in the commit, so that a query skips files without opening
    /// them.
    pub(crate) const fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["time", "api", "stage", "route", "method", "status", "outcome", "latency_us"],
            Self::Spans => &["time", "duration_us", "name", "kind", "status", "service", "api", "stage"],
            Self::Metrics => &["time", "seconds", "api", "stage", "route", "method"],
            Self::Ledger => &["time", "source", "service", "signal"],
        }
    }

    /// The columns that hold a different value in nearly every row, so that a dictionary of them would only take room.
    pub(crate) const fn id_columns(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["request_id", "trace_id", "span_id"],
            Self::Spans => &["trace_id", "span_id", "parent_span_id"],
            Self::Metrics | Self::Ledger => &[],
        }
    }

    /// Those of them that rows are looked up by: their files carry a bloom filter.
    pub(crate) const fn lookup_columns(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["request_id", "trace_id"],
            Self::Spans => &["trace_id"],
            Self::Metrics | Self::Ledger => &[],
        }
    }

    /// The columns that the rows of a file are in the order of, the first before the second: rows that are asked for
    /// together stand together, and files merge as they are read. Nulls come first.
    pub(crate) const fn order(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["api", "stage", "route", "time"],
            Self::Spans => &["api", "stage", "time"],
            // The time comes last, so that cells stay in order when their times are cut to minutes or hours.
            Self::Metrics => &["api", "stage", "route", "method", "time"],
            Self::Ledger => &["time", "source", "signal"],
        }
    }

    fn columns(self) -> Schema {
        match self {
            Self::Requests => Schema::new(requests()),
            Self::Spans => Schema::new(spans()),
            Self::Metrics => Schema::new(metrics()),
            Self::Ledger => Schema::new(ledger()),
        }
    }
}

fn requests() -> Vec<Field> {
    vec![
        time("time"),
        text("request_id"),
        text("api"),
        text("stage"),
        text("route"),
        text("method"),
        text("path"),
        text("protocol"),
        text("domain"),
        int("status"),
        text("outcome"),
        text("throttle_scope"),
        bigint("latency_us"),
        bigint("integration_latency_us"),
        bigint("authorizer_latency_us"),
        bigint("gateway_latency_us"),
        int("integration_status"),
        int("authorizer_status"),
        bigint("request_bytes"),
        bigint("response_bytes"),
        text("client_address"),
        text("user_agent"),
        text("principal"),
        text("api_key_id"),
        text("usage_plan"),
        text("cache"),
        boolean("canary"),
        text("trace_id"),
        text("span_id"),
        boolean("trace_kept"),
        text("error_message"),
        attributes("attributes"),
        text("source"),
        time("received_time"),
    ]
}

fn spans() -> Vec<Field> {
    vec![
        time("time"),
        bigint("duration_us"),
        text("trace_id"),
        text("span_id"),
        text("parent_span_id"),
        text("trace_state"),
        text("name"),
        text("kind"),
        text("status"),
        text("status_message"),
        text("service"),
        text("api"),
        text("stage"),
        attributes("attributes"),
        text("events"),
        text("links"),
        text("source"),
        time("received_time"),
    ]
}

fn metrics() -> Vec<Field> {
    let mut fields = vec![time("time"), int("seconds")];
    fields.extend(["api", "stage", "route", "method"].map(text));
    fields.push(bigint("requests"));
    fields.extend(["status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "status_none"].map(bigint));
    fields.extend(Outcome::ALL.iter().map(|outcome| bigint(outcome.as_str())));
    fields.extend(["request_bytes", "response_bytes"].map(bigint));
    fields.extend(["latency", "integration_latency", "authorizer_latency"].map(sketch));
    fields
}

fn ledger() -> Vec<Field> {
    let mut fields = vec![time("time"), text("source"), text("service"), text("signal")];
    let counts =
        ["offered", "dropped", "received", "duplicate", "rejected", "stored", "gaps", "doubtful", "damaged_frames"];
    fields.extend(counts.map(bigint));
    fields
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn bigint(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn boolean(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

fn sketch(name: &str) -> Field {
    Field::new(name, DataType::Binary, true)
}

/// A map from text to text, with the names that `delta_kernel` gives the parts of a map.
fn attributes(name: &str) -> Field {
    let (key, value) = (Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true));
    Field::new_map(name, "key_value", key, value, false, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_that_is_singled_out_is_a_column() {
        for table in Table::ALL {
            for column in
                [table.statistics_columns(), table.id_columns(), table.lookup_columns(), table.order()].concat()
            {
                assert!(table.schema().column_with_name(column).is_some(), "{} has no {column}", table.name());
            }
        }
    }

    #[test]
    fn every_column_is_nullable() {
        for table in Table::ALL {
            assert!(table.full_schema().fields().iter().all(|field| field.is_nullable()));
        }
    }

    #[test]
    fn a_table_is_found_by_its_name() {
        for table in Table::ALL {
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
        assert_eq!(Table::from_name("nope"), None);
    }
}
