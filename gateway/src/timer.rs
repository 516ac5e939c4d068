//! Timers that hardly ever run out: their entry in the runtime's wheel is kept from one use to the next.
//!
//! Every request has a time by which its integration must have answered. Entering a timer into the wheel and taking it
//! out again for each costs more than all of routing. A kept timer stays entered: moving its end to a later time is one
//! atomic exchange. When it runs out while nobody uses it, it wakes whoever used it last for nothing, once.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time;

/// Unused timers that a thread keeps.
const MOST_KEPT: usize = 1_024;

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
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(5);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_deadline_comes_at_its_new_end_be_it_earlier_or_later() {
        runtime().block_on(async {
            let deadlines = Deadlines::new();
            for wait in [SHORT, LONG, SHORT] {
                let begun = Instant::now();
                let has_come = time::timeout(2 * SHORT, deadlines.after(wait)).await.is_ok();
                assert_eq!(has_come, wait == SHORT);
                assert!(!has_come || begun.elapsed() >= wait);
            }
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
