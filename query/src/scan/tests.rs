use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::{
    common::ScalarValue,
    physical_expr::{
        PhysicalExpr,
        expressions::{Column, Literal},
    },
    physical_expr_adapter::PhysicalExprAdapterFactory,
};
use weir_lake::Table;

use super::OlderFiles;
use crate::{
    session::{Engine, Options},
    testing::{DAY_US, TestLake, csv, request_rows, value},
};

const HOUR_US: i64 = 3_600_000_000;

/// How many files a statement would read.
async fn files_read(engine: &Engine, filter: &str) -> usize {
    let sql = format!("EXPLAIN SELECT request_id FROM requests WHERE {filter}");
    csv(engine, &sql, Options::default()).await.unwrap().matches(".parquet").count()
}

/// Four files: an hour each, on two days.
async fn four_hours() -> TestLake {
    let test = TestLake::open().await;
    for hour in 0..4 {
        let from = DAY_US + (hour - 2) * HOUR_US;
        test.commit(&[from, from + HOUR_US / 2], hour + 1).await;
    }
    test
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_match_are_not_read() {
    let test = four_hours().await;
    let engine = test.engine();
    for (filter, files) in [
        ("true", 4),
        ("time >= '2026-11-23T01:00:00Z'", 1),
        ("time >= '2026-11-22T23:10:00Z' AND time < '2026-11-23T00:10:00Z'", 2),
        ("time > TIMESTAMP '2026-11-23 01:31:00'", 0),
        ("date = '2026-11-22'", 2),
        ("date > DATE '2026-11-23'", 0),
        ("route = '/nowhere'", 0),
        ("status >= 500", 0),
        ("status BETWEEN 200 AND 299 AND date = '2026-11-23'", 2),
        ("time >= now() + INTERVAL '100 years'", 0),
        ("latency_us > 1000000", 0),
    ] {
        assert_eq!(files_read(&engine, filter).await, files, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_microseconds_of_a_file_are_found() {
    let test = TestLake::open().await;
    test.commit(&[DAY_US, DAY_US + 999_999], 1).await;
    let engine = test.engine();
    for (filter, rows) in [
        ("time >= '2026-11-23T00:00:00.999900Z'", "1"),
        ("time > '2026-11-23T00:00:00.999998Z'", "1"),
        ("time = '2026-11-23T00:00:00.999999Z'", "1"),
        ("time > '2026-11-23T00:00:00.999999Z'", "0"),
    ] {
        assert_eq!(value(&engine, &format!("SELECT count(*) FROM requests WHERE {filter}")).await, rows, "{filter}");
    }
    assert_eq!(value(&engine, "SELECT max(time) FROM requests").await, "2026-11-23T00:00:00.999999Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rows_come_first_whatever_the_order_of_the_files() {
    let test = four_hours().await;
    test.commit(&[DAY_US - 100 * HOUR_US], 9).await;
    let engine = test.engine();
    let newest = "SELECT time FROM requests ORDER BY time DESC LIMIT 2";
    let expected = "time\n2026-11-23T01:30:00Z\n2026-11-23T01:00:00Z\n";
    assert_eq!(csv(&engine, newest, Options::default()).await.unwrap(), expected);
    let oldest = "SELECT time FROM requests ORDER BY time LIMIT 1";
    assert_eq!(value(&engine, oldest).await, "2026-11-18T20:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_in_the_order_of_the_table() {
    let test = four_hours().await;
    let engine = test.engine();
    let text = csv(&engine, "SELECT * FROM requests ORDER BY time LIMIT 1", Options::default()).await.unwrap();
    let names: Vec<_> = Table::Requests.full_schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap(), names.join(","));
    assert!(
        lines.next().unwrap().starts_with("2026-11-22,2026-11-22T22:00:00Z,r1795384800000000,shop,prod,/items/{id}")
    );
    let mixed = "SELECT status, date, time FROM requests ORDER BY time LIMIT 1";
    assert_eq!(value(&engine, mixed).await, "200,2026-11-22,2026-11-22T22:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_all_rows_reads_no_file() {
    let test = four_hours().await;
    let engine = test.engine();
    let plan = csv(&engine, "EXPLAIN SELECT count(*) FROM requests", Options::default()).await.unwrap();
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    assert_eq!(value(&engine, "SELECT count(*) FROM requests").await, "8");
    test.lake.table(Table::Requests).append(&[request_rows(&[DAY_US])], "writer-2", 1).await.unwrap();
    assert_eq!(value(&engine, "SELECT count(*) FROM requests").await, "9");
}

#[test]
fn what_a_file_of_an_older_version_lacks_is_nothing_where_it_counts_and_else_null() {
    let read_as = |table: Table, lacked: &str| -> ScalarValue {
        let schema = table.schema();
        let kept = schema.fields().iter().filter(|column| column.name() != lacked).map(Arc::clone);
        let file = Arc::new(Schema::new(kept.collect::<Vec<_>>()));
        let adapter = OlderFiles(table).create(Arc::clone(&schema), file).unwrap();
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(lacked, &schema).unwrap());
        let rewritten = adapter.rewrite(column).unwrap();
        rewritten.downcast_ref::<Literal>().unwrap().value().clone()
    };
    assert_eq!(read_as(Table::Metrics, "tls_failure"), ScalarValue::Int64(Some(0)));
    assert_eq!(read_as(Table::Ledger, "doubtful"), ScalarValue::Int64(Some(0)));
    assert_eq!(read_as(Table::Metrics, "authorizer_latency"), ScalarValue::Binary(None));
    assert_eq!(read_as(Table::Requests, "trace_kept"), ScalarValue::Boolean(None));
    assert_eq!(read_as(Table::Requests, "request_bytes"), ScalarValue::Int64(None));
}
