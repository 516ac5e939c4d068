//! `weir sql`: a statement from the command line, from standard input, or from a prompt.
//!
//! An answer is written as a table unless another format is asked for, whether or not it goes to a terminal: what one
//! sees is what a pipe gets.

mod prompt;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
};

use futures::StreamExt;

use crate::{
    client::{ClientError, Target},
    format::{Format, Width},
    session::Options,
};

/// How answers are asked for and written.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The form of the answer.
    pub format: Format,
    /// How wide a table may be.
    pub width: Width,
    /// What belongs to the answer.
    pub options: Options,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Table, width: Width::default(), options: Options::default() }
    }
}

/// Runs the statement, or what standard input has, or a prompt when standard input is a terminal. `history` is where
/// the prompt keeps what was typed.
///
/// # Errors
/// When a statement that was given has no answer. At the prompt, errors are shown and the next statement awaited.
pub async fn run(
    target: &Target,
    statement: Option<String>,
    settings: Settings,
    history: Option<PathBuf>,
) -> Result<(), ClientError> {
    let mut settings = settings;
    if settings.width == Width::Content
        && let Some(columns) = prompt::terminal_width()
    {
        settings.width = Width::AtMost(columns);
    }
    let statement = match statement {
        Some(statement) => statement,
        None if io::stdin().is_terminal() => return prompt::run(target, settings, history).await,
        None => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            text
        }
    };
    match answer(target, &statement, settings, &mut io::stdout()).await {
        // `weir sql … | head` has seen enough.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Runs one statement and writes its answer, batch by batch where the format allows.
///
/// # Errors
/// When there is no answer, or `output` takes no more.
pub async fn answer<W: Write + Send>(
    target: &Target,
    statement: &str,
    settings: Settings,
    output: &mut W,
) -> Result<(), ClientError> {
    let (schema, mut rows) = target.query(statement, settings.options).await?;
    let mut writer = settings.format.writer(&schema, settings.width)?;
    while let Some(batch) = rows.next().await {
        output.write_all(&writer.batch(&batch?)?)?;
    }
    output.write_all(&writer.finish()?)?;
    output.flush()?;
    Ok(())
}
