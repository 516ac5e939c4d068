//! The gateway: serves requests and leaves a record of each.
//!
//! A request's way reads in [`handle`]: find the route, protect it (authenticate, throttle), forward it, and record it
//! at the end of the response body, whatever became of it. One thread for each core runs it alone ([`core`]): its own
//! listener, its own connections to the integrations. Records go into a bounded queue ([`telemetry`]) and from there to
//! the collector.
//!
//! What always holds: the request's way never waits for telemetry (I6); a request that arrived leaves exactly one
//! record, or is counted as dropped; no input stops the gateway (I10); this crate reaches neither Arrow nor DataFusion
//! (I8).

mod auth;
mod body;
mod calendar;
mod config;
mod connection;
mod context;
mod core;
mod cors;
mod exchange;
mod facts;
mod handle;
mod integration;
mod lambda;
mod limits;
mod mapping;
mod percent;
mod privacy;
mod refusal;
mod reload;
mod responses;
mod route;
mod router;
mod run;
mod serving;
mod sigv4;
mod stats;
mod target;
mod telemetry;
mod timer;
mod trace;
mod upstream;

#[doc(hidden)]
pub use auth::jwt::fuzzing as fuzzing_of_tokens;
#[doc(hidden)]
pub use config::openapi::fuzzing as fuzzing_of_documents;
pub use config::{Config, OTHER_SECTIONS};
pub use run::{Gateway, RunError, StartError};
pub use serving::ServingError;
#[doc(hidden)]
pub use sigv4::outside as sigv4_from_outside;
pub use stats::Stats;
#[doc(hidden)]
pub use target::fuzzing as fuzzing_of_targets;
#[doc(hidden)]
pub use telemetry::spool::fuzzing as fuzzing_of_the_spool;
