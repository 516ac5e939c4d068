//! What the terminal can show: colours, and characters beyond ASCII.

use std::env;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// Whether to use colours.
    pub colour: bool,
    /// Whether to use characters beyond ASCII: blocks in the sparklines, arrows, `µ`.
    pub unicode: bool,
}

impl Appearance {
    /// What the environment says: no colours if `NO_COLOR` is not empty (<https://no-color.org>), ASCII unless the
    /// locale is UTF-8 (the first of `LC_ALL`, `LC_CTYPE`, `LANG` that is not empty: POSIX, 8.2 Internationalization
    /// Variables).
    #[must_use]
    pub fn from_environment() -> Self {
        Self::read(|name| env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        Self { colour: set("NO_COLOR").is_none(), unicode: locale.contains("utf-8") || locale.contains("utf8") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Appearance {
        Appearance::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_color_takes_the_colours_away_unless_it_is_empty() {
        assert!(read(&[]).colour);
        assert!(read(&[("NO_COLOR", "")]).colour);
        assert!(!read(&[("NO_COLOR", "1")]).colour);
    }

    #[test]
    fn the_first_locale_that_is_set_decides() {
        assert!(!read(&[]).unicode);
        assert!(read(&[("LANG", "de_DE.UTF-8")]).unicode);
        assert!(read(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]).unicode);
        assert!(!read(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).unicode);
    }
}
