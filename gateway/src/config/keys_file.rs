//! The file of API keys, as API Gateway imports it ("API key file format" in its developer guide): comma-separated
//! values (RFC 4180) under the columns `key`, `name`, `description`, `enabled` and `usageplanIds`, in any order and any
//! case. A file may have `sha256`, the key's SHA-256 in hexadecimal, in place of `key`, and `id`, which else is the name.
//!
//! Plans are named by their names, several of them separated by commas within quotes. A key is enabled unless the file
//! says otherwise.

use std::{fs, path::Path};

use super::plans::{ApiKeyDefinition, KEY, name_problem};
use crate::auth::key::KeyHash;

/// Columns that a file may have.
const COLUMNS: [&str; 7] = ["key", "sha256", "id", "name", "description", "enabled", "usageplanids"];

/// A key of the file.
pub(super) struct Row {
    /// Its line, from 1.
    pub line: usize,
    /// The key.
    pub key: ApiKeyDefinition,
    /// Names of its plans.
    pub plans: Vec<String>,
}

/// Reads a file. What is wrong goes to `fault`, with what would be right; rows without a fault are returned.
pub(super) fn read(path: &Path, fault: &dyn Fn(String, &str)) -> Vec<Row> {
    match fs::read_to_string(path) {
        Ok(text) => read_text(&text, fault),
        Err(error) => {
            fault(format!("{} cannot be read: {error}", path.display()), "a file of keys, in UTF-8");
            Vec::new()
        }
    }
}

fn read_text(text: &str, fault: &dyn Fn(String, &str)) -> Vec<Row> {
    let mut records = Vec::new();
    for record in Records::new(text.trim_start_matches('\u{feff}')) {
        match record {
            Ok(record) => records.push(record),
            Err((line, problem)) => {
                fault(format!("line {line}: {problem}"), "comma-separated values; a quote within quotes is doubled");
                return Vec::new();
            }
        }
    }
    let mut records = records.into_iter();
    let Some((line, head)) = records.next() else {
        fault("is empty".to_owned(), "a first line with the columns: key,name,description,enabled,usageplanIds");
        return Vec::new();
    };
    let columns: Vec<_> = head.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let expected = "columns key (or sha256), name, description, enabled, usageplanIds, each once";
    for (index, name) in columns.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) || columns[..index].contains(name) {
            // Not its text: a file without a first line begins with a key.
            fault(format!("line {line}: column {} is unknown or there twice", index + 1), expected);
            return Vec::new();
        }
    }
    let has = |name: &str| columns.iter().any(|own| own == name);
    if has("key") == has("sha256") || !(has("id") || has("name")) {
        fault(format!("line {line}: needs either key or sha256, and name or id"), expected);
        return Vec::new();
    }
    let mut rows = Vec::new();
    for (line, fields) in records {
        if fields.len() != columns.len() {
            let problem = format!("line {line}: has {} fields", fields.len());
            fault(problem, &format!("{}, as the first line", columns.len()));
            continue;
        }
        let field = |name: &str| {
            let index = columns.iter().position(|own| own == name)?;
            Some(fields[index].trim()).filter(|text| !text.is_empty())
        };
        match row(line, &field) {
            Ok(row) => rows.push(row),
            Err((problem, expected)) => fault(format!("line {line}: {problem}"), expected),
        }
    }
    rows
}

fn row<'f>(line: usize, field: &impl Fn(&str) -> Option<&'f str>) -> Result<Row, (String, &'static str)> {
    let name = field("name");
    if let Some(problem) = name.and_then(name_problem) {
        return Err((problem.to_owned(), "a shorter name"));
    }
    let id = field("id").or(name).ok_or_else(|| ("has neither id nor name".to_owned(), "a name for each key"))?;
    let hash = match (field("key"), field("sha256")) {
        (Some(key), _) => KeyHash::of_key(key).map_err(|problem| (problem.to_owned(), KEY))?,
        (None, Some(digits)) => {
            KeyHash::from_hex(digits).ok_or_else(|| ("sha256 is no SHA-256".to_owned(), "64 hexadecimal digits"))?
        }
        (None, None) => return Err(("has no key".to_owned(), KEY)),
    };
    let is_enabled = match field("enabled").map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err((format!("enabled is {other:?}"), "true or false")),
    };
    let plans = field("usageplanids").unwrap_or_default().split(',');
    let plans = plans.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let (name, description) = (name.map(str::to_owned), field("description").map(str::to_owned));
    Ok(Row { line, key: ApiKeyDefinition { id: id.to_owned(), name, description, is_enabled, hash }, plans })
}

/// The records of comma-separated values, each with the line that it begins in; empty lines are none.
struct Records<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Records<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text, line: 1 }
    }

    /// Takes a field off the rest, and says whether its record goes on.
    fn field(&mut self) -> Result<(String, bool), (usize, &'static str)> {
        let mut field = String::new();
        if let Some(mut quoted) = self.rest.strip_prefix('"') {
            let begun = self.line;
            loop {
                let end = quoted.find('"').ok_or((begun, "a quoted field does not end"))?;
                self.line += quoted[..end].matches('\n').count();
                field += &quoted[..end];
                quoted = &quoted[end + 1..];
                let Some(more) = quoted.strip_prefix('"') else { break };
                field.push('"');
                quoted = more;
            }
            self.rest = quoted;
        } else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (plain, rest) = self.rest.split_at(end);
            let plain = if rest.starts_with(',') { plain } else { plain.trim_end_matches('\r') };
            if plain.contains('"') {
                return Err((self.line, "a quote stands inside a field that is not quoted"));
            }
            field += plain;
            self.rest = rest;
        }
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            return Ok((field, true));
        }
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        if let Some(rest) = rest.strip_prefix('\n') {
            (self.rest, self.line) = (rest, self.line + 1);
            Ok((field, false))
        } else if rest.is_empty() {
            self.rest = rest;
            Ok((field, false))
        } else {
            Err((self.line, "something stands after a quoted field"))
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<String>), (usize, &'static str)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (line, mut fields) = (self.line, Vec::new());
            loop {
                match self.field() {
                    Ok((field, goes_on)) => {
                        fields.push(field);
                        if !goes_on {
                            break;
                        }
                    }
                    Err(error) => {
                        self.rest = "";
                        return Some(Err(error));
                    }
                }
            }
            if fields.len() > 1 || fields.iter().any(|field| !field.is_empty()) {
                return Some(Ok((line, fields)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    const KEY_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

    fn faults(text: &str) -> (Vec<Row>, Vec<String>) {
        let faults = RefCell::new(Vec::new());
        let rows = read_text(text, &|problem, expected| faults.borrow_mut().push(format!("{problem}; {expected}")));
        (rows, faults.into_inner())
    }

    #[test]
    fn a_file_as_api_gateway_has_it_is_read() {
        let text = format!(
            "\u{feff}Name,key,description,Enabled,usageplanIds\r\nfirst,{KEY_A},\"for \"\"us\"\",\nat home\",TRUE,\
             \"basic, gold\"\r\n\r\nsecond,bbbbbbbbbbbbbbbbbbbb,,false,"
        );
        let (rows, faults) = faults(&text);
        assert_eq!(faults, [""; 0]);
        let key = |id: &str, key, description: Option<&str>, is_enabled| ApiKeyDefinition {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            description: description.map(str::to_owned),
            is_enabled,
            hash: KeyHash::of_key(key).unwrap(),
        };
        assert_eq!(rows[0].key, key("first", KEY_A, Some("for \"us\",\nat home"), true));
        assert_eq!((rows[0].line, rows[0].plans.clone()), (2, vec!["basic".to_owned(), "gold".to_owned()]));
        assert_eq!(rows[1].key, key("second", "bbbbbbbbbbbbbbbbbbbb", None, false));
        assert_eq!((rows[1].line, rows[1].plans.len()), (5, 0));
    }

    #[test]
    fn a_key_may_come_as_its_hash() {
        let (rows, faults) = faults(&format!("id,name,sha256\nk,A name,{}\n", "0f".repeat(32)));
        assert_eq!(faults, [""; 0]);
        assert_eq!((rows[0].key.id.as_str(), rows[0].key.name.as_deref()), ("k", Some("A name")));
        assert_eq!(rows[0].key.hash, KeyHash::from_hex(&"0f".repeat(32)).unwrap());
    }

    #[test]
    fn each_fault_is_told_with_its_line_and_without_the_key() {
        for (text, fault) in [
            (String::new(), "is empty"),
            (format!("{KEY_A},b\n"), "line 1: column 1 is unknown or there twice"),
            ("key,key\n".to_owned(), "line 1: column 2 is unknown or there twice"),
            ("name,enabled\n".to_owned(), "line 1: needs either key or sha256"),
            ("key,sha256,name\n".to_owned(), "line 1: needs either key or sha256"),
            ("key\n".to_owned(), "name or id"),
            (format!("key,name\n{KEY_A}\n"), "line 2: has 1 fields; 2, as the first line"),
            (format!("key,name\n{KEY_A},\n"), "line 2: has neither id nor name"),
            ("key,name\n,a\n".to_owned(), "line 2: has no key"),
            ("key,name\nshort,a\n".to_owned(), "line 2: API Key value should be at least 20 characters"),
            (
                format!("key,name\n{},a\n", "x".repeat(129)),
                "line 2: API Key value exceeds maximum size of 128 characters",
            ),
            (
                format!("key,name\n{KEY_A},{}\n", "n".repeat(1_025)),
                "line 2: Invalid API Key name, can be at most 1024 characters.",
            ),
            ("sha256,name\nabc,a\n".to_owned(), "line 2: sha256 is no SHA-256; 64 hexadecimal digits"),
            (format!("key,name,enabled\n{KEY_A},a,yes\n"), "line 2: enabled is \"yes\"; true or false"),
            (format!("key,name\n\n{KEY_A},\"a\n\n"), "line 3: a quoted field does not end"),
            (format!("key,name\n{KEY_A},\"a\"b\n"), "line 2: something stands after a quoted field"),
            (format!("key,name\n{KEY_A},a\"b\n"), "line 2: a quote stands inside"),
        ] {
            let (rows, faults) = faults(&text);
            assert_eq!((rows.len(), faults.len()), (0, 1), "{text} {faults:?}");
            assert!(faults[0].contains(fault), "{text}: {faults:?}");
            assert!(!faults[0].contains(KEY_A), "{faults:?}");
        }
    }

    #[test]
    fn a_faulty_row_does_not_hide_the_others() {
        let (rows, faults) = faults(&format!("key,name\n{KEY_A},a\nshort,b\n{KEY_A}b,c\nshort,d\n"));
        assert_eq!((rows.len(), faults.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(fields in prop::collection::vec(prop::collection::vec(".{0,12}|[\",\r\n]{0,6}", 2..4), 0..6)) {
            let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let lines = fields.iter().map(|record| record.iter().map(quote).collect::<Vec<_>>().join(","));
            let text: String = lines.map(|line| line + "\r\n").collect();
            let read: Vec<_> = Records::new(&text).map(|record| record.unwrap().1).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn no_text_panics(text in "([a-z,\"\r\n]|.){0,60}") {
            let _ = faults(&text);
            let _ = faults(&format!("key,name,enabled,usageplanIds\n{text}"));
        }
    }
}
