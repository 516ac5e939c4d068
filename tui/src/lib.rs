//! The terminal dashboard: asks SQL over HTTP, shows numbers.
//!
//! It stands at the end of the data's way and imports no other crate of ours: what it knows of the pipeline is the
//! columns that `sql/*.sql` ask for. Inside, answers and keys go one way: [`question`] and [`client`] fetch, `state`
//! keeps and decides (pure, no clock, no I/O), `view` draws. What always holds: state does not reach view (I8); a slow
//! or absent server slows the numbers, never the keys; the terminal is given back as it was, whatever happens.

mod appearance;
mod arguments;
mod client;
mod poll;
mod question;
mod run;
mod state;
mod terminal;
#[cfg(test)]
mod testing;
mod view;

pub use appearance::Appearance;
pub use arguments::Arguments;
pub use run::{Options, RunError, run};
