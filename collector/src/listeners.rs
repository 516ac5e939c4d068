//! The collector's listeners, and what stands before them: TLS, tokens, bounds on connections.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_station::{
    listener,
    server::{ConnectionCounts, Server},
    tls::ServerTls,
    token::Tokens,
};

use crate::{Addresses, Config, RunError, StartError, run::task};

/// What each listener counts of its connections, by the listener's name.
pub(crate) type Counts = [(&'static str, Arc<ConnectionCounts>); 3];

/// The listeners; nothing is accepted yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) addresses: Addresses,
    pub(crate) grpc: Server,
    pub(crate) http: Server,
    pub(crate) admin: Server,
    tls: Option<Arc<ServerTls>>,
    tokens: Option<Arc<Tokens>>,
}

impl Listeners {
    pub(crate) async fn open(config: &Config) -> Result<Self, StartError> {
        let receive = &config.receive;
        let tls = receive.tls.as_ref().map(ServerTls::open).transpose()?.map(Arc::new);
        let tokens = receive.token_file.as_deref().map(Tokens::open).transpose()?.map(Arc::new);
        let listen = |address| listener::bind_guarded(address, config.exposure, receive.guard());
        let (grpc, http) = (listen(config.grpc).await?, listen(config.http).await?);
        let admin = listen(config.admin).await?;
        let addresses = Addresses {
            scheme: if tls.is_some() { "https" } else { "http" },
            grpc: grpc.local_addr()?,
            http: http.local_addr()?,
            admin: admin.local_addr()?,
        };
        let server = |listener| Server::new(listener, tls.as_ref().map(Arc::clone), receive.connections);
        let (grpc, http, admin) = (server(grpc), server(http), server(admin));
        Ok(Self { addresses, grpc, http, admin, tls, tokens })
    }

    /// The tokens that are let in; none: no token is asked for.
    pub(crate) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.as_ref().map(Arc::clone)
    }

    pub(crate) fn counts(&self) -> Counts {
        [("grpc", self.grpc.counts()), ("http", self.http.counts()), ("admin", self.admin.counts())]
    }

    /// Has new certificates and tokens taken when their files change.
    pub(crate) fn follow_files(&self, background: &mut JoinSet<Result<(), RunError>>, stop: &CancellationToken) {
        if let Some(tls) = self.tls.as_ref().map(Arc::clone) {
            let stop = stop.clone();
            background.spawn(task("certificates", async move { tls.follow(stop).await }));
        }
        if let Some(tokens) = self.tokens() {
            let stop = stop.clone();
            background.spawn(task("tokens", async move { tokens.follow(stop).await }));
        }
    }
}
