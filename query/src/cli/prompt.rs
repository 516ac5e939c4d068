//! The prompt: statements end with a semicolon and may take many lines; what begins with a backslash is for the prompt.

use std::{io, path::PathBuf, time::Instant};

use rustyline::{
    DefaultEditor, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::DefaultHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::task::spawn_blocking;

use crate::{
    client::{ClientError, Target},
    statement::is_whole,
};

use super::{Settings, answer};

const HELP: &str = "\
  SELECT …;     ask; a statement ends with a semicolon and may take many lines
  \\d            list the tables
  \\d TABLE      list the columns of a table
  \\timing       show how long each statement took, or stop showing it
  \\q            quit (also Ctrl-D)
  Ctrl-C        drop what is typed, or the statement that runs
";

/// What `\d` asks.
pub(super) const TABLES: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";

/// What a whole input asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Statement(String),
    Timing,
    Help,
    Quit,
    Unknown(String),
}

/// Lets the editor take lines until they are a whole input.
struct UntilWhole;

type StatementEditor = Editor<UntilWhole, DefaultHistory>;

impl Validator for UntilWhole {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = typed.input().trim();
        let is_whole = text.is_empty() || text.starts_with('\\') || is_whole(text);
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for UntilWhole {
    type Candidate = String;
}

impl Hinter for UntilWhole {
    type Hint = String;
}

impl Highlighter for UntilWhole {}

impl Helper for UntilWhole {}

/// How wide the terminal is, if standard output is one.
pub(super) fn terminal_width() -> Option<u16> {
    let (columns, _) = DefaultEditor::new().ok()?.dimensions()?;
    Some(columns)
}

/// Reads and answers until the user leaves.
pub(super) async fn run(target: &Target, settings: Settings, history: Option<PathBuf>) -> Result<(), ClientError> {
    let mut editor = StatementEditor::new().map_err(unusable)?;
    editor.set_helper(Some(UntilWhole));
    if let Some(history) = &history {
        // There is none before the first time.
        let _ = editor.load_history(history);
    }
    eprintln!("SQL ends with a semicolon; \\? for help.");
    let mut timing = false;
    loop {
        let (returned, typed) = spawn_blocking(move || {
            let typed = read(&mut editor);
            (editor, typed)
        })
        .await
        .map_err(io::Error::other)?;
        editor = returned;
        let Some(typed) = typed.map_err(unusable)? else { break };
        let _ = editor.add_history_entry(typed.as_str());
        match understand(&typed) {
            Input::Quit => break,
            Input::Help => eprint!("{HELP}"),
            Input::Unknown(command) => eprintln!("unknown command {command}; \\? for help"),
            Input::Timing => {
                timing = !timing;
                eprintln!("timing is {}", if timing { "on" } else { "off" });
            }
            Input::Statement(statement) => {
                let begun = Instant::now();
                run_one(target, &statement, settings).await?;
                if timing {
                    eprintln!("{:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        eprintln!("the history was not kept: {error}");
    }
    Ok(())
}

/// Answers one statement; an error is shown, Ctrl-C drops it.
async fn run_one(target: &Target, statement: &str, settings: Settings) -> Result<(), ClientError> {
    let mut output = io::stdout();
    tokio::select! {
        answered = answer(target, statement, settings, &mut output) => match answered {
            Err(error @ ClientError::Output(_)) => return Err(error),
            Err(error) => eprintln!("error: {error}"),
            Ok(()) => {}
        },
        _ = tokio::signal::ctrl_c() => eprintln!("dropped"),
    }
    Ok(())
}

/// One whole input; none when the user leaves.
fn read(editor: &mut StatementEditor) -> Result<Option<String>, ReadlineError> {
    loop {
        match editor.readline("weir> ") {
            Ok(typed) if typed.trim().is_empty() => {}
            Ok(typed) => return Ok(Some(typed.trim().to_owned())),
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What the user meant.
pub(super) fn understand(typed: &str) -> Input {
    let Some(command) = typed.strip_prefix('\\') else { return Input::Statement(typed.to_owned()) };
    let mut words = command.trim_end_matches(';').split_whitespace();
    match (words.next(), words.next()) {
        (Some("q"), None) => Input::Quit,
        (Some("?"), None) => Input::Help,
        (Some("timing"), None) => Input::Timing,
        (Some("d"), None) => Input::Statement(TABLES.to_owned()),
        (Some("d"), Some(table)) => Input::Statement(format!("DESCRIBE {table}")),
        _ => Input::Unknown(typed.to_owned()),
    }
}

fn unusable(error: ReadlineError) -> ClientError {
    match error {
        ReadlineError::Io(error) => ClientError::Output(error),
        other => ClientError::Output(io::Error::other(other)),
    }
}
