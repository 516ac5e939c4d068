//! How long the allocator keeps memory that is free: a millisecond.
//!
//! Work here moves between many threads, and mimalloc keeps what each of them has freed for a while: twice the memory that a
//! process uses, at its peaks. It takes its options from the environment, before `main`, so the program starts anew with
//! them. What always holds: an option that somebody set stands.

use std::{env, os::unix::process::CommandExt, process::Command};

/// <https://microsoft.github.io/mimalloc/environment.html>: free pages go back to the system after so many milliseconds.
const OPTION: &str = "MIMALLOC_PURGE_DELAY";

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
