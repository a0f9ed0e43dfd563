//! The sender of a gateway: takes letters from the stream MAIL, a few at a time, and sends them.
//!
//! A letter is removed once it was sent or given up. Until then it lies in the stream: whoever holds it extends the hold while the mail server
//! takes its time, postpones it after a temporary failure, and leaves it to the next gateway when this one stops. So a letter may be sent
//! twice, always under the same message id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;
use waybill_commands::entropy;
use waybill_domain::time::Timestamp;
use waybill_log::mail::HOLD;
use waybill_log::{MailQueue, QueuedLetter};

use super::seal::{LetterSeal, NotOpened};
use super::times::OutboxTimes;
use super::{Letter, Mailer, SendError};

/// Letters sent at the same time, so that one slow connection does not hold up the others.
const MAX_CONNECTIONS: usize = 4;
/// One request for a letter. The queue says meanwhile that it is there.
const TAKE_WITHIN: Duration = Duration::from_secs(30);
/// Rest after a request that failed.
const REST: Duration = Duration::from_secs(1);
/// How often the letters that wait are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// A letter that this gateway cannot open is left for so long to others that may be able to: those that know a newer pepper.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(600);
/// Tries to say that a letter is done. Without success it is sent again.
const TRIES: usize = 3;

pub(crate) struct Sender {
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) queue: Arc<dyn MailQueue>,
    pub(crate) seal: LetterSeal,
    pub(crate) times: OutboxTimes,
    pub(crate) stop: CancellationToken,
}

/// What becomes of a letter that was not sent.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    TryAgain { after: Duration },
    GiveUp,
}

fn after_failure(
    failure: &SendError,
    attempt: u32,
    until: Timestamp,
    now: Timestamp,
    times: OutboxTimes,
) -> NextStep {
    let after = times.pause(attempt);
    match failure {
        SendError::Temporary(_) if now.plus(after) < until => NextStep::TryAgain { after },
        SendError::Temporary(_) | SendError::Permanent(_) => NextStep::GiveUp,
    }
}

impl Sender {
    pub(crate) async fn run(self) {
        // Of the connections: only the first failure of several in a row is a warning.
        let is_away = AtomicBool::new(false);
        let connections = (0..MAX_CONNECTIONS).map(|_| self.serve(&is_away));
        tokio::join!(join_all(connections), self.count());
    }

    /// Sends one letter after the other until the stop.
    async fn serve(&self, is_away: &AtomicBool) {
        loop {
            // A letter that arrives in the moment of the stop is given to another gateway when the hold ends.
            let taken = tokio::select! {
                taken = self.queue.take(TAKE_WITHIN) => taken,
                () = self.stop.cancelled() => return,
            };
            match taken {
                Ok(taken) => {
                    is_away.store(false, Ordering::Relaxed);
                    if let Some(queued) = taken {
                        self.handle(&queued).await;
                    }
                }
                Err(error) => {
                    if !is_away.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "taking letters from the stream MAIL fails; they wait there, and this gateway goes on trying");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(REST) => {}
                        () = self.stop.cancelled() => return,
                    }
                }
            }
        }
    }

    async fn handle(&self, queued: &QueuedLetter) {
        match self.seal.open(&queued.value) {
            // A placeholder: nobody was to get a letter.
            Ok(None) => self.finish(queued).await,
            Ok(Some(letter)) => self.deliver(queued, &letter).await,
            Err(error) => self.unreadable(queued, error).await,
        }
    }

    async fn unreadable(&self, queued: &QueuedLetter, error: NotOpened) {
        let is_new = entropy::now() < queued.at.plus(LEFT_TO_OTHERS);
        if error.may_pass() && is_new {
            let pause = self.times.pause(queued.attempt);
            tracing::info!(position = queued.seq.0, %error, "a stored letter cannot be opened here; it is left to other gateways");
            return self.postpone(queued, pause).await;
        }
        counter!("waybill_mail_lost_total").increment(1);
        tracing::warn!(position = queued.seq.0, %error, "a stored letter cannot be opened; it is dropped");
        self.finish(queued).await;
    }

    async fn deliver(&self, queued: &QueuedLetter, letter: &Letter) {
        let attempt = queued.attempt;
        if entropy::now() >= letter.until {
            counter!("waybill_mail_lost_total").increment(1);
            tracing::warn!(
                letter = letter.id,
                attempt,
                "a letter waited until it had expired; it is dropped"
            );
            return self.finish(queued).await;
        }
        let Some(sent) = self.send(queued, letter).await else {
            tracing::info!(
                letter = letter.id,
                attempt,
                "a letter was not sent before the stop; it is left to the next gateway"
            );
            return self.postpone(queued, Duration::ZERO).await;
        };
        let Err(failure) = sent else {
            counter!("waybill_mail_sent_total").increment(1);
            return self.finish(queued).await;
        };
        match after_failure(&failure, attempt, letter.until, entropy::now(), self.times) {
            NextStep::TryAgain { after } => {
                tracing::info!(
                    letter = letter.id,
                    attempt,
                    %failure,
                    "sending a letter failed; trying again"
                );
                self.postpone(queued, after).await;
            }
            NextStep::GiveUp => {
                counter!("waybill_mail_lost_total").increment(1);
                tracing::warn!(letter = letter.id, attempt, %failure, "sending a letter failed for the last time; it is dropped");
                self.finish(queued).await;
            }
        }
    }

    /// Sends a letter and holds it meanwhile. `None`: the gateway stops, and the mail server takes too long for that.
    async fn send(&self, queued: &QueuedLetter, letter: &Letter) -> Option<Result<(), SendError>> {
        let hold = async {
            loop {
                tokio::time::sleep(HOLD / 3).await;
                if let Err(error) = self.queue.extend(queued).await {
                    tracing::debug!(%error, letter = letter.id, "the hold of a letter was not extended; it may be sent twice");
                }
            }
        };
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.times.drain).await;
        };
        // What the mail server has taken without a word is sent again: there is no safe moment to break off.
        tokio::select! {
            sent = self.mailer.send(letter) => Some(sent),
            () = stopped => None,
            () = hold => None,
        }
    }

    async fn finish(&self, queued: &QueuedLetter) {
        let mut last = None;
        for _ in 0..TRIES {
            match self.queue.finish(queued).await {
                Ok(()) => return,
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last {
            tracing::warn!(position = queued.seq.0, %error, "a letter was not removed from the stream MAIL; if it was sent, it will be sent again");
        }
    }

    async fn postpone(&self, queued: &QueuedLetter, pause: Duration) {
        if let Err(error) = self.queue.postpone(queued, pause).await {
            tracing::debug!(position = queued.seq.0, %error, "a letter was not postponed; it comes back when its hold ends");
        }
    }

    /// Keeps the gauge of letters that wait. Every gateway shows all of them: the stream is theirs together.
    async fn count(&self) {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => if let Ok(waiting) = self.queue.waiting().await {
                    show(waiting);
                },
                () = self.stop.cancelled() => return,
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric of some thousands")]
fn show(waiting: u64) {
    gauge!("waybill_mail_waiting").set(waiting as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_tried_again_while_it_is_good_and_the_failure_may_pass() {
        let now = Timestamp(1_000_000);
        let until = now.plus(Duration::from_secs(100));
        let after = |failure: &SendError, attempt| {
            after_failure(failure, attempt, until, now, OutboxTimes::default())
        };
        let temporary = SendError::Temporary("later".into());
        let seconds = |seconds| NextStep::TryAgain {
            after: Duration::from_secs(seconds),
        };
        assert_eq!(after(&temporary, 1), seconds(2));
        assert_eq!(after(&temporary, 6), seconds(64));
        // The next attempt would come too late.
        assert_eq!(after(&temporary, 7), NextStep::GiveUp);
        let permanent = SendError::Permanent("never".into());
        assert_eq!(after(&permanent, 1), NextStep::GiveUp);
    }
}
