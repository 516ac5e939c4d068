//! What frames the numbers: the line above them, the trouble and the keys below.

use std::time::Instant;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{draw_ends, theme::Theme, units};
use crate::state::{Link, State};

/// The server and what is asked of it; on the right, how it stands.
pub(super) fn draw_header(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State, server: &str, now: Instant) {
    let dot = theme.sign(" · ", " | ");
    let asked = format!("{dot}last {}", state.asked().window.label);
    let left = Line::from(vec![
        Span::styled("weir", theme.heading()),
        Span::raw(format!("  {server}")),
        Span::styled(asked, theme.quiet()),
    ]);
    let (word, style) = match state.link() {
        Link::Connecting => ("connecting", theme.warning()),
        Link::Live if state.trouble().is_some() => ("answers with errors", theme.error()),
        Link::Live => ("live", theme.good()),
        Link::Paused => ("paused", theme.warning()),
        Link::Lost => ("connection lost", theme.error()),
    };
    let age = state.age(now).map(|age| format!(", data {} old", units::age(age))).unwrap_or_default();
    let never = state.link() == Link::Lost && state.age(now).is_none();
    let word = if never { "no connection" } else { word };
    draw_ends(frame, area, left, Line::styled(format!("{word}{age}"), style));
}

/// What is wrong, in words, and what is done about it.
pub(super) fn trouble(theme: Theme, state: &State, server: &str) -> Option<Paragraph<'static>> {
    let text = state.trouble()?;
    let text = match state.link() {
        Link::Lost => format!("{server} does not answer: {text}. Trying every {}.", units::interval(state.interval())),
        _ => format!("error: {text}"),
    };
    Some(Paragraph::new(text).style(theme.error()))
}

/// The most important keys.
pub(super) fn draw_footer(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let keys = [("q", "quit"), ("?", "help"), ("s", "sort"), ("r", "reverse"), ("p", "pause"), ("+/-", "window")];
    let hints = keys.into_iter().flat_map(|(key, meaning)| {
        [Span::styled(key, theme.heading()), Span::styled(format!(" {meaning}   "), theme.quiet())]
    });
    frame.render_widget(Line::from_iter(hints), area);
}
