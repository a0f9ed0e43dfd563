//! The log as everybody's mailbox, for `waybill up`.

use async_trait::async_trait;

use super::{Letter, Mailer, SendError};

/// Writes letters to the log, with the tokens in them: whoever tries Waybill on their own machine has no mail server and reads the
/// log instead. Not for servers, whose logs others read; the configuration has to ask for it there.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrintMailer;

#[async_trait]
impl Mailer for PrintMailer {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        tracing::info!(to = %letter.to, subject = letter.subject, "a letter:\n{}", letter.body);
        Ok(())
    }
}
