//! A machine whose clock is set an hour forward and back under everything: counts stay exact, no latency is negative or an hour
//! long, and nobody stops (I4, I9).

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use tempfile::TempDir;
use weir_tests::{Process, Traffic, Upstream, ask_number, until_number};

use crate::{
    disk::skipped,
    pipeline::{FREE_PORTS, Up, WEIR, assert_exact},
};

/// Stands between the program and the system's clock of the day: adds the seconds that a file names. The monotonic clock is as it is.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile long nothing, *offset = &nothing;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(getenv("STORY_CLOCK"), O_RDONLY);
    void *shared = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) offset = shared;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real) begin();
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += *offset;
    return result;
}
"#;

/// Makes the library; `false` where nothing compiles C.
fn compile(directory: &Path) -> bool {
    fs::write(directory.join("clock.c"), CLOCK).unwrap();
    let arguments = ["-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"];
    let compiled = Command::new("cc").args(arguments).current_dir(directory).status();
    compiled.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_an_hour_forward_and_back_changes_no_count_and_no_latency() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    if !compile(path) {
        return skipped("there is no C compiler (cc), which makes the clock that jumps");
    }
    let offset_s = fs::File::create(path.join("offset")).unwrap();
    let set = |seconds: i64| offset_s.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    set(0);
    let upstream = Upstream::start().await.unwrap();
    let definitions = Traffic::definitions(&upstream.url());
    let often = "[maintenance]\ninterval = \"100ms\"\nvacuum_interval = \"100ms\"\n";
    fs::write(path.join("weir.toml"), format!("{FREE_PORTS}{often}{definitions}")).unwrap();
    let (library, file) = (path.join("clock.so"), path.join("offset"));
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("STORY_CLOCK", file.to_str().unwrap()),
        ("WEIR_COLLECTOR__FLUSH_INTERVAL", "50ms"),
    ];
    let up = Up::start_in_with(directory, &environment).await;
    let (mut traffic, mut oracle) = (Traffic::new(8), weir_tests::Oracle::default());
    for hours in [0, 1, 0, -1, 0, 1, -1, 0] {
        // The clock jumps while requests are under way.
        let (answered, ()) = tokio::join!(traffic.send(&up.gateway, 120), async { set(hours * 3_600) });
        oracle.add(answered.unwrap());
    }
    until_number(&up.query, "select count(*) from requests", oracle.total()).await.unwrap();
    assert_exact(&up.query, &oracle).await;
    let hours = "select count(distinct date_trunc('hour', time)) from requests";
    assert!(ask_number(&up.query, hours).await.unwrap() >= 3, "the clock did jump");
    let impossible = "select count(*) from requests where latency_us not between 0 and 60000000 \
                      or integration_latency_us not between 0 and latency_us";
    assert_eq!(ask_number(&up.query, impossible).await.unwrap(), 0);
    let impossible = "select count(*) from spans where duration_us not between 0 and 60000000";
    assert_eq!(ask_number(&up.query, impossible).await.unwrap(), 0);
    let exit = up.process.terminate().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let verified = Process::run(WEIR, up.directory.path(), &["verify", "--settled", "--data", "data"]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}
