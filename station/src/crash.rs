//! Points of the code at which a test ends the process, as a power cut would.
//!
//! They exist only with the feature `crash-points`, which the tests' build of the programs switches on; otherwise
//! [`crash_point!`](crate::crash_point) is nothing. `FAILPOINTS='wal::synced=7*off->return'` in the environment lets the
//! point pass seven times and ends the process at the eighth (syntax: <https://docs.rs/fail>).

#[doc(hidden)]
pub use fail;

/// Reads `FAILPOINTS`; the points obey it for the rest of the process's life. Call it first in `main`.
pub fn obey_environment() {
    // The scenario clears the points when it is dropped.
    std::mem::forget(fail::FailScenario::setup());
}

/// A point at which a test may end the process: no destructor runs, nothing buffered is written.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::fail::fail_point!($name, |_| std::process::abort())
    };
}
