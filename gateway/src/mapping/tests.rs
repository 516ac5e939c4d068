//! Each change, each value, and values that would like to be more than that.

use proptest::prelude::*;

use super::*;
use crate::context::format::tests::{facts, record};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// What becomes of `x-a: 1` and `/p?a=1&b=2` of a request with these headers and this query.
fn mapped(changes: &[(&str, &str)], query: &str, from: &HeaderMap) -> (HeaderMap, String) {
    let mapping = Mapping::parse(ApiKind::Http, &pairs(changes), &[]).unwrap();
    let (record, mut facts) = (record(), facts());
    facts.query = Some(query.to_owned());
    let (mut to, mut path) = (headers(&[("x-a", "1")]), "/p?a=1&b=2".to_owned());
    mapping
        .request(&Asked { about: About { record: &record, facts: &facts }, headers: from }, &mut to, &mut path)
        .unwrap();
    (to, path)
}

#[test]
fn a_request_gains_loses_and_changes_what_the_mapping_says() {
    let from = headers(&[("x-b", "two")]);
    let (to, path) = mapped(
        &[
            ("append:header.x-a", "$request.header.x-b"),
            ("overwrite:header.x-c", "${context.httpMethod} of ${request.querystring.q}"),
            ("append:querystring.c", "$request.path"),
            ("remove:querystring.a", ""),
            ("overwrite:querystring.b", "x&y"),
        ],
        "q=1&q=2",
        &from,
    );
    assert_eq!(to.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "two"]);
    assert_eq!(to["x-c"], "GET of 1,2");
    assert_eq!(path, "/p?c=%2Fprod%2Fpets%2F1&b=x%26y");
    let (to, path) = mapped(&[("remove:header.x-a", ""), ("overwrite:path", "/v2${request.path}")], "", &from);
    assert!(to.is_empty());
    assert_eq!(path, "/v2/prod/pets/1?a=1&b=2");
}

#[test]
fn a_response_is_changed_by_its_status() {
    let changes = pairs(&[("overwrite:statuscode", "404"), ("append:header.x-why", "$response.header.x-b")]);
    let mapping = Mapping::parse(ApiKind::Http, &[], &[(StatusCode::FORBIDDEN, changes)]).unwrap();
    for (status, told, why) in [(403, 404, Some("two")), (200, 200, None)] {
        let (record, facts) = (record(), facts());
        let mut status = StatusCode::from_u16(status).unwrap();
        let (from, mut to) = (headers(&[("x-b", "two")]), HeaderMap::new());
        mapping.response(
            &Asked { about: About { record: &record, facts: &facts }, headers: &from },
            &mut status,
            &mut to,
        );
        assert_eq!((status.as_u16(), to.get("x-why").map(|value| value.to_str().unwrap())), (told, why));
    }
}

#[test]
fn what_cannot_be_mapped_is_told_why() {
    for (key, value, why) in [
        ("append:header.Authorization", "x", "reserved"),
        ("append:header.x-amzn-trace-id", "x", "reserved"),
        ("append:header.x-forwarded-for", "x", "reserved"),
        ("append:path", "/x", "none of"),
        ("header.x", "x", "none of"),
        ("append:header.a b", "x", "no header's name"),
        ("append:header.x", "$request.cookie.x", "no value of a request"),
        ("append:header.x", "$response.header.x", "no value of a request"),
        ("append:header.x", "$context.nothing", "perhaps $context."),
        ("append:header.x", "${request.path", "without \"}\""),
    ] {
        let faults = Mapping::parse(ApiKind::Http, &pairs(&[(key, value)]), &[]).unwrap_err();
        assert!(faults[0].contains(why), "{key} {value}: {faults:?}");
    }
}

#[test]
fn a_path_that_no_client_could_ask_for_is_not_sent() {
    let mapping =
        Mapping::parse(ApiKind::Http, &pairs(&[("overwrite:path", "/a/../${request.header.x-b}")]), &[]).unwrap();
    let (record, facts, from) = (record(), facts(), headers(&[("x-b", "two")]));
    let (mut to, mut path) = (HeaderMap::new(), "/".to_owned());
    assert!(
        mapping
            .request(&Asked { about: About { record: &record, facts: &facts }, headers: &from }, &mut to, &mut path)
            .is_err()
    );
}

proptest! {
    #[test]
    fn a_value_makes_no_other_parameter_of_itself(value in "[ -~]{0,12}") {
        let from = headers(&[("x-b", &value)]);
        let (_, path) = mapped(&[("append:querystring.c", "$request.header.x-b")], "", &from);
        let query = path.split_once('?').unwrap().1;
        prop_assert_eq!(query.split('&').count(), 3);
        prop_assert!(path.parse::<http::Uri>().is_ok());
    }
}
