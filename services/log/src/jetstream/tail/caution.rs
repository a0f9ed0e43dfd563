//! How long a tail reads record by record, after it lost its connection.
//!
//! A lost connection is most often just that, and costs one record read by itself. If that record has headers that the client library
//! cannot parse, it was the cause, and there may be more: from then on each loss doubles the number of records, and the time, for which
//! the tail does without a consumer. So a thousand such messages end ten connections, not a thousand; and whoever goes on to store them
//! slows these readers down, but does not stop them.

use std::time::{Duration, Instant};

/// Records after the first loss, doubled so often at the most.
const MOST_DOUBLINGS: u32 = 10;
/// Time without a consumer after the first doubling.
const SHORTEST: Duration = Duration::from_millis(50);
/// Between looks for a record.
const PAUSE: Duration = Duration::from_millis(50);

/// Of one tail.
#[derive(Default)]
pub(super) struct Caution {
    doublings: u32,
    /// Records to be read one by one before the next consumer.
    left: u64,
    /// Until then also what is still to come.
    until: Option<Instant>,
    /// A record read so was the cause of the loss.
    has_found: bool,
}

impl Caution {
    /// The connection is another one.
    pub(super) fn lost(&mut self) {
        self.doublings = match std::mem::take(&mut self.has_found) {
            true => (self.doublings + 1).min(MOST_DOUBLINGS),
            false => 0,
        };
        self.left = 1 << self.doublings;
        self.until =
            (self.doublings > 0).then(|| Instant::now() + SHORTEST * (1 << self.doublings));
    }

    /// Is the next record to be read by itself?
    pub(super) fn is_due(&self) -> bool {
        self.left > 0
    }

    /// One was read.
    pub(super) fn has_read(&mut self, is_damaged: bool) {
        self.has_found |= is_damaged;
        self.left = self.left.saturating_sub(1);
    }

    /// There is no record now. Cancellation safe.
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
