//! Everybody's mailbox.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use waybill_log::mail::HOLD;
use waybill_mail::{Letter, Mailer, SendError};
use waybill_testkit::eventually;

#[derive(Clone, Default)]
pub(super) struct Mailbox(Arc<Mutex<Vec<Letter>>>);

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        self.0.lock().expect("no panic inside").push(letter.clone());
        Ok(())
    }
}

impl Mailbox {
    pub(super) fn all(&self, to: &str) -> Vec<Letter> {
        let letters = self.0.lock().expect("no panic inside");
        letters
            .iter()
            .filter(|letter| letter.to.as_str() == to)
            .cloned()
            .collect()
    }

    /// The `number`th letter to somebody (from 1), once it is there.
    pub(super) async fn letter(&self, to: &str, number: usize) -> Result<Letter> {
        // A gateway that was killed may have held it.
        eventually(2 * HOLD, async || self.all(to).len() >= number).await?;
        self.all(to)
            .into_iter()
            .nth(number - 1)
            .context("it is there")
    }

    /// The token in that letter.
    pub(super) async fn token(&self, to: &str, number: usize) -> Result<String> {
        let letter = self.letter(to, number).await?;
        let token = letter
            .body
            .lines()
            .find_map(|line| line.strip_prefix("    wb_"));
        Ok(format!("wb_{}", token.context("a token")?))
    }
}
