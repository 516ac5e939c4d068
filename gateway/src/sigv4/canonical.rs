//! The canonical request: the one text that both sides make of a request, whatever became of its spelling on the way
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request>).

use http::HeaderValue;

use super::Message;
use crate::percent;

/// A name that is in `SignedHeaders`, and in no header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Absent(pub(crate) String);

/// Appends the canonical request up to the hash of the body, which stands in its last line. `signed` has the names of
/// the signed headers in order.
///
/// # Errors
/// When one of these is in no header.
pub(crate) fn head(out: &mut Vec<u8>, message: &Message<'_>, query: &Query, signed: &[&str]) -> Result<(), Absent> {
    out.extend_from_slice(message.method.as_bytes());
    out.push(b'\n');
    path(out, message.path);
    out.push(b'\n');
    query.write(out);
    out.push(b'\n');
    for name in signed {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        let mut values = message.headers.get_all(*name).iter().map(HeaderValue::as_bytes).peekable();
        if values.peek().is_some() {
            values_of(out, values);
        } else if let (Some(authority), true) = (message.authority, name.eq_ignore_ascii_case("host")) {
            out.extend_from_slice(authority.as_bytes());
        } else {
            return Err(Absent((*name).to_owned()));
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    for (index, name) in signed.iter().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'\n');
    Ok(())
}

/// Values of one header: trimmed, each run of spaces made one, joined by commas.
fn values_of<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
}

/// Appends the canonical path: without `.`, `..` and empty segments, and escaped once more than on the wire, as by every
/// service but S3.
pub(crate) fn path(out: &mut Vec<u8>, path: &str) {
    let start = out.len();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                let parent = out[start..].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(start + parent);
            }
            segment => {
                out.push(b'/');
                percent::encode(out, segment.as_bytes());
            }
        }
    }
    if out.len() == start || path.ends_with('/') {
        out.push(b'/');
    }
}

/// The parameters of a query, unescaped and escaped again: each spelling of a parameter is one. They are in order.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// All names and values, one behind the other.
    text: String,
    parameters: Vec<Parameter>,
}

/// Where in the text a name begins, ends, and its value ends.
#[derive(Clone, Copy, Debug)]
struct Parameter {
    start: usize,
    middle: usize,
    end: usize,
}

/// A parameter that there may be one of came twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeated;

impl Query {
    /// Reads a query as it stands on the wire.
    pub(crate) fn parse(query: &str) -> Self {
        let mut text = Vec::with_capacity(query.len() + 16);
        let mut parameters = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let start = text.len();
            escape_again(&mut text, name);
            let middle = text.len();
            escape_again(&mut text, value);
            parameters.push(Parameter { start, middle, end: text.len() });
        }
        // Escaped, so it is ASCII: nothing is lost.
        let text = String::from_utf8(text).unwrap_or_default();
        let key = |parameter: &Parameter| {
            (text.get(parameter.start..parameter.middle), text.get(parameter.middle..parameter.end))
        };
        parameters.sort_by(|a, b| key(a).cmp(&key(b)));
        Self { text, parameters }
    }

    /// The value of a parameter, escaped.
    ///
    /// # Errors
    /// When there are several of this name.
    pub(crate) fn only(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.iter().filter(|(own, _)| *own == name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(value) }
    }

    /// Appends all but the signature, which does not sign itself.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let signed = self.iter().filter(|(name, _)| *name != "X-Amz-Signature");
        for (index, (name, value)) in signed.enumerate() {
            if index > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let part = |start, end| self.text.get(start..end).unwrap_or_default();
        self.parameters.iter().map(move |at| (part(at.start, at.middle), part(at.middle, at.end)))
    }
}

/// What escaped bytes say, if it is a text; `+` is a space, as in forms.
pub(crate) fn unescape(text: &str) -> Option<String> {
    String::from_utf8(percent::decode(text, true).into_owned()).ok()
}

fn escape_again(out: &mut Vec<u8>, text: &str) {
    percent::encode(out, &percent::decode(text, true));
}
