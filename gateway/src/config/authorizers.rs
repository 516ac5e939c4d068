//! `[[jwt_authorizer]]` and `[[cognito_authorizer]]`: whose tokens are taken.

use std::{fmt, path::PathBuf, time::Duration};

use http::Uri;
use regex_automata::{
    Anchored, Input,
    dfa::{Automaton, StartKind, dense},
    util::syntax,
};
use weir_station::config::{OneOrMany, Section};

use crate::auth::jwt::identity::{EXPECTED as EXPECTED_SOURCE, IdentitySource};

/// Audiences of an authorizer at most; API Gateway's limit.
const MOST_AUDIENCES: usize = 50;

/// Clocks that differ by more are wrong.
const MOST_LEEWAY: Duration = Duration::from_secs(300);

/// What a pattern's automaton may take, bytes.
const MOST_PATTERN_BYTES: usize = 1 << 20;

/// An authorizer that takes JSON Web Tokens (RFC 7519).
#[derive(Clone, Debug)]
pub struct JwtDefinition {
    /// Its name.
    pub name: String,
    /// The `iss` that a token must bear.
    pub issuer: String,
    /// One of these a token's `aud` (or `client_id`) must name.
    pub audience: Vec<String>,
    /// Where the keys are.
    pub jwks: JwksSource,
    /// Authorities that the issuer's certificate must come from (PEM); none: those that browsers know.
    pub ca: Option<PathBuf>,
    /// Where a token may stand in a request.
    pub(crate) identity_source: Vec<IdentitySource>,
    /// How far the issuer's clock may be from ours.
    pub leeway: Duration,
}

/// Where a key set (RFC 7517) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// Where the issuer's OpenID configuration says.
    Discovery,
    /// A file.
    File(PathBuf),
    /// An `http://` or `https://` URL.
    Url(String),
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery => f.write_str("where its OpenID configuration says"),
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// An authorizer that takes tokens of Cognito user pools.
#[derive(Clone, Debug)]
pub struct CognitoDefinition {
    /// Its name.
    pub name: String,
    /// The user pools.
    pub user_pools: Vec<UserPool>,
    /// Authorities that the pools' certificates must come from (PEM); none: those that browsers know.
    pub ca: Option<PathBuf>,
    /// Where a token may stand in a request.
    pub(crate) identity_source: Vec<IdentitySource>,
    /// What an ID token's `aud` must be.
    pub(crate) audience_pattern: Option<Pattern>,
}

/// A user pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub jwks: JwksSource,
}

impl UserPool {
    /// Reads a pool's id (`eu-central-1_abc`), its ARN, or its issuer's URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = match text.strip_prefix("arn:") {
            Some(rest) => rest.split_once(":userpool/")?.1,
            None => text,
        };
        let issuer = if is_url(id) { id.trim_end_matches('/').to_owned() } else { issuer_of_pool(id)? };
        let jwks = JwksSource::Url(format!("{issuer}/.well-known/jwks.json"));
        Some(Self { issuer, jwks })
    }
}

/// `https://cognito-idp.{region}.amazonaws.com/{id}`; the region stands in front of the id.
fn issuer_of_pool(id: &str) -> Option<String> {
    let (region, own) = id.split_once('_')?;
    let is_word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    if !is_word(region, b"-") || !is_word(own, b"") {
        return None;
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Some(format!("https://cognito-idp.{region}.{domain}/{id}"))
}

/// A regular expression that a whole text must match; it takes time in proportion to the text.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    automaton: dense::DFA<Vec<u32>>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Pattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// When it is none, or takes too much memory.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let limits = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MOST_PATTERN_BYTES))
            .determinize_size_limit(Some(MOST_PATTERN_BYTES));
        let automaton = dense::Builder::new()
            .configure(limits)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .build(&format!(r"(?:{text})\z"))
            .map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), automaton })
    }

    /// Whether a text, from its beginning to its end, is what the expression says.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes);
        matches!(self.automaton.try_search_fwd(&input), Ok(Some(end)) if end.offset() == text.len())
    }
}

/// Reads a `[[jwt_authorizer]]`.
pub(super) fn read_jwt(section: &Section) -> Option<JwtDefinition> {
    let name = section.required::<String>("name");
    let issuer = section.required::<String>("issuer");
    let audience = section.required::<Vec<String>>("audience");
    if audience.as_ref().is_some_and(|audience| audience.is_empty() || audience.len() > MOST_AUDIENCES) {
        section.fault("audience", "is empty, or too long", format!("1 to {MOST_AUDIENCES} audiences"));
    }
    let jwks = match section.optional::<String>("jwks") {
        None => JwksSource::Discovery,
        Some(text) if is_url(&text) => JwksSource::Url(text),
        Some(text) => JwksSource::File(text.into()),
    };
    if jwks == JwksSource::Discovery
        && let Some(issuer) = issuer.as_deref().filter(|issuer| !is_url(issuer))
    {
        let expected = "the issuer's https:// URL, or beside it jwks = the file or URL of its keys";
        section.fault("issuer", format!("is {issuer:?}, by which its keys cannot be found"), expected);
    }
    let leeway = section.value("leeway", Duration::ZERO);
    if leeway > MOST_LEEWAY {
        section.fault("leeway", "is too long", "at most \"5m\": how far the issuer's clock may be from ours");
    }
    Some(JwtDefinition {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        jwks,
        ca: section.optional("ca"),
        identity_source: identity_source(section),
        leeway,
    })
}

/// Reads a `[[cognito_authorizer]]`.
pub(super) fn read_cognito(section: &Section) -> Option<CognitoDefinition> {
    let name = section.required::<String>("name");
    let pools = section.required::<Vec<String>>("user_pools");
    if pools.as_ref().is_some_and(Vec::is_empty) {
        section.fault("user_pools", "is empty", "at least one user pool");
    }
    let parse = |text: &String| {
        let pool = UserPool::parse(text);
        if pool.is_none() {
            let expected = "a user pool's id such as \"eu-central-1_AbCdEf\", its ARN, or its issuer's https:// URL";
            section.fault("user_pools", format!("has {text:?}"), expected);
        }
        pool
    };
    let user_pools = pools.map(|pools| pools.iter().filter_map(parse).collect());
    let audience_pattern = section.optional::<String>("audience_pattern").and_then(|text| {
        let fault = |error| section.fault("audience_pattern", format!("is {text:?}: {error}"), "a regular expression");
        Pattern::parse(&text).map_err(fault).ok()
    });
    let identity_source = identity_source(section);
    Some(CognitoDefinition {
        name: name?,
        user_pools: user_pools?,
        ca: section.optional("ca"),
        identity_source,
        audience_pattern,
    })
}

fn identity_source(section: &Section) -> Vec<IdentitySource> {
    let texts = section.value("identity_source", OneOrMany(vec!["$request.header.Authorization".to_owned()])).0;
    if texts.is_empty() {
        section.fault("identity_source", "is empty", EXPECTED_SOURCE);
    }
    let parse = |text: &String| {
        let source = IdentitySource::parse(text);
        if source.is_none() {
            section.fault("identity_source", format!("has {text:?}"), EXPECTED_SOURCE);
        }
        source
    };
    texts.iter().filter_map(parse).collect()
}

/// Whether a text is the URL of a host.
pub(crate) fn is_url(text: &str) -> bool {
    let has_host = |uri: Uri| uri.host().is_some_and(|host| !host.is_empty());
    (text.starts_with("https://") || text.starts_with("http://")) && text.parse().is_ok_and(has_host)
}

#[cfg(test)]
mod tests;
