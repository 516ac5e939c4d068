//! The way in for the fuzz target `openapi`, which makes documents that nobody wrote.

use super::{BasePath, Hints, import};
use crate::config::definitions::ApiKind;

/// How many routes a document makes, if it is one, in an API of this kind.
///
/// # Errors
/// Its faults, one a line.
pub fn routes(text: &[u8], is_rest: bool) -> Result<usize, String> {
    let kind = if is_rest { ApiKind::Rest } else { ApiKind::Http };
    let services = ["inner".to_owned()];
    let hints = Hints { name: "shop", kind, basepath: BasePath::Split, services: &services };
    let imported = import(text, &hints).map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    Ok(imported.routes.len())
}
