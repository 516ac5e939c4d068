//! An issuer for tests: keys, tokens signed with them, and a server that publishes them over real sockets.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use weir_station::tls::{IdentityFiles, ServerTls, ServerTlsConfig};

/// A key that signs.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey {
    pub id: String,
    pair: Pair,
}

#[derive(Clone, Debug)]
enum Pair {
    Rsa(Arc<KeyPair>),
    Ec(Arc<EcdsaKeyPair>, &'static str, usize),
}

impl SigningKey {
    /// An RSA key, the same at each call: to make one takes long.
    pub(crate) fn rsa(id: &str) -> Self {
        static PAIR: LazyLock<Arc<KeyPair>> = LazyLock::new(|| Arc::new(KeyPair::generate(KeySize::Rsa2048).unwrap()));
        Self { id: id.to_owned(), pair: Pair::Rsa(Arc::clone(&PAIR)) }
    }

    /// A new key on P-256.
    pub(crate) fn ec(id: &str) -> Self {
        Self::on_curve(id, "P-256")
    }

    pub(crate) fn on_curve(id: &str, curve: &'static str) -> Self {
        let (algorithm, bytes) = match curve {
            "P-256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, 32),
            "P-384" => (&ECDSA_P384_SHA384_FIXED_SIGNING, 48),
            _ => (&ECDSA_P521_SHA512_FIXED_SIGNING, 66),
        };
        Self { id: id.to_owned(), pair: Pair::Ec(Arc::new(EcdsaKeyPair::generate(algorithm).unwrap()), curve, bytes) }
    }

    /// What tokens are signed with unless they say otherwise.
    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_, "P-256", _) => "ES256",
            Pair::Ec(_, "P-384", _) => "ES384",
            Pair::Ec(..) => "ES512",
        }
    }

    /// The public key, without `alg` and `use`.
    pub(crate) fn jwk(&self) -> Value {
        match &self.pair {
            // RSAPublicKey of 2,048 bits in DER: the modulus stands behind nine bytes.
            Pair::Rsa(pair) => {
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "kid": self.id, "n": encode(&der[9..265]), "e": "AQAB"})
            }
            Pair::Ec(pair, curve, bytes) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..=*bytes]), encode(&point[1 + bytes..]));
                json!({"kty": "EC", "kid": self.id, "crv": curve, "x": x, "y": y})
            }
        }
    }

    fn sign(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair, ..) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, signed, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"}).to_string(), claims)
    }

    /// A token with this header as it stands, signed as its `alg` says.
    pub(crate) fn token_with(&self, header: &str, claims: &Value) -> String {
        self.token_of(header, &claims.to_string())
    }

    /// A token with this header and these claims as they stand.
    pub(crate) fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let header: Value = serde_json::from_str(header).unwrap_or_default();
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn jwks<'k>(keys: impl IntoIterator<Item = &'k SigningKey>) -> String {
    json!({"keys": keys.into_iter().map(SigningKey::jwk).collect::<Vec<_>>()}).to_string()
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that hold, with some put in their place.
pub(crate) fn claims(issuer: &str, changes: Value) -> Value {
    let mut claims = json!({"iss": issuer, "aud": "shop", "sub": "ada", "exp": now_s() + 600, "scope": "read write"});
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(&name)),
            value => claims[name] = value,
        }
    }
    claims
}

pub(crate) fn headers(token: &str) -> HeaderMap {
    [(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())].into_iter().collect()
}

/// What a server answers on a path.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
    pub cache_control: &'static str,
    pub delay: Duration,
}

impl Answer {
    pub(crate) fn of(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into(), cache_control: "public", delay: Duration::ZERO }
    }
}

#[derive(Debug, Default)]
struct Published {
    answers: HashMap<String, Answer>,
    requests: HashMap<String, usize>,
}

/// A server of documents; it ends with its value.
#[derive(Debug)]
pub(crate) struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    published: Arc<Mutex<Published>>,
    _connections: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_tls(certificate: PathBuf, key: PathBuf) -> Self {
        let identity = IdentityFiles { certificate, key };
        Self::start_with(Some(ServerTls::open(&ServerTlsConfig { identity, client_ca: None }).unwrap())).await
    }

    async fn start_with(tls: Option<ServerTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let published = Arc::new(Mutex::new(Published::default()));
        let mut server = Self { address, scheme, published: Arc::clone(&published), _connections: JoinSet::new() };
        server._connections.spawn(async move {
            let (tls, mut connections) = (tls.map(Arc::new), JoinSet::new());
            while let Ok((stream, _)) = listener.accept().await {
                let (published, tls) = (Arc::clone(&published), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => answer(stream, &published).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &published).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn publish(&self, path: &str, answer: Answer) {
        self.published.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// Publishes an OpenID configuration that names `/keys`, and these keys there.
    pub(crate) fn publish_issuer(&self, keys: &[&SigningKey]) {
        let metadata = json!({"issuer": self.url(""), "jwks_uri": self.url("/keys")});
        self.publish("/.well-known/openid-configuration", Answer::of(metadata.to_string()));
        self.publish("/keys", Answer::of(jwks(keys.iter().copied())));
    }

    /// Requests for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.published.lock().unwrap().requests.get(path).copied().unwrap_or_default()
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, published: &Mutex<Published>) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let path = String::from_utf8(request).ok()?.split(' ').nth(1)?.to_owned();
    let answer = {
        let mut published = published.lock().unwrap();
        *published.requests.entry(path.clone()).or_default() += 1;
        published.answers.get(&path).cloned().unwrap_or(Answer { status: 404, ..Answer::of("") })
    };
    tokio::time::sleep(answer.delay).await;
    let Answer { status, body, cache_control, .. } = answer;
    let length = body.len();
    let head = format!("HTTP/1.1 {status} _\r\ncontent-length: {length}\r\ncache-control: {cache_control}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}
