//! How things look: styles and signs, by what the terminal can show. Without colours, weight and inversion remain.

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::bar,
};

use crate::appearance::Appearance;

/// Bars of eight heights in ASCII.
const ASCII_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "%",
    three_quarters: "*",
    five_eighths: "+",
    half: "=",
    three_eighths: "-",
    one_quarter: ":",
    one_eighth: ".",
    empty: " ",
};

/// Styles and signs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    appearance: Appearance,
}

impl Theme {
    pub(super) fn new(appearance: Appearance) -> Self {
        Self { appearance }
    }

    fn coloured(self, style: Style, colour: Color) -> Style {
        if self.appearance.colour { style.fg(colour) } else { style }
    }

    /// Headings, and the name of the program.
    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What explains the numbers.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What is wrong.
    pub(super) fn error(self) -> Style {
        self.coloured(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    /// What deserves a look.
    pub(super) fn warning(self) -> Style {
        self.coloured(Style::new(), Color::Yellow)
    }

    /// What is as it should be.
    pub(super) fn good(self) -> Style {
        self.coloured(Style::new(), Color::Green)
    }

    /// Sparklines.
    pub(super) fn bars(self) -> Style {
        self.coloured(Style::new(), Color::Cyan)
    }

    /// The row the user stands on.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Whether signs beyond ASCII can be shown.
    pub(super) fn unicode(self) -> bool {
        self.appearance.unicode
    }

    /// One sign, or its stand-in in ASCII.
    pub(super) fn sign<'a>(self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.appearance.unicode { unicode } else { ascii }
    }

    pub(super) fn bar_set(self) -> bar::Set<'static> {
        if self.appearance.unicode { bar::NINE_LEVELS } else { ASCII_BARS }
    }
}
