//! Mail to people: what is written, and how it leaves.
//!
//! A handler puts a [`Letter`] into the [`LetterBox`] of the [`Outbox`] and answers once it is stored in the stream MAIL, so that no letter is promised
//! that a crash would lose, and the time of a request depends neither on the mail server nor on whether an address is known: a request that writes no
//! letter stores a placeholder of the same size. Letters are sealed before they are stored (`seal.rs`). The sender of any gateway takes
//! them from there and sends them through a [`Mailer`], of which there are three: [`SmtpMailer`], [`PrintMailer`] for `waybill up`, where the log
//! is the mailbox, and [`NoMailer`], whose outbox takes no letters.

mod letters;
mod none;
mod outbox;
mod print;
mod seal;
mod sender;
mod smtp;
#[cfg(test)]
mod tests;
mod times;

use async_trait::async_trait;
use waybill_domain::access::email::Email;
use waybill_domain::time::Timestamp;

pub use letters::{Links, Occasion};
pub use none::NoMailer;
pub use outbox::{LetterBox, Outbox, OutboxParts, OutboxRefusal};
pub use print::PrintMailer;
pub use smtp::{SmtpConfig, SmtpMailer, SmtpRefused, SmtpTls};
pub use times::OutboxTimes;

/// A letter to one person. It may hold a secret, so its `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Id of the message, the same in every attempt to send it.
    pub id: String,
    pub to: Email,
    pub subject: String,
    pub body: String,
    /// It is not sent later than that: what it says has expired.
    pub until: Timestamp,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({}, {:?})", self.id, self.subject)
    }
}

/// Why a letter was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Another attempt may succeed.
    #[error("temporary failure: {0}")]
    Temporary(String),
    /// No further attempt can succeed.
    #[error("permanent failure: {0}")]
    Permanent(String),
}

/// A way to send letters.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Whether it can send anything at all.
    fn sends(&self) -> bool {
        true
    }

    /// Sends one letter, within a deadline of the mailer's own.
    async fn send(&self, letter: &Letter) -> Result<(), SendError>;
}
