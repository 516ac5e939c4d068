//! The queue between the threads that serve and the sender: encoded records, each thread's in buffers of its own.
//!
//! What always holds (I6): putting a record in never waits, for no thread and no sender; the queue is bounded by records,
//! and one without room is refused, for the caller to count. A record is encoded on the thread that made it, into memory
//! that stays with that thread's slot, so that nothing else crosses over. The sender is woken by the first record after a
//! silence and when a batch is full, not by each record; in between it sleeps for as long as records may linger.
//!
//! A slot has two halves, each behind a lock that is only ever tried: a thread that finds one half taken, for the moment
//! in which the sender exchanges its buffer, uses the other.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use weir_record::otlp::HEAD_ROOM;

/// Nobody is to be woken.
const NEVER: usize = usize::MAX;

/// A buffer with more memory than this is not kept when it is empty.
const MOST_KEPT_BYTES: usize = 1 << 20;

/// Makes a queue for so many records, whose sender takes them in batches of so many.
pub(crate) fn queue(most: usize, batch: usize) -> (Near, Far) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let queue = Arc::new(Queue {
        slots: (0..threads).map(|_| Slot::default()).collect(),
        waiting: AtomicUsize::new(0),
        most,
        wake_at: AtomicUsize::new(NEVER),
        wake: Notify::new(),
        is_closed: AtomicBool::new(false),
    });
    (Near(Arc::clone(&queue)), Far { queue, batch, taken: VecDeque::new(), spare: Vec::new(), batch_bytes: 0 })
}

struct Queue {
    slots: Box<[Slot]>,
    /// Records in all buffers.
    waiting: AtomicUsize,
    most: usize,
    /// The sender is to be woken when so many wait.
    wake_at: AtomicUsize,
    wake: Notify,
    is_closed: AtomicBool,
}

/// What one thread writes into; on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Slot([Mutex<Buffer>; 2]);

/// Encoded records, one behind the other.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Slot {
    fn free_half(&self) -> Option<MutexGuard<'_, Buffer>> {
        self.0.iter().find_map(|half| match half.try_lock() {
            Ok(buffer) => Some(buffer),
            // Whoever panicked was encoding: what is whole of the buffer still stands.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}

/// The threads' end. When it is dropped, no more records come.
pub(crate) struct Near(Arc<Queue>);

impl Near {
    /// Encodes a record into the queue; `false` when there is no room. Never waits.
    pub(crate) fn put(&self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let queue = &*self.0;
        if queue.waiting.load(SeqCst) >= queue.most {
            return false;
        }
        let (before, from) = queue.slots.split_at(own_number() % queue.slots.len());
        let Some(mut buffer) = from.iter().chain(before).find_map(Slot::free_half) else { return false };
        buffer.put(encode);
        // Counted while the buffer is held, so that whoever takes it finds it counted.
        let waiting = queue.waiting.fetch_add(1, SeqCst) + 1;
        drop(buffer);
        if waiting >= queue.wake_at.load(SeqCst) {
            queue.wake();
        }
        true
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("waiting", &self.0.waiting).finish_non_exhaustive()
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.0.is_closed.store(true, SeqCst);
        self.0.wake();
    }
}

/// The number of this thread among those that ever asked: threads of one gateway start one after the other, so that
/// each has a slot of its own.
fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, SeqCst);
    }
    OWN.try_with(|own| *own).unwrap_or(0)
}

impl Queue {
    /// Wakes the sender, if it is to be woken and nobody does it already.
    fn wake(&self) {
        if self.wake_at.swap(NEVER, SeqCst) != NEVER {
            self.wake.notify_one();
        }
    }
}

impl Buffer {
    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        // What stands behind the last end is of an encoding that panicked.
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

/// What became of waiting for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There are as many, or no more come.
    Enough,
    /// The time is over.
    Late,
    /// There are none, and none come.
    Closed,
}

/// Encoded records that are to be a batch.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// Their bytes, one behind the other, behind room for the head of their message; nothing while there are none.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub records: usize,
}

/// The sender's end.
pub(crate) struct Far {
    queue: Arc<Queue>,
    batch: usize,
    /// Buffers that were taken from the slots and are not empty yet, with how many of their records are gone.
    taken: VecDeque<(Buffer, usize)>,
    /// Empty buffers.
    spare: Vec<Buffer>,
    /// Bytes that a batch took lately.
    batch_bytes: usize,
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").field("waiting", &self.queue.waiting).finish_non_exhaustive()
    }
}

impl Far {
    /// Waits until so many records are there, at most until then. It may be dropped and called again.
    pub(crate) async fn wait_for(&self, records: usize, until: Instant) -> Waited {
        let queue = &*self.queue;
        loop {
            // What was put before the end is counted by then, and what is counted after this is woken for.
            let is_closed = queue.is_closed.load(SeqCst);
            queue.wake_at.store(if is_closed { NEVER } else { records }, SeqCst);
            let waiting = queue.waiting.load(SeqCst);
            let waited = if waiting >= records {
                Waited::Enough
            } else if is_closed {
                if waiting == 0 { Waited::Closed } else { Waited::Enough }
            } else if timeout_at(until, queue.wake.notified()).await.is_err() {
                Waited::Late
            } else {
                continue;
            };
            queue.wake_at.store(NEVER, SeqCst);
            return waited;
        }
    }

    /// Moves records into a batch, as many as there are and as it has room for.
    pub(crate) fn take(&mut self, batch: &mut Filling) {
        while batch.records < self.batch {
            if self.taken.is_empty() && !self.collect() {
                return;
            }
            let Some((buffer, gone)) = self.taken.front_mut() else { return };
            if batch.bytes.is_empty() {
                batch.bytes.reserve_exact(HEAD_ROOM + self.batch_bytes);
                batch.bytes.resize(HEAD_ROOM, 0);
            }
            let until = buffer.ends.len().min(*gone + self.batch - batch.records);
            let end_of =
                |count: usize| count.checked_sub(1).and_then(|last| buffer.ends.get(last)).copied().unwrap_or(0);
            batch.bytes.extend_from_slice(&buffer.bytes[end_of(*gone)..end_of(until)]);
            batch.records += until - *gone;
            self.batch_bytes = batch.bytes.len();
            self.queue.waiting.fetch_sub(until - *gone, SeqCst);
            *gone = until;
            if until == buffer.ends.len()
                && let Some((buffer, _)) = self.taken.pop_front()
            {
                self.keep(buffer);
            }
        }
    }

    /// Takes all buffers with records in them out of the slots; whether there are any.
    fn collect(&mut self) -> bool {
        for half in self.queue.slots.iter().flat_map(|slot| &slot.0) {
            let mut buffer = half.lock().unwrap_or_else(PoisonError::into_inner);
            if !buffer.ends.is_empty() {
                let full = std::mem::replace(&mut *buffer, self.spare.pop().unwrap_or_default());
                self.taken.push_back((full, 0));
            }
        }
        !self.taken.is_empty()
    }

    fn keep(&mut self, mut buffer: Buffer) {
        if buffer.bytes.capacity() <= MOST_KEPT_BYTES && self.spare.len() < 2 * self.queue.slots.len() {
            buffer.bytes.clear();
            buffer.ends.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn number(value: u64) -> impl FnOnce(&mut Vec<u8>) {
        move |bytes| bytes.extend_from_slice(&value.to_le_bytes())
    }

    fn numbers(batch: &Filling) -> Vec<u64> {
        batch.bytes[HEAD_ROOM.min(batch.bytes.len())..]
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_queue_takes_as_many_as_it_is_for_and_gives_them_in_batches() {
        let (near, mut far) = queue(5, 2);
        assert_eq!(
            (0..7).map(|value| near.put(number(value))).collect::<Vec<_>>(),
            [true, true, true, true, true, false, false]
        );
        let mut batch = Filling::default();
        let mut all = Vec::new();
        for expected in [2, 2, 1, 0] {
            far.take(&mut batch);
            assert_eq!(batch.records, expected);
            all.extend(numbers(&batch));
            batch = Filling::default();
        }
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert!(near.put(number(9)), "what was taken has made room");
    }

    #[test]
    fn what_a_batch_has_no_room_for_counts_as_waiting() {
        let (near, mut far) = queue(3, 1);
        (0..3).for_each(|value| assert!(near.put(number(value))));
        far.take(&mut Filling::default());
        assert!(near.put(number(3)) && !near.put(number(4)));
    }

    #[test]
    fn the_sender_waits_for_the_first_record_for_a_full_batch_and_for_the_end() {
        block_on(async {
            let (near, mut far) = queue(10, 3);
            let soon = || Instant::now() + Duration::from_millis(5);
            assert_eq!(far.wait_for(1, soon()).await, Waited::Late);
            let mut batch = Filling::default();
            let put = async {
                tokio::task::yield_now().await;
                near.put(number(1));
            };
            assert_eq!(tokio::join!(far.wait_for(1, Instant::now() + LONG), put).0, Waited::Enough);
            near.put(number(2));
            assert_eq!(far.wait_for(3, soon()).await, Waited::Late);
            near.put(number(3));
            assert_eq!(far.wait_for(3, Instant::now() + LONG).await, Waited::Enough);
            far.take(&mut batch);
            near.put(number(4));
            drop(near);
            assert_eq!(far.wait_for(3, Instant::now() + LONG).await, Waited::Enough, "one is left");
            assert_eq!(numbers(&batch), [1, 2, 3]);
            batch = Filling::default();
            far.take(&mut batch);
            assert_eq!(numbers(&batch), [4]);
            assert_eq!(far.wait_for(1, Instant::now() + LONG).await, Waited::Closed);
        });
    }

    #[test]
    fn the_end_wakes_a_sender_that_waits() {
        block_on(async {
            let (near, far) = queue(10, 3);
            let end = async {
                tokio::task::yield_now().await;
                drop(near);
            };
            assert_eq!(tokio::join!(far.wait_for(1, Instant::now() + LONG), end).0, Waited::Closed);
        });
    }

    #[test]
    fn an_encoding_that_panics_leaves_the_others_whole() {
        let (near, mut far) = queue(10, 10);
        near.put(number(1));
        let panicking = std::panic::AssertUnwindSafe(|| {
            near.put(|bytes| {
                bytes.extend_from_slice(b"half a record");
                panic!("in the middle");
            })
        });
        std::panic::catch_unwind(panicking).unwrap_err();
        near.put(number(2));
        let mut batch = Filling::default();
        far.take(&mut batch);
        assert_eq!(numbers(&batch), [1, 2]);
    }

    #[test]
    fn many_threads_lose_nothing_that_was_taken_in() {
        const EACH: u64 = 20_000;
        const THREADS: u64 = 6;
        let (near, mut far) = queue(4_096, 512);
        let near = Arc::new(near);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let near = Arc::clone(&near);
                thread::spawn(move || {
                    (0..EACH)
                        .map(|each| thread * EACH + each)
                        .filter(|value| near.put(number(*value)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        drop(near);
        let mut seen = BTreeSet::new();
        block_on(async {
            let mut batch = Filling::default();
            while far.wait_for(512, Instant::now() + LONG).await != Waited::Closed {
                far.take(&mut batch);
                assert!(numbers(&batch).into_iter().all(|value| seen.insert(value)), "a record came twice");
                batch = Filling::default();
            }
        });
        let put: BTreeSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(seen, put);
    }
}
