//! IAM policies: what a signer may call
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-control-access-using-iam-policies-to-invoke-api.html>).
//!
//! What always holds: an explicit deny stands above every allow, and what nothing allows is denied. A policy with an
//! element that is not known here is no policy: what it would have denied is not let through in silence.

mod condition;

use condition::Condition;
use serde_json::Value;

pub(crate) use condition::Circumstances;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy(Vec<Statement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    allows: bool,
    actions: Patterns,
    resources: Patterns,
    /// All of which must hold.
    conditions: Vec<Condition>,
}

/// Texts with `*` and `?`, one of which must fit, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Patterns {
    patterns: Vec<String>,
    /// `NotAction`, `NotResource`.
    is_negated: bool,
}

/// What a policy says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A statement allows it, and none denies it.
    Allow,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement says anything of it.
    ImplicitDeny,
}

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(document: &Value) -> Result<Self, String> {
        let statements = document.get("Statement").ok_or("has no Statement")?;
        let statements = match statements {
            Value::Array(statements) => statements.iter().map(Statement::parse).collect::<Result<_, _>>()?,
            statement => vec![Statement::parse(statement)?],
        };
        Ok(Self(statements))
    }

    /// What it says of an action on a resource, under these circumstances.
    pub(crate) fn decide(&self, action: &str, resource: &str, circumstances: &Circumstances<'_>) -> Decision {
        let speaks = |statement: &&Statement| {
            statement.actions.fit(&action.to_ascii_lowercase())
                && statement.resources.fit(resource)
                && statement.conditions.iter().all(|condition| condition.holds(circumstances))
        };
        let mut decision = Decision::ImplicitDeny;
        for statement in self.0.iter().filter(speaks) {
            if !statement.allows {
                return Decision::ExplicitDeny;
            }
            decision = Decision::Allow;
        }
        decision
    }
}

impl Statement {
    fn parse(value: &Value) -> Result<Self, String> {
        let members = value.as_object().ok_or("has a statement that is no object")?;
        const KNOWN: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
        if let Some(unknown) = members.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("has {unknown}, which is not supported; a statement has {}", KNOWN.join(", ")));
        }
        let allows = match value["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err("has a statement whose Effect is neither Allow nor Deny".to_owned()),
        };
        let mut actions = Patterns::parse(value, "Action", "NotAction")?;
        // Actions are compared without regard to case, resources are not.
        actions.patterns.iter_mut().for_each(|pattern| pattern.make_ascii_lowercase());
        let resources = Patterns::parse(value, "Resource", "NotResource")?;
        let conditions = value.get("Condition").map(condition::parse).transpose()?.unwrap_or_default();
        Ok(Self { allows, actions, resources, conditions })
    }
}

impl Patterns {
    fn parse(statement: &Value, key: &str, negated: &str) -> Result<Self, String> {
        let (value, is_negated) = match (statement.get(key), statement.get(negated)) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            _ => return Err(format!("has a statement without exactly one of {key} and {negated}")),
        };
        let texts = match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if texts.is_empty() || value.as_array().is_some_and(|items| items.len() != texts.len()) {
            return Err(format!("has a statement whose {key} is no text and no list of texts"));
        }
        Ok(Self { patterns: texts, is_negated })
    }

    fn fit(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern.as_bytes(), text.as_bytes())) != self.is_negated
    }
}

/// Whether a pattern fits a text: `*` stands for any run of characters, `/` and `:` among them, `?` for any one.
/// Takes time that grows with the product of both lengths at most.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut index) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut retry: Option<(usize, usize)> = None;
    while index < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, index));
                at += 1;
            }
            Some(own) if *own == b'?' || *own == text[index] => (at, index) = (at + 1, index + 1),
            _ => match &mut retry {
                Some((after_star, from)) => {
                    *from += 1;
                    (at, index) = (*after_star, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ACTION: &str = "execute-api:Invoke";

    fn decide(policy: &Value, resource: &str) -> Decision {
        Policy::parse(policy).unwrap().decide(ACTION, resource, &circumstances())
    }

    pub(crate) fn circumstances() -> Circumstances<'static> {
        Circumstances {
            source_ip: "10.1.2.3".parse().unwrap(),
            user_agent: None,
            referer: None,
            is_secure: true,
            now: crate::sigv4::Moment::parse_extended("2026-03-01T12:00:00Z").unwrap(),
            principal_arn: None,
        }
    }

    #[test]
    fn a_statement_speaks_of_calls_that_fulfil_its_conditions() {
        let policy = |network: &str| {
            json!({"Statement": [
                {"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": "*", "Resource": "*",
                    "Condition": {"NotIpAddress": {"aws:SourceIp": network}}},
            ]})
        };
        assert_eq!(decide(&policy("10.0.0.0/8"), "a"), Decision::Allow);
        assert_eq!(decide(&policy("192.0.2.0/24"), "a"), Decision::ExplicitDeny);
    }

    #[test]
    fn an_explicit_deny_stands_above_every_allow_and_silence_denies() {
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "execute-api:*", "Resource": "arn:aws:execute-api:*:*:shop/prod/*"},
            {"Effect": "Deny", "Action": ["EXECUTE-API:invoke"], "Resource": ["arn:*:shop/prod/DELETE/*"]},
        ]});
        for (resource, decision) in [
            ("arn:aws:execute-api:eu-central-1:1:shop/prod/GET/users/1", Decision::Allow),
            ("arn:aws:execute-api:eu-central-1:1:shop/prod/DELETE/users/1", Decision::ExplicitDeny),
            ("arn:aws:execute-api:eu-central-1:1:shop/dev/GET/users/1", Decision::ImplicitDeny),
        ] {
            assert_eq!(decide(&policy, resource), decision, "{resource}");
        }
    }

    #[test]
    fn negated_elements_mean_all_others() {
        let policy = json!({"Statement": {"Effect": "Allow", "NotAction": "s3:*", "NotResource": "*/secret"}});
        assert_eq!(decide(&policy, "a/open"), Decision::Allow);
        assert_eq!(decide(&policy, "a/secret"), Decision::ImplicitDeny);
    }

    #[test]
    fn a_policy_with_what_is_not_known_is_refused_and_told_why() {
        for (policy, why) in [
            (json!({}), "has no Statement"),
            (json!({"Statement": ["x"]}), "no object"),
            (json!({"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}), "neither Allow nor Deny"),
            (json!({"Statement": {"Effect": "Allow", "Resource": "*"}}), "exactly one of Action and NotAction"),
            (json!({"Statement": {"Effect": "Allow", "Action": 1, "Resource": "*"}}), "no text and no list"),
            (json!({"Statement": {"Effect": "Allow", "Action": ["*", 1], "Resource": "*"}}), "no text and no list"),
            (
                json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}}),
                "has Principal",
            ),
        ] {
            let problem = Policy::parse(&policy).unwrap_err();
            assert!(problem.contains(why), "{policy}: {problem}");
        }
    }

    /// The same, without cleverness.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=text.len()).any(|from| naive(rest, &text[from..])),
            (Some((own, rest)), Some((other, others))) => (*own == b'?' || own == other) && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_fit_what_a_naive_matcher_fits(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
