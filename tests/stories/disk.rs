//! Disks that are full, that have no inodes left, that fail, and that may only be read, under the log and under the tables: nothing
//! acknowledged is lost; what can be waited out is waited out, and the rest ends the process with the reason.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use weir_tests::Process;

use crate::{
    pipeline::WEIR,
    torture::{BATCHES, RECORDS, Sender, listening},
};

/// A small disk in memory, unmounted when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// With these options of tmpfs; `None` where this user may not mount.
    fn mount(options: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let remounted = Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap();
        assert!(remounted.success(), "{options}");
    }

    /// Takes every inode that is left; gives what took them.
    fn take_inodes(&self) -> PathBuf {
        let taken = self.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let full = (0..).find_map(|number: u32| fs::write(taken.join(number.to_string()), "").err()).unwrap();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        taken
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
    fs::write(directory.join("weir.toml"), configuration).unwrap();
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
    let Some(disk) = SmallDisk::mount("size=3m") else { return skipped("a small disk cannot be mounted: not root?") };
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
    disk.remount("size=64m");
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

/// A collector whose log's first segment refuses its tenth call of this kind.
async fn assert_ends_when(call: &str, error: &str, reason: &str) {
    let directory = TempDir::new().unwrap();
    let wal = directory.path().join("data/wal");
    configure(directory.path(), &wal, "");
    let segment = wal.join("00000000000000000001.wal");
    let (traced, injected) = (format!("trace={call}"), format!("inject={call}:error={error}:when=10"));
    let injected = ["-f", "-o", "/dev/null", "-P", segment.to_str().unwrap(), "-e", &traced, "-e", &injected];
    let arguments = ["collector", "--config", "weir.toml"];
    let traced = [&injected[..], &[WEIR], &arguments].concat();
    let mut collector = Process::start("strace", "collector", directory.path(), &traced).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("failing".to_owned());
    assert!(sender.send_until(&url, BATCHES).await.is_err(), "the tenth {call} fails");
    let exit = collector.wait().await.unwrap();
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains(reason) && exit.stderr.contains("00000000000000000001.wal"), "{}", exit.stderr);
    // The disk is mended, or was only out of sorts.
    let mut collector = Process::start(WEIR, "collector", directory.path(), &arguments).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    sender.send_until(&url, BATCHES).await.unwrap();
    assert_eq!(collector.terminate().await.unwrap().code, Some(0));
    let total = BATCHES * RECORDS as u64;
    assert_eq!(counted(directory.path(), &wal).await, format!("n,ids\n{total},{total}\n"));
    let verified = Process::run(WEIR, directory.path(), &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_disk_fails_or_may_only_be_read_ends_the_process_and_the_next_start_goes_on() {
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !strace.is_ok_and(|status| status.success()) {
        return skipped("strace cannot trace here: not installed, or not allowed");
    }
    // A disk that the system has made read-only because it fails refuses every write in this way.
    for (call, error, reason) in
        [("write", "EIO", "cannot write"), ("write", "EROFS", "cannot write"), ("fdatasync", "EROFS", "cannot fsync")]
    {
        assert_ends_when(call, error, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_inodes_goes_on_in_its_segment_and_starts_without_any() {
    let Some(disk) = SmallDisk::mount("size=64m,nr_inodes=64") else {
        return skipped("a small disk cannot be mounted: not root?");
    };
    let directory = TempDir::new().unwrap();
    let (path, wal) = (directory.path(), disk.path().join("wal"));
    configure(path, &wal, "flush_interval = \"1h\"\n");
    let arguments = ["collector", "--config", "weir.toml"];
    let mut collector = Process::start(WEIR, "collector", path, &arguments).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("inodes".to_owned());
    let taken = disk.take_inodes();
    // More than three segments' worth.
    sender.send_until(&url, BATCHES - 10).await.unwrap();
    assert!(collector.said().contains("the log goes on in the full segment"), "{}", collector.said());
    collector.kill().unwrap();
    let mut collector = Process::start(WEIR, "collector", path, &arguments).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    sender.send_until(&url, BATCHES - 5).await.unwrap();
    fs::remove_dir_all(taken).unwrap();
    sender.send_until(&url, BATCHES).await.unwrap();
    let exit = collector.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let total = BATCHES * RECORDS as u64;
    assert_eq!(counted(path, &wal).await, format!("n,ids\n{total},{total}\n"));
}

/// Tables on a small disk that takes nothing for a while: messages are acknowledged all the same, and committed when it takes
/// some again.
async fn assert_waits_for_tables(
    fail: impl Fn(&SmallDisk) -> Option<PathBuf>,
    mend: impl Fn(&SmallDisk, Option<PathBuf>),
) {
    let Some(disk) = SmallDisk::mount("size=64m,nr_inodes=512") else {
        return skipped("a small disk cannot be mounted: not root?");
    };
    let directory = TempDir::new().unwrap();
    let (path, wal) = (directory.path(), directory.path().join("data/wal"));
    configure(path, &wal, "flush_interval = \"50ms\"\n");
    fs::create_dir_all(path.join("data")).unwrap();
    std::os::unix::fs::symlink(disk.path(), path.join("data/tables")).unwrap();
    let mut collector = Process::start(WEIR, "collector", path, &["collector", "--config", "weir.toml"]).unwrap();
    let url = listening(&mut collector).await.unwrap().unwrap();
    let sender = Sender::new("tables".to_owned());
    sender.send_until(&url, 10).await.unwrap();
    collector.logged("flushed").await.unwrap();
    let made = fail(&disk);
    sender.send_until(&url, BATCHES - 10).await.unwrap();
    collector.logged("commit failed; the rows are kept, trying again").await.unwrap();
    mend(&disk, made);
    sender.send_until(&url, BATCHES).await.unwrap();
    let exit = collector.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let total = BATCHES * RECORDS as u64;
    assert_eq!(counted(path, &wal).await, format!("n,ids\n{total},{total}\n"));
    let verified = Process::run(WEIR, path, &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_inodes_are_committed_to_when_there_are_some() {
    let free = |_: &SmallDisk, taken: Option<PathBuf>| fs::remove_dir_all(taken.unwrap()).unwrap();
    assert_waits_for_tables(|disk| Some(disk.take_inodes()), free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_may_only_be_read_are_committed_to_when_they_may_be_written() {
    let only_read = |disk: &SmallDisk| {
        // As long as a file is being written the system does not allow it.
        let remount = || Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).output().unwrap();
        while !remount().status.success() {
            std::thread::yield_now();
        }
        None
    };
    assert_waits_for_tables(only_read, |disk, _| disk.remount("rw")).await;
}
