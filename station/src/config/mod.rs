//! The configuration file, read key by key.
//!
//! A [`Document`] is what the user typed: a TOML file, and over it the environment (`WEIR_GATEWAY__LISTEN` stands for
//! `gateway.listen`). A station reads each of its keys once through a [`Section`], with its type and its default.
//!
//! What always holds: reading never stops at a fault. A faulty key yields its default, the fault is noted, and
//! [`Document::finish`] reports all of them at once, each with its path in the file, what is wrong and what would be
//! right; a key that nobody read is a fault too. So one start tells the operator everything.

mod faults;
mod resolved;
mod section;
mod setting;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::SystemTime,
};

use toml::{Table, Value};

pub use faults::{Fault, Faults};
pub use resolved::{Origin, Resolved, ResolvedKey};
pub use section::Section;
pub use setting::{ByteSize, OneOrMany, Secret, Setting};

/// Prefix of environment variables that override a key.
pub const ENVIRONMENT_PREFIX: &str = "WEIR_";

/// Top-level sections and keys that the gateway alone reads.
pub const GATEWAY_SECTIONS: [&str; 10] = [
    "gateway",
    "api",
    "api_files",
    "api_key",
    "cognito_authorizer",
    "domain",
    "jwt_authorizer",
    "lambda_authorizer",
    "service",
    "usage_plan",
];

/// What the user typed, while it is being read.
#[derive(Debug)]
pub struct Document {
    root: Table,
    /// The file that all of it stands in; none when something came from elsewhere.
    path: Option<PathBuf>,
    read_at: SystemTime,
    state: Rc<State>,
}

/// What reading has come to so far; shared by a document and its sections.
#[derive(Debug, Default)]
struct State {
    environment: Vec<(String, String)>,
    /// Where the file is, by which it names other files.
    directory: PathBuf,
    faults: RefCell<Vec<Fault>>,
    keys: RefCell<Vec<ResolvedKey>>,
    /// Tables that somebody asked for, so that their unread keys can be told from whole sections of other stations.
    opened: RefCell<BTreeSet<String>>,
    /// Files that the document includes.
    included: RefCell<Vec<Included>>,
}

/// A file that a document includes.
#[derive(Debug)]
struct Included {
    file: PathBuf,
    /// What stands before the paths of its keys: `apis/shop.toml: `.
    prefix: String,
    root: Table,
}

impl Document {
    /// Reads the file, if there is one, and this process's environment.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML.
    pub fn load(path: Option<&Path>) -> Result<Self, Faults> {
        match path {
            Some(path) => {
                let read_at = SystemTime::now();
                Ok(Self { path: Some(path.to_owned()), read_at, ..Self::load_with(path, "")? })
            }
            None => Self::parse("", Self::environment()),
        }
    }

    /// Reads the file with more text after it, and this process's environment.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML.
    pub fn load_with(path: &Path, more: &str) -> Result<Self, Faults> {
        let text = fs::read_to_string(path).map_err(|error| {
            Faults::one(path.display(), format!("cannot be read: {error}"), "a readable file, named by --config")
        })?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let root = table(&format!("{text}\n{more}")).map_err(|faults| faults.within(path))?;
        Ok(Self::new(root, Self::environment(), directory))
    }

    /// The variables of this process that stand for keys.
    #[must_use]
    pub fn environment() -> Vec<(String, String)> {
        std::env::vars().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect()
    }

    /// Reads a text, with these environment variables over it.
    ///
    /// # Errors
    /// When the text is no TOML.
    pub fn parse(text: &str, environment: Vec<(String, String)>) -> Result<Self, Faults> {
        Ok(Self::new(table(text)?, environment, PathBuf::new()))
    }

    fn new(root: Table, environment: Vec<(String, String)>, directory: PathBuf) -> Self {
        let state = Rc::new(State { environment, directory, ..State::default() });
        Self { root, path: None, read_at: SystemTime::now(), state }
    }

    /// Takes the arrays of tables of another file beside its own ones; the file's name is relative to the directory of
    /// this one. Faults in it are noted under its name.
    pub fn include(&self, file: &Path) {
        let path = self.state.directory.join(file);
        let mut included = self.state.included.borrow_mut();
        let note = |fault: Fault| self.state.faults.borrow_mut().push(fault);
        let shown = file.display().to_string();
        if included.iter().any(|other| other.file == path) {
            let (problem, expected) = ("is included twice".to_owned(), "each file once".to_owned());
            return note(Fault { path: shown, problem, expected });
        }
        let root = match fs::read_to_string(&path) {
            Ok(text) => table(&text).map_err(|faults| faults.within(file).iter().cloned().for_each(note)),
            Err(error) => {
                let (problem, expected) = (format!("cannot be read: {error}"), "a readable TOML file".to_owned());
                note(Fault { path: shown, problem, expected });
                Err(())
            }
        };
        let prefix = format!("{}: ", file.display());
        included.push(Included { file: path, prefix, root: root.unwrap_or_default() });
    }

    /// The files that it includes.
    #[must_use]
    pub fn included(&self) -> Vec<PathBuf> {
        self.state.included.borrow().iter().map(|included| included.file.clone()).collect()
    }

    /// The file that all of it was read from, so that it can be read again; none when something came from elsewhere.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// When the reading of it began: what changes later in its files it does not say.
    #[must_use]
    pub fn read_at(&self) -> SystemTime {
        self.read_at
    }

    /// The document as a section, for keys that stand above all sections.
    #[must_use]
    pub fn top(&self) -> Section {
        Section::new(String::new(), Some(self.root.clone()), Rc::clone(&self.state))
    }

    /// The table of this name; absent ones read as empty.
    #[must_use]
    pub fn section(&self, name: &str) -> Section {
        self.top().section(name)
    }

    /// The array of tables of this name (`[[api]]`), those of included files after its own ones; absent ones read as
    /// empty.
    #[must_use]
    pub fn sections(&self, name: &str) -> Vec<Section> {
        let mut sections = self.top().sections(name);
        for Included { prefix, root, .. } in self.state.included.borrow().iter() {
            sections.extend(Section::new(prefix.clone(), Some(root.clone()), Rc::clone(&self.state)).sections(name));
        }
        sections
    }

    /// Ends the reading: every key as it was resolved, or every fault.
    ///
    /// `others` names the top-level sections that belong to stations which this program does not run.
    ///
    /// # Errors
    /// When there was any fault, or a key that nobody reads.
    pub fn finish(self, others: &[&str]) -> Result<Resolved, Faults> {
        let mut faults = self.state.faults.take();
        let keys = self.state.keys.take();
        let opened = self.state.opened.take();
        let read: BTreeSet<&str> =
            keys.iter().map(|key| key.path.as_str()).chain(opened.iter().map(String::as_str)).collect();
        let mut unread = Vec::new();
        find_unread("", &self.root, &read, &mut unread);
        for Included { prefix, root, .. } in self.state.included.take() {
            find_unread(&prefix, &root, &read, &mut unread);
        }
        unread.retain(|path| !others.iter().any(|other| path.split(['.', '[']).next() == Some(other)));
        faults.extend(unread.into_iter().map(|path| Fault::unknown_key(&path, &read)));
        for (name, _) in &self.state.environment {
            let path = path_of_variable(name);
            let foreign = path.split('.').next().is_none_or(|top| others.contains(&top) || !path.contains('.'));
            if !foreign && !read.contains(path.as_str()) {
                faults.push(Fault::unknown_key(&path, &read).set_by(name));
            }
        }
        if faults.is_empty() { Ok(Resolved { keys }) } else { Err(Faults::from(faults)) }
    }
}

/// The tables of a text.
fn table(text: &str) -> Result<Table, Faults> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Faults::one(format!("line {line}"), error.message(), "TOML, as in weir.example.toml")
    })
}

/// `WEIR_GATEWAY__LISTEN` → `gateway.listen`.
fn path_of_variable(name: &str) -> String {
    name.trim_start_matches(ENVIRONMENT_PREFIX).to_lowercase().replace("__", ".")
}

/// Collects the paths that stand in the file and that nobody read; a table that nobody opened is one path.
fn find_unread(path: &str, table: &Table, read: &BTreeSet<&str>, unread: &mut Vec<String>) {
    for (key, value) in table {
        let path = join(path, key);
        match value {
            _ if !read.contains(path.as_str()) => unread.push(path),
            Value::Table(inner) => find_unread(&path, inner, read, unread),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let (Value::Table(inner), element) = (item, format!("{path}[{index}]"))
                        && read.contains(element.as_str())
                    {
                        find_unread(&element, inner, read, unread);
                    }
                }
            }
            _ => {}
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.ends_with(": ") {
        return format!("{path}{key}");
    }
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
