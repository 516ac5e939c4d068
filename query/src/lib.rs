//! SQL over the tables and over what is not yet committed.
//!
//! This is the reading end of the data's way. An [`Engine`] answers one statement at a time over a cut of the lake: for
//! each table that the statement names, a snapshot of the files, and the rows that the collectors have acknowledged
//! since. It is asked in its own process, over HTTP ([`http`]), or from a command line ([`cli`]); answers are written
//! as tables, CSV, JSON or Arrow ([`format`]).
//!
//! What always holds: an answer has every row acknowledged before its statement began, once (I9); no statement changes
//! anything; memory, spill space, time and the number of statements at once are bounded (I7).

mod answer;
mod catalog;
pub mod cli;
pub mod client;
pub mod collector;
mod config;
mod damage;
mod error;
pub mod format;
mod fresh;
mod functions;
pub mod http;
pub mod pending;
mod scan;
mod session;
mod statement;
mod table;
#[cfg(test)]
mod testing;
mod workers;

pub use answer::{Answer, Rows};
pub use config::Config;
pub use error::QueryError;
pub use http::{ServeError, Server, serve};
pub use session::{Engine, EngineError, Limits, Options};
