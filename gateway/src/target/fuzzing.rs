//! The way in for the fuzz target `target`, which makes paths that nobody asks for.

use super::{Target, normalise};
use crate::percent;

/// The path as it is compared and sent on, if the gateway takes it.
#[must_use]
pub fn normalised(path: &str) -> Option<String> {
    normalise(path).ok().map(std::borrow::Cow::into_owned)
}

/// What a server that decodes everything makes of a path.
#[must_use]
pub fn decoded(path: &str) -> Vec<u8> {
    percent::decode(path, false).into_owned()
}

/// The segments that routes see, joined again.
#[must_use]
pub fn joined(path: &str) -> String {
    Target::new(path).segments().join("/")
}
