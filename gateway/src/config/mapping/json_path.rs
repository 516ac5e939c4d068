//! Where in a JSON document a value stands: the part of `JSONPath` (<https://www.rfc-editor.org/rfc/rfc9535>) that
//! parameter mappings have. Members and elements by name and number; no descent, no filters, as in API Gateway.

use serde_json::Value;

/// The way from a document's root to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

impl JsonPath {
    /// What follows the root: `.user.names[0]['first']`; empty for the document itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (step, after) = step(rest).map_err(|problem| format!("{problem} in the JSON path {text:?}"))?;
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// Whether it means the document itself.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that stands there.
    pub(crate) fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |value, step| match step {
            Step::Member(name) => value.as_object()?.get(name),
            Step::Element(index) => value.as_array()?.get(*index),
        })
    }
}

fn step(text: &str) -> Result<(Step, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('.') {
        let (name, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        return match name {
            "" => Err("recursive descent, or a name that is missing,"),
            "*" => Err("a wildcard"),
            name => Ok((Step::Member(name.to_owned()), after)),
        };
    }
    let rest = text.strip_prefix('[').ok_or("something else than a name after a dot or in brackets")?;
    for quote in ['\'', '"'] {
        if let Some(rest) = rest.strip_prefix(quote) {
            let (name, after) = rest.split_once(quote).ok_or("a quote that does not end")?;
            let after = after.strip_prefix(']').ok_or("a bracket that does not end")?;
            return Ok((Step::Member(name.to_owned()), after));
        }
    }
    let (index, after) = rest.split_once(']').ok_or("a bracket that does not end")?;
    let index = index.parse().map_err(|_| "a filter, slice or wildcard, or no number")?;
    Ok((Step::Element(index), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn members_and_elements_are_found_where_they_stand() {
        let document = json!({"user": {"names": ["a", {"x y": true}]}, "n": null});
        for (path, value) in [
            ("", Some(document.clone())),
            (".user.names[0]", Some(json!("a"))),
            ("['user'].names[1]['x y']", Some(json!(true))),
            (".user.names[1][\"x y\"]", Some(json!(true))),
            (".user.names[2]", None),
            (".user[0]", None),
            (".none.names", None),
            (".n", Some(json!(null))),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().find(&document), value.as_ref(), "{path}");
        }
    }

    #[test]
    fn what_mappings_do_not_have_is_refused_by_name() {
        for (path, problem) in [
            ("..name", "recursive descent"),
            (".", "a name that is missing"),
            (".a.*", "a wildcard"),
            ("[*]", "filter, slice or wildcard"),
            ("[?(@.a)]", "filter, slice or wildcard"),
            ("[0", "bracket that does not end"),
            ("['a", "quote that does not end"),
            ("x", "something else"),
        ] {
            let told = JsonPath::parse(path).unwrap_err();
            assert!(told.contains(problem), "{path}: {told}");
        }
    }

    proptest! {
        #[test]
        fn no_text_stops_it(text in "[.\\[\\]'\"a0*?\\PC]{0,20}") {
            let _ = JsonPath::parse(&text);
        }
    }
}
