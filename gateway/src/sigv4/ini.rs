//! AWS's shared credentials file as sections of keys and values
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>).
//!
//! A line is empty, a comment (it begins with `#` or `;`), `[section]`, or `key = value`. A value goes to the end of its
//! line; nothing in it is a comment. Settings below settings (indented lines) are refused: no credential has any.

/// A section.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// What stands in its brackets.
    pub(crate) name: &'a str,
    /// Its line.
    pub(crate) line: usize,
    /// Its keys in small letters, each once, with the lines they stand in.
    pub(crate) entries: Vec<(String, Entry<'a>)>,
}

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The value, trimmed. It may be a secret.
    pub(crate) value: &'a str,
    /// Its line, from 1.
    pub(crate) line: usize,
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)
    }
}

/// What is wrong in a line. It does not repeat the line, where there may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) String);

impl Problem {
    /// What is wrong in this line.
    pub(crate) fn new(line: usize, what: impl std::fmt::Display) -> Self {
        Self(format!("line {line}: {what}"))
    }
}

/// The sections of a text.
///
/// # Errors
/// When a line is none of those above, or says anew what was said.
pub(crate) fn parse(text: &str) -> Result<Vec<Section<'_>>, Problem> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let (number, line) = (index + 1, raw.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if raw.starts_with([' ', '\t']) {
            return Err(Problem::new(number, "is indented; settings stand at the beginning of a line"));
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name =
                rest.strip_suffix(']').map(str::trim).filter(|name| !name.is_empty() && !name.contains([']', '[']));
            let name = name.ok_or_else(|| Problem::new(number, "is no section; a section is [name]"))?;
            if let Some(first) = sections.iter().find(|section| section.name == name) {
                return Err(Problem::new(number, format!("section [{name}] stands in line {} already", first.line)));
            }
            sections.push(Section { name, line: number, entries: Vec::new() });
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or_else(|| Problem::new(number, "has no equals sign: key = value"))?;
        let section = sections.last_mut().ok_or_else(|| Problem::new(number, "stands before the first [section]"))?;
        let key = key.trim().to_ascii_lowercase();
        if let Some((_, first)) = section.entries.iter().find(|(own, _)| *own == key) {
            return Err(Problem::new(number, format!("sets what line {} has set already", first.line)));
        }
        section.entries.push((key, Entry { value: value.trim(), line: number }));
    }
    Ok(sections)
}
