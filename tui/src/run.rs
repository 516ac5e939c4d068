//! The main loop: one place where keys, answers and time meet, and the screen is drawn.
//!
//! What always holds: keys go first; the screen is drawn only when something has changed, at most ten times a second;
//! every task is awaited before the end.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    appearance::Appearance,
    client::Client,
    poll::Poll,
    state::{Effect, State},
    terminal::{self, Input, Screen},
    view::View,
};

/// The shortest time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Keys that wait. When they are this many, the terminal keeps the next ones.
const INPUT_QUEUE: usize = 64;
/// Answers that wait. When they are this many, no more is asked.
const UPDATE_QUEUE: usize = 8;

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The query station, such as `http://127.0.0.1:7700`.
    pub url: Url,
    /// How often it is asked.
    pub interval: Duration,
    /// What the terminal can show.
    pub appearance: Appearance,
}

/// Why the dashboard ended, other than by a key or by `shutdown`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Standard input or output is not a terminal.
    #[error("the dashboard needs a terminal; for numbers in a pipe, ask the query station in SQL")]
    NotATerminal,
    /// The terminal cannot be used, or went away.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
    /// This machine cannot do HTTP.
    #[error("cannot prepare to ask over HTTP: {0}")]
    Http(#[source] reqwest::Error),
    /// A task of the dashboard panicked.
    #[error("the dashboard failed: {0}")]
    Task(#[source] JoinError),
}

impl RunError {
    /// Whether nothing was begun because of how the program was called; its exit code is then 2.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotATerminal)
    }
}

/// Shows the dashboard until the user quits or `shutdown` is cancelled. The terminal is as before when this returns.
///
/// A server that is not there, or that answers with errors, does not end it: the screen says so.
///
/// # Errors
/// When there is no terminal, or it goes away.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), RunError> {
    if !terminal::is_interactive() {
        return Err(RunError::NotATerminal);
    }
    let client = Client::new(&options.url).map_err(RunError::Http)?;
    let state = State::new(options.interval);
    let view = View::new(&options.url, options.appearance);

    let (asked_sender, asked) = watch::channel(state.asked());
    let (update_sender, updates) = mpsc::channel(UPDATE_QUEUE);
    let (input_sender, inputs) = mpsc::channel(INPUT_QUEUE);
    let ended = shutdown.child_token();
    let screen = Screen::take().map_err(RunError::Terminal)?;

    let mut tasks = JoinSet::new();
    let poll = Poll { client, interval: options.interval, asked, updates: update_sender };
    let poll_ended = ended.clone();
    tasks.spawn(async move {
        poll.run(poll_ended).await;
        Ok(())
    });
    let input_ended = ended.clone();
    tasks.spawn_blocking(move || terminal::read_inputs(&input_sender, &input_ended));

    let dashboard = Dashboard { state, view, screen, asked: asked_sender, inputs, updates };
    let mut outcome = tokio::select! {
        biased;
        Some(task) = tasks.join_next() => task_outcome(task),
        outcome = dashboard.run(shutdown) => outcome,
    };
    ended.cancel();
    while let Some(task) = tasks.join_next().await {
        outcome = outcome.and(task_outcome(task));
    }
    outcome
}

fn task_outcome(task: Result<io::Result<()>, JoinError>) -> Result<(), RunError> {
    task.map_err(RunError::Task)?.map_err(RunError::Terminal)
}

/// What the loop holds. Dropping it gives the terminal back.
struct Dashboard {
    state: State,
    view: View,
    screen: Screen,
    asked: watch::Sender<crate::state::Asked>,
    inputs: mpsc::Receiver<Input>,
    updates: mpsc::Receiver<crate::state::Update>,
}

impl Dashboard {
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_frame = Instant::now();
        let mut changed = true;
        loop {
            tokio::select! {
                biased;
                Some(input) = self.inputs.recv() => match self.take_input(input) {
                    Effect::Quit => return Ok(()),
                    Effect::Nothing => {}
                    Effect::Draw => changed = true,
                    Effect::Ask(asked) => {
                        self.asked.send_replace(asked);
                        changed = true;
                    }
                },
                () = shutdown.cancelled() => return Ok(()),
                () = sleep_until(next_frame.into()), if changed => {
                    let (state, view, now) = (&self.state, &self.view, Instant::now());
                    self.screen.draw(|frame| view.draw(frame, state, now)).map_err(RunError::Terminal)?;
                    next_frame = now + FRAME;
                    changed = false;
                }
                Some(update) = self.updates.recv() => {
                    self.state.apply(update, Instant::now());
                    changed = true;
                }
                // An age on the screen grows by itself.
                _ = seconds.tick() => changed |= self.state.age(Instant::now()).is_some(),
            }
        }
    }

    fn take_input(&mut self, input: Input) -> Effect {
        match input {
            Input::Key(key) => self.state.press(key),
            Input::Resized => Effect::Draw,
        }
    }
}
