//! Attribute values: into OTLP's `AnyValue` and out of it.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use serde_json::Value as Json;

/// An attribute of the wire.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// An attribute that holds a number; one beyond `i64` is written as the largest.
pub(super) fn integer_attribute(key: &str, number: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// The value as a text: strings as they are, the rest as JSON would print it.
pub(super) fn into_text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        other => match to_json(other) {
            Json::String(text) => text,
            json => json.to_string(),
        },
    }
}

/// The value as a whole number, if it is one. Senders such as Envoy send every number as a text.
pub(super) fn as_integer(value: &Value) -> Option<u64> {
    match value {
        Value::IntValue(number) => u64::try_from(*number).ok(),
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

/// The value as a truth, if it is one.
pub(super) fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::BoolValue(truth) => Some(*truth),
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

/// The attributes as a JSON object.
pub(super) fn attributes_to_json(attributes: Vec<KeyValue>) -> Json {
    let pairs = attributes.into_iter().map(|pair| (pair.key, any_to_json(pair.value)));
    Json::Object(pairs.collect())
}

fn any_to_json(value: Option<AnyValue>) -> Json {
    value.and_then(|any| any.value).map_or(Json::Null, to_json)
}

fn to_json(value: Value) -> Json {
    match value {
        Value::StringValue(text) => Json::String(text),
        Value::BoolValue(truth) => Json::Bool(truth),
        Value::IntValue(number) => Json::from(number),
        // JSON has no NaN and no infinity: they become their names.
        Value::DoubleValue(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Value::ArrayValue(array) => array.values.into_iter().map(|value| any_to_json(Some(value))).collect(),
        Value::KvlistValue(list) => attributes_to_json(list.values),
        Value::BytesValue(bytes) => Json::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        // OTLP: outside of profiles, treat it as absent.
        Value::StringValueStrindex(_) => Json::Null,
    }
}
