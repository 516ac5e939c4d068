//! What is wrong with a configuration, said so that its owner can mend it.

use std::{collections::BTreeSet, fmt, path::Path};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: the key's path in the file, such as `gateway.listen` or `api[0].route[2].integration.uri`.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub expected: String,
}

impl Fault {
    /// A key that nobody reads; suggests the nearest name that stands at the same place.
    pub(super) fn unknown_key(path: &str, known: &BTreeSet<&str>) -> Self {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let siblings = known.iter().filter(|other| other.rsplit_once('.').map_or("", |(parent, _)| parent) == parent);
        let nearest = siblings.max_by(|a, b| strsim::jaro_winkler(a, path).total_cmp(&strsim::jaro_winkler(b, path)));
        let expected = match nearest {
            Some(name) => format!("perhaps {name}; weir.example.toml lists every key"),
            None => "weir.example.toml lists every key".to_owned(),
        };
        Self { path: path.to_owned(), problem: "unknown key".to_owned(), expected }
    }

    pub(super) fn set_by(mut self, variable: &str) -> Self {
        self.problem = format!("{} (from the environment: {variable})", self.problem);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; expected {}", self.path, self.problem, self.expected)
    }
}

/// All faults of a configuration; one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// A single fault.
    pub fn one(path: impl fmt::Display, problem: impl fmt::Display, expected: impl fmt::Display) -> Self {
        Self(vec![Fault { path: path.to_string(), problem: problem.to_string(), expected: expected.to_string() }])
    }

    /// Names the file that the faults are in.
    #[must_use]
    pub fn within(mut self, file: &Path) -> Self {
        for fault in &mut self.0 {
            fault.path = format!("{}: {}", file.display(), fault.path);
        }
        self
    }

    /// Each fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(faults: Vec<Fault>) -> Self {
        Self(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
