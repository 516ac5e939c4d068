//! The harness of the stories in `tests/stories`: real processes, real sockets, a real S3 server, and an oracle that
//! knows the exact answer.
//!
//! What always holds: everything is in temporary directories and on free ports; every process that was started is
//! killed when its handle is dropped; nothing is skipped: what is missing is installed, or the test fails and says so.

mod certificates;
mod oracle;
mod process;
mod proxy;
mod s3;
mod upstream;

use std::time::Duration;

use anyhow::{Context, bail};
pub use certificates::{CertificateFiles, Certificates};
pub use oracle::{Key, Oracle, Traffic};
pub use process::{Exit, Process, free_port};
pub use proxy::{Fault, Rule, StoreProxy};
pub use s3::ObjectStore;
use serde_json::Value;
pub use upstream::Upstream;

/// How long anything may take before a test gives up. Far beyond what it takes: no test depends on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a query station; the rows of the answer.
///
/// # Errors
/// When there is no answer.
pub async fn ask(query: &str, sql: &str) -> anyhow::Result<Vec<Value>> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let response = client.post(format!("{query}/sql")).body(sql.to_owned()).send().await?;
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("{sql}: {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{sql}: {text}"))
}

/// Asks for one number.
///
/// # Errors
/// When there is no answer, or it is no number.
pub async fn ask_number(query: &str, sql: &str) -> anyhow::Result<u64> {
    let rows = ask(query, sql).await?;
    let value = rows.first().and_then(|row| row.as_object()?.values().next()?.as_u64());
    value.with_context(|| format!("{sql}: {rows:?}"))
}

/// Asks for one number until it is this one.
///
/// # Errors
/// When it is not within [`PATIENCE`], with the last answer.
pub async fn until_number(query: &str, sql: &str, expected: u64) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        let answer = ask_number(query, sql).await;
        match answer {
            Ok(number) if number == expected => return Ok(()),
            Ok(number) if number > expected => bail!("{sql}: {number}, more than {expected}"),
            other if begun.elapsed() > PATIENCE => bail!("{sql}: {other:?}, not {expected}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Looks at a station's self metrics until they are as wanted. `wanted` gets a function from a series to its value.
///
/// # Errors
/// When they are not within [`PATIENCE`].
pub async fn until_metrics(admin: &str, mut wanted: impl FnMut(&dyn Fn(&str) -> u64) -> bool) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let begun = std::time::Instant::now();
    loop {
        let page = client.get(format!("{admin}/metrics")).send().await?.text().await?;
        let value = |series: &str| -> u64 {
            page.lines().filter_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok()).sum()
        };
        if wanted(&value) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("the self metrics are not as wanted:\n{page}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
