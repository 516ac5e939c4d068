//! Processes that are measured: started on one core, watched through `/proc`, ended with everything they started.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Linux counts processor time for `/proc` in hundredths of a second, on every architecture that Weir is built for.
const TICK: Duration = Duration::from_millis(10);

/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running process. It ends when this is dropped, and when the process that started it is gone.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program on a core, so much nicer than this process. What it prints goes to `{name}.stdout` and `{name}.stderr` in the directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        (core, nice): (usize, u32),
        program: &Path,
        name: &str,
        directory: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let output = |end: &str| File::create(directory.join(format!("{name}.{end}")));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "nice", "-n", &nice.to_string(), "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()
            .with_context(|| format!("cannot start {} (by setpriv and taskset of util-linux)", program.display()))?;
        Ok(Self { child })
    }

    /// Lets it run only while nobody else wants its core, or like everybody again. Who is not root may do the former and
    /// never the latter (sched(7)): nothing happens then.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn stand_back(&self, stands_back: bool) -> anyhow::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let policy = if stands_back { "--idle" } else { "--other" };
        let id = self.child.id().to_string();
        let status = Command::new("chrt").args([policy, "--all-tasks", "--pid", "0", &id]).status();
        anyhow::ensure!(status.context("chrt of util-linux")?.success(), "chrt cannot set {policy}");
        Ok(())
    }

    /// Whether it has ended, which it should not have.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Its processor time so far, user and system, of all its threads and of the processes that it started.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for id in self.family() {
            let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
            // The name may hold anything, spaces and parentheses too; proc(5).
            let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            for field in [11, 12] {
                ticks += fields.get(field).context("/proc/PID/stat is short")?.parse::<u32>()?;
            }
        }
        Ok(TICK * ticks)
    }

    /// The processor time of each thread that still runs, by name. It is exact, where the kernel keeps it.
    pub(crate) fn threads(&self) -> Vec<(String, Duration)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let thread = |task: fs::DirEntry| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let schedule = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanoseconds = schedule.split(' ').next()?.parse().ok()?;
            Some((name.trim().to_owned(), Duration::from_nanos(nanoseconds)))
        };
        tasks.filter_map(thread).collect()
    }

    /// Its memory that is resident, kibibytes, with that of the processes that it started.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for id in self.family() {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Its id and those of its children.
    fn family(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        std::iter::once(id).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
    }
}

impl Drop for Process {
    /// Asks it to end, so that it ends its own children; then it and they have to.
    fn drop(&mut self) {
        let family = self.family();
        let signal = |id: u32, signal| {
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
            // It may be gone already, which is what is wanted.
            let _ = pid.map(|pid| kill_process(pid, signal));
        };
        if self.has_ended() {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        let asked = Instant::now();
        while !self.has_ended() && asked.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        if !self.has_ended() {
            family.into_iter().for_each(|id| signal(id, Signal::KILL));
            // Nothing more can be done about it.
            let _ = self.child.wait();
        }
    }
}
