//! Timers that hardly ever run out: their entry in the runtime's wheel is kept from one use to the next.
//!
//! Every request has a time by which its head must be there and one by which its integration must have answered.
//! Entering a timer into the wheel and taking it out again, twice a request, costs more than all of routing. A kept timer
//! stays entered: moving its end to a later time is one atomic exchange. When it runs out while nobody uses it, it wakes
//! whoever used it last for nothing, once.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time;

/// Unused timers that a thread keeps.
const MOST_KEPT: usize = 1_024;

/// The timer of one connection, for hyper: it sets one at a time, and drops it before it sets the next.
#[derive(Clone, Default)]
pub(crate) struct KeptTimer(Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>);

impl KeptTimer {
    /// A timer that was never set.
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for KeptTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptTimer").finish_non_exhaustive()
    }
}

impl hyper::rt::Timer for KeptTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let kept = self.0.try_lock().ok().and_then(|mut kept| kept.take());
        Box::pin(KeptSleep { sleep: Some(moved(kept, deadline)), timer: self.clone() })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        if let Some(own) = sleep.as_mut().downcast_mut_pin::<KeptSleep>()
            && let Some(sleep) = &mut own.get_mut().sleep
        {
            sleep.as_mut().reset(deadline.into());
        } else {
            *sleep = self.sleep_until(deadline);
        }
    }
}

/// What hyper waits for.
struct KeptSleep {
    /// There until it is dropped.
    sleep: Option<Pin<Box<time::Sleep>>>,
    timer: KeptTimer,
}

impl Future for KeptSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl hyper::rt::Sleep for KeptSleep {}

impl Drop for KeptSleep {
    fn drop(&mut self) {
        if let Ok(mut kept) = self.timer.0.try_lock() {
            *kept = self.sleep.take();
        }
    }
}

/// The timers of one thread's integrations.
#[derive(Clone, Default)]
pub(crate) struct Deadlines(Rc<RefCell<Vec<Pin<Box<time::Sleep>>>>>);

impl Deadlines {
    /// None is kept yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Comes so much later than now. Runs within a tokio runtime.
    pub(crate) fn after(&self, duration: Duration) -> Deadline {
        let kept = self.0.borrow_mut().pop();
        Deadline { sleep: Some(moved(kept, Instant::now() + duration)), kept: self.clone() }
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").field("kept", &self.0.borrow().len()).finish()
    }
}

/// A time that comes; dropped before, it is kept for the next.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// There until it is dropped.
    sleep: Option<Pin<Box<time::Sleep>>>,
    kept: Deadlines,
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut kept = self.kept.0.borrow_mut();
        if kept.len() < MOST_KEPT {
            kept.extend(self.sleep.take());
        }
    }
}

/// A kept timer with a new end, or else a new one.
fn moved(kept: Option<Pin<Box<time::Sleep>>>, deadline: Instant) -> Pin<Box<time::Sleep>> {
    match kept {
        Some(mut sleep) => {
            sleep.as_mut().reset(deadline.into());
            sleep
        }
        None => Box::pin(time::sleep_until(deadline.into())),
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(5);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_kept_timer_runs_out_at_its_new_end_be_it_earlier_or_later() {
        runtime().block_on(async {
            let timer = KeptTimer::new();
            for wait in [SHORT, LONG, SHORT] {
                let begun = Instant::now();
                let mut sleep = timer.sleep(wait);
                let ended = time::timeout(2 * SHORT, &mut sleep).await.is_ok();
                assert_eq!(ended, wait == SHORT);
                assert!(!ended || begun.elapsed() >= wait);
            }
            let mut sleep = timer.sleep(LONG);
            timer.reset(&mut sleep, Instant::now() + SHORT);
            sleep.await;
        });
    }

    #[test]
    fn a_deadline_that_was_used_is_used_again() {
        runtime().block_on(async {
            let deadlines = Deadlines::new();
            let (first, second) = (deadlines.after(LONG), deadlines.after(LONG));
            drop((first, second));
            assert_eq!(deadlines.0.borrow().len(), 2);
            deadlines.after(SHORT).await;
            let begun = Instant::now();
            deadlines.after(SHORT).await;
            assert!(begun.elapsed() >= SHORT, "one that ran out is as good as new");
            assert_eq!(deadlines.0.borrow().len(), 2);
        });
    }
}
