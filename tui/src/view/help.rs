//! The help: every key, and what the words on the screen mean.

use ratatui::{
    Frame,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::theme::Theme;

const KEYS: [(&str, &str); 7] = [
    ("q, Ctrl-C", "quit"),
    ("?, Esc", "open this help, close it"),
    ("s, S", "next, previous sort column; or right, left"),
    ("r", "reverse the order"),
    ("j, k", "down, up; or arrows, PgDn PgUp, Home End"),
    ("p", "pause, and go on"),
    ("+, -", "look back longer, shorter: 5 min to 24 h"),
];
const WORDS: [(&str, &str); 7] = [
    ("now", "last 10 to 20 s; the rest is over the window"),
    ("5xx", "share of requests answered with 500 to 599"),
    ("throttled", "refused by a throttle or a quota"),
    ("auth fail", "refused for credentials or missing rights"),
    ("p99", "latency that 99 of 100 requests stayed within"),
    ("dropped", "lost at the source, before it was sent"),
    ("gaps", "batches that were sent and never came"),
];
const WIDTH: u16 = 60;
const KEY_WIDTH: usize = 11;
/// Every line, and the border.
const HEIGHT: u16 = (KEYS.len() + WORDS.len()) as u16 + 2;

/// Plain ASCII.
const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let line = |(word, meaning): (&'static str, &'static str)| {
        let word = Span::styled(format!("{word:<KEY_WIDTH$}"), theme.heading());
        Line::from(vec![word, Span::raw(meaning)])
    };
    let lines: Vec<_> = KEYS.into_iter().chain(WORDS).map(line).collect();
    let border = if theme.unicode() { border::PLAIN } else { ASCII_BORDER };
    let popup = area.centered(WIDTH.into(), HEIGHT.into());
    frame.render_widget(Clear, popup);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().border_set(border).title(" help ")), popup);
}
