//! Conditions of a policy's statements
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>), on what is
//! known of a call: `aws:SourceIp`, `aws:UserAgent`, `aws:Referer`, `aws:SecureTransport`, `aws:CurrentTime`,
//! `aws:PrincipalArn`.
//!
//! What always holds: a key that the call does not have fulfils no condition but negated ones and those that end with
//! `IfExists`, as in IAM.

use std::{cmp::Ordering, net::IpAddr};

use serde_json::Value;

use super::fits;
use crate::{connection::forwarded::Network, sigv4::Moment};

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// `aws:SourceIp`.
    pub source_ip: IpAddr,
    /// `aws:UserAgent`.
    pub user_agent: Option<&'a str>,
    /// `aws:Referer`.
    pub referer: Option<&'a str>,
    /// `aws:SecureTransport`.
    pub is_secure: bool,
    /// `aws:CurrentTime`.
    pub now: Moment,
    /// `aws:PrincipalArn`.
    pub principal_arn: Option<&'a str>,
}

/// A key, how it is compared, and with what: one of the values must fit; none of them when it is negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    key: Key,
    test: Test,
    is_negated: bool,
    /// Whether a call without the key fulfils it.
    holds_if_absent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    SourceIp,
    UserAgent,
    Referer,
    SecureTransport,
    CurrentTime,
    PrincipalArn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(Vec<String>),
    EqualsIgnoringCase(Vec<String>),
    Like(Vec<String>),
    Networks(Vec<Network>),
    Is(Vec<bool>),
    /// The time now, seen from the value, is one of these.
    Date(Vec<Moment>, &'static [Ordering]),
    /// Whether the key is absent.
    Absent(Vec<bool>),
}

const KEYS: [(&str, Key); 6] = [
    ("aws:SourceIp", Key::SourceIp),
    ("aws:UserAgent", Key::UserAgent),
    ("aws:Referer", Key::Referer),
    ("aws:SecureTransport", Key::SecureTransport),
    ("aws:CurrentTime", Key::CurrentTime),
    ("aws:PrincipalArn", Key::PrincipalArn),
];

/// Reads the element `Condition`: all of it must hold.
///
/// # Errors
/// What is wrong with it, or not supported.
pub(super) fn parse(value: &Value) -> Result<Vec<Condition>, String> {
    let operators = value.as_object().ok_or("has a Condition that is no object")?;
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let keys = keys.as_object().ok_or_else(|| format!("has the condition {operator}, which is no object"))?;
        for (key, values) in keys {
            conditions.push(Condition::parse(operator, key, values)?);
        }
    }
    Ok(conditions)
}

impl Condition {
    fn parse(operator: &str, name: &str, values: &Value) -> Result<Self, String> {
        let key = KEYS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, key)| *key);
        let key = key.ok_or_else(|| {
            let known: Vec<_> = KEYS.iter().map(|(own, _)| *own).collect();
            format!("has a condition on {name}, which is not supported; there are {}", known.join(", "))
        })?;
        let texts = texts(values).ok_or_else(|| format!("has a condition on {name} without texts to compare with"))?;
        let wrong = || format!("has a condition {operator} on {name} with a value that it cannot be compared with");
        let (plain, is_optional) = operator.strip_suffix("IfExists").map_or((operator, false), |own| (own, true));
        let moments = || texts.iter().map(|text| Moment::parse_extended(text)).collect::<Option<_>>().ok_or_else(wrong);
        let truths = || texts.iter().map(|text| text.parse().ok()).collect::<Option<_>>().ok_or_else(wrong);
        let networks = || texts.iter().map(|text| text.parse().ok()).collect::<Option<_>>().ok_or_else(wrong);
        let (test, is_negated) = match plain {
            "StringEquals" => (Test::Equals(texts), false),
            "StringNotEquals" => (Test::Equals(texts), true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoringCase(texts), false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoringCase(texts), true),
            // ARNs are compared with wildcards whichever of the two is written.
            "StringLike" | "ArnEquals" | "ArnLike" => (Test::Like(texts), false),
            "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => (Test::Like(texts), true),
            "IpAddress" => (Test::Networks(networks()?), false),
            "NotIpAddress" => (Test::Networks(networks()?), true),
            "Bool" => (Test::Is(truths()?), false),
            "DateEquals" => (Test::Date(moments()?, &[Ordering::Equal]), false),
            "DateNotEquals" => (Test::Date(moments()?, &[Ordering::Equal]), true),
            "DateLessThan" => (Test::Date(moments()?, &[Ordering::Less]), false),
            "DateLessThanEquals" => (Test::Date(moments()?, &[Ordering::Less, Ordering::Equal]), false),
            "DateGreaterThan" => (Test::Date(moments()?, &[Ordering::Greater]), false),
            "DateGreaterThanEquals" => (Test::Date(moments()?, &[Ordering::Greater, Ordering::Equal]), false),
            "Null" if !is_optional => (Test::Absent(truths()?), false),
            _ => return Err(format!("has the condition {operator}, which is not supported")),
        };
        let is_right = match key {
            Key::SourceIp => matches!(test, Test::Networks(_) | Test::Absent(_)),
            Key::SecureTransport => matches!(test, Test::Is(_) | Test::Absent(_)),
            Key::CurrentTime => matches!(test, Test::Date(..) | Test::Absent(_)),
            Key::UserAgent | Key::Referer | Key::PrincipalArn => {
                matches!(test, Test::Equals(_) | Test::EqualsIgnoringCase(_) | Test::Like(_) | Test::Absent(_))
            }
        };
        if !is_right {
            return Err(format!("has a condition {operator} on {name}, which is of another type"));
        }
        Ok(Self { key, test, is_negated, holds_if_absent: is_optional || is_negated })
    }

    /// Whether a call fulfils it.
    pub(super) fn holds(&self, call: &Circumstances<'_>) -> bool {
        let text = match self.key {
            Key::UserAgent => call.user_agent,
            Key::Referer => call.referer,
            Key::PrincipalArn => call.principal_arn,
            Key::SourceIp | Key::SecureTransport | Key::CurrentTime => Some(""),
        };
        if let Test::Absent(wanted) = &self.test {
            return wanted.contains(&text.is_none());
        }
        let Some(text) = text else { return self.holds_if_absent };
        let is_so = match &self.test {
            Test::Equals(own) => own.iter().any(|own| own == text),
            Test::EqualsIgnoringCase(own) => own.iter().any(|own| own.eq_ignore_ascii_case(text)),
            Test::Like(own) => own.iter().any(|own| fits(own.as_bytes(), text.as_bytes())),
            Test::Networks(own) => own.iter().any(|own| own.contains(call.source_ip)),
            Test::Is(own) => own.contains(&call.is_secure),
            Test::Date(own, orders) => own.iter().any(|own| orders.contains(&call.now.cmp(own))),
            Test::Absent(_) => false,
        };
        is_so != self.is_negated
    }
}

/// A text or a truth value, or a list of such.
fn texts(values: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(own) => Some(own.to_string()),
        _ => None,
    };
    let texts: Vec<_> = match values {
        Value::Array(items) => items.iter().map(text).collect::<Option<_>>()?,
        value => vec![text(value)?],
    };
    Some(texts).filter(|texts| !texts.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> Circumstances<'static> {
        Circumstances {
            source_ip: "10.1.2.3".parse().unwrap(),
            user_agent: Some("curl/8"),
            referer: None,
            is_secure: true,
            now: Moment::parse_extended("2026-03-01T12:00:00Z").unwrap(),
            principal_arn: Some("arn:aws:iam::123456789012:user/alice"),
        }
    }

    #[test]
    fn each_operator_compares_as_iam_says() {
        for (condition, holds) in [
            (json!({}), true),
            (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), true),
            (json!({"IpAddress": {"aws:sourceip": ["192.0.2.0/24", "10.1.2.3"]}}), true),
            (json!({"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "10.0.0.0/8"]}}), false),
            (json!({"NotIpAddress": {"aws:SourceIp": "2001:db8::/32"}}), true),
            (json!({"StringEquals": {"aws:UserAgent": ["wget", "curl/8"]}}), true),
            (json!({"StringEquals": {"aws:UserAgent": "CURL/8"}}), false),
            (json!({"StringEqualsIgnoreCase": {"aws:UserAgent": "CURL/8"}}), true),
            (json!({"StringNotEquals": {"aws:UserAgent": "curl/8"}}), false),
            (json!({"StringLike": {"aws:UserAgent": "curl/*"}}), true),
            (json!({"StringNotLike": {"aws:UserAgent": "curl/?"}}), false),
            (json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}), true),
            (json!({"Bool": {"aws:SecureTransport": "true"}}), true),
            (json!({"Bool": {"aws:SecureTransport": false}}), false),
            (json!({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}), true),
            (json!({"DateLessThan": {"aws:CurrentTime": "2026-03-01T12:00:00Z"}}), false),
            (json!({"DateLessThanEquals": {"aws:CurrentTime": "2026-03-01T12:00:00Z"}}), true),
            (json!({"DateGreaterThanEquals": {"aws:CurrentTime": "2026-03-01T12:00:01Z"}}), false),
            (
                json!({"DateGreaterThanEquals": {"aws:CurrentTime": ["2027-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]}}),
                true,
            ),
            (json!({"DateNotEquals": {"aws:CurrentTime": "2026-03-01T12:00:00Z"}}), false),
            // What the call does not have.
            (json!({"StringEquals": {"aws:Referer": "x"}}), false),
            (json!({"StringEqualsIfExists": {"aws:Referer": "x"}}), true),
            (json!({"StringNotEquals": {"aws:Referer": "x"}}), true),
            (json!({"Null": {"aws:Referer": "true"}}), true),
            (json!({"Null": {"aws:UserAgent": "true"}}), false),
            // All must hold.
            (json!({"Bool": {"aws:SecureTransport": true}, "StringLike": {"aws:UserAgent": "wget*"}}), false),
        ] {
            let conditions = parse(&condition).unwrap();
            assert_eq!(conditions.iter().all(|own| own.holds(&call())), holds, "{condition}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_told() {
        for (condition, why) in [
            (json!([]), "no object"),
            (json!({"StringEquals": []}), "no object"),
            (json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}}), "aws:SourceVpc, which is not supported"),
            (json!({"ForAnyValue:StringEquals": {"aws:Referer": "x"}}), "which is not supported"),
            (json!({"NumericEquals": {"aws:Referer": "1"}}), "which is not supported"),
            (json!({"StringEquals": {"aws:Referer": []}}), "without texts"),
            (json!({"StringEquals": {"aws:SourceIp": "10.0.0.1"}}), "of another type"),
            (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}), "cannot be compared with"),
            (json!({"DateLessThan": {"aws:CurrentTime": "tomorrow"}}), "cannot be compared with"),
            (json!({"Bool": {"aws:SecureTransport": "yes"}}), "cannot be compared with"),
        ] {
            let problem = parse(&condition).unwrap_err();
            assert!(problem.contains(why), "{condition}: {problem}");
        }
    }
}
