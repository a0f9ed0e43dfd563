//! The way of a letter into the stream MAIL: durable before anybody is promised anything.

use std::sync::Arc;

use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_commands::{Pepper, entropy};
use waybill_log::{AppendError, MailQueue};

use super::seal::LetterSeal;
use super::sender::Sender;
use super::times::OutboxTimes;
use super::{Letter, Mailer};

/// Notices that may wait until they are stored, which takes milliseconds each. They are in memory: nobody waits for one.
const MAX_NOTICES: usize = 256;

/// Why a letter cannot be put into the outbox. Whoever asks for one is answered 503, so that nobody waits for a letter that never comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxRefusal {
    /// The stream MAIL has no room.
    #[error("too many mails wait to be sent; try again later")]
    Full,
    /// The mailer can send nothing.
    #[error("This installation sends no mail (mail.transport); ask its operator")]
    MailOff,
    /// It was not stored, or nobody knows whether it was.
    #[error("the letter was not stored: {reason}")]
    NotStored {
        /// For an operator.
        reason: String,
    },
}

/// What an outbox is built from.
pub struct OutboxParts {
    pub mailer: Arc<dyn Mailer>,
    /// The stream MAIL.
    pub queue: Arc<dyn MailQueue>,
    /// What the key that seals letters is derived from.
    pub pepper: Arc<Pepper>,
    pub times: OutboxTimes,
}

/// Where letters go, if this gateway sends any. Clones share it.
#[derive(Clone)]
pub struct Outbox(Option<LetterBox>);

/// The outbox of a gateway that sends mail. Clones share it.
#[derive(Clone)]
pub struct LetterBox {
    posting: Posting,
    notices: mpsc::Sender<Letter>,
}

impl Outbox {
    /// Starts the tasks that store notices and send letters, among `tasks` and until `stop`. A gateway that sends no mail neither stores nor
    /// takes any.
    pub fn start(parts: OutboxParts, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        if !parts.mailer.sends() {
            return Self(None);
        }
        let posting = Posting {
            queue: Arc::clone(&parts.queue),
            seal: LetterSeal::new(parts.pepper),
        };
        let sender = Sender {
            mailer: parts.mailer,
            queue: parts.queue,
            seal: posting.seal.clone(),
            times: parts.times,
            stop: stop.clone(),
        };
        tasks.spawn(sender.run());
        let (notices, received) = mpsc::channel(MAX_NOTICES);
        let store = NoticeTask {
            posting: posting.clone(),
            received,
            times: parts.times,
            stop: stop.clone(),
        };
        tasks.spawn(store.run());
        Self(Some(LetterBox { posting, notices }))
    }

    /// Where letters are posted. Asked for before it is known whether one is written, so that everybody is refused alike.
    pub fn letter_box(&self) -> Result<&LetterBox, OutboxRefusal> {
        self.0.as_ref().ok_or(OutboxRefusal::MailOff)
    }

    /// Has a letter stored soon: for notices that nobody waits for. One that finds no room is counted as lost.
    pub fn post_or_lose(&self, letter: Letter) {
        let posted = match &self.0 {
            None => Err((letter, OutboxRefusal::MailOff)),
            Some(letter_box) => letter_box
                .notices
                .try_send(letter)
                .map_err(|error| (error.into_inner(), OutboxRefusal::Full)),
        };
        if let Err((letter, why)) = posted {
            lost(&letter, &why);
        }
    }
}

impl LetterBox {
    /// Stores a letter; when this is `Ok`, it is on disk and will be sent. Without a letter, a placeholder is stored that takes as long
    /// and looks the same.
    pub async fn post(&self, letter: Option<&Letter>) -> Result<(), OutboxRefusal> {
        self.posting.post(letter).await
    }
}

/// Seals letters and stores them.
#[derive(Clone)]
struct Posting {
    queue: Arc<dyn MailQueue>,
    seal: LetterSeal,
}

impl Posting {
    async fn post(&self, letter: Option<&Letter>) -> Result<(), OutboxRefusal> {
        let sealed = self.seal.seal(letter).map_err(|error| not_stored(&error))?;
        self.queue.post(sealed).await.map_err(|error| match error {
            AppendError::Full { .. } => OutboxRefusal::Full,
            error => not_stored(&error),
        })
    }
}

fn not_stored(error: &dyn std::fmt::Display) -> OutboxRefusal {
    OutboxRefusal::NotStored {
        reason: error.to_string(),
    }
}

fn lost(letter: &Letter, why: &OutboxRefusal) {
    counter!("waybill_mail_lost_total").increment(1);
    tracing::warn!(letter = letter.id, %why, "a notice by mail is lost");
}

/// Stores notices one after the other.
struct NoticeTask {
    posting: Posting,
    received: mpsc::Receiver<Letter>,
    times: OutboxTimes,
    stop: CancellationToken,
}

impl NoticeTask {
    async fn run(mut self) {
        loop {
            // Cancellation safe: a notice is either in the queue or here.
            let notice = tokio::select! {
                notice = self.received.recv() => notice,
                () = self.stop.cancelled() => None,
            };
            match notice {
                Some(notice) => self.store(&notice).await,
                None => break,
            }
        }
        self.received.close();
        let rest = async {
            while let Some(notice) = self.received.recv().await {
                if let Err(why) = self.posting.post(Some(&notice)).await {
                    lost(&notice, &why);
                }
            }
        };
        // What is left after that time is counted too.
        if tokio::time::timeout(self.times.drain, rest).await.is_err() {
            while let Ok(notice) = self.received.try_recv() {
                lost(&notice, &not_stored(&"the gateway stops"));
            }
        }
    }

    /// Tries until it is stored. The ones behind it would fare no better.
    async fn store(&self, notice: &Letter) {
        for attempt in 1.. {
            let Err(why) = self.posting.post(Some(notice)).await else {
                return;
            };
            let pause = self.times.pause(attempt);
            if self.stop.is_cancelled() || entropy::now().plus(pause) >= notice.until {
                return lost(notice, &why);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // One more try, and then the others get theirs.
                () = self.stop.cancelled() => {}
            }
        }
    }
}
