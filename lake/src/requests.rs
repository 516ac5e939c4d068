//! Rows of the table `requests`, from access records.
//!
//! A record's texts go from the bytes of the message straight into Arrow's buffers.

use std::{borrow::Cow, iter::repeat_n, sync::Arc};

use arrow::array::{ArrayRef, BooleanBuilder, Int32Builder, Int64Builder, MapBuilder, RecordBatch, StringBuilder};
use weir_record::{AccessRecord, otlp::AccessView};

use crate::{
    Table,
    column::{append_id, batch as rows, map_builder, saturated, texts, times},
};

/// One row for each record.
///
/// `source` is the instance that sent them; `received_us` is when the collector took them, microseconds since the
/// Unix epoch.
#[must_use]
pub fn batch(records: &[AccessRecord], source: &str, received_us: i64) -> RecordBatch {
    let mut builder = RequestsBuilder::new(records.len());
    records.iter().for_each(|record| builder.append(&AccessView::from(record)));
    builder.finish(source, received_us)
}

/// Rows under construction: the columns of the table that come from the record itself.
#[derive(Debug)]
pub struct RequestsBuilder {
    /// Rows that are expected.
    expected: usize,
    times_us: Vec<i64>,
    texts: [StringBuilder; TEXTS],
    optional_texts: [StringBuilder; OPTIONAL_TEXTS],
    statuses: [Int32Builder; STATUSES],
    numbers: [Int64Builder; NUMBERS],
    canary: BooleanBuilder,
    trace_id: StringBuilder,
    span_id: StringBuilder,
    trace_kept: BooleanBuilder,
    attributes: MapBuilder<StringBuilder, StringBuilder>,
}

const TEXTS: usize = 8;
const OPTIONAL_TEXTS: usize = 9;
const STATUSES: usize = 3;
const NUMBERS: usize = 6;

/// A text that is longer than this is not taken for what all others are like.
const MOST_EXPECTED_BYTES: usize = 128;

impl RequestsBuilder {
    /// No rows yet; so many are expected. There will be room for them if they are like the first.
    #[must_use]
    pub fn new(expected: usize) -> Self {
        let text = |_| StringBuilder::with_capacity(0, 0);
        Self {
            expected,
            times_us: Vec::with_capacity(expected),
            texts: std::array::from_fn(text),
            optional_texts: std::array::from_fn(text),
            statuses: std::array::from_fn(|_| Int32Builder::with_capacity(expected)),
            numbers: std::array::from_fn(|_| Int64Builder::with_capacity(expected)),
            canary: BooleanBuilder::with_capacity(expected),
            trace_id: StringBuilder::with_capacity(expected, 32 * expected),
            span_id: StringBuilder::with_capacity(expected, 16 * expected),
            trace_kept: BooleanBuilder::with_capacity(expected),
            attributes: map_builder(expected),
        }
    }

    /// Appends a row.
    pub fn append(&mut self, record: &AccessView<'_>) {
        let texts: [&str; TEXTS] = [
            &record.request_id,
            &record.api,
            &record.stage,
            &record.route,
            &record.method,
            &record.path,
            record.outcome.as_str(),
            record.cache.as_str(),
        ];
        let scope = record.throttle_scope.map(|scope| Cow::Borrowed(scope.as_str()));
        let optional_texts: [&Option<Cow<'_, str>>; OPTIONAL_TEXTS] = [
            &record.protocol,
            &record.domain,
            &scope,
            &record.client_address,
            &record.user_agent,
            &record.principal,
            &record.api_key_id,
            &record.usage_plan,
            &record.error_message,
        ];
        let optional_texts = optional_texts.map(Option::as_deref);
        if self.times_us.is_empty() {
            self.make_room(texts, optional_texts);
        }
        self.times_us.push(record.time_us);
        self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
        self.optional_texts.iter_mut().zip(optional_texts).for_each(|(column, text)| column.append_option(text));
        let statuses = [record.status, record.integration_status, record.authorizer_status];
        self.statuses.iter_mut().zip(statuses).for_each(|(column, status)| column.append_option(status.map(i32::from)));
        let numbers = [
            Some(record.latency_us),
            record.integration_latency_us,
            record.authorizer_latency_us,
            Some(record.gateway_latency_us()),
            Some(record.request_bytes),
            Some(record.response_bytes),
        ];
        self.numbers.iter_mut().zip(numbers).for_each(|(column, number)| column.append_option(number.map(saturated)));
        self.canary.append_value(record.canary);
        append_id(&mut self.trace_id, record.trace_id.as_ref().map(|id| id.as_bytes().as_slice()));
        append_id(&mut self.span_id, record.span_id.as_ref().map(|id| id.as_bytes().as_slice()));
        self.trace_kept.append_option(record.trace_kept);
        for (key, value) in &record.attributes {
            self.attributes.keys().append_value(key);
            self.attributes.values().append_value(value);
        }
        self.attributes.append(true).expect("keys and values are appended in pairs");
    }

    /// Room in the columns of text for as many rows as are expected, and a little more: the others are like this one.
    fn make_room(&mut self, texts: [&str; TEXTS], optional_texts: [Option<&str>; OPTIONAL_TEXTS]) {
        let like = |text: &str| {
            let bytes = if text.is_empty() { 0 } else { text.len().min(MOST_EXPECTED_BYTES) + 2 };
            StringBuilder::with_capacity(self.expected, bytes * self.expected)
        };
        let texts = texts.map(like);
        self.optional_texts = optional_texts.map(|text| like(text.unwrap_or_default()));
        self.texts = texts;
    }

    /// The rows. `source` and `received_us` as for [`batch`].
    #[must_use]
    pub fn finish(mut self, source: &str, received_us: i64) -> RecordBatch {
        let records = self.times_us.len();
        let [request_id, api, stage, route, method, path, outcome, cache] = self.texts.each_mut().map(text_column);
        let [protocol, domain, throttle_scope, client_address, user_agent, principal, api_key_id, usage_plan, error] =
            self.optional_texts.each_mut().map(text_column);
        let [status, integration_status, authorizer_status] =
            self.statuses.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let [latency, integration_latency, authorizer_latency, gateway_latency, request_bytes, response_bytes] =
            self.numbers.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        rows(
            Table::Requests,
            vec![
                times(self.times_us.into_iter()),
                request_id,
                api,
                stage,
                route,
                method,
                path,
                protocol,
                domain,
                status,
                outcome,
                throttle_scope,
                latency,
                integration_latency,
                authorizer_latency,
                gateway_latency,
                integration_status,
                authorizer_status,
                request_bytes,
                response_bytes,
                client_address,
                user_agent,
                principal,
                api_key_id,
                usage_plan,
                cache,
                Arc::new(self.canary.finish()),
                text_column(&mut self.trace_id),
                text_column(&mut self.span_id),
                Arc::new(self.trace_kept.finish()),
                error,
                Arc::new(self.attributes.finish()),
                texts(repeat_n(source, records)),
                times(repeat_n(received_us, records)),
            ],
        )
    }
}

fn text_column(column: &mut StringBuilder) -> ArrayRef {
    Arc::new(column.finish())
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
            trace_kept: Some(false),
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
        let kept: Vec<_> = batch.column_by_name("trace_kept").unwrap().as_boolean().iter().collect();
        assert_eq!(kept, [Some(false), None]);
        assert_eq!(batch.column_by_name("attributes").unwrap().as_map().value(0).len(), 1);
    }

    #[test]
    fn no_records_make_no_rows() {
        assert_eq!(batch(&[], "gateway-1", 0).num_rows(), 0);
    }
}
