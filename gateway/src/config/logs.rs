//! Where access-log lines go and what they look like: `access_log` in `[gateway.telemetry]` and `[api.access_log]`, read.

use std::{path::PathBuf, sync::Arc};

use weir_station::config::{ByteSize, Section};

use super::definitions::ApiKind;
use crate::context::format::Format;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The file; none for standard output.
    pub file: Option<PathBuf>,
    /// A file is set aside as `file.1` when it would grow beyond so many bytes, `file.1` as `file.2` and so on.
    pub rotate_bytes: u64,
    /// Files that were set aside and are kept.
    pub keep: u32,
}

/// The access log of an API.
#[derive(Clone, Debug)]
pub struct AccessLogDefinition {
    /// Where its lines go.
    pub to: Arc<Destination>,
    /// What they look like; none for the record as JSON.
    pub(crate) format: Option<Format>,
}

impl Destination {
    /// Reads `off`, `stdout` or a file; none when it is off. `rotate_bytes` and `keep` stand beside it.
    pub(super) fn read(section: &Section, key: &str) -> Option<Self> {
        let to = section.value(key, "off".to_owned());
        let rotate_bytes = section.value("rotate_bytes", ByteSize::mebibytes(100)).0;
        let keep = section.value("keep", 5_u32);
        if rotate_bytes < 4_096 {
            section.fault("rotate_bytes", format!("is {rotate_bytes}B"), "at least \"4KiB\"");
        }
        match to.as_str() {
            "off" => None,
            "stdout" => Some(Self { file: None, rotate_bytes, keep }),
            path => Some(Self { file: Some(path.into()), rotate_bytes, keep }),
        }
    }
}

/// Reads the table `access_log` of an API.
pub(super) fn read(section: &Section, kind: ApiKind) -> Option<AccessLogDefinition> {
    if !section.is_present() {
        return None;
    }
    let to = Destination::read(section, "to");
    let format = match section.value("format", "weir".to_owned()).as_str() {
        "weir" => None,
        text => match Format::parse(text, kind) {
            Ok(format) => Some(format),
            Err(faults) => {
                let expected = "\"weir\", \"clf\", \"json\", \"xml\", \"csv\", or one line with $context variables";
                section.fault("format", faults.join("; "), expected);
                None
            }
        },
    };
    Some(AccessLogDefinition { to: Arc::new(to?), format })
}
