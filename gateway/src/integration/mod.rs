//! What answers a route in a stage: its definition, made ready.

mod mock;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::{Method, uri::Authority};
use weir_station::{tls::ClientTlsConfig, watched::FileFault};

pub(crate) use mock::answer as answer_mock;

use crate::{
    config::{
        definitions::ServiceDefinition,
        integration::{Integration as Definition, Mock, StageUri},
        lambda::PayloadVersion,
    },
    lambda::Function,
    mapping::StageMapping,
    serving::ServingError,
    sigv4::CredentialStore,
    upstream::Upstream,
};

/// What answers a route in a stage.
#[derive(Debug)]
pub(crate) enum Integration {
    /// An HTTP server.
    HttpProxy(HttpProxy),
    /// The gateway, with what the configuration says.
    Mock(Mock),
    /// A Lambda function.
    Lambda(LambdaProxy),
}

/// An HTTP server behind the gateway, in a stage.
#[derive(Debug)]
pub(crate) struct HttpProxy {
    /// Where it is.
    pub uri: StageUri,
    /// The method that it is asked with; none for the client's.
    pub method: Option<Method>,
    /// How long it may take to begin its answer.
    pub timeout: std::time::Duration,
    /// How long its answer may pause.
    pub idle_timeout: std::time::Duration,
    /// The servers of which one is asked.
    pub upstream: Arc<Upstream>,
    /// What of requests and responses is changed, and the stage's variables; most integrations change nothing.
    pub mapping: Option<Box<StageMapping>>,
}

/// A Lambda function, in a stage.
#[derive(Debug)]
pub(crate) struct LambdaProxy {
    /// The function.
    pub function: Function,
    /// Whether an HTTP API talks to it in format 1.0.
    pub is_1: bool,
}

impl Integration {
    /// Whether a mapping changes its requests or responses.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, Self::HttpProxy(proxy) if proxy.mapping.is_some())
    }

    /// Makes an integration ready for a stage with these variables.
    ///
    /// # Errors
    /// When a file of certificates or credentials cannot be used.
    pub(crate) fn new(
        definition: &Definition,
        variables: &BTreeMap<String, String>,
        upstreams: &mut Upstreams,
        credentials: Option<&Arc<CredentialStore>>,
    ) -> Result<Self, ServingError> {
        Ok(match definition {
            Definition::Mock(mock) => Self::Mock(mock.clone()),
            Definition::Lambda(lambda) => Self::Lambda(LambdaProxy {
                function: Function::new(&lambda.function, variables, upstreams, credentials)?,
                is_1: lambda.payload == Some(PayloadVersion::V1),
            }),
            Definition::HttpProxy(proxy) => {
                let uri =
                    StageUri::new(&proxy.uri, variables).expect("the configuration checks the URI in every stage");
                let upstream = upstreams.of(&uri, &proxy.tls)?;
                Self::HttpProxy(HttpProxy {
                    uri,
                    method: proxy.method.clone(),
                    timeout: proxy.timeout,
                    idle_timeout: proxy.idle_timeout,
                    upstream,
                    mapping: StageMapping::new(&proxy.mapping, variables),
                })
            }
        })
    }
}

/// The servers behind the gateway: one entry for all integrations that reach the same one in the same way, so that they
/// share connections.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    services: HashMap<String, ServiceDefinition>,
    known: HashMap<UpstreamKey, Arc<Upstream>>,
    /// Those of the configuration before that may be in this one too.
    before: HashMap<UpstreamKey, Arc<Upstream>>,
}

/// What makes servers the same: whether they are reached by TLS, what they are called, and how they are proven.
type UpstreamKey = (bool, Authority, ClientTlsConfig);

impl Upstreams {
    /// Those that these services name, and what was known before: what stays the same keeps its connections.
    pub(crate) fn new(services: &[ServiceDefinition], before: Option<&Self>) -> Self {
        let services: HashMap<_, _> = services.iter().map(|own| (own.name.clone(), own.clone())).collect();
        let is_same = |authority: &Authority| {
            before.is_some_and(|before| before.services.get(authority.host()) == services.get(authority.host()))
        };
        let same = before.iter().flat_map(|before| &before.known).filter(|((_, authority, _), _)| is_same(authority));
        let same = same.map(|(key, upstream)| (key.clone(), Arc::clone(upstream))).collect();
        Self { services, known: HashMap::new(), before: same }
    }

    /// Forgets those that no integration has asked for, so that their connections end.
    pub(crate) fn forget_unused(&mut self) {
        self.before = HashMap::new();
    }

    /// The one that a URI leads to.
    ///
    /// # Errors
    /// When a file of certificates cannot be used.
    pub(crate) fn of(&mut self, uri: &StageUri, tls: &ClientTlsConfig) -> Result<Arc<Upstream>, FileFault> {
        let key = (uri.is_https, uri.authority.clone(), tls.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let upstream = match self.before.remove(&key) {
            Some(same) => same,
            None => {
                let service = self.services.get(uri.authority.host()).filter(|_| uri.authority.port().is_none());
                Arc::new(Upstream::new(uri.is_https, uri.authority.clone(), service, tls)?)
            }
        };
        self.known.insert(key, Arc::clone(&upstream));
        Ok(upstream)
    }
}
