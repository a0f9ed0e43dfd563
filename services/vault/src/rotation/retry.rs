//! Retries of store calls that failed temporarily, with growing pauses and a limit.

use std::future::Future;
use std::time::Duration;

use waybill_log::{KeyStoreError, ReadError};

/// Limit of attempts per call. With the pauses in between, about six seconds: longer than the store
/// takes to elect another leader.
const TRIES: u32 = 7;
/// First pause; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// An error after which the same call may succeed.
pub(super) trait Temporary {
    fn is_temporary(&self) -> bool;
}

impl Temporary for ReadError {
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl Temporary for KeyStoreError {
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}

/// Calls until it succeeds, fails permanently, or no attempt is left.
pub(super) async fn with_retries<T, E: Temporary, F: Future<Output = Result<T, E>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.is_temporary() => tokio::time::sleep(pause + jitter(pause)).await,
            answer => return answer,
        }
        pause *= 2;
    }
    call().await
}

/// Up to half of the pause, so that callers that failed together do not retry together.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Missing randomness only means no jitter, which is no reason to stop.
    let share = getrandom::fill(&mut byte).map_or(0, |()| byte[0]);
    pause * u32::from(share) / 512
}
