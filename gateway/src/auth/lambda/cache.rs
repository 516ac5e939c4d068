//! What an authorizer's function has said, kept by whom it was said of.
//!
//! What always holds: of one identity the function is asked once at a time, however many requests wait for its answer; a
//! request that goes away while it asks leaves the question to another one; no more than a bounded number of answers is
//! kept, the ones that were used last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use crate::sigv4::Sha256;

/// Answers in each of the two generations.
const GENERATION: usize = 2_048;

/// What an answer is kept by: a hash, so that no token is kept.
pub(super) type Key = Sha256;

type Told<V, E> = Option<Result<Arc<V>, E>>;

/// Answers and questions.
pub(super) struct Cache<V, E>(Mutex<Slots<V, E>>);

/// Two generations: a full one becomes the old one, and what nobody used of the old one is forgotten.
struct Slots<V, E> {
    recent: HashMap<Key, Slot<V, E>, ahash::RandomState>,
    old: HashMap<Key, Slot<V, E>, ahash::RandomState>,
}

enum Slot<V, E> {
    Kept { value: Arc<V>, until: Instant },
    Asking(watch::Receiver<Told<V, E>>),
}

/// What there is of an answer.
enum Look<'c, V, E> {
    Kept(Arc<V>),
    Wait(watch::Receiver<Told<V, E>>),
    Ask(Question<'c, V, E>),
}

/// A question that is to be asked by who holds it.
struct Question<'c, V, E> {
    cache: &'c Cache<V, E>,
    key: Key,
    told: watch::Sender<Told<V, E>>,
    is_answered: bool,
}

impl<V, E: Clone> Cache<V, E> {
    /// Nothing is kept.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Slots { recent: HashMap::default(), old: HashMap::default() }))
    }

    /// The answer that is kept at this moment, or that this or another request asks for. It is kept for as long as
    /// `until` says; a failure is told to all who wait for it, and not kept.
    pub(super) async fn get(
        &self,
        key: Key,
        now: Instant,
        until: Instant,
        ask: impl Future<Output = Result<V, E>>,
    ) -> Result<Arc<V>, E> {
        loop {
            match self.look(&key, now) {
                Look::Kept(value) => return Ok(value),
                Look::Wait(mut told) => {
                    // Who asked may have gone away without an answer: the next look finds out.
                    if let Ok(told) = told.wait_for(Option::is_some).await
                        && let Some(told) = &*told
                    {
                        return told.clone();
                    }
                }
                Look::Ask(question) => {
                    let told = ask.await.map(Arc::new);
                    question.answer(told.clone(), until);
                    return told;
                }
            }
        }
    }

    fn look(&self, key: &Key, now: Instant) -> Look<'_, V, E> {
        let mut slots = self.lock();
        match slots.find(key) {
            Some(Slot::Kept { value, until }) if *until > now => return Look::Kept(Arc::clone(value)),
            Some(Slot::Asking(told)) if told.has_changed().is_ok() => return Look::Wait(told.clone()),
            _ => {}
        }
        let (told, waiting) = watch::channel(None);
        slots.put(*key, Slot::Asking(waiting));
        Look::Ask(Question { cache: self, key: *key, told, is_answered: false })
    }

    fn lock(&self) -> MutexGuard<'_, Slots<V, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, E> Slots<V, E> {
    fn find(&mut self, key: &Key) -> Option<&Slot<V, E>> {
        if let Some(slot) = self.old.remove(key) {
            self.put(*key, slot);
        }
        self.recent.get(key)
    }

    fn put(&mut self, key: Key, slot: Slot<V, E>) {
        if self.recent.len() >= GENERATION && !self.recent.contains_key(&key) {
            self.old = std::mem::take(&mut self.recent);
        }
        self.old.remove(&key);
        self.recent.insert(key, slot);
    }
}

impl<V, E> Question<'_, V, E> {
    fn answer(mut self, told: Result<Arc<V>, E>, until: Instant) {
        let mut slots = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &told {
            Ok(value) => slots.put(self.key, Slot::Kept { value: Arc::clone(value), until }),
            Err(_) => slots.forget(&self.key),
        }
        drop(slots);
        self.is_answered = true;
        self.told.send_replace(Some(told));
    }
}

impl<V, E> Slots<V, E> {
    fn forget(&mut self, key: &Key) {
        self.recent.remove(key);
        self.old.remove(key);
    }
}

impl<V, E> Drop for Question<'_, V, E> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.cache.0.lock().unwrap_or_else(PoisonError::into_inner).forget(&self.key);
        }
    }
}

impl<V, E> std::fmt::Debug for Cache<V, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    const A: Key = [1; 32];
    const B: Key = [2; 32];

    /// Says how often it was asked.
    async fn say(asked: &Cell<u32>) -> Result<u32, &'static str> {
        asked.set(asked.get() + 1);
        tokio::task::yield_now().await;
        Ok(asked.get())
    }

    #[tokio::test]
    async fn an_answer_holds_until_its_time_is_over_and_for_its_identity_alone() {
        let (cache, asked, now) = (Cache::new(), Cell::new(0), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        for (key, seconds, told) in [(A, 0, 1), (A, 299, 1), (B, 0, 2), (A, 300, 3), (A, 301, 3), (B, 299, 2)] {
            let answer = cache.get(key, at(seconds), at(seconds + 300), say(&asked)).await;
            assert_eq!(answer.map(|own| *own), Ok(told), "{seconds}");
        }
    }

    #[tokio::test]
    async fn requests_of_one_identity_at_one_time_share_a_question_and_its_failure() {
        let (cache, asked, now) = (Cache::new(), Cell::new(0), Instant::now());
        let later = now + Duration::from_secs(300);
        let ask = || cache.get(A, now, later, say(&asked));
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert_eq!((a.map(|own| *own), b.map(|own| *own), c.map(|own| *own)), (Ok(1), Ok(1), Ok(1)));
        let fail = || {
            cache.get(B, now, later, async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                Err("broken")
            })
        };
        let (a, b) = tokio::join!(fail(), fail());
        assert_eq!((a.err(), b.err(), asked.get()), (Some("broken"), Some("broken"), 2));
        let again = cache.get(B, now, later, say(&asked)).await;
        assert_eq!(again.map(|own| *own), Ok(3));
    }

    #[tokio::test]
    async fn who_waits_for_one_that_goes_away_asks_itself() {
        let (cache, asked, now) = (Cache::new(), Cell::new(0), Instant::now());
        let later = now + Duration::from_secs(300);
        let mut gone = Box::pin(cache.get(A, now, later, std::future::pending()));
        assert!(futures_poll(&mut gone).await.is_none());
        let mut waiting = Box::pin(cache.get(A, now, later, say(&asked)));
        assert!(futures_poll(&mut waiting).await.is_none());
        assert_eq!(asked.get(), 0);
        drop(gone);
        assert_eq!(waiting.await.map(|own| *own), Ok(1));
    }

    /// Polls once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn a_bounded_number_is_kept_those_that_were_used_last() {
        let (cache, asked, now) = (Cache::new(), Cell::new(0), Instant::now());
        let later = now + Duration::from_secs(300);
        cache.get(A, now, later, say(&asked)).await.unwrap();
        cache.get(B, now, later, say(&asked)).await.unwrap();
        for index in 0..4 * GENERATION as u64 {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&index.to_be_bytes());
            cache.get(key, now, later, say(&asked)).await.unwrap();
            if index % 1_000 == 0 {
                let kept = cache.get(A, now, later, say(&asked)).await.unwrap();
                assert_eq!(*kept, 1, "{index}");
            }
        }
        let kept = {
            let slots = cache.lock();
            slots.recent.len() + slots.old.len()
        };
        assert!(kept <= 2 * GENERATION);
        let forgotten = cache.get(B, now, later, say(&asked)).await.unwrap();
        assert_ne!(*forgotten, 2);
    }
}
