//! Memory that is free goes back to the system soon: how long the allocator and idle threads keep it.
//!
//! Work here moves between many threads, and mimalloc keeps what each of them has freed for a while: twice the memory that a
//! process uses, at its peaks. It takes its options from the environment, before `main`, so the program starts anew with
//! them. What always holds: an option that somebody set stands.

use std::{env, io, os::unix::process::CommandExt, process::Command, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// <https://microsoft.github.io/mimalloc/environment.html>: free pages go back to the system after so many milliseconds.
const OPTION: &str = "MIMALLOC_PURGE_DELAY";

/// How long a thread for blocking calls is kept when it has nothing to do. What others freed of its memory comes back when it
/// works again, or when it ends.
const THREAD_KEPT: Duration = Duration::from_millis(200);

/// A runtime of many threads that keeps no more of them than have something to do.
///
/// # Errors
/// When the system has no threads for it.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_keep_alive(THREAD_KEPT).build()
}

/// Starts the program anew, in this process, unless the option is set. To be called first of all.
pub fn return_soon() {
    if env::var_os(OPTION).is_none()
        && let Ok(program) = env::current_exe()
    {
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // It only comes back when it failed; then the program goes on with more memory.
        let _ = command.args(arguments).env(OPTION, "1").exec();
    }
}
