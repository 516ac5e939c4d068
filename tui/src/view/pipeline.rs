//! One line on whether the numbers can be trusted: what the pipeline stored and lost.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{theme::Theme, units};
use crate::state::State;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme, state: &State) {
    let mut line = Line::from(Span::styled("pipeline  ", theme.heading()));
    let Some(ledger) = state.ledger() else {
        line.push_span(Span::styled("-", theme.quiet()));
        return frame.render_widget(line, area);
    };
    line.push_span(Span::raw(format!("{} stored", units::count(ledger.records))));
    // The worst first: what does not fit is left out.
    let losses = [
        (ledger.dropped, "dropped", theme.error()),
        (ledger.rejected, "rejected", theme.error()),
        (ledger.gaps, "gaps", theme.error()),
        (ledger.duplicate, "duplicate", theme.warning()),
    ];
    for (number, what, style) in losses {
        let text = format!("{}{} {what}", theme.sign(" · ", " | "), units::count(number));
        let span = Span::styled(text, if number == 0 { theme.quiet() } else { style });
        if line.width() + span.width() <= area.width.into() {
            line.push_span(span);
        }
    }
    frame.render_widget(line, area);
}
