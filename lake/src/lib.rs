//! The tables on object storage: their schemas, their rows, their sketches, their files and their commits.
//!
//! This is where the data's way ends for the collector, which appends ([`LakeTable::append`]), and where it begins for
//! the query, which reads what is committed ([`LakeTable::snapshot`]). The tables are Delta tables of Parquet files, in
//! a local directory or on S3-compatible storage, and any Delta reader can read them without us.
//!
//! What always holds: a commit bears the writer's position in its write-ahead log, so that no row is committed twice
//! (I3); what was committed survives a crash of the machine; every sketch shares one set of bounds (I5).

mod column;
mod commit;
mod damage;
mod delta;
mod durable;
#[cfg(test)]
mod faulty;
mod file;
mod lake;
pub mod ledger;
pub mod maintain;
pub mod metrics;
mod older;
mod order;
pub mod pending;
mod places;
pub mod requests;
mod schema;
mod sketch;
mod snapshot;
pub mod spans;
mod store;
mod table;
pub mod verify;

pub use lake::{Lake, StoreProbe};
pub use older::UnfitRows;
pub use schema::{PARTITION_COLUMN, Table};
pub use sketch::{HIGHEST_LATENCY_US, LOWEST_LATENCY_US, Sketch, SketchError};
pub use snapshot::{LiveFile, LiveFiles, TableSnapshot};
pub use store::{OpenError, S3Options, StoreConfig};
pub use table::{Append, CommitError, LakeTable, ReadError, Writer};
