use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryArray, BinaryViewArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    common::Result,
    execution::session_state::SessionStateBuilder,
    prelude::{SessionConfig, SessionContext},
};
use weir_lake::Sketch;

use super::{aggregates, scalars};

fn context() -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_aggregate_functions(aggregates())
        .with_scalar_functions(scalars())
        .with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(7));
    SessionContext::new_with_state(state.build())
}

async fn ask(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    context.sql(sql).await?.collect().await
}

/// The only column of an answer, as bigints.
async fn numbers(context: &SessionContext, sql: &str) -> Vec<Option<i64>> {
    let batches = ask(context, sql).await.unwrap();
    let columns = batches.iter().map(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap());
    columns.flat_map(|column| column.iter()).collect()
}

/// Fifty rows of three groups, with nulls, in as many partitions as rows of batches; and each group's sketch.
fn metrics(context: &SessionContext) -> [Sketch; 3] {
    let mut expected = [Sketch::new(), Sketch::new(), Sketch::new()];
    let (mut groups, mut sketches) = (Vec::new(), Vec::new());
    for row in 0..50_u64 {
        let group = usize::try_from(row % 3).unwrap();
        groups.push(["a", "b", "c"][group]);
        let mut sketch = Sketch::new();
        for value in 0..row {
            sketch.record(value * 37 + row);
        }
        sketches.push((row % 5 != 0).then(|| sketch.to_bytes()));
        if row % 5 != 0 {
            expected[group].merge(&sketch);
        }
    }
    let latency = BinaryArray::from_iter(sketches.iter().map(Option::as_deref));
    let columns: [(&str, ArrayRef); 2] =
        [("route", Arc::new(StringArray::from(groups))), ("latency", Arc::new(latency))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    context.register_batch("metrics", batch).unwrap();
    expected
}

#[tokio::test]
async fn aggregates_equal_the_merge_of_all_sketches() {
    let context = context();
    let expected = metrics(&context);
    for (function, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        let sql = format!("SELECT {function}(latency) FROM metrics GROUP BY route ORDER BY route");
        let answers: Vec<_> = expected.iter().map(|sketch| Some(sketch.quantile(quantile).cast_signed())).collect();
        assert_eq!(numbers(&context, &sql).await, answers, "{function}");
    }
    let mut all = Sketch::new();
    expected.iter().for_each(|sketch| all.merge(sketch));
    let merged = "SELECT sketch_count(sketch_merge(latency)) FROM metrics";
    assert_eq!(numbers(&context, merged).await, [Some(all.count().cast_signed())]);
    let nested = "SELECT sketch_quantile(sketch_merge(s), 0.9) FROM (SELECT sketch_merge(latency) AS s FROM metrics GROUP BY route)";
    assert_eq!(numbers(&context, nested).await, [Some(all.quantile(0.9).cast_signed())]);
}

#[tokio::test]
async fn a_filter_and_a_window_see_the_rows_they_should() {
    let context = context();
    let expected = metrics(&context);
    let filtered = "SELECT sketch_count(sketch_merge(latency) FILTER (WHERE route = 'b')) FROM metrics";
    assert_eq!(numbers(&context, filtered).await, [Some(expected[1].count().cast_signed())]);
    let window =
        "SELECT DISTINCT sketch_count(sketch_merge(latency) OVER (PARTITION BY route)) AS n FROM metrics ORDER BY n";
    let mut counts: Vec<_> = expected.iter().map(|sketch| Some(sketch.count().cast_signed())).collect();
    counts.sort_unstable();
    assert_eq!(numbers(&context, window).await, counts);
    let running =
        "SELECT sketch_count(sketch_merge(latency) OVER (ORDER BY route)) AS n FROM metrics ORDER BY n DESC LIMIT 1";
    let total = expected.iter().map(Sketch::count).sum::<u64>();
    assert_eq!(numbers(&context, running).await, [Some(total.cast_signed())]);
}

#[tokio::test]
async fn every_binary_type_is_a_sketch() {
    let context = context();
    let mut sketch = Sketch::new();
    sketch.record_n(1000, 3);
    let bytes = sketch.to_bytes();
    let columns: [(&str, ArrayRef); 3] = [
        ("plain", Arc::new(BinaryArray::from_vec(vec![&bytes]))),
        ("large", Arc::new(LargeBinaryArray::from_vec(vec![&bytes]))),
        ("view", Arc::new(BinaryViewArray::from_iter_values([&bytes]))),
    ];
    context.register_batch("t", RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    for column in ["plain", "large", "view"] {
        assert_eq!(numbers(&context, &format!("SELECT sketch_count(sketch_merge({column})) FROM t")).await, [Some(3)]);
        assert_eq!(numbers(&context, &format!("SELECT p50({column}) FROM t")).await, [Some(1003)], "{column}");
        assert_eq!(numbers(&context, &format!("SELECT sketch_count({column}) FROM t")).await, [Some(3)]);
        assert_eq!(numbers(&context, &format!("SELECT sketch_quantile({column}, 1) FROM t")).await, [Some(1003)]);
    }
}

#[tokio::test]
async fn no_sketch_and_an_empty_sketch_have_no_quantile() {
    let context = context();
    let empty = Sketch::new().to_bytes();
    let column: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![None, Some(&empty)]));
    context.register_batch("t", RecordBatch::try_from_iter([("latency", column)]).unwrap()).unwrap();
    assert_eq!(numbers(&context, "SELECT p99(latency) FROM t").await, [None]);
    assert_eq!(numbers(&context, "SELECT p99(latency) FROM t WHERE false").await, [None]);
    assert_eq!(numbers(&context, "SELECT p99(NULL) FROM t").await, [None]);
    assert_eq!(numbers(&context, "SELECT sketch_count(latency) FROM t").await, [None, Some(0)]);
    for function in ["sketch_min", "sketch_max"] {
        assert_eq!(numbers(&context, &format!("SELECT {function}(latency) FROM t")).await, [None, None]);
    }
    let mean = ask(&context, "SELECT sketch_mean(latency) IS NULL AS none FROM t").await.unwrap();
    assert!(!pretty_format_batches(&mean).unwrap().to_string().contains("false"));
}

#[tokio::test]
async fn a_single_sketch_answers_as_the_library_does() {
    let context = context();
    let mut sketch = Sketch::new();
    (1..=500).for_each(|value| sketch.record(value * 11));
    let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&sketch.to_bytes()]));
    context.register_batch("t", RecordBatch::try_from_iter([("s", column)]).unwrap()).unwrap();
    assert_eq!(numbers(&context, "SELECT sketch_min(s) FROM t").await, [Some(sketch.min().cast_signed())]);
    assert_eq!(numbers(&context, "SELECT sketch_max(s) FROM t").await, [Some(sketch.max().cast_signed())]);
    let mean = format!("SELECT CAST(sketch_mean(s) = {} AS BIGINT) FROM t", sketch.mean());
    assert_eq!(numbers(&context, &mean).await, [Some(1)]);
    let quantile = "SELECT sketch_quantile(s, 0.75) FROM t";
    assert_eq!(numbers(&context, quantile).await, [Some(sketch.quantile(0.75).cast_signed())]);
}

#[tokio::test]
async fn what_is_no_sketch_is_an_error_that_names_the_function() {
    let context = context();
    let damaged: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"no sketch"]));
    context.register_batch("t", RecordBatch::try_from_iter([("s", damaged)]).unwrap()).unwrap();
    for call in ["sketch_merge(s)", "p99(s)", "sketch_count(s)", "sketch_mean(s)", "sketch_quantile(s, 0.5)"] {
        let function = call.split('(').next().unwrap();
        let error = ask(&context, &format!("SELECT {call} FROM t")).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{function}: not a sketch")), "{call}: {error}");
    }
    for (call, reason) in [
        ("p99('text')", "p99 takes a sketch"),
        ("sketch_merge(1)", "sketch_merge takes a sketch"),
        ("sketch_quantile(s)", "sketch_quantile takes two arguments"),
        ("sketch_quantile(s, 'half')", "the quantile is a number"),
        ("p50(DISTINCT s), count(s)", "p50 does not take DISTINCT"),
    ] {
        let error = ask(&context, &format!("SELECT {call} FROM t")).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{call}: {error}");
    }
}

#[tokio::test]
async fn a_quantile_beyond_zero_and_one_is_an_error() {
    let context = context();
    metrics(&context);
    let error = ask(&context, "SELECT sketch_quantile(latency, 99) FROM metrics").await.unwrap_err().to_string();
    assert!(error.contains("must be from 0 to 1, and is 99"), "{error}");
}

#[tokio::test]
async fn a_sketch_of_values_is_the_sketch_that_recorded_them() {
    let context = context();
    let values: Vec<Option<i64>> = (0..20_000).map(|row| (row % 7 != 0).then_some(row * 31 - 50)).collect();
    let groups: Vec<&str> = (0..20_000).map(|row| if row % 400 == 0 { "few" } else { "many" }).collect();
    let mut expected = [Sketch::new(), Sketch::new()];
    for (value, group) in values.iter().zip(&groups) {
        if let Some(value) = value {
            expected[usize::from(*group == "many")].record(u64::try_from(*value).unwrap_or(0));
        }
    }
    let columns: [(&str, ArrayRef); 2] =
        [("route", Arc::new(StringArray::from(groups))), ("latency_us", Arc::new(Int64Array::from(values)))];
    context.register_batch("requests", RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let answer =
        ask(&context, "SELECT sketch_of(latency_us) FROM requests GROUP BY route ORDER BY route").await.unwrap();
    let sketches = answer.iter().flat_map(|batch| {
        let column = batch.column(0).as_any().downcast_ref::<BinaryArray>().unwrap();
        column.iter().map(|bytes| Sketch::from_bytes(bytes.unwrap()).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(sketches.collect::<Vec<_>>(), expected);
    let all = "SELECT sketch_count(sketch_of(latency_us)) FROM requests";
    assert_eq!(numbers(&context, all).await, [Some(i64::try_from(expected[0].count() + expected[1].count()).unwrap())]);
    assert_eq!(
        numbers(&context, "SELECT sketch_count(sketch_of(latency_us)) FROM requests WHERE route = 'none'").await,
        [None]
    );
    let error = ask(&context, "SELECT sketch_of(route) FROM requests").await.unwrap_err().to_string();
    assert!(error.contains("whole numbers"), "{error}");
}
