//! Signatures that do not hold, and what the client and the operator are told.

use std::time::Duration;

use super::*;
use crate::sigv4::FaultKind;

const GET: &str = "GET /a?b=c\nhost:example.amazonaws.com";
const SCOPE: &str = "20150830/us-east-1/service/aws4_request";

fn told(request: &Parts) -> (FaultKind, String) {
    let fault = check(request, b"").unwrap_err();
    (fault.kind, fault.message.into_owned())
}

/// A request that is signed in its query by hand; `parameters` are appended to what is always there.
fn presigned(parameters: &str) -> Parts {
    request(&format!("GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256{parameters}\nhost:example.amazonaws.com")).unwrap()
}

fn all_but(left_out: &str) -> Parts {
    let parameters = [
        ("Credential", "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"),
        ("Date", "20150830T123600Z"),
        ("Expires", "60"),
        ("SignedHeaders", "host"),
        ("Signature", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ];
    let kept = parameters.iter().filter(|(name, _)| *name != left_out);
    presigned(&kept.map(|(name, value)| format!("&X-Amz-{name}={value}")).collect::<String>())
}

#[test]
fn a_request_without_a_signature_is_told_that_it_has_none() {
    let (kind, message) = told(&request(GET).unwrap());
    assert_eq!((kind, message.as_str()), (FaultKind::Missing, "Missing Authentication Token"));
    assert_eq!(kind.error_type(), "MissingAuthenticationTokenException");
}

#[test]
fn what_lacks_in_the_header_is_named() {
    let bearer = with(request(GET).unwrap(), "authorization", "Bearer abc");
    let (kind, message) = told(&bearer);
    assert_eq!(kind.error_type(), "IncompleteSignatureException");
    assert_eq!(
        message,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
         Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a \
         'X-Amz-Date' or a 'Date' header."
    );
    let mut undated = signed(GET, b"", "example");
    undated.headers.remove("x-amz-date");
    let expected = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
    assert_eq!(told(&undated), (FaultKind::Incomplete, expected.to_owned()));
    let unsigned = with_authorization(signed(GET, b"", "example"), "SignedHeaders=host;x-amz-date, ", "");
    assert_eq!(told(&unsigned).1, "Authorization header requires 'SignedHeaders' parameter.");
}

#[test]
fn what_lacks_in_the_query_is_named() {
    for name in ["Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let expected =
            format!("AWS query-string parameters must include 'X-Amz-{name}'. Re-examine the query-string parameters.");
        assert_eq!(told(&all_but(name)), (FaultKind::Incomplete, expected));
    }
}

#[test]
fn what_is_malformed_or_twice_is_refused_as_incomplete() {
    let signed = || signed(GET, b"", "example");
    let twice = |name: &'static str| {
        let mut request = signed();
        let value = request.headers[name].clone();
        request.headers.append(name, value);
        request
    };
    for request in [
        twice("authorization"),
        twice("x-amz-date"),
        with(signed(), "x-amz-date", "2015-08-30T12:36:00Z"),
        with(signed(), "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        with_authorization(signed(), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        with_authorization(signed(), "AWS4-HMAC-SHA256", "aws4-hmac-sha256"),
        with_authorization(signed(), "SignedHeaders=", "SignedHeaders"),
        with_authorization(signed(), "SignedHeaders=host", "SignedHeaders=host;host"),
        with_authorization(signed(), "Signature=", "Signature=0, Signature="),
        with_authorization(signed(), "Signature=", "Else=0, Signature="),
        with_authorization(signed(), "/aws4_request", ""),
        with_authorization(signed(), "/aws4_request", "/aws4_request/"),
        all_but("none else").also("&X-Amz-Signature=0"),
        all_but("none else").also("&X%2DAmz-Date=20150830T123600Z"),
        all_but("none else").also("&X-Amz-Security-Token=a&X-Amz-Security-Token=b"),
        all_but("Expires").also("&X-Amz-Expires=604801"),
        all_but("Expires").also("&X-Amz-Expires=-1"),
        all_but("Expires").also("&X-Amz-Expires=%2B60"),
        all_but("Expires").also("&X-Amz-Expires=99999999999999999999"),
        all_but("Date").also("&X-Amz-Date=now"),
        all_but("Credential").also("&X-Amz-Credential=%ff"),
    ] {
        let fault = check(&request, b"").unwrap_err();
        assert_eq!(fault.kind, FaultKind::Incomplete, "{fault:?}");
    }
}

trait Also {
    fn also(self, parameters: &str) -> Self;
}

impl Also for Parts {
    fn also(mut self, parameters: &str) -> Self {
        self.uri = format!("{}{parameters}", self.uri).parse().unwrap();
        self
    }
}

#[test]
fn a_request_that_is_signed_in_both_forms_is_refused() {
    let both = with(all_but("none else"), "authorization", "Bearer abc");
    let expected = "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.";
    assert_eq!(told(&both), (FaultKind::Invalid, expected.to_owned()));
}

#[test]
fn a_credential_must_be_scoped_to_this_service() {
    for (from, to, expected) in [
        ("us-east-1", "eu-west-1", "Credential should be scoped to a valid region."),
        ("/service/", "/s3/", "Credential should be scoped to correct service: 'service'."),
        ("aws4_request", "aws5", "Credential should be scoped with a valid terminator: 'aws4_request'."),
        (
            "20150830",
            "20150831",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150831' != \
             '20150830', from '20150830T123600Z'.",
        ),
        (
            SCOPE,
            "\"/\"/\"/\"",
            "Credential should be scoped to a valid region. Credential should be scoped to correct service: 'service'. \
             Credential should be scoped with a valid terminator: 'aws4_request'. Date in Credential scope does not \
             match YYYYMMDD from ISO-8601 version of date from HTTP: '' != '20150830', from '20150830T123600Z'.",
        ),
    ] {
        let (kind, message) = told(&with_authorization(signed(GET, b"", "example"), from, to));
        assert_eq!((kind, message.as_str()), (FaultKind::Invalid, expected));
    }
}

#[test]
fn host_and_session_token_must_be_signed() {
    let hostless = with_authorization(signed(GET, b"", "example"), "host;", "");
    assert_eq!(told(&hostless).1, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
    let tokenless = with_authorization(signed(GET, b"", "temporary"), ";x-amz-security-token", "");
    assert_eq!(told(&tokenless).1, "'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization.");
}

#[test]
fn an_unknown_key_and_a_wrong_token_are_one_to_the_client() {
    let unknown = with_authorization(signed(GET, b"", "example"), "AKIDEXAMPLE", "AKIDSOMEBODYELSE");
    let fault = check(&unknown, b"").unwrap_err();
    assert_eq!(fault.kind.error_type(), "UnrecognizedClientException");
    assert_eq!(fault.message, "The security token included in the request is invalid.");
    assert_eq!(fault.detail.unwrap(), "nobody has the access key that begins with \"AKIDSOME\"");

    let tokenless = with_authorization(signed(GET, b"", "example"), "AKIDEXAMPLE", "AKIDTEMPORARY");
    let foreign = with_authorization(signed(GET, b"", "temporary"), "AKIDTEMPORARY", "AKIDEXAMPLE");
    // One secret, so that the signatures hold.
    for request in [tokenless, foreign] {
        let other = check(&request, b"").unwrap_err();
        assert_eq!((other.kind, other.message), (fault.kind, fault.message.clone()));
    }
}

#[test]
fn a_signature_holds_for_five_minutes_around_its_making() {
    let request = signed(GET, b"", "example");
    let at = |seconds: i64| {
        let step = Duration::from_secs(seconds.unsigned_abs());
        let now = if seconds < 0 { moment_of_examples() - step } else { moment_of_examples() + step };
        check_at(&request, b"", now)
    };
    assert!([-300, -1, 0, 300].into_iter().all(|seconds| at(seconds).is_ok()));
    let late = at(301).unwrap_err();
    assert_eq!((late.kind, late.kind.error_type()), (FaultKind::Expired, "InvalidSignatureException"));
    let expected =
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)";
    assert_eq!(late.message, expected);
    let early = at(-301).unwrap_err();
    let expected =
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)";
    assert_eq!((early.kind, early.message.as_ref()), (FaultKind::Expired, expected));
}

#[test]
fn a_signed_query_holds_until_it_expires() {
    let now = moment_of_examples();
    let request = all_but("none else");
    // Not that it held: it is told that it does not before it is told that it has expired.
    for (seconds, kind) in [(0, FaultKind::Invalid), (60, FaultKind::Invalid), (61, FaultKind::Expired)] {
        assert_eq!(check_at(&request, b"", now + Duration::from_secs(seconds)).unwrap_err().kind, kind);
    }
    let late = check_at(&request, b"", now + Duration::from_secs(61)).unwrap_err();
    assert_eq!(late.message, "Signature expired: 20150830T123700Z is now earlier than 20150830T123701Z");
    assert_eq!(check_at(&request, b"", now - Duration::from_secs(301)).unwrap_err().kind, FaultKind::Expired);
}

#[test]
fn a_session_token_ends() {
    let start = Duration::from_secs(14 * 60);
    let mut request = request(GET).unwrap();
    let identity = identities().named("temporary").cloned().unwrap();
    sign(&mut request, &sha256(b""), &identity, ("us-east-1", "service"), moment_of_examples() + start).unwrap();
    assert!(check_at(&request, b"", moment_of_examples() + start).is_ok());
    let fault = check_at(&request, b"", moment_of_examples() + start + Duration::from_secs(60)).unwrap_err();
    assert_eq!((fault.kind, fault.kind.error_type()), (FaultKind::ExpiredToken, "ExpiredTokenException"));
    assert_eq!(fault.message, "The security token included in the request is expired");
}

#[test]
fn a_mismatch_tells_the_operator_what_should_have_been_signed_and_no_secret() {
    let request = with_authorization(signed(GET, b"", "temporary"), "Signature=", "Signature=0");
    let fault = check(&request, b"").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(
        fault.message.starts_with("The request signature we calculated does not match the signature you provided.")
    );
    let detail = fault.detail.unwrap();
    assert!(detail.starts_with("signed as [temporary]; the canonical request's SHA-256 should be "), "{detail}");
}

#[test]
fn an_unsigned_body_must_be_said_to_be_so_in_what_is_signed() {
    let request = request("PUT /\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD").unwrap();
    let authorization = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{SCOPE}, SignedHeaders=host, Signature=0");
    let request = with(with(request, "x-amz-date", "20150830T123600Z"), "authorization", &authorization);
    assert_eq!(told(&request).1, "'x-amz-content-sha256' must be a 'SignedHeader' in the AWS Authorization.");
}

#[test]
fn the_authority_of_http2_is_the_host() {
    let mut request = signed(GET, b"", "example");
    request.headers.remove("host");
    request.uri = "https://example.amazonaws.com/a?b=c".parse().unwrap();
    assert!(check(&request, b"").is_ok());
    request.uri = "https://example.org/a?b=c".parse().unwrap();
    assert_eq!(check(&request, b"").unwrap_err().kind, FaultKind::Invalid);
}
