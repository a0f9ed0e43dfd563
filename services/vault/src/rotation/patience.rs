//! Trying again what the store could not do at the moment, with growing pauses and an end.

use std::future::Future;
use std::time::Duration;

use waybill_log::{KeyStoreError, ReadError};

/// Tries of one call. With the pauses between them about six seconds: longer than the store needs to find another leader.
const TRIES: u32 = 7;
/// The first pause; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// An error after which the same call may succeed.
pub(super) trait Passing {
    fn may_pass(&self) -> bool;
}

impl Passing for ReadError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl Passing for KeyStoreError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}

/// Calls until it succeeds, fails for good, or the tries are used up.
pub(super) async fn patiently<T, E: Passing, F: Future<Output = Result<T, E>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.may_pass() => tokio::time::sleep(pause + jitter(pause)).await,
            answer => return answer,
        }
        pause *= 2;
    }
    call().await
}

/// Up to half a pause, so that those who failed together do not return together.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter, which is no reason to stop.
    let share = getrandom::fill(&mut byte).map_or(0, |()| byte[0]);
    pause * u32::from(share) / 512
}
