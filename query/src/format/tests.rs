use std::{slice, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, MapBuilder, RecordBatch,
        StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    ipc::reader::StreamReader,
};

use super::{Format, Width, table::MOST_ROWS};

fn written(format: Format, width: Width, batches: &[RecordBatch]) -> String {
    let mut writer = format.writer(&batches[0].schema(), width).unwrap();
    let mut text = Vec::new();
    for batch in batches {
        text.extend(writer.batch(batch).unwrap());
    }
    text.extend(writer.finish().unwrap());
    String::from_utf8(text).unwrap()
}

fn rows() -> RecordBatch {
    let mut attributes = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    attributes.keys().append_value("a \"b\"");
    attributes.values().append_value("1,2");
    attributes.append(true).unwrap();
    attributes.append(false).unwrap();
    let time = TimestampMicrosecondArray::from(vec![Some(1_795_392_000_000_001), None]);
    let columns: [(&str, ArrayRef); 8] = [
        ("time", Arc::new(time.with_timezone("UTC"))),
        ("local", Arc::new(TimestampMicrosecondArray::from(vec![1_795_392_000_000_000, 1_795_392_000_500_000]))),
        ("date", Arc::new(Date32Array::from(vec![Some(20_780), None]))),
        ("path", Arc::new(StringArray::from(vec!["/a \"b\",c\nd", ""]))),
        ("n", Arc::new(Int64Array::from(vec![Some(-7), None]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("sketch", Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0x1c, 0xff]), None]))),
        ("attributes", Arc::new(attributes.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn csv_quotes_what_would_be_misread() {
    let expected = concat!(
        "time,local,date,path,n,ok,sketch,attributes\n",
        "2026-11-23T00:00:00.000001Z,2026-11-23T00:00:00Z,2026-11-23,\"/a \"\"b\"\",c\nd\",-7,true,1cff,",
        "\"{\"\"a \\\"\"b\\\"\"\"\":\"\"1,2\"\"}\"\n",
        ",2026-11-23T00:00:00.500Z,,\"\",,,,\n",
    );
    assert_eq!(written(Format::Csv, Width::Content, &[rows()]), expected);
}

#[test]
fn json_rows_have_every_column() {
    let first = concat!(
        r#"{"time":"2026-11-23T00:00:00.000001Z","local":"2026-11-23T00:00:00Z","date":"2026-11-23","#,
        r#""path":"/a \"b\",c\nd","n":-7,"ok":true,"sketch":"1cff","attributes":{"a \"b\"":"1,2"}}"#,
    );
    let second = concat!(
        r#"{"time":null,"local":"2026-11-23T00:00:00.500Z","date":null,"#,
        r#""path":"","n":null,"ok":null,"sketch":null,"attributes":null}"#,
    );
    let (one, other) = (rows().slice(0, 1), rows().slice(1, 1));
    assert_eq!(written(Format::Json, Width::Content, &[one.clone(), other.clone()]), format!("[{first},\n{second}]\n"));
    assert_eq!(written(Format::Ndjson, Width::Content, &[one, other]), format!("{first}\n{second}\n"));
}

#[test]
fn an_answer_without_rows_is_whole() {
    let none = rows().slice(0, 0);
    assert_eq!(written(Format::Json, Width::Content, slice::from_ref(&none)), "[]\n");
    assert_eq!(written(Format::Ndjson, Width::Content, slice::from_ref(&none)), "");
    assert_eq!(
        written(Format::Csv, Width::Content, slice::from_ref(&none)),
        "time,local,date,path,n,ok,sketch,attributes\n"
    );
    assert!(written(Format::Table, Width::Content, &[none]).ends_with("(0 rows)\n"));
}

#[test]
fn arrow_reads_back_as_it_was() {
    let mut writer = Format::Arrow.writer(&rows().schema(), Width::Content).unwrap();
    let mut bytes = writer.batch(&rows()).unwrap();
    bytes.extend(writer.finish().unwrap());
    let read: Vec<_> = StreamReader::try_new(&bytes[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [rows()]);
}

fn routes(requests: &[i64]) -> RecordBatch {
    let names: Vec<_> = requests.iter().map(|count| format!("/route/{count}")).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("route", Arc::new(StringArray::from(names))),
        ("requests", Arc::new(Int64Array::from(requests.to_vec()))),
        ("share", Arc::new(requests.iter().map(|count| Some(*count as f64 / 8.0)).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_table_aligns_numbers_to_the_right() {
    let expected = concat!(
        " route      | requests | share\n",
        "------------+----------+-------\n",
        " /route/1   |        1 | 0.125\n",
        " /route/200 |      200 |  25.0\n",
        "(2 rows)\n",
    );
    let text = written(Format::Table, Width::Content, &[routes(&[1, 200])]);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_table_fits_its_width() {
    let text = written(Format::Table, Width::AtMost(20), &[routes(&[1, 200])]);
    assert!(text.lines().all(|line| line.chars().count() <= 20), "\n{text}");
}

#[test]
fn a_table_shows_so_many_rows_and_counts_all() {
    let many = routes(&(0..6000).collect::<Vec<_>>());
    let text = written(Format::Table, Width::Content, &[many.clone(), many]);
    assert_eq!(text.lines().filter(|line| line.contains("/route/")).count(), MOST_ROWS);
    assert!(text.contains("(12000 rows, the first 10000 shown;"), "{}", text.lines().last().unwrap());
}

#[test]
fn a_terminal_does_not_obey_what_clients_sent() {
    let agent: ArrayRef = Arc::new(StringArray::from(vec!["\u{1b}[2Jbad\u{7}\nagent"]));
    let text = written(Format::Table, Width::Content, &[RecordBatch::try_from_iter([("user_agent", agent)]).unwrap()]);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    assert!(text.contains("\\u{1b}[2Jbad"), "{text:?}");
}

#[test]
fn every_format_is_found_by_its_name() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "xml".parse::<Format>().unwrap_err();
    assert_eq!(error.to_string(), "unknown format \"xml\"; there are: table, csv, json, ndjson, arrow");
}
