//! The queue of letters, and the task that sends them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use metrics::{counter, gauge};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Letter, Mailer, SendError};

/// Letters that may wait: a mail server that does not answer for some minutes on a busy day. They are in memory; whoever misses one asks again.
const MAX_WAITING: usize = 1024;
/// Letters sent at the same time, so that one slow connection does not hold up the others.
const MAX_CONNECTIONS: usize = 4;

/// How often, and for how long, sending a letter is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxTimes {
    /// Attempts, the first one included.
    pub attempts: u32,
    /// Pause after the first; each further one is twice as long.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// How long letters may still be sent after a stop was requested.
    pub drain: Duration,
}

impl Default for OutboxTimes {
    fn default() -> Self {
        // 2 s, 4 s ... 5 min: half an hour in all, which is longer than most greylists and shorter than most tokens live.
        Self {
            attempts: 12,
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(300),
            drain: Duration::from_secs(3),
        }
    }
}

/// Why a letter cannot be put into the outbox. Whoever asks for one is answered 503, so that nobody waits for a letter that never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboxRefusal {
    /// The outbox has no room.
    #[error("too many mails wait to be sent; try again later")]
    Full,
    /// The mailer can send nothing.
    #[error("This installation sends no mail (mail.transport); ask its operator")]
    MailOff,
}

/// The queue of letters. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    letters: mpsc::Sender<Letter>,
    sends: bool,
}

/// Room for one letter. Taken before it is known whether one is written at all, so that a full outbox answers everybody alike.
#[derive(Debug)]
pub struct OutboxSlot(mpsc::OwnedPermit<Letter>);

impl OutboxSlot {
    /// Queues a letter.
    pub fn post(self, letter: Letter) {
        self.0.send(letter);
    }
}

impl Outbox {
    /// Starts an outbox, which `mailer` empties until `stop`, as a task of `tasks`.
    pub fn start(
        mailer: Arc<dyn Mailer>,
        times: OutboxTimes,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let sends = mailer.sends();
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let in_flight = FuturesUnordered::new();
        tasks.spawn(
            OutboxWorker {
                mailer,
                times,
                receiver,
                stop,
                connections,
                in_flight,
            }
            .run(),
        );
        Self {
            letters: sender,
            sends,
        }
    }

    /// Reserves room for a letter.
    pub fn reserve(&self) -> Result<OutboxSlot, OutboxRefusal> {
        if !self.sends {
            return Err(OutboxRefusal::MailOff);
        }
        self.letters
            .clone()
            .try_reserve_owned()
            .map(OutboxSlot)
            .map_err(|_| OutboxRefusal::Full)
    }

    /// Queues a letter if there is room: for notices that nobody waits for. One that finds no room is counted as lost.
    pub fn post_or_lose(&self, letter: Letter) {
        match self.reserve() {
            Ok(place) => place.post(letter),
            Err(why) => {
                counter!("waybill_mail_lost_total").increment(1);
                tracing::warn!(letter = letter.id, %why, "a notice by mail is lost");
            }
        }
    }
}

type Delivery = Pin<Box<dyn Future<Output = (Letter, u32, Result<(), SendError>)> + Send>>;

struct OutboxWorker {
    mailer: Arc<dyn Mailer>,
    times: OutboxTimes,
    receiver: mpsc::Receiver<Letter>,
    stop: CancellationToken,
    connections: Arc<Semaphore>,
    in_flight: FuturesUnordered<Delivery>,
}

impl OutboxWorker {
    async fn run(mut self) {
        loop {
            // Cancellation safe: a letter is either in the queue or among those in flight, whichever branch wins.
            tokio::select! {
                Some((letter, attempt, sent)) = self.in_flight.next() => self.on_result(letter, attempt, sent, true),
                letter = self.receiver.recv(), if self.in_flight.len() < MAX_WAITING => match letter {
                    Some(letter) => self.send_after(letter, 1, Duration::ZERO),
                    None => break,
                },
                () = self.stop.cancelled() => break,
            }
            gauge!("waybill_mail_waiting").set(self.waiting());
        }
        let drain = self.times.drain;
        if tokio::time::timeout(drain, self.drain()).await.is_err() {
            tracing::warn!(
                letters = self.waiting(),
                "letters were not sent before the stop"
            );
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric of a few thousand")]
    fn waiting(&self) -> f64 {
        (self.in_flight.len() + self.receiver.len()) as f64
    }

    /// Attempts every letter that is left once more.
    async fn drain(&mut self) {
        self.receiver.close();
        while let Ok(letter) = self.receiver.try_recv() {
            self.send_after(letter, 1, Duration::ZERO);
        }
        while let Some((letter, attempt, sent)) = self.in_flight.next().await {
            self.on_result(letter, attempt, sent, false);
        }
    }

    fn send_after(&mut self, letter: Letter, attempt: u32, pause: Duration) {
        let (mailer, connections) = (Arc::clone(&self.mailer), Arc::clone(&self.connections));
        self.in_flight.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            // The semaphore is never closed. If it were, one connection more would do no harm.
            let _connection = connections.acquire().await.ok();
            let sent = mailer.send(&letter).await;
            (letter, attempt, sent)
        }));
    }

    fn on_result(
        &mut self,
        letter: Letter,
        attempt: u32,
        sent: Result<(), SendError>,
        again: bool,
    ) {
        match sent {
            Ok(()) => counter!("waybill_mail_sent_total").increment(1),
            Err(SendError::Temporary(reason)) if again && attempt < self.times.attempts => {
                tracing::info!(
                    letter = letter.id,
                    attempt,
                    reason,
                    "sending a letter failed; trying again"
                );
                let pause = self.times.first_pause * 2u32.saturating_pow(attempt - 1).min(1 << 16);
                self.send_after(letter, attempt + 1, pause.min(self.times.longest_pause));
            }
            Err(reason) => {
                counter!("waybill_mail_lost_total").increment(1);
                tracing::warn!(letter = letter.id, attempt, %reason, "sending a letter failed for the last time; it is dropped");
            }
        }
    }
}
