//! Sends what earlier processes left in the spool, under their own instance ids, beside what is new.
//!
//! When all batches of an instance are done with, a last one without records tells the ledger what that instance had
//! counted: what it dropped, what damage took, and what is known to have been in its memory when it ended. A batch that
//! was under way and not on disk counts as dropped, unless the collector has it.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    collectors::{Collectors, Delivery, Progress},
    export::{Exported, Numbers, Sending, entry},
    queue::Filling,
    spool::{Entry, Lane},
};

/// Between two tries on a directory that cannot be read or written.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends all lanes of a signal, oldest first, until the gateway's time is over.
pub(crate) async fn send<T: Exported>(sending: Sending) {
    let Some(spool) = &sending.spool else { return };
    let lanes = match spool.adopt(T::SIGNAL) {
        Ok(lanes) => lanes,
        Err(error) => {
            T::stats(&sending.stats).spool_errors.fetch_add(1, Relaxed);
            tracing::error!(%error, signal = T::SIGNAL, "the spool cannot be read; what earlier processes left stays there");
            return;
        }
    };
    let mut collectors = Collectors::new(&sending);
    let all = async {
        for lane in lanes {
            tracing::info!(instance = lane.instance(), signal = T::SIGNAL, "sending what an earlier process left");
            send_lane::<T>(&sending, lane, &mut collectors).await;
            sending.stats.spool_bytes.store(spool.used_bytes(), Relaxed);
        }
    };
    sending.deadline.run_until_cancelled(all).await;
}

async fn send_lane<T: Exported>(sending: &Sending, mut lane: Lane, collectors: &mut Collectors) {
    let stats = T::stats(&sending.stats);
    tell_what_was_in_hand::<T>(sending, &mut lane, collectors).await;
    let mut lost = 0;
    loop {
        let head = retry::<T, _>(sending, || lane.head()).await;
        lost += head.lost;
        let Some(entry) = head.entry else { break };
        let mut refused = 0;
        match deliver::<T>(sending, &mut lane, collectors, &entry).await {
            Delivery::Acknowledged { doubtful } => {
                stats.recovered.fetch_add(entry.records, Relaxed);
                stats.doubtful.fetch_add(if doubtful { entry.records } else { 0 }, Relaxed);
            }
            Delivery::Refused => refused = entry.records,
        }
        lost += refused;
        count::<T>(sending, lane.settle(refused));
    }
    let state = lane.state().clone();
    let in_memory = state.in_memory();
    lost += in_memory;
    stats.unrecovered.fetch_add(lost, Relaxed);
    if lost > 0 {
        tracing::error!(
            records = lost,
            instance = lane.instance(),
            signal = T::SIGNAL,
            "an earlier process lost records"
        );
    }
    let numbers = Numbers {
        sequence: state.sequence.saturating_add(1),
        offered: state.offered,
        dropped: state.dropped.saturating_add(in_memory),
        numbered: state.numbered,
    };
    let last = entry(lane.instance(), numbers, Filling::default());
    deliver::<T>(sending, &mut lane, collectors, &last).await;
    if let Err(error) = lane.remove() {
        stats.spool_errors.fetch_add(1, Relaxed);
        tracing::error!(%error, "a spool that was sent cannot be deleted; it will be sent again");
    }
}

/// Sends the number of the batch that was under way and is not on disk, without its records, and with counters that say
/// that they were dropped. A collector that has taken the batch knows the number, and so does not hear it; all that
/// follows says again what was dropped without them.
async fn tell_what_was_in_hand<T: Exported>(sending: &Sending, lane: &mut Lane, collectors: &mut Collectors) {
    let state = lane.state();
    if state.in_hand == 0 {
        return;
    }
    let (sequence, in_hand) = (state.in_hand_sequence, state.in_hand);
    tracing::warn!(
        records = in_hand,
        instance = lane.instance(),
        signal = T::SIGNAL,
        "whether a batch was taken is not known"
    );
    let dropped = state.dropped.saturating_add(state.in_memory()).saturating_add(in_hand);
    let numbers = Numbers { sequence, offered: state.offered, dropped, numbered: state.numbered };
    let told = entry(lane.instance(), numbers, Filling::default());
    deliver::<T>(sending, lane, collectors, &told).await;
    count::<T>(sending, lane.settle(0));
}

/// Delivers a batch of a lane, and notes there whom it is sent to.
async fn deliver<T: Exported>(
    sending: &Sending,
    lane: &mut Lane,
    collectors: &mut Collectors,
    entry: &Entry,
) -> Delivery {
    let stats = T::stats(&sending.stats);
    let (progress, mut seen) = watch::channel(Progress::default());
    let sent_to = lane.state().sent_to.clone();
    let instance = lane.instance().to_owned();
    let delivering = collectors.deliver::<T>(&instance, entry, &sent_to, &progress, &stats.resent_batches);
    tokio::pin!(delivering);
    loop {
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {
                let sent_to = seen.borrow_and_update().sent_to.clone();
                count::<T>(sending, lane.note_sent_to(&sent_to));
            }
            delivery = &mut delivering => return delivery,
        }
    }
}

/// Counts and logs an error after which it goes on: what could not be noted is sent again after the next start.
fn count<T: Exported>(sending: &Sending, noted: io::Result<()>) {
    if let Err(error) = noted {
        T::stats(&sending.stats).spool_errors.fetch_add(1, Relaxed);
        tracing::error!(%error, signal = T::SIGNAL, "the spool failed");
    }
}

/// Tries until the system does it.
async fn retry<T: Exported, R>(sending: &Sending, mut operation: impl FnMut() -> io::Result<R>) -> R {
    loop {
        match operation() {
            Ok(done) => return done,
            Err(error) => {
                T::stats(&sending.stats).spool_errors.fetch_add(1, Relaxed);
                tracing::error!(%error, signal = T::SIGNAL, "the spool failed; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}
