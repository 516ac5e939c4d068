//! The configuration as it was resolved: what `weir check` prints.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File,
    /// An environment variable.
    Environment,
}

/// One key, as it was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedKey {
    /// Its path in the file.
    pub path: String,
    /// Its value as TOML; empty when it has none; secrets are masked.
    pub shown: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// Every key that was read, in the order of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The keys.
    pub keys: Vec<ResolvedKey>,
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.keys {
            let origin = match key.origin {
                Origin::Default => "  # default",
                Origin::File => "",
                Origin::Environment => "  # environment",
            };
            if key.shown.is_empty() {
                writeln!(f, "# {} is not set", key.path)?;
            } else {
                writeln!(f, "{} = {}{origin}", key.path, key.shown)?;
            }
        }
        Ok(())
    }
}
