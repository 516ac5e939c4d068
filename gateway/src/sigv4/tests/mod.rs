//! What signatures do: those that AWS and botocore make, those that must not hold, and any.

mod files;
mod properties;
mod refusals;
mod vectors;

use std::time::SystemTime;

use http::request::Parts;

use super::{
    Claim, Expected, Fault, Identities, Message, Signer, begin,
    outside::{moment_of_examples, request},
    sha256, sign,
};

/// AWS's example identity, and one with temporary credentials, whose token ends a quarter of an hour later.
const FILE: &str = "\
[example]
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY

[temporary]
aws_access_key_id = AKIDTEMPORARY
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
aws_session_token = 6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267/+==
expiration = 2015-08-30T12:51:00Z
";

const EXPECTED: Expected<'_> = Expected { service: "service", region: Some("us-east-1") };

fn identities() -> Identities {
    Identities::parse(FILE).unwrap()
}

fn check_at(request: &Parts, body: &[u8], now: SystemTime) -> Result<Signer, Fault> {
    let message = Message::of(&request.method, &request.uri, &request.headers);
    match begin(&message, &EXPECTED, &identities(), now)? {
        Claim::Holds(signer) => Ok(signer),
        Claim::NeedsBody(pending) => pending.finish(&sha256(body)),
    }
}

fn check(request: &Parts, body: &[u8]) -> Result<Signer, Fault> {
    check_at(request, body, moment_of_examples())
}

/// A request that the identity of a section has signed.
fn signed(text: &str, body: &[u8], section: &str) -> Parts {
    let mut request = request(text).unwrap();
    let identity = identities().named(section).cloned().unwrap();
    sign(&mut request, &sha256(body), &identity, ("us-east-1", "service"), moment_of_examples()).unwrap();
    request
}

/// A request with another value of a header.
fn with(mut request: Parts, name: &'static str, value: &str) -> Parts {
    request.headers.insert(name, value.parse().unwrap());
    request
}

/// A request whose header `authorization` reads otherwise.
fn with_authorization(request: Parts, from: &str, to: &str) -> Parts {
    let value = request.headers["authorization"].to_str().unwrap().to_owned();
    assert!(value.contains(from), "{value}");
    with(request, "authorization", &value.replace(from, to))
}
