//! Rows of the table `spans`, from spans.

use std::iter::repeat_n;

use arrow::array::RecordBatch;
use weir_record::Span;

use crate::{
    Table,
    column::{batch as rows, bigints, ids, maps, optional_texts, texts, times},
};

/// One row for each span.
///
/// `source` is the instance that sent them; `received_us` is when the collector took them, microseconds since the
/// Unix epoch.
#[must_use]
pub fn batch(spans: &[Span], source: &str, received_us: i64) -> RecordBatch {
    let all = || spans.iter();
    rows(
        Table::Spans,
        vec![
            times(all().map(|span| span.time_us)),
            bigints(all().map(|span| span.duration_us)),
            ids(all().map(|span| Some(span.trace_id.as_bytes().as_slice()))),
            ids(all().map(|span| Some(span.span_id.as_bytes().as_slice()))),
            ids(all().map(|span| span.parent_span_id.as_ref().map(|id| id.as_bytes().as_slice()))),
            optional_texts(all().map(|span| span.trace_state.as_deref())),
            texts(all().map(|span| span.name.as_str())),
            texts(all().map(|span| span.kind.as_str())),
            texts(all().map(|span| span.status.as_str())),
            optional_texts(all().map(|span| span.status_message.as_deref())),
            texts(all().map(|span| span.service.as_str())),
            optional_texts(all().map(|span| span.api.as_deref())),
            optional_texts(all().map(|span| span.stage.as_deref())),
            maps(all().map(|span| &span.attributes)),
            optional_texts(all().map(|span| span.events.as_deref())),
            optional_texts(all().map(|span| span.links.as_deref())),
            texts(repeat_n(source, spans.len())),
            times(repeat_n(received_us, spans.len())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use weir_record::{SpanId, SpanKind, SpanStatus, TraceId};

    use super::*;

    #[test]
    fn a_span_becomes_a_row() {
        let span = Span {
            time_us: 1,
            duration_us: 2,
            trace_id: TraceId::from_slice(&[1; 16]).unwrap(),
            span_id: SpanId::from_slice(&[2; 8]).unwrap(),
            parent_span_id: None,
            trace_state: None,
            name: "GET /".into(),
            kind: SpanKind::Server,
            status: SpanStatus::Error,
            status_message: None,
            service: "shop".into(),
            api: Some("shop".into()),
            stage: None,
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            events: None,
            links: None,
        };
        let batch = batch(&[span], "gateway-1", 5);
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!((text("kind"), text("status"), text("span_id")), ("server".into(), "error".into(), "02".repeat(8)));
        assert!(batch.column_by_name("parent_span_id").unwrap().is_null(0));
    }
}
