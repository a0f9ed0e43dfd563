//! Decides how long a tail reads records one by one after its connection broke.
//!
//! Usually such a loss has other causes, and costs one record that is read individually. If that
//! record has headers that the client library cannot parse, it was the cause, and more may follow.
//! From then on each loss doubles the number of records, and the time, for which the tail reads
//! without a consumer. So a thousand such messages break ten connections, not a thousand; a writer
//! that goes on storing them slows these readers down but does not stop them.

use std::time::{Duration, Instant};

/// Limit of the doublings.
const MOST_DOUBLINGS: u32 = 10;
/// Unit of the time without a consumer, which each doubling doubles.
const SHORTEST: Duration = Duration::from_millis(50);
/// Pause between two checks for a new record.
const PAUSE: Duration = Duration::from_millis(50);

/// The state of one tail.
#[derive(Default)]
pub(super) struct Caution {
    doublings: u32,
    /// Records to be read one by one before the next consumer.
    left: u64,
    /// Until then new records are read one by one too.
    until: Option<Instant>,
    /// Whether a record with malformed headers was found, which was the cause of the loss.
    has_found: bool,
}

impl Caution {
    /// Notes that the connection was lost.
    pub(super) fn lost(&mut self) {
        self.doublings = match std::mem::take(&mut self.has_found) {
            true => (self.doublings + 1).min(MOST_DOUBLINGS),
            false => 0,
        };
        self.left = 1 << self.doublings;
        self.until =
            (self.doublings > 0).then(|| Instant::now() + SHORTEST * (1 << self.doublings));
    }

    /// Whether the next record must be read individually.
    pub(super) fn is_due(&self) -> bool {
        self.left > 0
    }

    /// Notes that a record was read individually.
    pub(super) fn has_read(&mut self, is_damaged: bool) {
        self.has_found |= is_damaged;
        self.left = self.left.saturating_sub(1);
    }

    /// Waits a little if there is no record, or ends the caution if its time is over. Cancellation
    /// safe.
    pub(super) async fn nothing_there(&mut self) {
        match self.until {
            Some(until) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            _ => self.left = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose(caution: &mut Caution, is_damaged: bool) -> u64 {
        caution.lost();
        let left = caution.left;
        for _ in 0..left {
            assert!(caution.is_due());
            caution.has_read(is_damaged);
        }
        assert!(!caution.is_due());
        left
    }

    #[test]
    fn a_thousand_damaged_messages_end_ten_connections() {
        let mut caution = Caution::default();
        let read: u64 = (0..10).map(|_| lose(&mut caution, true)).sum();
        assert!(read >= 1000, "{read}");
    }

    #[test]
    fn a_plain_loss_costs_one_record() {
        let mut caution = Caution::default();
        assert_eq!(lose(&mut caution, true), 1);
        assert_eq!(lose(&mut caution, false), 2);
        assert_eq!(lose(&mut caution, false), 1);
    }
}
