//! Query strings: parameters read, removed and added. Those that are not mapped stay as they were written.

use std::borrow::Cow;

use super::Made;
use crate::percent::{decode, encode};

/// The values of the parameters of this name, decoded.
pub(super) fn values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    pairs(query).filter(move |(own, _)| *decode(own, true) == *name.as_bytes()).map(|(_, value)| decode(value, true))
}

/// The query after these changes.
pub(super) fn change<'m>(query: &str, changes: impl Iterator<Item = (&'m str, &'m Made)>) -> String {
    let mut whole: Vec<Cow<'_, str>> = query.split('&').filter(|pair| !pair.is_empty()).map(Cow::Borrowed).collect();
    for (name, made) in changes {
        if !matches!(made, Made::Append(_)) {
            whole.retain(|pair| *decode(pair.split('=').next().unwrap_or_default(), true) != *name.as_bytes());
        }
        if let Made::Append(Some(value)) | Made::Overwrite(Some(value)) = made {
            whole.push(Cow::Owned(pair(name, value)));
        }
    }
    whole.join("&")
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn pair(name: &str, value: &[u8]) -> String {
    let mut text = Vec::with_capacity(name.len() + value.len() + 1);
    encode(&mut text, name.as_bytes());
    text.push(b'=');
    encode(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}
