//! Clients' connections, over real sockets: what a client may send, how much of it and how slowly, and how connections
//! end.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails where it breaks off")]

mod bounds;
mod certificates;
mod ends;
mod http2;
mod messages;
mod setting;
