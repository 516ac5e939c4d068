//! Tables that an older version of Weir made are read, written on and merged, and stay exact (I3, I4).

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder, arrow_writer::ArrowWriterOptions},
    file::properties::WriterProperties,
};
use serde_json::{Value, json};
use weir_record::{AccessRecord, BatchStamp, Outcome, Source, otlp};
use weir_tests::{Exit, Process, ask};

use crate::pipeline::{Up, WEIR};

/// Records of a batch.
const RECORDS: u64 = 30;

/// What the tables did not have before.
const LATER: [(&str, &[&str]); 2] =
    [("requests", &["trace_kept"]), ("metrics", &["missing_identity", "tls_failure", "bad_request"])];

/// What is asked of the old rows and the new ones.
const QUESTION: &str = "select count(*) as n, count(trace_kept) as told, (select sum(requests) from metrics) as counted, \
                        (select sum(unauthorized + missing_identity) from metrics) as refused, \
                        (select sum(missing_identity) from metrics where tls_failure = 0) as missing from requests";

async fn send(up: &Up, number: u64, outcome: Outcome, trace_kept: Option<bool>) {
    let stamp =
        BatchStamp { sequence: number, offered: number * RECORDS, dropped: 0, doubtful: false, elsewhere: None };
    let source = Source { service: "upgraded".into(), instance: "upgraded".into(), stamp: Some(stamp) };
    let now_us = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let record = |index| AccessRecord {
        time_us: now_us,
        request_id: format!("{number}-{index}"),
        route: format!("/{}", index % 3),
        outcome,
        latency_us: 100 + index,
        trace_kept,
        ..AccessRecord::default()
    };
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.post(format!("{}/v1/logs", up.collector_http)).header("content-type", "application/x-protobuf");
    let response = request.body(otlp::encode_logs(&source, &records)).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
}

/// Makes a table what an older version, which had not these columns, would have left: in its log, and in its files, which
/// bore no checksum then.
fn age(table: &Path, later: &[&str]) {
    for entry in fs::read_dir(table.join("_delta_log")).unwrap().map(Result::unwrap) {
        match entry.path().extension().and_then(|extension| extension.to_str()) {
            Some("json") => {
                let actions = fs::read_to_string(entry.path()).unwrap();
                let actions: Vec<_> = actions.lines().map(|action| age_action(table, action, later)).collect();
                fs::write(entry.path(), actions.join("\n")).unwrap();
            }
            Some("crc") => fs::remove_file(entry.path()).unwrap(),
            _ => {}
        }
    }
}

fn age_action(table: &Path, action: &str, later: &[&str]) -> String {
    let mut action: Value = serde_json::from_str(action).unwrap();
    if let Some(schema) = action.pointer_mut("/metaData/schemaString") {
        let mut columns: Value = serde_json::from_str(schema.as_str().unwrap()).unwrap();
        let all = columns["fields"].as_array_mut().unwrap();
        all.retain(|column| !later.contains(&column["name"].as_str().unwrap()));
        *schema = columns.to_string().into();
    }
    if let Some(add) = action.get_mut("add") {
        let path = add["path"].as_str().unwrap().to_owned();
        let aged = path.replace(".crc32c", "");
        add["size"] = age_file(&table.join(&path), &table.join(&aged), later).into();
        add["path"] = aged.into();
    }
    if let Some(path) = action.pointer_mut("/remove/path") {
        *path = path.as_str().unwrap().replace(".crc32c", "").into();
    }
    action.to_string()
}

/// The size of the new file.
fn age_file(file: &Path, aged: &Path, later: &[&str]) -> u64 {
    let found = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap();
    let columns = found.schema().fields().iter().enumerate();
    let kept: Vec<_> =
        columns.filter(|(_, column)| !later.contains(&column.name().as_str())).map(|(at, _)| at).collect();
    let schema = found.schema().project(&kept).unwrap().into();
    let order = found.metadata().row_group(0).sorting_columns().cloned();
    let properties = WriterProperties::builder().set_sorting_columns(order).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).unwrap();
    for batch in found.build().unwrap() {
        writer.write(&batch.unwrap().project(&kept).unwrap()).unwrap();
    }
    let bytes = writer.into_inner().unwrap();
    fs::remove_file(file).unwrap();
    fs::write(aged, &bytes).unwrap();
    bytes.len() as u64
}

fn commits(table: &Path) -> usize {
    let log = fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path());
    log.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count()
}

async fn weir(directory: &Path, arguments: &[&str]) -> Exit {
    let exit = Process::run(WEIR, directory, &[arguments, &["--data", "data"]].concat()).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    exit
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_version_are_read_written_on_and_merged() {
    let up = Up::start("[maintenance]\nenabled = false\n").await;
    for number in 1..=3 {
        send(&up, number, Outcome::Unauthorized, None).await;
    }
    let Up { directory, process, .. } = up;
    assert_eq!(process.terminate().await.unwrap().code, Some(0));
    let path = directory.path().to_owned();
    let tables = LATER.map(|(table, later)| (path.join("data/tables").join(table), later));
    for (table, later) in &tables {
        age(table, later);
    }

    // Whoever only reads changes nothing.
    let before = tables.each_ref().map(|(table, _)| commits(table));
    weir(&path, &["verify", "--settled"]).await;
    let answer = weir(&path, &["sql", "--format", "csv", QUESTION]).await.stdout;
    assert_eq!(answer.lines().nth(1), Some("90,0,90,90,0"), "{answer}");
    assert_eq!(tables.each_ref().map(|(table, _)| commits(table)), before);

    let up = Up::start_in(directory).await;
    for number in 4..=5 {
        send(&up, number, Outcome::MissingIdentity, Some(false)).await;
    }
    let expected = json!({"n": 150, "told": 60, "counted": 150, "refused": 150, "missing": 60});
    // While they are pending, beside the files of old.
    assert_eq!(ask(&up.query, QUESTION).await.unwrap()[0], expected);
    let Up { directory, process, .. } = up;
    assert_eq!(process.terminate().await.unwrap().code, Some(0));
    weir(&path, &["verify", "--settled"]).await;
    weir(&path, &["maintain", "--once", "--all"]).await;
    let verified = weir(&path, &["verify", "--settled"]).await;
    assert!(!verified.stdout.contains("without a checksum"), "every old file was merged: {}", verified.stdout);
    let up = Up::start_in(directory).await;
    assert_eq!(ask(&up.query, QUESTION).await.unwrap()[0], expected);
    assert_eq!(up.process.terminate().await.unwrap().code, Some(0));
}
