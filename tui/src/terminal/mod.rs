//! The terminal: taken over, and given back as it was on every way out.

mod input;

use std::{
    io::{self, IsTerminal, stdout},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use ratatui::{
    Frame, Terminal,
    crossterm::{
        cursor::{MoveTo, Show},
        execute,
        terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    prelude::CrosstermBackend,
};

pub(crate) use input::{Input, read_inputs};

/// Whether the terminal is ours at the moment. It is given back once: a second time would move the cursor over what
/// was written since.
static TAKEN: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// The terminal while it is ours; dropping this gives it back, and so does a panic before its message is written.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it cannot be taken; it is then as it was.
    pub(crate) fn take() -> io::Result<Self> {
        PANIC_HOOK.call_once(|| {
            let earlier = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                give_back();
                earlier(panicked);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let terminal = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())))
            .inspect_err(|_| give_back())?;
        Ok(Self { terminal })
    }

    /// Draws a frame; what has not changed since the last one is not sent.
    ///
    /// # Errors
    /// When the terminal takes no more.
    pub(crate) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether a person sits at both ends.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && stdout().is_terminal()
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left to be told of a terminal that takes nothing any more. The frame is cleared first: tmux would
        // keep some of its lines, if the size had changed meanwhile.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), Clear(ClearType::All), MoveTo(0, 0), LeaveAlternateScreen, Show);
    }
}
