//! What a function's answer means as a response (the reference's section 8.4;
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html> and
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).
//!
//! What always holds: what is no response in the form that the API's kind asks for is a fault, never half a response.
//! Where AWS says nothing: a number as a header's value is written as JSON writes it; an HTTP API with events 1.0 wants a
//! `statusCode` and overlooks unknown keys; a response 2.0 that names no content type is `text/plain;charset=UTF-8`.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::event::Shape;

/// An answer that is no response; told to the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the function's answer {0}")]
pub(crate) struct Fault(String);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// The keys of a response 1.0; a REST API takes no others.
const KEYS: [&str; 5] = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"];

/// Reads an answer. `decodes` says whether a REST API's client takes the answer's bytes as they are: a base64 body goes
/// out as text otherwise.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(payload: &[u8], shape: Shape, decodes: bool) -> Result<Response<Bytes>, Fault> {
    let answer: Value = serde_json::from_slice(payload).map_err(|error| Fault(format!("is no JSON: {error}")))?;
    if let Some(message) = error_message(&answer) {
        return Err(Fault(format!("is an error: {message}")));
    }
    match (shape, answer) {
        (Shape::Http2, Value::Object(mut answer)) if answer.contains_key("statusCode") => version_2(&mut answer),
        (Shape::Http2, answer) => Ok(inferred(answer, payload)),
        (shape, Value::Object(mut answer)) => version_1(&mut answer, shape, decodes),
        _ => Err(Fault("is no object".to_owned())),
    }
}

/// What a function says that failed: `{"errorMessage": …}`, which local runtimes give with status 200.
pub(crate) fn error_message(answer: &Value) -> Option<String> {
    let answer = answer.as_object().filter(|answer| !answer.contains_key("statusCode"))?;
    let message = answer.get("errorMessage")?;
    // Anything may have a member of this name; an error has nothing but what runtimes write.
    const OF_ERRORS: [&str; 6] = ["errorMessage", "errorType", "stackTrace", "trace", "cause", "requestId"];
    answer.keys().all(|key| OF_ERRORS.contains(&key.as_str())).then(|| match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

fn version_1(answer: &mut Map<String, Value>, shape: Shape, decodes: bool) -> Result<Response<Bytes>, Fault> {
    if shape == Shape::Rest
        && let Some(unknown) = answer.keys().find(|key| !KEYS.contains(&key.as_str()))
    {
        return Err(Fault(format!("has {unknown:?}, which no response has")));
    }
    let status = status(answer.get("statusCode"), shape)?;
    let mut headers = single_headers(answer.get("headers"))?;
    merge(&mut headers, answer.get("multiValueHeaders"))?;
    let decodes = decodes || shape != Shape::Rest;
    let body = body(answer, decodes)?;
    Ok(respond(status, headers, body, JSON))
}

fn version_2(answer: &mut Map<String, Value>) -> Result<Response<Bytes>, Fault> {
    let status = status(answer.get("statusCode"), Shape::Http2)?;
    let mut headers = single_headers(answer.get("headers"))?;
    match answer.get("cookies") {
        None | Some(Value::Null) => {}
        Some(Value::Array(cookies)) => {
            for cookie in cookies {
                headers.append(header::SET_COOKIE, value(cookie, "cookies")?);
            }
        }
        Some(_) => return Err(Fault("has cookies that are no list".to_owned())),
    }
    let body = body(answer, true)?;
    Ok(respond(status, headers, body, TEXT))
}

/// An answer without `statusCode` is the body itself.
fn inferred(answer: Value, payload: &[u8]) -> Response<Bytes> {
    let body = match answer {
        Value::String(text) => Bytes::from(text),
        _ => Bytes::copy_from_slice(payload.trim_ascii()),
    };
    respond(StatusCode::OK, HeaderMap::new(), body, JSON)
}

fn respond(status: StatusCode, mut headers: HeaderMap, body: Bytes, content_type: HeaderValue) -> Response<Bytes> {
    // The gateway counts the body itself.
    headers.remove(header::CONTENT_LENGTH);
    headers.entry(header::CONTENT_TYPE).or_insert(content_type);
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn status(value: Option<&Value>, shape: Shape) -> Result<StatusCode, Fault> {
    let number = match value {
        None | Some(Value::Null) if shape == Shape::Rest => Some(200),
        None => return Err(Fault("has no statusCode".to_owned())),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    let status = number.and_then(|number| u16::try_from(number).ok()).filter(|number| (200..=599).contains(number));
    let status = status.and_then(|number| StatusCode::from_u16(number).ok());
    status.ok_or_else(|| Fault("has a statusCode that is none from 200 to 599".to_owned()))
}

fn single_headers(value_of_key: Option<&Value>) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    match value_of_key {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            for (own, content) in members {
                headers.append(name(own)?, value(content, own)?);
            }
        }
        Some(_) => return Err(Fault("has headers that are no object".to_owned())),
    }
    Ok(headers)
}

/// Several values of a header stand before the single one of the same name.
fn merge(headers: &mut HeaderMap, multiple: Option<&Value>) -> Result<(), Fault> {
    let members = match multiple {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Fault("has multiValueHeaders that are no object".to_owned())),
    };
    for (own, values) in members {
        let values = values.as_array().ok_or_else(|| Fault(format!("has {own:?} of multiValueHeaders, no list")))?;
        let own_name = name(own)?;
        let single = headers.remove(&own_name);
        for content in values {
            headers.append(&own_name, value(content, own)?);
        }
        if let Some(single) = single {
            headers.append(own_name, single);
        }
    }
    Ok(())
}

fn name(text: &str) -> Result<HeaderName, Fault> {
    text.parse().map_err(|_| Fault(format!("has the header {text:?}, which is no name of one")))
}

fn value(content: &Value, name: &str) -> Result<HeaderValue, Fault> {
    let value = match content {
        Value::String(text) => HeaderValue::from_bytes(text.as_bytes()).ok(),
        Value::Bool(_) | Value::Number(_) => HeaderValue::from_str(&content.to_string()).ok(),
        _ => None,
    };
    value.ok_or_else(|| Fault(format!("has a value of {name:?} that no header may have")))
}

fn body(answer: &mut Map<String, Value>, decodes: bool) -> Result<Bytes, Fault> {
    let is_base64 = match answer.get("isBase64Encoded") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(Fault("has an isBase64Encoded that is neither true nor false".to_owned())),
    };
    match answer.remove("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if is_base64 && decodes => {
            let decoded = STANDARD.decode(text.as_bytes());
            decoded.map(Bytes::from).map_err(|error| Fault(format!("has a body that is no base64: {error}")))
        }
        Some(Value::String(text)) => Ok(Bytes::from(text)),
        Some(_) => Err(Fault("has a body that is no text".to_owned())),
    }
}

#[cfg(test)]
mod tests;
