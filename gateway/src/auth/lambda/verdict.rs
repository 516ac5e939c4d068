//! What an authorizer's function answers: a policy, or yes or no
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::policy::{Circumstances, Decision, Policy};
use crate::lambda::{Shape, response::error_message};

/// The largest answer, bytes; API Gateway's limit.
const MOST_BYTES: usize = 8 << 10;

/// What API Gateway lets a function throw to have a client answered 401.
const UNAUTHORIZED: &str = "Unauthorized";

/// What a function said of an identity.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// Who asks.
    pub principal: Option<String>,
    /// Whether they may.
    pub grant: Grant,
    /// What else it said.
    pub context: Option<Arc<Map<String, Value>>>,
    /// The API key that the request counts for.
    pub usage_identifier_key: Option<String>,
}

/// Whether a request may pass.
#[derive(Debug, PartialEq)]
pub(super) enum Grant {
    /// Every one, or none.
    Simple(bool),
    /// Those that a policy allows.
    Policy(Policy),
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The function threw `Unauthorized`.
    Unauthorized,
    /// The function failed.
    Function(String),
    /// The function cannot be asked, or what it said cannot be understood.
    Unusable(String),
}

impl Verdict {
    /// Reads what a function returned.
    pub(super) fn read(payload: &[u8], shape: Shape, is_simple: bool, is_error: bool) -> Result<Self, Failure> {
        let unusable = |problem: String| Failure::Unusable(format!("the authorizer's answer {problem}"));
        if payload.len() > MOST_BYTES {
            return Err(unusable(format!("is larger than {MOST_BYTES} bytes")));
        }
        let answer = serde_json::from_slice::<Value>(payload);
        if is_error || answer.as_ref().is_ok_and(|answer| error_message(answer).is_some()) {
            let message =
                answer.ok().as_ref().and_then(|answer| answer.get("errorMessage")?.as_str().map(str::to_owned));
            return Err(match message {
                Some(message) if message == UNAUTHORIZED => Failure::Unauthorized,
                Some(message) => Failure::Function(format!("the authorizer failed: {message}")),
                None => Failure::Function("the authorizer failed".to_owned()),
            });
        }
        match answer {
            Ok(Value::Object(answer)) => Self::of(&answer, shape, is_simple).map_err(unusable),
            Ok(_) => Err(unusable("is no object".to_owned())),
            Err(error) => Err(unusable(format!("is no JSON: {error}"))),
        }
    }

    fn of(answer: &Map<String, Value>, shape: Shape, is_simple: bool) -> Result<Self, String> {
        let text = |key: &str| match answer.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("has a {key} that is no text")),
        };
        let (principal, usage_identifier_key) = (text("principalId")?, text("usageIdentifierKey")?);
        let context = context(answer.get("context"), shape)?.map(Arc::new);
        let grant = match answer.get("isAuthorized") {
            Some(Value::Bool(is_authorized)) if is_simple => Grant::Simple(*is_authorized),
            _ if is_simple => return Err("has no isAuthorized that is true or false".to_owned()),
            _ => {
                let policy = answer.get("policyDocument").ok_or("has no policyDocument")?;
                if principal.as_deref().is_none_or(str::is_empty) && shape != Shape::Http2 {
                    return Err("has no principalId".to_owned());
                }
                Grant::Policy(Policy::parse(policy).map_err(|problem| format!("has a policyDocument that {problem}"))?)
            }
        };
        Ok(Self { principal, grant, context, usage_identifier_key })
    }

    /// What it says of a call.
    pub(super) fn decide(&self, action: &str, resource: &str, circumstances: &Circumstances<'_>) -> Decision {
        match &self.grant {
            Grant::Simple(true) => Decision::Allow,
            Grant::Simple(false) => Decision::ImplicitDeny,
            Grant::Policy(policy) => policy.decide(action, resource, circumstances),
        }
    }
}

/// Events 1.0 have texts, numbers and truth values alone, as texts; 2.0 has what was said.
fn context(value: Option<&Value>, shape: Shape) -> Result<Option<Map<String, Value>>, String> {
    let members = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("has a context that is no object".to_owned()),
    };
    if shape == Shape::Http2 {
        return Ok(Some(members.clone()));
    }
    let texts = members.iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone().into())),
        Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string().into())),
        _ => Err(format!("has {name:?} in its context, which is no text, number, true or false")),
    });
    texts.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::policy::tests::circumstances, *};

    fn policy() -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "arn:*/GET/*"},
            {"Action": ["execute-api:Invoke"], "Effect": "Deny", "Resource": ["arn:*/GET/secret"]},
        ]})
    }

    fn read(answer: &Value, shape: Shape, is_simple: bool) -> Result<Verdict, Failure> {
        Verdict::read(answer.to_string().as_bytes(), shape, is_simple, false)
    }

    #[test]
    fn a_policy_is_evaluated_for_each_call() {
        let answer = json!({"principalId": "ann", "policyDocument": policy(), "usageIdentifierKey": "key"});
        for shape in [Shape::Rest, Shape::Http1, Shape::Http2] {
            let verdict = read(&answer, shape, false).unwrap();
            assert_eq!(
                (verdict.principal.as_deref(), verdict.usage_identifier_key.as_deref()),
                (Some("ann"), Some("key"))
            );
            for (resource, decision) in [
                ("arn:x/GET/open", Decision::Allow),
                ("arn:x/GET/secret", Decision::ExplicitDeny),
                ("arn:x/POST/open", Decision::ImplicitDeny),
            ] {
                assert_eq!(verdict.decide("execute-api:Invoke", resource, &circumstances()), decision, "{resource}");
            }
        }
    }

    #[test]
    fn context_is_text_in_1_0_and_as_it_was_said_in_2_0() {
        let context = json!({"a": "text", "b": 7, "c": true});
        let answer = json!({"principalId": "ann", "policyDocument": policy(), "context": context});
        let told = |shape| read(&answer, shape, false).unwrap().context.map(|own| Value::from((*own).clone()));
        assert_eq!(told(Shape::Rest), Some(json!({"a": "text", "b": "7", "c": "true"})));
        assert_eq!(told(Shape::Http1), Some(json!({"a": "text", "b": "7", "c": "true"})));
        assert_eq!(told(Shape::Http2), Some(context));
        let nested = json!({"principalId": "ann", "policyDocument": policy(), "context": {"a": [1]}});
        assert!(matches!(read(&nested, Shape::Rest, false), Err(Failure::Unusable(_))));
        assert!(read(&nested, Shape::Http2, false).is_ok());
    }

    #[test]
    fn a_simple_answer_is_yes_or_no_for_all() {
        for (is_authorized, decision) in [(true, Decision::Allow), (false, Decision::ImplicitDeny)] {
            let verdict = read(&json!({"isAuthorized": is_authorized}), Shape::Http2, true).unwrap();
            assert_eq!(verdict.decide("execute-api:Invoke", "anything", &circumstances()), decision);
        }
    }

    #[test]
    fn what_is_no_verdict_is_a_failure_of_its_kind() {
        let simple = json!({"isAuthorized": true});
        for (answer, is_simple, failure) in [
            (json!({"errorMessage": "Unauthorized"}), false, "Unauthorized"),
            (json!({"errorMessage": "Unauthorized", "errorType": "Error", "trace": []}), false, "Unauthorized"),
            (json!({"errorMessage": "unauthorized"}), false, "Function"),
            (json!({"errorMessage": "boom"}), true, "Function"),
            (simple, false, "Unusable"),
            (json!({"isAuthorized": "true"}), true, "Unusable"),
            (json!({"policyDocument": policy()}), true, "Unusable"),
            (json!({"principalId": "ann"}), false, "Unusable"),
            (json!({"policyDocument": policy()}), false, "Unusable"),
            (json!({"principalId": 1, "policyDocument": policy()}), false, "Unusable"),
            (json!({"principalId": "ann", "policyDocument": {}}), false, "Unusable"),
            (json!({"principalId": "ann", "policyDocument": policy(), "context": 1}), false, "Unusable"),
            (json!(null), false, "Unusable"),
            (json!("x".repeat(9_000)), false, "Unusable"),
        ] {
            let told = format!("{:?}", read(&answer, Shape::Rest, is_simple).unwrap_err());
            assert!(told.starts_with(failure), "{answer}: {told}");
        }
        assert!(matches!(Verdict::read(b"{", Shape::Rest, false, false), Err(Failure::Unusable(_))));
        assert!(matches!(Verdict::read(b"{}", Shape::Rest, false, true), Err(Failure::Function(_))));
    }
}
