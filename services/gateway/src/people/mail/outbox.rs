//! Letters on their way out.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use metrics::{counter, gauge};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Letter, Mailer, NotSent};

/// Letters that may wait: a mail server that is away for some minutes on a busy day. They are in memory; whoever gets none asks again.
const MOST_WAITING: usize = 1024;
/// Letters on the wire at a time: one that hangs does not hold up the others.
const AT_ONCE: usize = 4;

/// How often a letter is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxTimes {
    /// Attempts, the first one included.
    pub attempts: u32,
    /// Pause after the first; each further one is twice as long.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// How long letters may still leave once a stop was asked for.
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

/// The outbox has no room: 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many mails wait to be sent; try again later")]
pub struct OutboxFull;

/// Where letters are put. Clones are the same.
#[derive(Debug, Clone)]
pub struct Outbox(mpsc::Sender<Letter>);

/// Room for one letter. Taken before it is known whether one is written at all, so that a full outbox answers everybody alike.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Letter>);

impl Place {
    /// Puts a letter there.
    pub fn post(self, letter: Letter) {
        self.0.send(letter);
    }
}

impl Outbox {
    /// One that `mailer` empties until `stop`, as a task of `tasks`.
    pub fn start(
        mailer: Arc<dyn Mailer>,
        times: OutboxTimes,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let wires = Arc::new(Semaphore::new(AT_ONCE));
        let on_the_way = FuturesUnordered::new();
        tasks.spawn(
            Postman {
                mailer,
                times,
                receiver,
                stop,
                wires,
                on_the_way,
            }
            .run(),
        );
        Self(sender)
    }

    /// Room for a letter.
    pub fn reserve(&self) -> Result<Place, OutboxFull> {
        self.0
            .clone()
            .try_reserve_owned()
            .map(Place)
            .map_err(|_| OutboxFull)
    }
}

type Errand = Pin<Box<dyn Future<Output = (Letter, u32, Result<(), NotSent>)> + Send>>;

struct Postman {
    mailer: Arc<dyn Mailer>,
    times: OutboxTimes,
    receiver: mpsc::Receiver<Letter>,
    stop: CancellationToken,
    wires: Arc<Semaphore>,
    on_the_way: FuturesUnordered<Errand>,
}

impl Postman {
    async fn run(mut self) {
        loop {
            tokio::select! {
                Some((letter, attempt, sent)) = self.on_the_way.next() => self.came_back(letter, attempt, sent, true),
                letter = self.receiver.recv(), if self.on_the_way.len() < MOST_WAITING => match letter {
                    Some(letter) => self.leaves(letter, 1, Duration::ZERO),
                    None => break,
                },
                () = self.stop.cancelled() => break,
            }
            gauge!("waybill_mail_waiting").set(self.waiting());
        }
        let drain = self.times.drain;
        if tokio::time::timeout(drain, self.last_round())
            .await
            .is_err()
        {
            tracing::warn!(
                letters = self.waiting(),
                "letters were not sent before the stop"
            );
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric of a few thousand")]
    fn waiting(&self) -> f64 {
        (self.on_the_way.len() + self.receiver.len()) as f64
    }

    /// Every letter that is here gets one more chance.
    async fn last_round(&mut self) {
        self.receiver.close();
        while let Ok(letter) = self.receiver.try_recv() {
            self.leaves(letter, 1, Duration::ZERO);
        }
        while let Some((letter, attempt, sent)) = self.on_the_way.next().await {
            self.came_back(letter, attempt, sent, false);
        }
    }

    fn leaves(&mut self, letter: Letter, attempt: u32, pause: Duration) {
        let (mailer, wires) = (Arc::clone(&self.mailer), Arc::clone(&self.wires));
        self.on_the_way.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            // Never closed; and if it were, sending one letter more at a time would do no harm.
            let _wire = wires.acquire().await.ok();
            let sent = mailer.send(&letter).await;
            (letter, attempt, sent)
        }));
    }

    fn came_back(&mut self, letter: Letter, attempt: u32, sent: Result<(), NotSent>, again: bool) {
        match sent {
            Ok(()) => counter!("waybill_mail_sent_total").increment(1),
            Err(NotSent::ForNow(reason)) if again && attempt < self.times.attempts => {
                tracing::info!(
                    letter = letter.id,
                    attempt,
                    reason,
                    "a letter is tried again"
                );
                let pause = self.times.first_pause * 2u32.saturating_pow(attempt - 1).min(1 << 16);
                self.leaves(letter, attempt + 1, pause.min(self.times.longest_pause));
            }
            Err(reason) => {
                counter!("waybill_mail_lost_total").increment(1);
                tracing::warn!(letter = letter.id, attempt, %reason, "a letter is given up");
            }
        }
    }
}
