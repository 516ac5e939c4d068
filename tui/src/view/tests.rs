//! Screens, as they are seen.

use std::time::{Duration, Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    style::{Color, Modifier},
};

use super::*;
use crate::{
    question::{Answer, Failure, Ledger, Now, Question, Route, Window},
    state::{Key, Update},
    testing,
};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);
const FULL: Appearance = Appearance { colour: true, unicode: true };

/// A state, and the time it has come to.
struct Scene {
    state: State,
    now: Instant,
}

impl Scene {
    fn begin() -> Self {
        Self { state: State::new(Duration::from_secs(1)), now: Instant::now() }
    }

    fn with_data() -> Self {
        let answers = [
            Answer::Now(testing::now()),
            Answer::Series(testing::series()),
            Answer::Routes(testing::routes()),
            Answer::Ledger(testing::ledger()),
        ];
        Question::ALL
            .into_iter()
            .zip(answers)
            .fold(Self::begin(), |scene, (question, answer)| scene.then(question, Ok(answer)))
    }

    fn then(mut self, question: Question, outcome: Result<Answer, Failure>) -> Self {
        self.state.apply(Update { question, window: Window::default(), outcome }, self.now);
        self
    }

    fn lost(self) -> Self {
        self.then(Question::Now, Err(Failure::Unreachable("Connection refused (os error 111)".to_owned())))
    }

    fn after(mut self, seconds: u64) -> Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn press(mut self, keys: &[Key]) -> Self {
        for key in keys {
            self.state.press(*key);
        }
        self
    }

    fn draw(&self, (width, height): (u16, u16), appearance: Appearance) -> TestBackend {
        let url = Url::parse("http://user:secret@127.0.0.1:7700").unwrap();
        let view = View::new(&url, appearance);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame, &self.state, self.now)).unwrap();
        terminal.backend().clone()
    }
}

macro_rules! screens {
    ($($name:ident: $scene:expr, $size:expr, $appearance:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), $scene.draw($size, $appearance));
        })*
    };
}

screens! {
    data_80x24: Scene::with_data(), SMALL, FULL;
    data_200x60: Scene::with_data(), LARGE, FULL;
    data_in_ascii: Scene::with_data().press(&[Key::Char('s'), Key::Char('r')]), SMALL, Appearance { colour: false, unicode: false };
    data_at_the_least_size: Scene::with_data(), (LEAST_WIDTH, LEAST_HEIGHT), FULL;
    connecting: Scene::begin(), SMALL, FULL;
    no_connection: Scene::begin().lost(), SMALL, FULL;
    connection_lost: Scene::with_data().lost().after(12), SMALL, FULL;
    connection_lost_200x60: Scene::with_data().lost().after(12), LARGE, FULL;
    paused: Scene::with_data().press(&[Key::Char('p')]).after(150), SMALL, FULL;
    help_80x24: Scene::with_data().press(&[Key::Char('?')]), SMALL, FULL;
    help_200x60: Scene::with_data().press(&[Key::Char('?')]), LARGE, FULL;
    help_at_the_least_size: Scene::with_data().press(&[Key::Char('?')]), (LEAST_WIDTH, LEAST_HEIGHT), FULL;
    too_small: Scene::with_data(), (40, 10), FULL;
    empty_80x24: empty(), SMALL, FULL;
    empty_200x60: empty(), LARGE, FULL;
    refused: Scene::with_data().then(Question::Ledger, Err(refusal())), SMALL, FULL;
}

fn empty() -> Scene {
    let now = Now { traffic: Default::default(), ..testing::now() };
    let ledger = Ledger { records: 0, duplicate: 0, rejected: 0, ..testing::ledger() };
    Scene::begin()
        .then(Question::Now, Ok(Answer::Now(now)))
        .then(Question::Series, Ok(Answer::Series(Vec::new())))
        .then(Question::Routes, Ok(Answer::Routes(Vec::new())))
        .then(Question::Ledger, Ok(Answer::Ledger(ledger)))
}

fn refusal() -> Failure {
    Failure::Refused(
        "the collector cannot be asked for what is not yet committed: connection reset (collector_unreachable)"
            .to_owned(),
    )
}

fn colours(backend: &TestBackend) -> Vec<Color> {
    backend.buffer().content().iter().map(|cell| cell.fg).filter(|colour| *colour != Color::Reset).collect()
}

#[test]
fn errors_are_red_and_no_color_takes_every_colour() {
    let scene = Scene::with_data().lost();
    assert!(colours(&scene.draw(SMALL, FULL)).contains(&Color::Red));
    assert_eq!(colours(&scene.draw(SMALL, Appearance { colour: false, ..FULL })), []);
}

#[test]
fn the_row_the_user_stands_on_is_inverted() {
    let backend = Scene::with_data().press(&[Key::Down, Key::Down]).draw(SMALL, FULL);
    let inverted: String = backend
        .buffer()
        .content()
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::REVERSED))
        .map(|cell| cell.symbol())
        .collect();
    assert!(inverted.contains("/orders/{id}") && inverted.contains("440"), "{inverted}");
    assert_eq!(inverted.chars().count(), 80);
}

#[test]
fn without_unicode_every_sign_is_ascii() {
    let plain = Appearance { colour: true, unicode: false };
    for scene in [Scene::with_data().lost(), Scene::with_data().press(&[Key::Char('?')]), empty()] {
        assert!(scene.draw(LARGE, plain).to_string().is_ascii());
    }
}

#[test]
fn the_row_the_user_stands_on_is_in_sight() {
    let many = || {
        let route = |number| Route { route: format!("/route/{number:03}"), ..testing::routes().remove(0) };
        Answer::Routes((0..200).map(route).collect())
    };
    for (keys, route) in
        [(vec![Key::End], "/route/199"), (vec![Key::PageDown; 11], "/route/100"), (vec![], "/route/000")]
    {
        let scene = Scene::begin().then(Question::Routes, Ok(many())).press(&keys);
        assert!(scene.draw(SMALL, FULL).to_string().contains(route), "{route}");
    }
}

#[test]
fn every_size_can_be_drawn() {
    let scene = Scene::with_data().lost().press(&[Key::Char('?')]);
    for width in 0..130 {
        for height in [0, 1, 15, 16, 17, 24, 39, 40, 41] {
            scene.draw((width, height), FULL);
        }
    }
}
