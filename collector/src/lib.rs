//! The collector: receives records and spans, keeps them, adds them up, commits them to the tables.
//!
//! A message's way: a receiver ([`receive`]) hands it to the [`Intake`], which decodes it; the [`writer`] drops what
//! was taken before, has the bytes on disk in the write-ahead log ([`wal`]), makes the rows [`Pending`] and lets the
//! sender be answered; a [`flush`] commits them to every table and lets the log forget them. What the log holds and
//! memory does not, at a start or while the store is away, a [`backlog`] reads in as there is room.
//!
//! What always holds: an answered message is on disk (I1) and stays there until every table has committed it (I2);
//! each table commits each frame once (I3); a query gets each row exactly once, pending or committed (I9).

mod admin;
pub mod backlog;
mod config;
mod counters;
pub mod flush;
mod intake;
mod listeners;
mod message;
pub mod offline;
pub mod pending;
pub mod receive;
mod refusal;
pub mod replay;
mod run;
mod signal;
#[cfg(test)]
mod simulation;
pub mod sources;
mod tables;
pub mod wal;
pub mod writer;

pub use config::Config;
pub use counters::{Counter, Counters, Gauge};
pub use intake::{Accepted, Intake};
pub use message::{Message, Part, Rejected};
pub use pending::Pending;
pub use refusal::{Bound, Reason, Refusal};
pub use run::{Addresses, Collector, RunError, StartError};
pub use signal::Signal;
