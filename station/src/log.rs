//! A station's own log: text for people on a terminal, JSON otherwise, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Environment variable that chooses what is logged: `debug`, or `weir_gateway=debug,info`.
pub const VARIABLE: &str = "WEIR_LOG";

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    StandardError,
    /// Nowhere: the terminal shows the dashboard.
    Nowhere,
}

/// Begins to log. `default` is what is logged when `WEIR_LOG` is not set.
///
/// A second call changes nothing: the first one decides for the whole process.
pub fn init(default: &str, destination: Destination) {
    if destination == Destination::Nowhere {
        return;
    }
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let outcome = if io::stderr().is_terminal() {
        registry.with(layer.with_target(false)).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logging was begun already");
    }
}
