//! Texts of a request as events have them: parameters decoded, media types compared, headers' names as they are written.

use std::borrow::Cow;

use crate::percent;

/// The names and values of a query's parameters in their order, decoded as forms are: `+` is a space.
pub(crate) fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    decoded.collect()
}

/// Bytes that are no UTF-8 become replacement characters.
fn decode(text: &str) -> String {
    String::from_utf8_lossy(&percent::decode(text, true)).into_owned()
}

/// Whether a media type is one of these: `image/png`, `image/*`, `*/*`. Its parameters do not matter.
pub(crate) fn is_one_of(media_types: &[String], media_type: &str) -> bool {
    let own = media_type.split(';').next().unwrap_or_default().trim();
    let (kind, subkind) = own.split_once('/').unwrap_or((own, ""));
    let fits = |pattern: &str, text: &str| pattern == "*" || pattern.eq_ignore_ascii_case(text);
    media_types.iter().any(|known| {
        let (known_kind, known_subkind) = known.split_once('/').unwrap_or((known, ""));
        fits(known_kind, kind) && fits(known_subkind, subkind)
    })
}

/// A header's name as an event 1.0 has it. HTTP/1 clients write `Content-Type`, HTTP/2 has small letters alone; those
/// that API Gateway sets or knows are always written alike.
pub(super) fn header_name(name: &str, is_http2: bool) -> Cow<'_, str> {
    let is_known =
        matches!(name, "authorization" | "host" | "user-agent" | "x-amzn-trace-id") || name.starts_with("x-forwarded-");
    if (is_http2 && !is_known) || matches!(name, "traceparent" | "tracestate") {
        return Cow::Borrowed(name);
    }
    let mut begins = true;
    let letters = name.chars().map(|letter| {
        let letter = if begins { letter.to_ascii_uppercase() } else { letter };
        begins = letter == '-';
        letter
    });
    Cow::Owned(letters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_in_their_order() {
        let read = parameters(Some("a=1&b=x+y%2Bz&a=%C3%A9&flag&&c=%zz%4&=v"));
        let pairs: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y+z"), ("a", "é"), ("flag", ""), ("c", "%zz%4"), ("", "v")]);
        assert_eq!(parameters(Some("a=%ff"))[0].1, "\u{fffd}");
        assert_eq!(parameters(None), []);
    }

    #[test]
    fn a_media_type_is_binary_when_a_pattern_names_it() {
        let types = |types: &[&str]| types.iter().map(|own| (*own).to_owned()).collect::<Vec<_>>();
        for (known, media_type, is_binary) in [
            (types(&["image/png"]), "image/png", true),
            (types(&["image/png"]), "IMAGE/PNG; q=0.5", true),
            (types(&["image/*"]), "image/webp", true),
            (types(&["*/*"]), "text/plain", true),
            (types(&["image/png"]), "*/*", false),
            (types(&["image/*"]), "application/json", false),
            (types(&[]), "image/png", false),
        ] {
            assert_eq!(is_one_of(&known, media_type), is_binary, "{known:?} {media_type}");
        }
    }

    #[test]
    fn headers_are_named_as_clients_of_each_protocol_write_them() {
        for (name, over_http1, over_http2) in [
            ("content-type", "Content-Type", "content-type"),
            ("authorization", "Authorization", "Authorization"),
            ("user-agent", "User-Agent", "User-Agent"),
            ("x-forwarded-for", "X-Forwarded-For", "X-Forwarded-For"),
            ("x-amzn-trace-id", "X-Amzn-Trace-Id", "X-Amzn-Trace-Id"),
            ("traceparent", "traceparent", "traceparent"),
        ] {
            assert_eq!((&*header_name(name, false), &*header_name(name, true)), (over_http1, over_http2));
        }
    }
}
