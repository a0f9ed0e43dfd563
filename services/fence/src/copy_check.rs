//! Between a fence and whoever follows CONTROL for it: once the log was found to be another one, nothing is decided until the copy that is
//! decided from was compared with it.

use tokio::sync::watch;

/// Requests to compare the copy with the log, and how many of them are answered.
#[derive(Debug)]
pub struct CopyCheck {
    wanted: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

impl Default for CopyCheck {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        }
    }
}

impl CopyCheck {
    /// Returns once the copy was compared with the log, from now on, and holds what the log holds, or was begun anew.
    pub(crate) async fn compared(&self) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        let mut answered = self.answered.subscribe();
        // Its sender is here.
        let _ = answered.wait_for(|answered| *answered >= number).await;
    }

    /// The newest request. A comparison that begins after this answers it.
    #[must_use]
    pub fn newest(&self) -> u64 {
        *self.wanted.borrow()
    }

    /// Waits for a request that is not answered, and gives its number. Cancellation safe.
    pub async fn wanted(&self) -> u64 {
        let answered = *self.answered.borrow();
        let mut wanted = self.wanted.subscribe();
        let newest = wanted.wait_for(|wanted| *wanted > answered).await;
        newest.map_or(answered, |newest| *newest)
    }

    /// The copy holds what the log holds, by a comparison that began after that request.
    pub fn answer(&self, number: u64) {
        self.answered
            .send_modify(|answered| *answered = (*answered).max(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn only_a_comparison_that_began_later_answers() {
        let check = CopyCheck::default();
        assert!(check.wanted().now_or_never().is_none());
        let before = check.newest();
        let mut compared = Box::pin(check.compared());
        assert!(compared.as_mut().now_or_never().is_none());
        check.answer(before);
        assert!(compared.as_mut().now_or_never().is_none());
        let number = check.wanted().now_or_never().expect("a request");
        check.answer(number);
        assert!(compared.as_mut().now_or_never().is_some());
        assert!(check.wanted().now_or_never().is_none());
    }
}
