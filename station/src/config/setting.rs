//! The types that a key can have, in the units that people write.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use toml::Value;

/// A type that a key can have.
pub trait Setting: Sized {
    /// What would be right, in words: completes "expected …".
    const EXPECTED: &'static str;
    /// Whether the value must never be shown.
    const IS_SECRET: bool = false;

    /// The value as an environment variable has it.
    fn parse(text: &str) -> Option<Self>;

    /// The value as the file has it; texts are parsed.
    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    /// The value as TOML, in the units that it can be written in.
    fn show(&self) -> String;
}

impl Setting for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn show(&self) -> String {
        Value::from(self.as_str()).to_string()
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($type:ty: $expected:literal),+) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn read(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers!(
    u16: "a whole number from 0 to 65535", u32: "a whole number, 0 or more", u64: "a whole number, 0 or more",
    usize: "a whole number, 0 or more", i64: "a whole number"
);

impl Setting for f64 {
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }

    fn read(value: &Value) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a whole number typed for a fraction is small")]
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as Self))?;
        number.is_finite().then_some(number)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an address and a port, such as \"127.0.0.1:8080\"; port 0 takes any free one";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn show(&self) -> String {
        Value::from(self.display().to_string()).to_string()
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a time with its unit: \"200ms\", \"5s\", \"1m\", \"2h\" or \"7d\"";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Self::from_millis(number.checked_mul(milliseconds)?))
    }

    fn show(&self) -> String {
        let milliseconds = self.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let (size, unit) = units
            .into_iter()
            .find(|(size, _)| milliseconds > 0 && milliseconds.is_multiple_of(*size))
            .unwrap_or((1, "ms"));
        format!("\"{}{unit}\"", milliseconds / size)
    }
}

/// A number of bytes, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(
    /// Bytes.
    pub u64,
);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// This many mebibytes.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }
}

/// For people: rounded, in the unit that fits.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = Self::UNITS.into_iter().find(|(_, size)| self.0 >= 10 * size).unwrap_or(("B", 1));
        let number = self.0 as f64 / size as f64;
        if number < 100.0 && size > 1 { write!(f, "{number:.1} {unit}") } else { write!(f, "{number:.0} {unit}") }
    }
}

impl Setting for ByteSize {
    const EXPECTED: &'static str = "a size with its unit: \"64KiB\", \"128MiB\" or \"2GiB\"";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let (_, size) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(size).map(Self)
    }

    fn show(&self) -> String {
        let (unit, size) =
            Self::UNITS.into_iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)).unwrap_or(("B", 1));
        format!("\"{}{unit}\"", self.0 / size)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// A text that is never shown: not by `weir check`, not by `Debug`, not in a fault.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "a text that is not empty";
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        "\"********\"".to_owned()
    }
}

/// A list; in the environment its items are separated by commas.
impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "a list, such as [\"a\", \"b\"]";
    const IS_SECRET: bool = T::IS_SECRET;

    fn parse(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::read).collect()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

/// One item, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(
    /// The items.
    pub Vec<T>,
);

impl<T: Setting> Setting for OneOrMany<T> {
    const EXPECTED: &'static str = "a text, or a list such as [\"a\", \"b\"]";
    const IS_SECRET: bool = T::IS_SECRET;

    fn parse(text: &str) -> Option<Self> {
        Vec::parse(text).map(Self)
    }

    fn read(value: &Value) -> Option<Self> {
        if value.is_array() { Vec::read(value).map(Self) } else { T::read(value).map(|item| Self(vec![item])) }
    }

    fn show(&self) -> String {
        if let [item] = &self.0[..] { item.show() } else { self.0.show() }
    }
}
