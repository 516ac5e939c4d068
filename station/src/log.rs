//! A station's own log: text for people on a terminal, JSON otherwise, on standard error.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    path::PathBuf,
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Environment variable that chooses what is logged: `debug`, or `weir_gateway=debug,info`.
pub const VARIABLE: &str = "WEIR_LOG";

/// Libraries that tell of every step they take, and of an error with all that they know. Who called them tells it on a
/// line.
const QUIET: &str = "delta_kernel=off,delta_kernel_default_engine=off,object_store=warn";

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    StandardError,
    /// The end of this file: the terminal shows the dashboard.
    File(PathBuf),
}

/// Begins to log. `default` is what is logged when `WEIR_LOG` is not set.
///
/// A second call changes nothing: the first one decides for the whole process.
///
/// # Errors
/// When the file cannot be opened.
pub fn init(default: &str, destination: &Destination) -> io::Result<()> {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(format!("{default},{QUIET}")));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    let outcome = match destination {
        Destination::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            registry.with(layer.with_ansi(false).with_writer(file)).try_init()
        }
        Destination::StandardError if io::stderr().is_terminal() => {
            registry.with(layer.with_target(false).with_writer(io::stderr)).try_init()
        }
        Destination::StandardError => {
            registry.with(layer.json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logging was begun already");
    }
    Ok(())
}
