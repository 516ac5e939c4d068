//! One table of the configuration, read key by key.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use toml::{Table, Value};

use super::{ENVIRONMENT_PREFIX, Fault, Origin, ResolvedKey, Secret, Setting, State, join};

/// A table of the file, or the lack of one: both read alike.
#[derive(Debug)]
pub struct Section {
    path: String,
    table: Option<Table>,
    state: Rc<State>,
}

impl Section {
    pub(super) fn new(path: String, table: Option<Table>, state: Rc<State>) -> Self {
        state.opened.borrow_mut().insert(path.clone());
        Self { path, table, state }
    }

    /// Where the section stands in the file: `gateway`, `api[0].route[2]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the file has this section.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The keys that stand in this section, for tables whose keys are names of the user's own.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.table.iter().flat_map(Table::keys).cloned().collect()
    }

    /// The value of a key, or its default.
    pub fn value<T: Setting>(&self, key: &str, default: T) -> T {
        if let Some((value, origin)) = self.read::<T>(key) {
            self.note(key, value.show(), origin);
            value
        } else {
            self.note(key, default.show(), Origin::Default);
            default
        }
    }

    /// The value of a key that may be absent.
    pub fn optional<T: Setting>(&self, key: &str) -> Option<T> {
        let found = self.read::<T>(key);
        match &found {
            Some((value, origin)) => self.note(key, value.show(), *origin),
            None => self.note(key, String::new(), Origin::Default),
        }
        found.map(|(value, _)| value)
    }

    /// The value of a key that must be there; its absence is a fault.
    pub fn required<T: Setting>(&self, key: &str) -> Option<T> {
        if self.raw(key).is_none() {
            self.fault(key, "missing", T::EXPECTED);
        }
        self.optional(key)
    }

    /// A secret that may be absent. It is never shown.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.optional(key)
    }

    /// A table inside this one; absent ones read as empty.
    #[must_use]
    pub fn section(&self, key: &str) -> Section {
        let path = join(&self.path, key);
        let table = match self.table.as_ref().and_then(|table| table.get(key)) {
            Some(Value::Table(table)) => Some(table.clone()),
            Some(other) => {
                self.fault(key, format!("is {}", other.type_str()), "a table");
                None
            }
            None => None,
        };
        Section::new(path, table, Rc::clone(&self.state))
    }

    /// The texts of the table of this name, by their keys, which the file's owner chooses.
    #[must_use]
    pub fn texts(&self, key: &str) -> BTreeMap<String, String> {
        let inner = self.section(key);
        let keys = inner.table.iter().flat_map(Table::keys);
        keys.filter_map(|key| Some((key.clone(), inner.optional::<String>(key)?))).collect()
    }

    /// Where a file is that the configuration names: relative to the directory of the configuration's own file.
    #[must_use]
    pub fn file(&self, name: &Path) -> PathBuf {
        self.state.directory.join(name)
    }

    /// The array of tables of this name; absent ones read as empty.
    #[must_use]
    pub fn sections(&self, key: &str) -> Vec<Section> {
        let path = join(&self.path, key);
        self.state.opened.borrow_mut().insert(path.clone());
        let items = match self.table.as_ref().and_then(|table| table.get(key)) {
            Some(Value::Array(items)) => items.as_slice(),
            Some(other) => {
                self.fault(key, format!("is {}", other.type_str()), format!("tables, each headed [[{path}]]"));
                &[]
            }
            None => &[],
        };
        let tables = items.iter().enumerate().filter_map(|(index, item)| match item {
            Value::Table(table) => Some((index, table.clone())),
            other => {
                self.fault(&format!("{key}[{index}]"), format!("is {}", other.type_str()), "a table");
                None
            }
        });
        tables
            .map(|(index, table)| Section::new(format!("{path}[{index}]"), Some(table), Rc::clone(&self.state)))
            .collect()
    }

    /// Notes a fault that only the reader can know, such as a name that stands for nothing.
    pub fn fault(&self, key: &str, problem: impl Into<String>, expected: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        let fault = Fault { path, problem: problem.into(), expected: expected.into() };
        self.state.faults.borrow_mut().push(fault);
    }

    /// The environment's value of a key, which is a text, or else the file's.
    fn raw(&self, key: &str) -> Option<(Value, Origin)> {
        let variable = format!("{ENVIRONMENT_PREFIX}{}", join(&self.path, key).to_uppercase().replace('.', "__"));
        if let Some((_, text)) = self.state.environment.iter().find(|(name, _)| *name == variable) {
            return Some((Value::String(text.clone()), Origin::Environment));
        }
        Some((self.table.as_ref()?.get(key)?.clone(), Origin::File))
    }

    fn read<T: Setting>(&self, key: &str) -> Option<(T, Origin)> {
        let (value, origin) = self.raw(key)?;
        let parsed = match (&value, origin) {
            (Value::String(text), Origin::Environment) => T::parse(text),
            (value, _) => T::read(value),
        };
        match parsed {
            Some(parsed) => Some((parsed, origin)),
            None => {
                let shown = if T::IS_SECRET { "not readable".to_owned() } else { format!("is {value}") };
                self.fault(key, shown, T::EXPECTED);
                None
            }
        }
    }

    fn note(&self, key: &str, shown: String, origin: Origin) {
        self.state.keys.borrow_mut().push(ResolvedKey { path: join(&self.path, key), shown, origin });
    }
}
