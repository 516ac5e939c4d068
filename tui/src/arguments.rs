//! The command line, shared by `weir-tui` and `weir top`.

use std::time::Duration;

use clap::Args;
use url::Url;

use crate::{Appearance, Options};

/// No station is asked more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Which query station to ask, and how often.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The query station
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7700", value_parser = parse_url)]
    pub url: Url,
    /// How often to ask it, such as 1s or 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
}

impl From<Arguments> for Options {
    fn from(arguments: Arguments) -> Self {
        Self { url: arguments.url, interval: arguments.interval, appearance: Appearance::from_environment() }
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| "expected an address such as http://127.0.0.1:7700".to_owned())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let interval = number.parse::<u32>().ok().and_then(|number| match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    });
    match interval {
        Some(interval) if interval >= SHORTEST_INTERVAL => Ok(interval),
        Some(_) => Err("expected 100ms or longer".to_owned()),
        None => Err("expected a number and its unit, such as 500ms, 1s or 1m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_a_lower_bound() {
        assert_eq!(parse_interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_interval("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "1", "s", "-1s", "1.5s", "99ms", "0s", "1h", "99999999999s"] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_http_with_a_host() {
        assert!(parse_url("http://127.0.0.1:7700").is_ok());
        assert!(parse_url("https://weir.example/query/").is_ok());
        for wrong in ["", "127.0.0.1:7700", "localhost:7700", "ftp://host", "unix:/run/weir"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_interval_panics(text in "\\PC*") {
            let _ = parse_interval(&text);
        }
    }
}
