//! What is known and what is chosen: answers and keys in, and what follows from them out.
//!
//! Pure: time is handed in, nothing is fetched or drawn, and nothing here knows that there is a screen (I8).

mod key;
mod series;
mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub(crate) use self::{
    key::Key,
    series::{Metric, Series},
    table::{Column, RouteTable, Value},
};
use crate::question::{Answer, Failure, Ledger, Now, Question, Window};

/// How many rows a page of the table is.
const PAGE: isize = 10;
/// Data this old is said to be old even when the server answers; longer if the interval is.
const OLD: Duration = Duration::from_secs(5);

/// What is to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Over which window.
    pub(crate) window: Window,
    /// Nothing is asked while this holds.
    pub(crate) paused: bool,
}

/// The outcome of one question.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// What was asked.
    pub(crate) question: Question,
    /// Over which window.
    pub(crate) window: Window,
    /// What came of it.
    pub(crate) outcome: Result<Answer, Failure>,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// The screen is to be drawn.
    Draw,
    /// Something else is to be asked, and the screen to be drawn.
    Ask(Asked),
    /// The dashboard ends.
    Quit,
}

/// How the dashboard stands with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// No answer yet, no failure either.
    Connecting,
    /// It answers.
    Live,
    /// It is not asked.
    Paused,
    /// It does not answer.
    Lost,
}

/// Everything the screen shows.
#[derive(Debug)]
pub(crate) struct State {
    asked: Asked,
    interval: Duration,
    help: bool,
    /// When each question was last answered, and over which window.
    answered: [Option<(Instant, Window)>; Question::ALL.len()],
    /// The last refusal of each question, until it is answered again.
    refused: [Option<String>; Question::ALL.len()],
    unreachable: Option<String>,
    now: Option<Now>,
    series: Option<Series>,
    routes: RouteTable,
    ledger: Option<Ledger>,
}

impl State {
    /// Knows nothing yet, and asks at `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            asked: Asked::default(),
            interval,
            help: false,
            answered: Default::default(),
            refused: Default::default(),
            unreachable: None,
            now: None,
            series: None,
            routes: RouteTable::default(),
            ledger: None,
        }
    }

    /// Takes the outcome of a question, which came at `at`. What was asked of a window that is no longer chosen is left.
    pub(crate) fn apply(&mut self, update: Update, at: Instant) {
        if update.window != self.asked.window {
            return;
        }
        let place = update.question as usize;
        match update.outcome {
            Ok(answer) => {
                self.unreachable = None;
                self.answered[place] = Some((at, update.window));
                self.refused[place] = None;
                self.keep(answer);
            }
            Err(Failure::Refused(text)) => {
                self.unreachable = None;
                self.refused[place] = Some(text);
            }
            Err(Failure::Unreachable(text)) => self.unreachable = Some(text),
        }
    }

    fn keep(&mut self, answer: Answer) {
        match answer {
            Answer::Now(now) => self.now = Some(now),
            Answer::Series(steps) => self.series = Some(Series::new(self.asked.window, &steps)),
            Answer::Routes(routes) => self.routes.replace(routes),
            Answer::Ledger(ledger) => self.ledger = Some(ledger),
        }
    }

    /// Takes a key.
    pub(crate) fn press(&mut self, key: Key) -> Effect {
        match key {
            Key::Interrupt | Key::Char('q') => return Effect::Quit,
            Key::Char('?') => self.help = !self.help,
            _ if self.help => {
                if key != Key::Escape {
                    return Effect::Nothing;
                }
                self.help = false;
            }
            Key::Char('p') => return self.ask(Asked { paused: !self.asked.paused, ..self.asked }),
            Key::Char('+' | '=') => return self.ask(Asked { window: self.asked.window.longer(), ..self.asked }),
            Key::Char('-') => return self.ask(Asked { window: self.asked.window.shorter(), ..self.asked }),
            Key::Char('s') | Key::Right => self.routes.sort_by_next(1),
            Key::Char('S') | Key::Left => self.routes.sort_by_next(-1),
            Key::Char('r') => self.routes.reverse(),
            Key::Up | Key::Char('k') => self.routes.step(-1),
            Key::Down | Key::Char('j') => self.routes.step(1),
            Key::PageUp => self.routes.step(-PAGE),
            Key::PageDown => self.routes.step(PAGE),
            Key::Home => self.routes.step(isize::MIN),
            Key::End => self.routes.step(isize::MAX),
            Key::Escape => self.routes.unselect(),
            Key::Char(_) => return Effect::Nothing,
        }
        Effect::Draw
    }

    fn ask(&mut self, asked: Asked) -> Effect {
        if asked == self.asked {
            return Effect::Nothing;
        }
        self.asked = asked;
        Effect::Ask(asked)
    }

    /// What is to be asked.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
    }

    /// How often.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether help is shown.
    pub(crate) fn help(&self) -> bool {
        self.help
    }

    /// How the dashboard stands with the server.
    pub(crate) fn link(&self) -> Link {
        if self.asked.paused {
            Link::Paused
        } else if self.unreachable.is_some() {
            Link::Lost
        } else if self.answered.iter().any(Option::is_some) || self.refused.iter().any(Option::is_some) {
            Link::Live
        } else {
            Link::Connecting
        }
    }

    /// What is wrong, in words; the server's absence before its refusals.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.unreachable.as_deref().or_else(|| self.refused.iter().find_map(Option::as_deref))
    }

    /// How old the oldest data on the screen is, when that is worth saying.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let oldest = self.answered.iter().flatten().map(|(at, _)| *at).min()?;
        let age = now.saturating_duration_since(oldest);
        let old = self.link() != Link::Live || age > OLD.max(self.interval * 3);
        old.then_some(age)
    }

    /// The traffic of this moment.
    pub(crate) fn now(&self) -> Option<&Now> {
        self.now.as_ref()
    }

    /// The traffic over the window.
    pub(crate) fn series(&self) -> Option<&Series> {
        self.series.as_ref()
    }

    /// The traffic over the window, by route.
    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// The window that the last answer to a question is about; for a moment not the one chosen.
    pub(crate) fn answered_window(&self, question: Question) -> Option<Window> {
        self.answered[question as usize].map(|(_, window)| window)
    }

    /// What the pipeline lost.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }
}
