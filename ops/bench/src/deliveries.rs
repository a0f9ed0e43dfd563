//! Matches the tasks sent with those that arrived at the sink, by number: for end-to-end latency,
//! and to prove that none is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use waybill_sink::{OnReceive, Received, Recording, Sink, SinkOptions};

use crate::latency::Latencies;
use crate::request::number_in;

/// The time of something that has not happened yet.
const NEVER: u64 = 0;

/// When each task was sent and when it arrived, in nanoseconds since the start, indexed by its
/// number.
pub(crate) struct Deliveries {
    start: Instant,
    sent: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
    distinct: AtomicU64,
    repeats: AtomicU64,
    last: AtomicU64,
    changed: Notify,
    /// Gets a permit for each task that arrives, for the load with a bounded number of tasks in
    /// flight.
    pub(crate) room: Arc<Semaphore>,
}

impl Deliveries {
    /// Starts a sink that answers 200 to everything, and records up to `capacity` tasks.
    pub(crate) async fn sink(capacity: u64) -> Result<(Sink, Arc<Self>)> {
        let empty = || (0..capacity).map(|_| AtomicU64::new(NEVER)).collect();
        let deliveries = Arc::new(Self {
            start: Instant::now(),
            sent: empty(),
            arrived: empty(),
            distinct: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            last: AtomicU64::new(NEVER),
            changed: Notify::new(),
            room: Arc::new(Semaphore::new(0)),
        });
        let record = deliveries.clone();
        let on_receive: OnReceive = Arc::new(move |received: &Received| record.received(received));
        let options = SinkOptions {
            recording: Recording::CountOnly,
            on_receive: Some(on_receive),
            ..SinkOptions::default()
        };
        let sink = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
        Ok((sink, deliveries))
    }

    /// Largest number of tasks.
    pub(crate) fn capacity(&self) -> u64 {
        self.sent.len() as u64
    }

    fn since_start(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }

    /// Records when a task is sent, or should have been sent, or is due.
    pub(crate) fn sent(&self, number: u64, at: Instant) {
        if let Some(sent) = slot(&self.sent, number) {
            sent.store(self.since_start(at), Ordering::Relaxed);
        }
    }

    fn received(&self, received: &Received) {
        let Some(arrived) =
            number_in(&received.body).and_then(|number| slot(&self.arrived, number))
        else {
            return;
        };
        let now = self.since_start(Instant::now());
        if arrived.swap(now, Ordering::Relaxed) != NEVER {
            self.repeats.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.last.fetch_max(now, Ordering::Relaxed);
        self.distinct.fetch_add(1, Ordering::Release);
        self.room.add_permits(1);
        self.changed.notify_waiters();
    }

    /// Number of tasks that have arrived at least once.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Acquire)
    }

    /// Number of arrivals of a task that had arrived before.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Time of the last first arrival of a task.
    pub(crate) fn last_arrival(&self) -> Instant {
        self.start + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Waits until `distinct` tasks have arrived. Fails when none has arrived for `patience`.
    pub(crate) async fn wait_for(&self, distinct: u64, patience: Duration) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the count is read, so that an arrival in between is not missed.
            changed.as_mut().enable();
            let now = self.distinct();
            if now >= distinct {
                return Ok(());
            }
            if timeout(patience, changed).await.is_err() {
                bail!("only {now} of {distinct} tasks have arrived, and none for {patience:?}");
            }
        }
    }

    /// Number of tasks that arrived in a period.
    pub(crate) fn arrivals_between(&self, from: Instant, to: Instant) -> u64 {
        let stretch = self.since_start(from)..self.since_start(to);
        let inside = |at: &&AtomicU64| stretch.contains(&at.load(Ordering::Relaxed));
        self.arrived.iter().filter(inside).count() as u64
    }

    /// Latency from sending to arrival of the tasks sent in a period.
    pub(crate) fn latencies(&self, from: Instant, to: Instant) -> Result<Latencies> {
        let stretch = self.since_start(from)..self.since_start(to);
        let mut latencies = Latencies::new()?;
        for (sent, arrived) in self.sent.iter().zip(&self.arrived) {
            let (sent, arrived) = (
                sent.load(Ordering::Relaxed),
                arrived.load(Ordering::Relaxed),
            );
            if stretch.contains(&sent) && arrived != NEVER {
                ensure!(
                    arrived >= sent || sent == NEVER,
                    "a task arrived before it was sent or due"
                );
                latencies.record(Duration::from_nanos(arrived - sent));
            }
        }
        Ok(latencies)
    }
}

fn slot(slots: &[AtomicU64], number: u64) -> Option<&AtomicU64> {
    slots.get(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Connection;

    #[tokio::test]
    async fn arrivals_are_told_from_repeats_and_matched_with_their_sending() {
        let (sink, deliveries) = Deliveries::sink(10).await.expect("a sink");
        let mut connection = Connection::open(sink.addr).await.expect("connected");
        let begin = Instant::now();
        for number in [3_u64, 4, 3] {
            if deliveries.distinct() < 2 {
                deliveries.sent(number, Instant::now());
            }
            let request =
                format!("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\n{number:010}");
            connection
                .exchange(request.as_bytes())
                .await
                .expect("answered");
        }
        deliveries
            .wait_for(2, Duration::from_secs(5))
            .await
            .expect("both");
        assert_eq!((deliveries.distinct(), deliveries.repeats()), (2, 1));
        assert_eq!(deliveries.room.available_permits(), 2);
        let sum = deliveries
            .latencies(begin, Instant::now())
            .expect("latencies")
            .sum_up();
        assert_eq!(sum.count, 2);
        let missing = deliveries.wait_for(3, Duration::from_millis(50)).await;
        assert!(
            missing
                .expect_err("one is missing")
                .to_string()
                .contains("only 2 of 3")
        );
    }
}
