//! A disk that is full, and one that fails: nothing acknowledged is lost, and a full disk is waited out.

use std::{io::Write, path::Path, process::Command};

use tempfile::TempDir;
use weir_tests::Process;

use crate::{
    pipeline::WEIR,
    torture::{BATCHES, RECORDS, Sender, listening},
};

/// A small disk in memory, unmounted when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(megabytes: u32) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// A fault that this machine cannot make is not tried; that is said, and is an error where all must be.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var_os("WEIR_REQUIRE_FAULTS").is_none(), "{what}");
    // Not by the macro, whose output is shown only when a test fails.
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}

fn configure(directory: &Path, wal: &Path, more: &str) {
    let configuration = format!(
        "data = \"data\"\n[collector]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         wal = \"{}\"\nwal_segment = \"1MiB\"\n{more}",
        wal.display()
    );
    std::fs::write(directory.join("weir.toml"), configuration).unwrap();
}

async fn counted(directory: &Path, wal: &Path) -> String {
    // A stopped directory is read with its log, which `weir sql` looks for beside the tables.
    if !directory.join("data/wal").exists() {
        std::os::unix::fs::symlink(wal, directory.join("data/wal")).unwrap();
    }
    let sql = "select count(*) as n, count(distinct request_id) as ids from requests";
    let arguments = ["sql", "--data", "data", "--format", "csv", sql];
    let exit = Process::run(WEIR, directory, &arguments).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    exit.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_has_no_room_and_goes_on_when_there_is() {
    let Some(disk) = SmallDisk::mount(3) else { return skipped("a small disk cannot be mounted: not root?") };
    let directory = TempDir::new().unwrap();
    let wal = disk.path().join("wal");
    // Nothing is committed meanwhile, so the log only grows.
    configure(directory.path(), &wal, "flush_interval = \"1h\"\n");
    let mut collector =
        Process::start(WEIR, "collector", directory.path(), &["collector", "--config", "weir.toml"]).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("disk".to_owned());
    let refusal = sender.send_until(&url, BATCHES).await.unwrap_err();
    assert!(refusal.to_string().starts_with("429"), "{refusal}");
    let answered = sender.answered();
    assert!(answered > 20, "3 MiB hold more than {answered} batches");
    for _ in 0..5 {
        assert!(sender.send_until(&url, BATCHES).await.is_err(), "still full");
    }
    // Somebody makes room.
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(disk.path()).status().unwrap();
    assert!(grown.success());
    sender.send_until(&url, BATCHES).await.unwrap();
    collector.kill().unwrap();
    let total = BATCHES * RECORDS as u64;
    assert_eq!(counted(directory.path(), &wal).await, format!("n,ids\n{total},{total}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_that_fails_ends_the_process_and_loses_nothing_that_was_acknowledged() {
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !strace.is_ok_and(|status| status.success()) {
        return skipped("strace cannot trace here: not installed, or not allowed");
    }
    let directory = TempDir::new().unwrap();
    let wal = directory.path().join("data/wal");
    configure(directory.path(), &wal, "");
    let injected = ["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=30"];
    let arguments = [&injected[..], &[WEIR, "collector", "--config", "weir.toml"]].concat();
    let mut collector = Process::start("strace", "collector", directory.path(), &arguments).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("fsync".to_owned());
    assert!(sender.send_until(&url, BATCHES).await.is_err(), "the 30th fsync fails");
    let exit = collector.wait().await.unwrap();
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("cannot fsync"), "{}", exit.stderr);
    let answered = sender.answered();
    let counted: Vec<_> =
        counted(directory.path(), &wal).await.lines().nth(1).unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(counted[0], counted[1], "nothing is there twice");
    let stored: u64 = counted[0].parse().unwrap();
    let answered = answered * RECORDS as u64;
    // The batch whose fsync failed may be there: its sender was not answered, and would send it again.
    assert!(stored == answered || stored == answered + RECORDS as u64, "{stored} stored, {answered} acknowledged");
}
