//! The target of a request, made ready to be compared: path, segments, query.
//!
//! What always holds: two targets that a server behind the gateway could take for the same path are compared alike, so
//! that no way of writing it leads past a route's guard. Percent-encoded unreserved characters are decoded (RFC 3986,
//! section 6.2.2.2: they mean the same), other encodings stay as they are, `%2F` among them. Dot segments, encoded or
//! not, backslashes and broken encodings are refused. What is sent on is what was compared.

pub mod fuzzing;

use std::borrow::Cow;

/// A target that the gateway does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    /// `/a/../b`: clients resolve these themselves.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `%G1`, `%2`.
    #[error("the path has a percent sign that encodes nothing")]
    Encoding,
    /// A byte that stands in no path, or a backslash, which some servers take for a slash.
    #[error("the path has a character that does not stand in paths")]
    Character,
    /// No path at all: `*`, `host:port`.
    #[error("the target has no path")]
    NoPath,
}

/// A path, ready to be compared.
#[derive(Debug)]
pub(crate) struct Target<'t> {
    path: &'t str,
    segments: Segments<'t>,
}

/// Most paths are short: their segments need no heap.
const INLINE: usize = 12;

#[derive(Debug)]
enum Segments<'t> {
    Inline([&'t str; INLINE], usize),
    Heap(Vec<&'t str>),
}

impl<'t> Target<'t> {
    /// Splits a normalised path.
    pub(crate) fn new(path: &'t str) -> Self {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let (mut inline, mut count) = ([""; INLINE], 0);
        if inner.is_empty() {
            return Self { path, segments: Segments::Inline(inline, 0) };
        }
        let mut parts = inner.split('/');
        for part in parts.by_ref().take(INLINE) {
            inline[count] = part;
            count += 1;
        }
        match parts.next() {
            None => Self { path, segments: Segments::Inline(inline, count) },
            Some(next) => {
                let all = inline.iter().copied().chain([next]).chain(parts).collect();
                Self { path, segments: Segments::Heap(all) }
            }
        }
    }

    /// Its segments; one slash at the end means nothing.
    pub(crate) fn segments(&self) -> &[&'t str] {
        match &self.segments {
            Segments::Inline(all, count) => &all[..*count],
            Segments::Heap(all) => all,
        }
    }

    /// The path from this segment on, without slashes at its ends; empty beyond the last.
    pub(crate) fn rest(&self, from: usize) -> &'t str {
        let segments = self.segments();
        let Some(before) = segments.get(..from) else { return "" };
        let before: usize = before.iter().map(|segment| segment.len() + 1).sum();
        let inner = self.path.strip_prefix('/').unwrap_or(self.path);
        let rest = inner.get(before..).unwrap_or_default();
        rest.strip_suffix('/').unwrap_or(rest)
    }
}

/// The path as it is compared and sent on.
///
/// # Errors
/// When it is none that the gateway takes.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    if !path.starts_with('/') {
        return Err(BadTarget::NoPath);
    }
    if path.bytes().any(|byte| byte <= b' ' || matches!(byte, b'\\' | b'#' | b'?' | 0x7f)) {
        return Err(BadTarget::Character);
    }
    let decoded = if path.contains('%') { Cow::Owned(decode_unreserved(path)?) } else { Cow::Borrowed(path) };
    // Parameters after a semicolon do not make `..` another segment for the servers that know them.
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if decoded.contains("/.") && decoded.split('/').any(is_dots) {
        return Err(BadTarget::DotSegment);
    }
    Ok(decoded)
}

fn decode_unreserved(path: &str) -> Result<String, BadTarget> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(BadTarget::Encoding)?;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => decoded.push(char::from(byte)),
            // A backslash or a zero byte is no better when it is encoded.
            b'\\' | 0 => return Err(BadTarget::Character),
            _ => {
                decoded.push('%');
                decoded.push_str(&after[..2].to_ascii_uppercase());
            }
        }
        rest = &after[2..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_the_same_path_is_written_alike() {
        for (path, normal) in [
            ("/a/b", "/a/b"),
            ("/%61dmin/%7Ex", "/admin/~x"),
            ("/a%2fb/%c3%a9", "/a%2Fb/%C3%A9"),
            ("/a//b/", "/a//b/"),
            ("/a.b/..c/.d/e..", "/a.b/..c/.d/e.."),
        ] {
            assert_eq!(normalise(path).unwrap(), normal);
        }
    }

    #[test]
    fn what_servers_take_for_different_paths_is_refused() {
        for (path, fault) in [
            ("/a/../b", BadTarget::DotSegment),
            ("/a/%2e%2E/b", BadTarget::DotSegment),
            ("/a/.%2e;x=1/b", BadTarget::DotSegment),
            ("/./a", BadTarget::DotSegment),
            ("/a/..", BadTarget::DotSegment),
            ("/a\\..\\b", BadTarget::Character),
            ("/a%5C..%5Cb", BadTarget::Character),
            ("/a%00", BadTarget::Character),
            ("/a%g1", BadTarget::Encoding),
            ("/a%2", BadTarget::Encoding),
            ("/a%", BadTarget::Encoding),
            ("*", BadTarget::NoPath),
            ("", BadTarget::NoPath),
        ] {
            assert_eq!(normalise(path), Err(fault), "{path}");
        }
    }

    #[test]
    fn the_rest_of_a_path_has_no_slashes_at_its_ends() {
        let target = Target::new("/a/b//c/");
        assert_eq!(target.segments(), ["a", "b", "", "c"]);
        assert_eq!((target.rest(0), target.rest(1), target.rest(3), target.rest(9)), ("a/b//c", "b//c", "c", ""));
        assert_eq!(Target::new("/").segments(), [""; 0]);
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing_and_decodes_to_the_same(path in "(/[a-z.%0-9A-F;]{0,8}){1,5}") {
            if let Ok(once) = normalise(&path) {
                prop_assert_eq!(normalise(&once).unwrap(), once.clone());
                let fully = |text: &str| percent(text);
                prop_assert_eq!(fully(&path), fully(&once));
            }
        }

        #[test]
        fn segments_are_those_of_splitting_at_each_slash(path in "(/[a-c]{0,2}){1,20}") {
            let target = Target::new(&path);
            let inner = path[1..].strip_suffix('/').unwrap_or(&path[1..]);
            let expected: Vec<&str> = if inner.is_empty() { vec![] } else { inner.split('/').collect() };
            prop_assert_eq!(target.segments(), &expected[..]);
            for from in 0..=expected.len() {
                prop_assert_eq!(target.rest(from), expected[from..].join("/"));
            }
        }
    }

    /// Decodes all of it, as a server behind may.
    fn percent(text: &str) -> Vec<u8> {
        let bytes = text.as_bytes();
        let (mut decoded, mut index) = (Vec::new(), 0);
        while index < bytes.len() {
            let digits = text.get(index + 1..index + 3).filter(|_| bytes[index] == b'%');
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    decoded.push(byte);
                    index += 3;
                }
                None => {
                    decoded.push(bytes[index]);
                    index += 1;
                }
            }
        }
        decoded
    }
}
