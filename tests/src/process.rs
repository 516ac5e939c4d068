//! A process of the program under test.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::PATIENCE;

/// A running process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a program. Its output goes to files in `directory`, named after `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, name: &str, directory: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(program, name, directory, arguments, &[])
    }

    /// Starts a program with more in its environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(
        program: &str,
        name: &str,
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let output = |end: &str| directory.join(format!("{name}.{end}"));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .env_remove("WEIR_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, stdout, stderr })
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be started, or does not end.
    pub async fn run(program: &str, directory: &Path, arguments: &[&str]) -> anyhow::Result<Exit> {
        Self::start(program, "run", directory, arguments)?.wait().await
    }

    /// Waits for a line of its log with this message; gives its fields.
    ///
    /// # Errors
    /// When the process ends first, or the line does not come.
    pub async fn logged(&mut self, message: &str) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&self.stderr)?;
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["message"] == message) {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it logged {message:?}: {text}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("it did not log {message:?}: {text}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for a file that it writes, and reads it as JSON.
    ///
    /// # Errors
    /// When the process ends first, or the file does not come.
    pub async fn wrote(&mut self, path: &Path) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            if let Some(value) = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                return Ok(value);
            }
            let said = || fs::read_to_string(&self.stderr).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it wrote {}: {}", path.display(), said());
            }
            if begun.elapsed() > PATIENCE {
                bail!("it did not write {}: {}", path.display(), said());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The signal that ended it, if it has ended by one.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended_by(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.try_wait()?.and_then(|status| status.signal()))
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The most memory that it has had resident at any time, bytes.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM in its status")?;
        Ok(kibibytes.trim().parse::<u64>()? << 10)
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Kills it as a crash would: SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal, by its name without SIG.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        if !status.success() {
            bail!("kill -{name} {pid}: {status}");
        }
        Ok(())
    }

    /// Asks it to end: SIGTERM; waits until it has.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(self) -> anyhow::Result<Exit> {
        self.signal("TERM")?;
        self.wait().await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not.
    pub async fn wait(mut self) -> anyhow::Result<Exit> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let (stdout, stderr) = (fs::read_to_string(&self.stdout)?, fs::read_to_string(&self.stderr)?);
                return Ok(Exit { code: status.code(), stdout, stderr });
            }
            if begun.elapsed() > PATIENCE {
                bail!("it does not end: {}", fs::read_to_string(&self.stderr)?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for a station that must come back at the same place. The system gives it to nobody who
/// asks for any: it is not among those that outgoing connections have (ip_local_port_range, 32768 and above). Nor is it given twice.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1_000);
    let is_free = |port: &u16| given.insert(*port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).context("no port is free")
}
