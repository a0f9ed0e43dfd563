//! Mail to people: what is written, and how it leaves.
//!
//! A handler puts a [`Letter`] into the [`Outbox`] and goes on: how long a mail server takes, and whether there is one, tells nobody
//! whether an address is known. One task empties the outbox through a [`Mailer`], of which there are two: [`SmtpMailer`], and
//! [`PrintMailer`] for `waybill up`, where the log is the mailbox.

mod letters;
mod none;
mod outbox;
mod print;
mod smtp;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use waybill_domain::access::email::Email;

pub use letters::{Links, Occasion};
pub use none::NoMailer;
pub use outbox::{Outbox, OutboxFull, OutboxTimes, Place};
pub use print::PrintMailer;
pub use smtp::{SmtpConfig, SmtpMailer, SmtpRefused, SmtpTls};

/// A letter to one person. It may hold a secret, so its `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Names it; the same however often it is tried.
    pub id: String,
    /// To whom.
    pub to: Email,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({}, {:?})", self.id, self.subject)
    }
}

/// Why a letter did not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It may leave later.
    #[error("not now: {0}")]
    ForNow(String),
    /// It never will.
    #[error("never: {0}")]
    ForEver(String),
}

/// Takes letters to where people find them.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Sends one. Has its own deadline.
    async fn send(&self, letter: &Letter) -> Result<(), NotSent>;
}
