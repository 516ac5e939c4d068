//! `[[jwt_authorizer]]`, read.

use std::path::PathBuf;

use weir_station::config::Section;

/// An authorizer that takes JSON Web Tokens (RFC 7519).
#[derive(Clone, Debug)]
pub struct JwtDefinition {
    /// Its name.
    pub name: String,
    /// The `iss` that a token must bear.
    pub issuer: String,
    /// One of these a token's `aud` (or `client_id`) must name.
    pub audience: Vec<String>,
    /// Where the keys are: a JWKS file or URL (RFC 7517).
    pub jwks: JwksSource,
    /// The header that a token comes in.
    pub header: String,
}

/// Where a key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An `http://` or `https://` URL.
    Url(String),
}

/// Reads an authorizer.
pub(super) fn read_jwt(section: &Section) -> Option<JwtDefinition> {
    let name = section.required::<String>("name");
    let issuer = section.required::<String>("issuer");
    let audience = section.required::<Vec<String>>("audience");
    if audience.as_ref().is_some_and(Vec::is_empty) {
        section.fault("audience", "is empty", "at least one audience");
    }
    let jwks = section.required::<String>("jwks").map(|text| {
        if text.starts_with("http://") || text.starts_with("https://") {
            JwksSource::Url(text)
        } else {
            JwksSource::File(text.into())
        }
    });
    let header = section.value("header", "authorization".to_owned());
    Some(JwtDefinition { name: name?, issuer: issuer?, audience: audience?, jwks: jwks?, header })
}
