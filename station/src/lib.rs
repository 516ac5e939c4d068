//! What every station of Weir shares: its configuration, its log, its listeners, its own metrics, its end.
//!
//! A station is a program's part that runs by itself: gateway, collector, query. Nothing here knows what a station does.

pub mod admin;
pub mod background;
pub mod config;
pub mod crash;
pub mod credentials;
pub mod exit;
pub mod listener;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod server;
pub mod tls;
pub mod token;
pub mod watched;
