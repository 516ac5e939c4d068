//! Whatever request comes: its signature is refused or holds, and nothing panics; signed by us it holds, and with another
//! body it does not (I10). The first line is `METHOD TARGET`, then come headers, an empty line, and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_gateway::sigv4_from_outside::{Signers, canonicalize, moment_of_examples, request};

const FILE: &str = "[example]\naws_access_key_id = AKIDEXAMPLE\n\
                    aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n";

fuzz_target!(|text: &str| {
    let _ = Signers::parse(text);
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let Some(mut request) = request(head) else { return };
    let (body, now) = (body.as_bytes(), moment_of_examples());
    let signers = Signers::parse(FILE).expect("a file as it should be");
    let _ = signers.verify(&request, body, now);

    let (path, query) = canonicalize(request.uri.path(), request.uri.query().unwrap_or_default());
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains("//"));
    assert_eq!(canonicalize("/", &query).1, query, "a canonical query is its own canonical form");

    if signers.sign("example", &mut request, body, now) {
        match signers.verify(&request, body, now) {
            Ok(_) => {
                let another = [body, b"x"].concat();
                assert!(signers.verify(&request, &another, now).is_err(), "it holds with this body and no other");
            }
            // It had been signed in its query.
            Err((_, message)) => assert!(message.starts_with("Found both"), "what was signed does not hold: {message}"),
        }
    }
});
