//! What holds for all requests.

use http::{HeaderValue, Method};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::sigv4::outside::canonicalize;

fn path() -> impl Strategy<Value = String> {
    vec("[-a-zA-Z0-9._~!$&'()*+,;=:@]{0,6}|%[0-9a-fA-F]{2}|\\.|\\.\\.", 0..5)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn query() -> impl Strategy<Value = String> {
    vec("[a-cA-C~]{0,3}(=[-a-z0-9+/:=%é]{0,6}(%[0-9a-fA-F]{2})?)?", 0..5).prop_map(|parts| parts.join("&"))
}

prop_compose! {
    fn requests()(
        method in "GET|PUT|POST|DELETE|PATCH|OPTIONS|PURGE",
        path in path(),
        query in query(),
        headers in vec(("x-amz-[a-z]{1,4}|x-[a-z]{1,3}|content-type", "[ -~\té]{0,12}"), 0..6),
    ) -> Parts {
        let query = query.replace('é', "%C3%A9");
        let mut request = request(&format!("{method} {path}?{query}\nhost:example.org:8443")).unwrap();
        for (name, value) in headers {
            if name != "x-amz-date" {
                let name: http::HeaderName = name.parse().unwrap();
                request.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
        }
        request
    }
}

/// Everything that is signed, each with another value.
fn changed(request: &Parts, body: &[u8]) -> Vec<(&'static str, Parts, Vec<u8>)> {
    let target = request.uri.to_string();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let authorization = request.headers["authorization"].to_str().unwrap();
    let (head, last) = authorization.split_at(authorization.len() - 1);
    let last = if last == "0" { "1" } else { "0" };
    let body_too = [body, b"x"].concat();
    let of = |change: &dyn Fn(&mut Parts)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    vec![
        ("body", request.clone(), body_too),
        ("method", of(&|request| request.method = Method::from_bytes(b"OTHER").unwrap()), body.to_vec()),
        ("path", of(&|request| request.uri = format!("{path}/x?{query}").parse().unwrap()), body.to_vec()),
        ("query", of(&|request| request.uri = format!("{path}?{query}&x=1").parse().unwrap()), body.to_vec()),
        ("host", with(request.clone(), "host", "example.org:8444"), body.to_vec()),
        ("date", with(request.clone(), "x-amz-date", "20150830T123601Z"), body.to_vec()),
        ("content-type", with(request.clone(), "content-type", "other"), body.to_vec()),
        ("token", with(request.clone(), "x-amz-security-token", "other"), body.to_vec()),
        ("signature", with(request.clone(), "authorization", &format!("{head}{last}")), body.to_vec()),
        ("key", with_authorization(request.clone(), "=AKID", "=BKID"), body.to_vec()),
        ("headers", with_authorization(request.clone(), ";x-amz-date", ""), body.to_vec()),
    ]
}

proptest! {
    #[test]
    fn what_was_signed_holds_and_nothing_else(
        mut request in requests(),
        body in vec(any::<u8>(), 0..40),
        section in "example|temporary",
    ) {
        request.headers.entry("content-type").or_insert(HeaderValue::from_static("any"));
        let identity = identities().named(&section).cloned().unwrap();
        sign(&mut request, &sha256(&body), &identity, ("us-east-1", "service"), moment_of_examples()).unwrap();
        check(&request, &body).map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
        for (part, request, body) in changed(&request, &body) {
            prop_assert!(check(&request, &body).is_err(), "another {part} was taken");
        }
    }

    #[test]
    fn spellings_on_the_way_do_not_matter(mut request in requests(), body in vec(any::<u8>(), 0..8)) {
        let identity = identities().named("example").cloned().unwrap();
        sign(&mut request, &sha256(&body), &identity, ("us-east-1", "service"), moment_of_examples()).unwrap();
        let (path, query) = (request.uri.path().to_owned(), request.uri.query().unwrap_or_default().to_owned());
        let mut parameters: Vec<_> = query.split('&').collect();
        parameters.reverse();
        request.uri = format!("/.{path}?{}&", parameters.join("&&")).parse().unwrap();
        for value in request.headers.values_mut() {
            *value = HeaderValue::from_bytes(&[b" \t", value.as_bytes(), b"  "].concat()).unwrap();
        }
        prop_assert!(check(&request, &body).is_ok());
    }

    #[test]
    fn a_canonical_query_is_its_own_canonical_form(query in "[ -~é]{0,40}") {
        let (_, once) = canonicalize("/", &query);
        prop_assert_eq!(&canonicalize("/", &once).1, &once);
    }

    #[test]
    fn no_signature_whatever_stops_the_gateway(
        authorization in "(AWS4-HMAC-SHA256 )?(Credential=[A-Z0-9/a-z_-]{0,50}, ?)?(SignedHeaders=[a-z;-]{0,20},)?(Signature=[0-9a-fg]{0,70})?[ -~é]{0,20}",
        date in "[0-9]{8}T[0-9]{6}Z|[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT|[ -~]{0,20}",
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)=[A-Za-z0-9%/-]{0,30}&){0,8}[!-~é]{0,10}",
    ) {
        let query = query.replace(['#', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "").replace('é', "%e9");
        let Some(mut request) = request(&format!("GET /?{query}\nhost:h")) else { return Ok(()) };
        request.headers.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
        for header in [None, Some(authorization)] {
            if let Some(value) = header {
                request.headers.insert("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let fault = check(&request, b"").unwrap_err();
            let is_told = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b'\\');
            prop_assert!(fault.message.bytes().all(is_told), "{}", fault.message);
        }
    }

    #[test]
    fn no_file_whatever_stops_the_gateway(text in "(\\[?[a-z]{0,3}\\]?\n|(aws_access_key_id|policy|expiration) ?= ?[ -~é]{0,9}\n|[ -~\t]{0,9}\n){0,8}") {
        let _ = Identities::parse(&text);
    }
}
