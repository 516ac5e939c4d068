//! Stories of the whole pipeline: real processes, real sockets, and an oracle that knows the exact answer.
//!
//! One binary. Each module tells of one promise; invariants are cited by their numbers in ARCHITECTURE.md.
#![allow(clippy::unwrap_used, missing_docs, reason = "a story fails where it breaks off")]

mod pipeline;

mod bad_input;
mod bounds;
mod clock;
mod collector_away;
mod configuration;
mod copied_log;
mod crash;
mod damage;
mod demo;
mod disk;
mod doctor;
mod ends;
mod exact;
mod fuzz_seeds;
mod heavy;
mod late;
mod machine;
mod maintain;
mod secured;
mod several_collectors;
mod spool_kills;
mod sql_command;
mod store_faults;
mod torture;
mod upgrade;
mod verify;
mod wal;
