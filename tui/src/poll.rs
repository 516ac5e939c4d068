//! Asks the questions, one after another, tick by tick. Stands between the client and the state.
//!
//! What always holds: one statement at a time; the next round begins an interval after the last began, or when that
//! one ends, if it took longer; a change of what is asked abandons the round under way and begins another at once.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    question::{Failure, Question},
    state::{Asked, Update},
};

/// What a poll needs.
#[derive(Debug)]
pub(crate) struct Poll {
    /// Whom to ask.
    pub(crate) client: Client,
    /// How often.
    pub(crate) interval: Duration,
    /// What to ask.
    pub(crate) asked: watch::Receiver<Asked>,
    /// Where the answers go. It waits when they are not taken.
    pub(crate) updates: mpsc::Sender<Update>,
}

impl Poll {
    /// Asks until `shutdown`, or until nobody listens.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { client, interval, mut asked, updates } = self;
        loop {
            let next_round = Instant::now() + interval;
            let now = *asked.borrow_and_update();
            let round = async {
                if now.paused {
                    return std::future::pending().await;
                }
                ask_all(&client, now, &updates).await;
                sleep_until(next_round).await;
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = updates.closed() => return,
                changed = asked.changed() => if changed.is_err() { return },
                () = round => {}
            }
        }
    }
}

/// One round. When nobody answers one question, the others are not asked.
async fn ask_all(client: &Client, asked: Asked, updates: &mpsc::Sender<Update>) {
    for question in Question::ALL {
        let outcome = client.ask(question, asked.window).await;
        let unreachable = matches!(outcome, Err(Failure::Unreachable(_)));
        let sent = updates.send(Update { question, window: asked.window, outcome }).await;
        if unreachable || sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::{question::Window, testing::Server};

    struct Running {
        asked: watch::Sender<Asked>,
        updates: mpsc::Receiver<Update>,
        _tasks: JoinSet<()>,
    }

    fn start(server: &Server, asked: Asked) -> Running {
        let (asked, receiver) = watch::channel(asked);
        let (sender, updates) = mpsc::channel(1);
        let client = Client::new(&server.url).unwrap();
        let poll = Poll { client, interval: Duration::from_millis(1), asked: receiver, updates: sender };
        let mut tasks = JoinSet::new();
        tasks.spawn(poll.run(CancellationToken::new()));
        Running { asked, updates, _tasks: tasks }
    }

    #[tokio::test]
    async fn questions_are_asked_in_turn_round_after_round() {
        let server = Server::start(|_| ("200 OK", "[]".to_owned())).await;
        let mut running = start(&server, Asked::default());
        for _ in 0..2 {
            for question in Question::ALL {
                assert_eq!(running.updates.recv().await.unwrap().question, question);
            }
        }
    }

    #[tokio::test]
    async fn a_pause_asks_nothing_and_its_end_asks_the_window_chosen_meanwhile() {
        let server = Server::start(|_| ("200 OK", "[]".to_owned())).await;
        let mut running = start(&server, Asked { paused: true, window: Window::default() });
        let longer = Window::default().longer();
        running.asked.send(Asked { paused: true, window: longer }).unwrap();
        tokio::task::yield_now().await;
        assert!(server.requests().is_empty());
        running.asked.send(Asked { paused: false, window: longer }).unwrap();
        assert_eq!(running.updates.recv().await.unwrap().window, longer);
    }
}
