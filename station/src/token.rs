//! Bearer tokens (RFC 6750): who may talk to a station. A file names the holders and has the SHA-256 of each token, so that
//! it tells nobody a token; the other side keeps the token itself in a file of its own.
//!
//! A token is 32 random bytes in base64url behind `weir_`: it cannot be guessed, so a plain hash is enough. What always
//! holds: hashes are compared in constant time, all of them; no token is ever logged or shown.

use std::{fmt, io, path::Path, str, sync::Arc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Secret,
    watched::{FileFault, Watched},
};

/// Length of a SHA-256, bytes.
const HASH_BYTES: usize = 32;

const PREFIX: &str = "weir_";
const LINES: &str = "lines such as: gateway-1 sha256:HEX, as `weir token NAME` prints them";
const ONE_TOKEN: &str = "one token, as `weir token NAME` prints it";

/// The most characters that the name of a token's holder has: it is shown in self metrics.
const MOST_NAME_CHARACTERS: usize = 64;

/// A token that was made just now: the one moment at which it can be seen.
#[derive(Debug)]
pub struct NewToken {
    /// The token.
    pub token: Secret,
    /// The line for the file of tokens.
    pub line: String,
}

/// A token that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name would not stand in a line by itself.
    #[error("{0:?} is no name for a token; expected up to 64 letters, digits, and any of - _ . @")]
    Name(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes a token for this holder.
///
/// # Errors
/// When the name does not do, or the system has no random numbers.
pub fn make(name: &str) -> Result<NewToken, TokenError> {
    if !is_name(name) {
        return Err(TokenError::Name(name.to_owned()));
    }
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| TokenError::Random)?;
    let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
    let hash: String = hash(&token).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(NewToken { token: token.into(), line: format!("{name} sha256:{hash}") })
}

/// The tokens that are let in.
#[derive(Debug)]
pub struct Tokens(Watched<Holders>);

impl Tokens {
    /// Reads a file of lines `NAME sha256:HEX`. A name may have several tokens; a file without any lets nobody in. Empty
    /// lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(file: &Path) -> Result<Self, FileFault> {
        let path = file.to_owned();
        Watched::open(vec![file.to_owned()], move || Holders::read(&path)).map(Self)
    }

    /// Whose token the `authorization` header bears.
    #[must_use]
    pub fn holder(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        self.0.current().find(bearer(headers)?)
    }

    /// Follows the file until `shutdown`: tokens come and go without a restart.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.0.follow(shutdown).await
    }
}

/// The lines of a file of tokens.
struct Holders(Vec<(Arc<str>, [u8; HASH_BYTES])>);

impl Holders {
    fn read(file: &Path) -> Result<Self, FileFault> {
        let bytes = FileFault::read(file, LINES)?;
        let text = str::from_utf8(&bytes).map_err(|_| FileFault::new(file, "is not UTF-8", LINES))?;
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let holders = lines.map(|(index, line)| {
            // What stands there may be a token in the place of its hash: it is not repeated.
            let fault = || FileFault::new(file, format!("line {} is not understood", index + 1), LINES);
            holder(line).ok_or_else(fault)
        });
        holders.collect::<Result<_, _>>().map(Self)
    }

    fn find(&self, token: &str) -> Option<Arc<str>> {
        let presented = hash(token);
        let mut found = None;
        for (name, own) in &self.0 {
            if verify_slices_are_equal(own, &presented).is_ok() {
                found = Some(name);
            }
        }
        found.map(Arc::clone)
    }
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn holder(line: &str) -> Option<(Arc<str>, [u8; HASH_BYTES])> {
    let (name, hash) = line.split_once(char::is_whitespace)?;
    let hex = hash.trim_start().strip_prefix("sha256:")?;
    if !is_name(name) || hex.len() != 2 * HASH_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some((name.into(), bytes))
}

fn is_name(name: &str) -> bool {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "-_.@".contains(character);
    (1..=MOST_NAME_CHARACTERS).contains(&name.len()) && name.chars().all(is_allowed)
}

fn hash(token: &str) -> [u8; HASH_BYTES] {
    let mut bytes = [0; HASH_BYTES];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token that we show to others.
#[derive(Debug)]
pub struct OwnToken(Watched<HeaderValue>);

impl OwnToken {
    /// Reads a file that holds one token.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(file: &Path) -> Result<Self, FileFault> {
        let path = file.to_owned();
        let load = move || {
            let bytes = FileFault::read(&path, ONE_TOKEN)?;
            let fault = |problem: &str| FileFault::new(&path, problem, ONE_TOKEN);
            let token = str::from_utf8(&bytes).map_err(|_| fault("is not UTF-8"))?.trim();
            if token.is_empty() || token.contains(char::is_whitespace) {
                return Err(fault("does not hold one token"));
            }
            let mut header = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| fault("holds what cannot stand in a header"))?;
            header.set_sensitive(true);
            Ok(header)
        };
        Watched::open(vec![file.to_owned()], load).map(Self)
    }

    /// Reads the file again if it has changed.
    pub fn look(&self) {
        self.0.look();
    }

    /// The value of the `authorization` header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::clone(&self.0.current())
    }

    /// Follows the file until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.0.follow(shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn presenting(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(value).unwrap())])
    }

    #[test]
    fn a_holder_is_known_by_any_of_its_tokens_and_nobody_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let (theirs, ours) = (directory.path().join("tokens"), directory.path().join("token"));
        let (old, new, other) = (make("a").unwrap(), make("a").unwrap(), make("b@c.d").unwrap());
        fs::write(&theirs, format!("# holders\n{}\n\n{}\n", old.line, other.line)).unwrap();
        let tokens = Tokens::open(&theirs).unwrap();
        let holder = |token: &NewToken| tokens.holder(&presenting(&format!("bearer {}", token.token.expose())));
        assert_eq!((holder(&old).as_deref(), holder(&other).as_deref()), (Some("a"), Some("b@c.d")));
        assert_eq!(holder(&new), None);
        fs::write(&theirs, format!("{}\n", new.line)).unwrap();
        tokens.0.reload().unwrap();
        assert_eq!((holder(&old), holder(&new).as_deref()), (None, Some("a")));
        for nothing in ["", "Bearer", "Bearer ", "Basic abc", "Bearer weir_x"] {
            assert_eq!(tokens.holder(&presenting(nothing)), None, "{nothing}");
        }
        assert_eq!(tokens.holder(&HeaderMap::new()), None);

        fs::write(&ours, format!("{}\n", new.token.expose())).unwrap();
        let own = OwnToken::open(&ours).unwrap();
        let header = HeaderMap::from_iter([(AUTHORIZATION, own.header())]);
        assert_eq!(tokens.holder(&header).as_deref(), Some("a"));
        assert!(!format!("{own:?} {tokens:?} {new:?} {header:?}").contains(new.token.expose()));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        let long = "0".repeat(64);
        for line in [
            "weir_secret",
            "a sha256:12",
            "a md5:x",
            &format!("a/b sha256:{long}"),
            &format!("a sha256:{}é", &long[2..]),
        ] {
            fs::write(&file, format!("\n{line}\n")).unwrap();
            let fault = Tokens::open(&file).unwrap_err().to_string();
            assert!(fault.contains("line 2 is not understood; expected lines such as"), "{fault}");
            assert!(!fault.contains("weir_secret"));
        }
        for name in ["", "a b", "a\n", &"x".repeat(65)] {
            assert!(matches!(make(name), Err(TokenError::Name(_))));
        }
        fs::write(&file, "two tokens").unwrap();
        assert!(OwnToken::open(&file).unwrap_err().to_string().contains("does not hold one token"));
    }
}
