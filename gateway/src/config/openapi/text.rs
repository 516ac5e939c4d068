//! The text of a document, JSON or YAML, as values.
//!
//! What always holds: a document takes no more than [`MOST_NODES`] values, [`MOST_TEXT`] bytes of text and
//! [`MOST_DEPTH`] levels, whatever its aliases stand for; a key stands once in its object.

use std::{collections::HashMap, fmt};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Levels of a YAML document at most; `serde_json` has its own limit for JSON, 128.
const MOST_DEPTH: usize = 100;

/// Values of a YAML document at most, those that aliases stand for among them.
const MOST_NODES: usize = 1 << 20;

/// Text in a YAML document's values at most, bytes, what aliases stand for among it.
const MOST_TEXT: usize = 16 << 20;

/// Reads a document: JSON when it begins with `{`, else YAML.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn read(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        let once: Result<Once, _> = serde_json::from_str(text);
        return once.map(|once| once.0).map_err(|error| format!("is no JSON: {error}"));
    }
    read_yaml(text).map_err(|(problem, line)| format!("is no YAML that can be read: {problem}, at line {line}"))
}

/// A value whose objects have each key once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Once, E> {
        Ok(Once(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Once, E> {
        Ok(Once(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Once, E> {
        Ok(Once(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut values = Vec::new();
        while let Some(Once(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Once(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
        let mut values = Map::new();
        while let Some((key, Once(value))) = entries.next_entry::<String, Once>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            values.insert(key, value);
        }
        Ok(Once(Value::Object(values)))
    }
}

/// Reads the one document of a YAML text (YAML 1.2, core schema).
///
/// # Errors
/// What is wrong, and the line.
pub(super) fn read_yaml(text: &str) -> Result<Value, (String, usize)> {
    let parser = Parser::new_from_str(text);
    let mut reader = YamlReader { parser, anchors: HashMap::new(), nodes: 0, text: 0, line: 1 };
    let mut value = Value::Null;
    let mut documents = 0;
    loop {
        match reader.next().map_err(|problem| (problem, reader.line))? {
            Event::StreamEnd => return Ok(value),
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(("there is a second document in it".to_owned(), reader.line));
                }
            }
            event => value = reader.value(event, 0).map_err(|problem| (problem, reader.line))?,
        }
    }
}

/// Makes values of the parser's events.
struct YamlReader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// What aliases stand for, with its size: values, bytes of text.
    anchors: HashMap<usize, (Value, usize, usize)>,
    nodes: usize,
    text: usize,
    line: usize,
}

impl<'t> YamlReader<'t> {
    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => {
                self.line = start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(error.info().to_owned())
            }
            None => Ok(Event::StreamEnd),
        }
    }

    /// Counts what a value takes.
    fn take(&mut self, nodes: usize, text: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.text = self.text.saturating_add(text);
        if self.nodes > MOST_NODES || self.text > MOST_TEXT {
            return Err("it has too many values, those that its aliases stand for among them".to_owned());
        }
        Ok(())
    }

    fn value(&mut self, event: Event<'t>, depth: usize) -> Result<Value, String> {
        if depth > MOST_DEPTH {
            return Err(format!("it is more than {MOST_DEPTH} levels deep"));
        }
        let before = (self.nodes, self.text);
        let (value, anchor) = match event {
            Event::Alias(id) => {
                // An alias within what it stands for is not there yet.
                let (_, nodes, text) = self.anchors.get(&id).ok_or("an alias stands for nothing before it")?;
                let (nodes, text) = (*nodes, *text);
                self.take(nodes, text)?;
                return Ok(self.anchors.get(&id).map_or(Value::Null, |(value, ..)| value.clone()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.take(1, text.len())?;
                (scalar(&text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq")?;
                self.take(1, 0)?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map")?;
                self.take(1, 0)?;
                (self.mapping(depth)?, anchor)
            }
            _ => return Err("a value is missing".to_owned()),
        };
        if anchor != 0 {
            let (nodes, text) = (self.nodes - before.0, self.text - before.1);
            self.take(nodes, text)?;
            self.anchors.insert(anchor, (value.clone(), nodes, text));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, String> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(values)),
                event => values.push(self.value(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        let mut values = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(values)),
                // A key is a text, whatever it looks like: 200 of the responses.
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err("a key is no text".to_owned()),
            };
            if key == "<<" {
                return Err("merge keys (<<) are no YAML 1.2; write the fields out".to_owned());
            }
            self.take(0, key.len())?;
            if values.contains_key(&key) {
                return Err(format!("the key {key:?} stands twice in one mapping"));
            }
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            values.insert(key, value);
        }
    }
}

fn check_tag(tag: Option<&Tag>, core: &str) -> Result<(), String> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == core) => {
            Err(format!("the tag {tag} means nothing here; CloudFormation's functions are not evaluated"))
        }
        _ => Ok(()),
    }
}

/// A scalar by the core schema (YAML 1.2, section 10.3).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str") {
        return Ok(Value::from(text));
    }
    if let Some(tag) = tag
        && !(tag.is_yaml_core_schema() && ["null", "bool", "int", "float"].contains(&tag.suffix.as_str()))
    {
        return check_tag(Some(tag), "").map(|()| Value::Null);
    }
    if tag.is_none() && style != ScalarStyle::Plain {
        return Ok(Value::from(text));
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = text.strip_prefix(['-', '+']).unwrap_or(text);
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if digits(whole) => {
            text.trim_start_matches('+').parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
        }
        _ if is_float(whole) => {
            text.parse().ok().and_then(Number::from_f64).map_or_else(|| Value::from(text), Value::Number)
        }
        _ => Value::from(text),
    })
}

/// `1.5`, `1e3`; Rust's parser takes more (`inf`, `1.`), which stay texts.
fn is_float(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_come_to_the_same_values() {
        let yaml = "a: &x {b: [1, -2, 1.5, true, ~, '3', 3.0.1]}\nc: *x\n200: |\n  text\nd: !!str 7\n";
        let json = r#" {"a": {"b": [1, -2, 1.5, true, null, "3", "3.0.1"]}, "c": {"b": [1, -2, 1.5, true, null, "3",
            "3.0.1"]}, "200": "text\n", "d": "7"}"#;
        assert_eq!(read(yaml).unwrap(), read(json).unwrap());
        assert_eq!(read_yaml("{statusCode: 200}").unwrap(), json!({"statusCode": 200}));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        for (text, why) in [
            ("{\"a\": 1,\n \"a\": 2}", "the key \"a\" stands twice in one object at line 2"),
            ("{\"a\": ", "is no JSON: EOF"),
            ("a: 1\na: 2", "the key \"a\" stands twice in one mapping, at line 2"),
            ("a: !Sub x", "the tag !Sub means nothing here"),
            ("a: 1\n---\nb: 1", "there is a second document"),
            ("a:\n  <<: 1", "merge keys"),
            ("a: *b", "line 1"),
            ("? [a]\n: b", "a key is no text"),
            ("a: &a [*a]", "an alias stands for nothing before it"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn neither_aliases_nor_depth_take_more_than_their_bounds() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let last = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [&last[..]; 10].join(", "));
        }
        assert!(read(&bomb).unwrap_err().contains("too many values"));
        for deep in ["[".repeat(200), "- ".repeat(100_000), "{\"a\":".repeat(10_000), "a: [".repeat(10_000)] {
            assert!(read(&deep).is_err());
        }
    }
}
