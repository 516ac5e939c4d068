use std::sync::Arc;

use crate::{
    error::QueryError,
    session::{Engine, Limits, Options},
    testing::{DAY_US, TestLake, csv, value},
};

async fn error(engine: &Engine, sql: &str) -> QueryError {
    csv(engine, sql, Options::default()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_reading_is_allowed() {
    let test = TestLake::open().await;
    let engine = test.engine();
    for sql in [
        "CREATE TABLE t (a INT)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SCHEMA s",
        "CREATE DATABASE d",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "DROP TABLE requests",
        "DROP VIEW v",
        "INSERT INTO requests SELECT * FROM requests",
        "WITH t AS (SELECT 1) INSERT INTO requests SELECT * FROM t",
        "UPDATE requests SET status = 1",
        "DELETE FROM requests",
        "MERGE INTO requests USING spans ON true WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE requests",
        "COPY requests TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SELECT 1 INTO t",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "USE weir",
        "ANALYZE requests",
        "ALTER TABLE requests ADD COLUMN x INT",
        "GRANT SELECT ON requests TO x",
        "EXPLAIN INSERT INTO requests SELECT * FROM requests",
        "EXPLAIN ANALYZE COPY requests TO '/tmp/x.csv'",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
    ] {
        let error = error(&engine, sql).await;
        assert!(matches!(error, QueryError::ReadOnly(_) | QueryError::Invalid(_)), "{sql}: {error:?}");
    }
    assert!(matches!(error(&engine, "DROP TABLE requests").await, QueryError::ReadOnly(what) if what == "DROP TABLE"));
    assert_eq!(value(&engine, "SELECT count(*) FROM requests").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_a_table() {
    let test = TestLake::open().await;
    let engine = test.engine();
    for sql in ["SELECT * FROM '/etc/passwd'", "SELECT * FROM \"/etc/passwd\"", "SELECT * FROM read_csv('/etc/passwd')"]
    {
        assert!(matches!(error(&engine, sql).await, QueryError::Invalid(_)), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_asked_is_answered() {
    let test = TestLake::open().await;
    test.commit(&[DAY_US, DAY_US + 1], 1).await;
    let engine = test.engine();
    for (sql, part) in [
        ("SELECT 1;", "1"),
        ("VALUES (1), (2)", "2"),
        ("WITH requests AS (SELECT 7 AS x) SELECT x FROM requests", "7"),
        ("SELECT count(*) FROM weir.public.requests", "2"),
        ("SELECT count(*) FROM requests a JOIN requests b ON a.request_id = b.request_id", "2"),
        ("SELECT count(*) FROM requests WHERE request_id IN (SELECT request_id FROM requests LIMIT 1)", "1"),
        ("SELECT count(*) FROM generate_series(1, 5)", "5"),
        ("SHOW TABLES", "requests"),
        ("DESCRIBE metrics", "latency"),
        ("SHOW COLUMNS FROM requests", "attributes"),
        ("EXPLAIN SELECT * FROM requests", "DataSourceExec"),
        ("EXPLAIN ANALYZE SELECT * FROM requests", "output_rows"),
        ("SELECT date_bin(INTERVAL '1 hour', time) AS t, count(*) FROM requests GROUP BY t", "2026-11-23T00:00:00Z,2"),
        ("SELECT route, p99(latency), sum(requests) FROM metrics GROUP BY route", "route"),
        ("SELECT count(*) FROM information_schema.columns WHERE table_name = 'ledger'", "14"),
        ("SELECT a.time, b.time FROM requests a JOIN requests b USING (request_id)", "time,time_2"),
    ] {
        let text = csv(&engine, sql, Options::default()).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(text.contains(part), "{sql}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_what_there_is() {
    let test = TestLake::open().await;
    let engine = test.engine();
    for (sql, text) in [
        (
            "SELECT * FROM request",
            "no table request; did you mean requests? there are: requests, spans, metrics, ledger",
        ),
        ("SELECT * FROM traffic", "no table traffic; there are: requests, spans, metrics, ledger"),
        ("SELECT latency FROM requests", "no column latency; did you mean"),
        ("SELECT source, ofered FROM ledger", "no column ofered; did you mean offered? there are: date, time, source"),
        ("SELEC 1", "Expected"),
        ("SELECT 1; SELECT 2", "one statement at a time: these are 2"),
        ("  -- nothing", "there is no statement to run"),
        ("SELECT p42(latency) FROM metrics", "p42"),
    ] {
        let error = error(&engine, sql).await;
        assert!(error.to_string().contains(text), "{sql}: {error}");
        let refused = matches!(error, QueryError::Invalid(_) | QueryError::ReadOnly(_));
        assert!(refused, "{sql}: {error:?}");
    }
    let failed = error(&engine, "SELECT 1 / (count(*)) FROM requests").await;
    assert!(matches!(&failed, QueryError::Execution(text) if text == "division by zero"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_needs_too_much_ends_alone() {
    let test = TestLake::open().await;
    let limits = Limits { memory_bytes: 16 << 20, spill_bytes: 0, spill_directory: None };
    let engine = Arc::new(Engine::new(Arc::clone(&test.lake), Vec::new(), &limits).unwrap());
    for greedy in [
        "SELECT count(*) FROM generate_series(1, 3000000) AS a(v) JOIN generate_series(1, 3000000) AS b(v) ON a.v = b.v",
        "SELECT v FROM generate_series(1, 5000000) AS a(v) ORDER BY v % 1000, v DESC",
    ] {
        let error = error(&engine, greedy).await;
        assert!(matches!(error, QueryError::Resources(_)), "{greedy}: {error:?}");
    }
    // What ran beside the part that failed gives its memory back when it is dropped, which nobody awaits.
    while engine.reserved_bytes() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(value(&engine, "SELECT 1").await, "1");
}
