//! The stream MAIL: letters that wait to be sent, each given to one gateway at a time.
//!
//! A gateway stores a letter here before it promises one. Any gateway may take it from here, and holds it for [`HOLD`] unless it extends that. A
//! gateway that dies neither finishes nor postpones what it holds, so another one is given it: a letter may be sent twice, and is never
//! forgotten. No order is kept.
//!
//! What a letter says and how it is sealed is the business of `waybill-mail`; here are bytes.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use waybill_domain::time::Timestamp;

use crate::{AppendError, ReadError, StreamSeq};

/// Where all letters are stored: nobody reads some of them and not others.
pub(crate) const SUBJECT: &str = "mail.letter";
/// The longest letter that is stored, sealed, in bytes. The stream takes 16 KiB with what belongs to the message itself.
pub const MAX_LETTER: usize = 12 * 1024;
/// For so long a letter that was taken is given to nobody else. After the death of its gateway it waits no longer than that.
pub const HOLD: Duration = Duration::from_secs(30);

/// A letter that this process holds.
#[derive(Clone, PartialEq, Eq)]
pub struct QueuedLetter {
    /// Position in MAIL.
    pub seq: StreamSeq,
    /// How often it was given to somebody, this time included.
    pub attempt: u32,
    /// When it was stored, by the server's clock.
    pub at: Timestamp,
    /// As it was posted.
    pub value: Bytes,
    /// By which the queue recognises this hold.
    pub(crate) hold: String,
}

impl fmt::Debug for QueuedLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedLetter")
            .field("seq", &self.seq)
            .field("attempt", &self.attempt)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// The stream MAIL.
#[async_trait]
pub trait MailQueue: Send + Sync + 'static {
    /// Stores a letter: when this is `Ok`, it is on disk. Answers within a deadline (seconds). A letter whose outcome is unknown may be
    /// sent later.
    async fn post(&self, letter: Bytes) -> Result<(), AppendError>;

    /// Takes one letter, once there is one; `None` after `within` without any. An error is passing: call again.
    /// When the call is dropped at the moment in which a letter arrives, that letter is given to somebody again after [`HOLD`].
    async fn take(&self, within: Duration) -> Result<Option<QueuedLetter>, ReadError>;

    /// Removes a letter, whoever holds it by now.
    async fn finish(&self, letter: &QueuedLetter) -> Result<(), ReadError>;

    /// Gives a letter back, to be taken again after a pause.
    async fn postpone(&self, letter: &QueuedLetter, pause: Duration) -> Result<(), ReadError>;

    /// Holds a letter for [`HOLD`] from now.
    async fn extend(&self, letter: &QueuedLetter) -> Result<(), ReadError>;

    /// How many letters are stored, those that are held or postponed included.
    async fn waiting(&self) -> Result<u64, ReadError>;
}

/// Refuses what no queue takes.
pub(crate) fn check_length(letter: &Bytes) -> Result<(), AppendError> {
    let length = letter.len();
    if length <= MAX_LETTER {
        return Ok(());
    }
    let reason = format!("a letter may take {MAX_LETTER} bytes, not {length}");
    Err(AppendError::Rejected { reason })
}
