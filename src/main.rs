//! `weir`: the whole pipeline in one program, and each of its stations alone.

mod arguments;
mod demo;
mod doctor;
mod endpoints;
mod maintain;
mod output;
mod pending;
mod settings;
mod sql;
mod stations;
mod token;
mod up;
mod verify;
mod wal;

use std::{process::ExitCode, time::Duration};

use arguments::{Arguments, Command};
use clap::Parser;
use mimalloc::MiMalloc;
use weir_station::{
    exit::{self, Failure},
    memory,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    memory::return_soon();
    weir_station::crash::obey_environment();
    let arguments = Arguments::parse();
    exit::report("weir", run(arguments.command))
}

fn run(command: Command) -> Result<(), Failure> {
    // Two TLS providers are linked in; one must be chosen before the first connection.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::running("two TLS providers"))?;
    let runtime = memory::runtime().map_err(Failure::running)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Up(arguments) => up::run(arguments).await,
            Command::Gateway(arguments) => stations::gateway(arguments).await,
            Command::Collector(arguments) => stations::collector(arguments).await,
            Command::Serve(arguments) => stations::serve(arguments).await,
            Command::Sql(arguments) => sql::run(arguments).await,
            Command::Top(arguments) => stations::top(arguments).await,
            Command::Verify(arguments) => verify::run(arguments).await,
            Command::Doctor(arguments) => doctor::run(arguments).await,
            Command::Maintain(arguments) => maintain::run(arguments).await,
            Command::Wal(command) => wal::run(command),
            Command::Token { name } => token::run(&name),
            Command::Check(arguments) => stations::check(&arguments),
        }
    });
    // Nothing of ours is under way any more, but for calls to a store that were given up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
