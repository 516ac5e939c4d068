//! A value of a document and the place where it stands, with what is wrong so far.

use std::cell::RefCell;

use serde_json::{Map, Value};
use weir_station::config::Fault;

/// References that lead to references at most.
const MOST_REFERENCES: usize = 16;

/// A document, while it is being read.
pub(super) struct Reading<'d> {
    root: &'d Value,
    faults: RefCell<Vec<Fault>>,
}

impl<'d> Reading<'d> {
    pub(super) fn new(root: &'d Value) -> Self {
        Self { root, faults: RefCell::default() }
    }

    /// The whole document.
    pub(super) fn root(&self) -> Node<'_, 'd> {
        Node { reading: self, value: self.root, pointer: String::new() }
    }

    /// What is wrong, in the order in which it was found.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// A value of a document.
#[derive(Clone)]
pub(super) struct Node<'r, 'd> {
    reading: &'r Reading<'d>,
    value: &'d Value,
    /// Where it stands: a JSON pointer (RFC 6901).
    pointer: String,
}

impl<'r, 'd> Node<'r, 'd> {
    /// Notes what is wrong with it, and what would be right.
    pub(super) fn fault(&self, problem: impl Into<String>, expected: impl Into<String>) {
        let path = format!("#{}", self.pointer);
        self.reading.faults.borrow_mut().push(Fault { path, problem: problem.into(), expected: expected.into() });
    }

    /// The whole document.
    pub(super) fn root(&self) -> Self {
        Self { reading: self.reading, value: self.reading.root, pointer: String::new() }
    }

    /// The value itself.
    pub(super) fn value(&self) -> &'d Value {
        self.value
    }

    /// Its place: `/paths/~1users/get`.
    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// What stands under a key; `null` is nothing.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.inner(key, value))
    }

    fn inner(&self, key: &str, value: &'d Value) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        Self { reading: self.reading, value, pointer: format!("{}/{key}", self.pointer) }
    }

    fn object(&self) -> Option<&'d Map<String, Value>> {
        let object = self.value.as_object();
        if object.is_none() {
            self.fault(format!("is {}", shown(self.value)), "an object");
        }
        object
    }

    /// The keys of an object and what stands under them.
    pub(super) fn entries(&self) -> Vec<(&'d str, Self)> {
        self.object().into_iter().flatten().map(|(key, value)| (key.as_str(), self.inner(key, value))).collect()
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let Some(items) = self.value.as_array() else {
            self.fault(format!("is {}", shown(self.value)), "a list");
            return Vec::new();
        };
        items.iter().enumerate().map(|(index, value)| self.inner(&index.to_string(), value)).collect()
    }

    /// The texts of a list.
    pub(super) fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(Self::text).map(str::to_owned).collect()
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.fault(format!("is {}", shown(self.value)), "a text");
        }
        text
    }

    /// A whole number, or a text that is one, as exports write statuses.
    pub(super) fn number(&self) -> Option<u64> {
        let number = self.value.as_u64().or_else(|| self.value.as_str()?.parse().ok());
        if number.is_none() {
            self.fault(format!("is {}", shown(self.value)), "a whole number");
        }
        number
    }

    /// `true` or `false`, also as a text, as exports write some.
    pub(super) fn boolean(&self) -> bool {
        let value = self.value.as_bool().or_else(|| self.value.as_str()?.parse().ok());
        if value.is_none() {
            self.fault(format!("is {}", shown(self.value)), "true or false");
        }
        value.unwrap_or_default()
    }

    /// Follows `$ref`, if it is one.
    pub(super) fn resolved(self) -> Option<Self> {
        let mut node = self;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = node.get("$ref") else { return Some(node) };
            let target = reference.text()?;
            let Some(pointer) = target.strip_prefix('#') else {
                reference.fault(format!("is {target:?}, outside this document"), "a reference that begins with #/");
                return None;
            };
            let Some(value) = node.reading.root.pointer(pointer) else {
                reference.fault(format!("is {target:?}, where nothing stands"), "a place in this document");
                return None;
            };
            node = Self { reading: node.reading, value, pointer: pointer.to_owned() };
        }
        node.fault("is a reference that leads nowhere", "the value itself");
        None
    }

    /// Notes the keys of an object that nobody reads: all but those that are `read`, those that only `document`, and
    /// extensions of other tools (`x-…`).
    pub(super) fn refuse_others(&self, read: &[&str], document: &[&str], expected: &str) {
        for (key, node) in self.entries() {
            let is_foreign = key.starts_with("x-") && !key.starts_with("x-amazon-");
            if !is_foreign && !read.contains(&key) && !document.contains(&key) {
                node.fault("is not supported here", expected);
            }
        }
    }
}

/// A value, for a fault's text; long ones by their kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.len() > 80 => "a text".to_owned(),
        other => other.to_string(),
    }
}
