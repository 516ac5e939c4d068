//! The way in for the fuzz target `jwt`, which makes tokens and key sets that nobody issued.

use super::{keys::KeySet, token::Token};

/// Whether a key set that stands in these bytes, if they are one, verifies this token, if it is one. Its claims are read
/// too.
#[must_use]
pub fn is_verified(keys: &[u8], token: &str) -> bool {
    let (Ok(keys), Ok(token)) = (KeySet::parse(keys), Token::parse(token)) else { return false };
    keys.verify(&token).is_ok() && token.claims().is_ok()
}
