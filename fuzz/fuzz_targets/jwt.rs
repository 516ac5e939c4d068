//! Whatever text comes as a token, and whatever an issuer publishes as its keys: nothing panics, and keys whose owner
//! signed one token verify that one alone (I10).
//!
//! An input is a key set in one line and a token in the next.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_gateway::fuzzing_of_tokens::is_verified;

/// The seeds. Their private keys are thrown away.
const KNOWN: [&str; 2] = [include_str!("../seeds/jwt/rs256"), include_str!("../seeds/jwt/es256")];

fuzz_target!(|text: &str| {
    let (keys, token) = text.split_once('\n').unwrap_or_default();
    let _ = is_verified(keys.as_bytes(), token);
    for (keys, signed) in KNOWN.iter().filter_map(|known| known.split_once('\n')) {
        assert_eq!(is_verified(keys.as_bytes(), token), token == signed, "a token that nobody signed");
    }
});
