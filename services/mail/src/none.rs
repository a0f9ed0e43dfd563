//! The mailer of an installation that sends no mail.

use async_trait::async_trait;

use super::{Letter, Mailer, SendError};

/// Sends nothing, so that its outbox takes no letters: better than tokens in a log that others read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMailer;

#[async_trait]
impl Mailer for NoMailer {
    fn sends(&self) -> bool {
        false
    }

    async fn send(&self, _: &Letter) -> Result<(), SendError> {
        Err(SendError::Permanent(
            "no way to send mail is configured (mail.transport)".into(),
        ))
    }
}
