//! What keys and answers do to the state.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::{
    question::{Route, Traffic},
    testing,
};

const SECOND: Duration = Duration::from_secs(1);

fn update(question: Question, outcome: Result<Answer, Failure>) -> Update {
    Update { question, window: Window::default(), outcome }
}

fn routes_update(routes: Vec<Route>) -> Update {
    update(Question::Routes, Ok(Answer::Routes(routes)))
}

fn state_with_routes() -> State {
    let mut state = State::new(SECOND);
    state.apply(routes_update(testing::routes()), Instant::now());
    state
}

fn refused(text: &str) -> Result<Answer, Failure> {
    Err(Failure::Refused(text.to_owned()))
}

fn unreachable() -> Result<Answer, Failure> {
    Err(Failure::Unreachable("connection refused".to_owned()))
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        state.press(Key::Char(key));
    }
}

fn selected(state: &State) -> Option<&Route> {
    state.routes().selected().map(|row| &state.routes().rows()[row])
}

#[test]
fn q_and_control_c_quit_also_from_the_help() {
    let mut state = State::new(SECOND);
    assert_eq!(state.press(Key::Char('q')), Effect::Quit);
    assert_eq!(state.press(Key::Interrupt), Effect::Quit);
    assert_eq!(state.press(Key::Char('?')), Effect::Draw);
    assert_eq!(state.press(Key::Char('q')), Effect::Quit);
}

#[test]
fn help_opens_and_closes_and_keeps_the_keys_from_what_is_behind_it() {
    let mut state = state_with_routes();
    state.press(Key::Char('?'));
    assert!(state.help());
    assert_eq!(state.press(Key::Down), Effect::Nothing);
    assert_eq!(state.press(Key::Char('p')), Effect::Nothing);
    assert_eq!((state.routes().selected(), state.asked().paused), (None, false));
    assert_eq!(state.press(Key::Escape), Effect::Draw);
    assert!(!state.help());
}

#[test]
fn an_unknown_key_draws_nothing() {
    assert_eq!(State::new(SECOND).press(Key::Char('z')), Effect::Nothing);
}

#[test]
fn windows_and_pauses_change_what_is_asked_until_the_end_is_reached() {
    let mut state = State::new(SECOND);
    let longer = Asked { window: Window::default().longer(), paused: false };
    assert_eq!(state.press(Key::Char('+')), Effect::Ask(longer));
    assert_eq!(state.press(Key::Char('p')), Effect::Ask(Asked { paused: true, ..longer }));
    assert_eq!(state.link(), Link::Paused);
    press(&mut state, "---");
    assert_eq!(state.press(Key::Char('-')), Effect::Nothing);
}

#[test]
fn an_answer_about_another_window_is_left() {
    let mut state = State::new(SECOND);
    state.press(Key::Char('+'));
    state.apply(routes_update(testing::routes()), Instant::now());
    assert!(state.routes().rows().is_empty());
    assert_eq!(state.link(), Link::Connecting);
}

#[test]
fn a_lost_connection_keeps_the_data_and_tells_its_age_until_it_is_found() {
    let began = Instant::now();
    let mut state = State::new(SECOND);
    state.apply(update(Question::Now, Ok(Answer::Now(testing::now()))), began);
    assert_eq!((state.link(), state.age(began)), (Link::Live, None));

    state.apply(update(Question::Now, unreachable()), began + SECOND);
    assert_eq!(state.link(), Link::Lost);
    assert_eq!(state.trouble(), Some("connection refused"));
    assert_eq!(state.now(), Some(&testing::now()));
    assert_eq!(state.age(began + 7 * SECOND), Some(7 * SECOND));

    state.apply(update(Question::Now, Ok(Answer::Now(testing::now()))), began + 8 * SECOND);
    assert_eq!((state.link(), state.trouble(), state.age(began + 8 * SECOND)), (Link::Live, None, None));
}

#[test]
fn a_refusal_stands_until_its_own_question_is_answered() {
    let mut state = State::new(SECOND);
    state.apply(update(Question::Ledger, refused("no such table")), Instant::now());
    assert_eq!((state.link(), state.trouble()), (Link::Live, Some("no such table")));
    state.apply(routes_update(Vec::new()), Instant::now());
    assert_eq!(state.trouble(), Some("no such table"));
    state.apply(update(Question::Ledger, Ok(Answer::Ledger(testing::ledger()))), Instant::now());
    assert_eq!(state.trouble(), None);
}

#[test]
fn data_of_a_slow_server_is_said_to_be_old() {
    let began = Instant::now();
    let mut state = State::new(SECOND);
    state.apply(routes_update(Vec::new()), began);
    assert_eq!(state.age(began + 5 * SECOND), None);
    assert_eq!(state.age(began + 6 * SECOND), Some(6 * SECOND));
}

#[test]
fn the_busiest_route_stands_first() {
    let state = state_with_routes();
    assert_eq!(state.routes().order(), (Column::Rate, true));
    assert!(state.routes().rows().is_sorted_by(|a, b| a.rate >= b.rate));
}

#[test]
fn sorting_goes_through_every_column_and_round() {
    let mut state = state_with_routes();
    let mut seen = HashSet::new();
    for _ in Column::ALL {
        seen.insert(format!("{:?}", state.routes().order().0));
        state.press(Key::Right);
    }
    assert_eq!(seen.len(), Column::ALL.len());
    assert_eq!(state.routes().order(), (Column::Rate, true));
    press(&mut state, "S");
    assert_eq!(state.routes().order(), (Column::Method, false));
    press(&mut state, "r");
    assert_eq!(state.routes().order(), (Column::Method, true));
}

#[test]
fn what_was_not_measured_stands_last_in_both_directions() {
    let route = |name: &str, p50_us| {
        let traffic = Traffic { p50_us, ..Traffic::default() };
        Route { route: name.to_owned(), traffic, ..Route::default() }
    };
    let mut state = State::new(SECOND);
    state.apply(
        routes_update(vec![route("none", None), route("fast", Some(1)), route("slow", Some(9))]),
        Instant::now(),
    );
    while state.routes().order().0 != Column::P50 {
        press(&mut state, "s");
    }
    let names = |state: &State| state.routes().rows().iter().map(|row| row.route.clone()).collect::<Vec<_>>();
    assert_eq!(names(&state), ["slow", "fast", "none"]);
    press(&mut state, "r");
    assert_eq!(names(&state), ["fast", "slow", "none"]);
}

#[test]
fn the_user_stays_on_the_route_wherever_it_goes() {
    let mut state = state_with_routes();
    press(&mut state, "jj");
    let stood_on = selected(&state).unwrap().clone();
    press(&mut state, "sr");
    assert_eq!(selected(&state), Some(&stood_on));
    let rest: Vec<_> = testing::routes().into_iter().filter(|row| *row != stood_on).collect();
    state.apply(routes_update(rest), Instant::now());
    assert!(selected(&state).is_some_and(|row| *row != stood_on));
    state.apply(routes_update(Vec::new()), Instant::now());
    assert_eq!(state.routes().selected(), None);
}

#[test]
fn movement_ends_at_the_ends() {
    let mut state = state_with_routes();
    let last = testing::routes().len() - 1;
    for (key, row) in [
        (Key::Down, 0),
        (Key::Up, 0),
        (Key::PageDown, last),
        (Key::Down, last),
        (Key::Home, 0),
        (Key::End, last),
        (Key::PageUp, 0),
    ] {
        state.press(key);
        assert_eq!(state.routes().selected(), Some(row), "{key:?}");
    }
    state.press(Key::Escape);
    assert_eq!(state.routes().selected(), None);
    state.press(Key::End);
    assert_eq!(state.routes().selected(), Some(last));
}

fn any_key() -> impl Strategy<Value = Key> {
    let others =
        [Key::Escape, Key::Up, Key::Down, Key::Left, Key::Right, Key::PageUp, Key::PageDown, Key::Home, Key::End];
    let letters = "sSrjkp+-?".chars().map(Key::Char).collect::<Vec<_>>();
    prop_oneof![proptest::sample::select(others.to_vec()), proptest::sample::select(letters)]
}

proptest! {
    #[test]
    fn whatever_is_pressed_and_answered_the_table_is_whole_sorted_and_stood_on(
        steps in proptest::collection::vec((any_key(), proptest::option::of(0_usize..=6)), 0..60),
    ) {
        let mut state = State::new(SECOND);
        let mut count = 0;
        for (key, answer) in steps {
            prop_assert_ne!(state.press(key), Effect::Quit);
            if let Some(rows) = answer {
                count = rows;
                let routes = testing::routes().into_iter().take(rows).collect();
                let window = state.asked().window;
                state.apply(Update { window, ..routes_update(routes) }, Instant::now());
            }
            let table = state.routes();
            prop_assert_eq!(table.rows().len(), count);
            prop_assert!(table.selected().is_none_or(|row| row < count));
            if table.order() == (Column::P99, true) {
                prop_assert!(table.rows().is_sorted_by(|a, b| a.traffic.p99_us >= b.traffic.p99_us));
            }
        }
    }
}

/// I8: the state is tested and understood without a screen.
#[test]
fn state_does_not_reach_view() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/state")).unwrap();
    for source in sources.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(&source).unwrap();
        for foreign in ["crate::view", "ratatui", "crate::terminal", "tokio", "reqwest"] {
            assert!(!text.contains(foreign), "{} names {foreign}", source.display());
        }
    }
}
