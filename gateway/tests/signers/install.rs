//! botocore, which is AWS's SDK for Python without its outer layer: from PyPI, pinned by hashes and kept in the home
//! directory's cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// The packages, pinned.
pub(crate) const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signers/requirements.txt");
const VERSION: &str = "1.44.8";

/// The directory of its packages, from the cache or else from PyPI.
pub(crate) fn botocore() -> anyhow::Result<PathBuf> {
    let home = std::env::var("HOME").context("HOME is not set: there is no place to keep botocore in")?;
    let cache = Path::new(&home).join(".cache/weir");
    let installed = cache.join(format!("botocore-{VERSION}"));
    if installed.join("botocore").exists() {
        return Ok(installed);
    }
    fs::create_dir_all(&cache)?;
    // Installed aside and renamed: two test runs at once do not see each other's half.
    let unfinished = TempDir::new_in(&cache)?;
    let target = unfinished.path().join("packages").display().to_string();
    let arguments =
        ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", &target, "-r", REQUIREMENTS];
    let output = Command::new("python3").args(arguments).output();
    let output = output.context("python3 is needed to install botocore for this test: install python3 and pip")?;
    if !output.status.success() {
        bail!(
            "botocore could not be installed for this test: python3 {}\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if let Err(error) = fs::rename(&target, &installed)
        && !installed.join("botocore").exists()
    {
        return Err(error).context("botocore was installed, but cannot be put in its place");
    }
    Ok(installed)
}
