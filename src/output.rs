//! What a command says on standard output. Whoever reads it may have seen enough and stop: that is no failure.

use std::{
    fmt::Display,
    io::{self, Write},
};

use weir_station::exit::Failure;

/// Writes text and a line's end.
///
/// # Errors
/// When it cannot be written, but for a reader that has gone.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::running(format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}
