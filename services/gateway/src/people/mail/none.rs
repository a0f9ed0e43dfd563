//! Nowhere to send mail to.

use async_trait::async_trait;

use super::{Letter, Mailer, NotSent};

/// Gives up every letter, and says so in the log: better than tokens in a log that others read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMailer;

#[async_trait]
impl Mailer for NoMailer {
    async fn send(&self, _: &Letter) -> Result<(), NotSent> {
        Err(NotSent::ForEver(
            "no way to send mail is configured (mail.transport)".into(),
        ))
    }
}
