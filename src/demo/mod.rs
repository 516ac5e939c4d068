//! `weir up --demo`: an upstream, API definitions and clients, so that a newcomer sees traffic at once.
//!
//! Everything is real but the shop: requests go over sockets through the gateway to an HTTP server and back.

pub(crate) mod client;
mod credentials;
pub(crate) mod traffic;
pub(crate) mod upstream;

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Context;
pub(crate) use credentials::Credentials;

const APIS: &str = include_str!("apis.toml");

/// The demo's API definitions, as they would stand in `weir.toml`. Writes the tokens' public key under `data`.
pub(crate) fn definitions(upstream: SocketAddr, credentials: &Credentials, data: &Path) -> anyhow::Result<String> {
    fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let jwks = data.join("demo-jwks.json");
    fs::write(&jwks, credentials.jwks.to_string()).with_context(|| format!("cannot write {}", jwks.display()))?;
    let jwks = jwks.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    Ok(APIS
        .replace("{upstream}", &format!("http://{upstream}"))
        .replace("{jwks}", &jwks)
        .replace("{api_key}", &credentials.api_key))
}
