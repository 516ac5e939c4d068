//! `weir token NAME`: makes a token for a sender or a query station.

use weir_station::{exit::Failure, token};

/// Prints the token, once and for all, and the line that lets it in. What they are for stands on standard error, so that
/// a script gets the two lines alone.
#[expect(clippy::print_stdout, reason = "the token and its line are this command's output")]
pub(crate) fn run(name: &str) -> Result<(), Failure> {
    let made = token::make(name).map_err(Failure::usage)?;
    eprintln!("The token, for the token_file of {name}; it cannot be shown again. Below it the line for the");
    eprintln!("collector's token_file, which is read again when it changes.");
    println!("{}", made.token.expose());
    println!("{}", made.line);
    Ok(())
}
