//! Rows of the table `requests`, from access records.

use std::{iter::repeat_n, sync::Arc};

use arrow::array::{BooleanArray, RecordBatch};
use weir_record::AccessRecord;

use crate::{
    Table,
    column::{batch as rows, bigints, ids, maps, optional_bigints, optional_texts, statuses, texts, times},
};

/// One row for each record.
///
/// `source` is the instance that sent them; `received_us` is when the collector took them, microseconds since the
/// Unix epoch.
#[must_use]
pub fn batch(records: &[AccessRecord], source: &str, received_us: i64) -> RecordBatch {
    let all = || records.iter();
    rows(
        Table::Requests,
        vec![
            times(all().map(|record| record.time_us)),
            texts(all().map(|record| record.request_id.as_str())),
            texts(all().map(|record| record.api.as_str())),
            texts(all().map(|record| record.stage.as_str())),
            texts(all().map(|record| record.route.as_str())),
            texts(all().map(|record| record.method.as_str())),
            texts(all().map(|record| record.path.as_str())),
            optional_texts(all().map(|record| record.protocol.as_deref())),
            optional_texts(all().map(|record| record.domain.as_deref())),
            statuses(all().map(|record| record.status)),
            texts(all().map(|record| record.outcome.as_str())),
            optional_texts(all().map(|record| record.throttle_scope.map(|scope| scope.as_str()))),
            bigints(all().map(|record| record.latency_us)),
            optional_bigints(all().map(|record| record.integration_latency_us)),
            optional_bigints(all().map(|record| record.authorizer_latency_us)),
            bigints(all().map(AccessRecord::gateway_latency_us)),
            statuses(all().map(|record| record.integration_status)),
            statuses(all().map(|record| record.authorizer_status)),
            bigints(all().map(|record| record.request_bytes)),
            bigints(all().map(|record| record.response_bytes)),
            optional_texts(all().map(|record| record.client_address.as_deref())),
            optional_texts(all().map(|record| record.user_agent.as_deref())),
            optional_texts(all().map(|record| record.principal.as_deref())),
            optional_texts(all().map(|record| record.api_key_id.as_deref())),
            optional_texts(all().map(|record| record.usage_plan.as_deref())),
            texts(all().map(|record| record.cache.as_str())),
            Arc::new(all().map(|record| Some(record.canary)).collect::<BooleanArray>()),
            ids(all().map(|record| record.trace_id.as_ref().map(|id| id.as_bytes().as_slice()))),
            ids(all().map(|record| record.span_id.as_ref().map(|id| id.as_bytes().as_slice()))),
            optional_texts(all().map(|record| record.error_message.as_deref())),
            maps(all().map(|record| &record.attributes)),
            texts(repeat_n(source, records.len())),
            times(repeat_n(received_us, records.len())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, AsArray},
        datatypes::Int64Type,
    };
    use weir_record::TraceId;

    use super::*;

    #[test]
    fn a_record_becomes_a_row() {
        let record = AccessRecord {
            time_us: -1,
            api: "shop".into(),
            status: Some(504),
            latency_us: u64::MAX,
            integration_latency_us: Some(7),
            trace_id: TraceId::from_slice(&[1; 16]),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..AccessRecord::default()
        };
        let batch = batch(&[record, AccessRecord::default()], "gateway-1", 5);
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        let number = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
        assert_eq!((text("api"), text("source"), text("cache")), ("shop".into(), "gateway-1".into(), "none".into()));
        assert_eq!(text("trace_id"), "01".repeat(16));
        assert_eq!((number("latency_us"), number("integration_latency_us")), (i64::MAX, 7));
        assert!(batch.column_by_name("trace_id").unwrap().is_null(1));
        assert_eq!(batch.column_by_name("attributes").unwrap().as_map().value(0).len(), 1);
    }

    #[test]
    fn no_records_make_no_rows() {
        assert_eq!(batch(&[], "gateway-1", 0).num_rows(), 0);
    }
}
