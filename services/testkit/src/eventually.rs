//! Waiting for a condition instead of a fixed time.

use std::time::{Duration, Instant};

/// Interval between checks.
const POLL: Duration = Duration::from_millis(10);

/// The condition did not become true in time.
#[derive(Debug)]
pub struct NeverHappened {
    /// Time that was waited.
    pub waited: Duration,
}

impl std::fmt::Display for NeverHappened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the condition did not hold within {:?}", self.waited)
    }
}

impl std::error::Error for NeverHappened {}

/// Waits until the condition holds.
///
/// # Errors
/// When it does not hold within the deadline.
pub async fn eventually(
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<(), NeverHappened> {
    let start = Instant::now();
    loop {
        if condition().await {
            return Ok(());
        }
        let waited = start.elapsed();
        if waited > deadline {
            return Err(NeverHappened { waited });
        }
        tokio::time::sleep(POLL).await;
    }
}
