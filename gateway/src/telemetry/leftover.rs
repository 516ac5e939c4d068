//! Sends what earlier processes left in the spool, under their own instance ids, beside what is new.
//!
//! When all batches of an instance are done with, a last one without records tells the ledger what that instance had
//! counted: what it dropped, what damage took, and what is known to have been in its memory when it ended.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    collectors::{Collectors, Delivery, Progress},
    export::{Exported, Numbers, Sending, entry},
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
    let mut lost = 0;
    loop {
        let head = retry::<T, _>(sending, || lane.head()).await;
        lost += head.lost;
        let Some(entry) = head.entry else { break };
        match deliver::<T>(sending, &mut lane, collectors, &entry).await {
            Delivery::Acknowledged { doubtful } => {
                stats.recovered.fetch_add(entry.records, Relaxed);
                stats.doubtful.fetch_add(if doubtful { entry.records } else { 0 }, Relaxed);
            }
            Delivery::Refused => lost += entry.records,
        }
        retry::<T, _>(sending, || lane.finish_head()).await;
    }
    let state = lane.state().clone();
    lost += state.in_memory();
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
        sequence: state.sequence + 1,
        offered: state.offered,
        dropped: state.dropped + lost,
        numbered: state.numbered,
    };
    let last = entry::<T>(lane.instance(), numbers, &[]);
    deliver::<T>(sending, &mut lane, collectors, &last).await;
    if let Err(error) = lane.remove() {
        stats.spool_errors.fetch_add(1, Relaxed);
        tracing::error!(%error, "a spool that was sent cannot be deleted; it will be sent again");
    }
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
    let delivering = collectors.deliver::<T>(entry.body.clone(), &sent_to, &progress, &stats.resent_batches);
    tokio::pin!(delivering);
    loop {
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {
                let sent_to = seen.borrow_and_update().sent_to.clone();
                if let Err(error) = lane.note_sent_to(&sent_to) {
                    stats.spool_errors.fetch_add(1, Relaxed);
                    tracing::error!(%error, "the spool failed");
                }
            }
            delivery = &mut delivering => return delivery,
        }
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
