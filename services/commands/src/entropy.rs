//! Time and randomness, which the pure core takes as arguments.

use std::cell::RefCell;
use std::time::SystemTime;

use waybill_domain::time::{Elapsed, Times, Timestamp};

/// Bytes requested from the operating system at once: an accepted request needs about forty, and
/// the call is more expensive than they are.
const POOL_BYTES: usize = 2048;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

/// Random bytes for ids, from the operating system's generator through a pool per thread. For keys,
/// use [`fresh`].
pub fn random<const N: usize>() -> [u8; N] {
    POOL.with_borrow_mut(|pool| {
        if pool.used + N > POOL_BYTES {
            pool.bytes = fresh();
            pool.used = 0;
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&pool.bytes[pool.used..pool.used + N]);
        pool.used += N;
        taken
    })
}

/// 128 random bits for the low end of a ULID.
pub fn random_u128() -> u128 {
    u128::from_ne_bytes(random())
}

/// Random bytes straight from the operating system, for secrets.
pub fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness, ids and keys would be guessable: it is better not to run"
    )]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The current time.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(Timestamp::MAX.0))
}

/// The current time by both clocks.
pub fn times() -> Times {
    Times {
        elapsed: Elapsed::default().plus(waybill_fence::clock::uptime().0),
        wall: now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_handed_out_twice() {
        let mut seen = std::collections::HashSet::new();
        assert!((0..1_000).all(|_| seen.insert(random::<16>())));
    }
}
