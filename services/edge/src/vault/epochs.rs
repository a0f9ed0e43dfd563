//! The keys under which this gateway seals credentials that tasks bring along: one for each credential of a team in a partition, for as long as
//! an epoch ([`waybill_domain::vault::epoch`]).
//!
//! Neither credentials nor what opens their seals are kept: credentials are told apart by an HMAC under a key that exists in this process only,
//! and of the key of an epoch only the half that seals is here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use waybill_commands::entropy;
use waybill_domain::id::{EpochId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Elapsed;
use waybill_vault::EpochSealer;

use crate::error::ApiError;

/// Credentials whose keys are held at a time; the oldest make room, and get another key when they are brought again.
const MAX_HELD: usize = 10_000;
/// Length of an HMAC with SHA-256.
const DIGEST_BYTES: usize = 32;

type Digest = [u8; DIGEST_BYTES];
/// The key of an epoch, once it is stored: the first task makes it, and others with the same credential wait for that. An error is for all
/// that wait; a later task tries again.
pub(super) type Epoch = OnceCell<Result<EpochKey, ApiError>>;

/// A key of which the workers have the other half.
pub(super) struct EpochKey {
    pub(super) id: EpochId,
    pub(super) sealer: EpochSealer,
}

/// The epochs of this gateway.
pub(super) struct Epochs {
    lasts: Duration,
    key: hmac::Key,
    /// Locked for a moment at a time, never across an await.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_credential: HashMap<Digest, Arc<Entry>>,
    /// The oldest first. An entry that was replaced stays in its place.
    order: VecDeque<(Digest, Arc<Entry>)>,
}

struct Entry {
    /// Before its key was stored.
    begun: Elapsed,
    epoch: Arc<Epoch>,
}

impl Epochs {
    pub(super) fn lasting(lasts: Duration) -> Self {
        Self {
            lasts,
            key: hmac::Key::new(hmac::HMAC_SHA256, &entropy::fresh::<DIGEST_BYTES>()),
            held: Mutex::default(),
        }
    }

    /// The epoch of a credential that is brought at `now`.
    pub(super) fn of(
        &self,
        team: &TeamId,
        partition: Partition,
        credential: &[u8],
        now: Elapsed,
    ) -> Arc<Epoch> {
        let digest = self.digest(team, partition, credential);
        let mut held = self.held.lock();
        held.end(now, self.lasts);
        let has_failed = |entry: &Entry| entry.epoch.get().is_some_and(Result::is_err);
        let entry = held.by_credential.get(&digest);
        if let Some(entry) = entry.filter(|entry| !has_failed(entry)) {
            return Arc::clone(&entry.epoch);
        }
        let entry = Arc::new(Entry {
            begun: now,
            epoch: Arc::default(),
        });
        held.by_credential.insert(digest, Arc::clone(&entry));
        held.order.push_back((digest, Arc::clone(&entry)));
        Arc::clone(&entry.epoch)
    }

    /// Forgets the epochs that are over.
    pub(super) fn end(&self, now: Elapsed) {
        self.held.lock().end(now, self.lasts);
    }

    /// The partition is a number of fixed length and a team's id contains no zero, so that no two places and credentials are the same bytes.
    fn digest(&self, team: &TeamId, partition: Partition, credential: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&partition.get().to_be_bytes());
        context.update(team.as_str().as_bytes());
        context.update(&[0]);
        context.update(credential);
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl Held {
    fn end(&mut self, now: Elapsed, lasts: Duration) {
        while let Some((digest, entry)) = self.order.front() {
            if now.since(entry.begun) < lasts && self.order.len() <= MAX_HELD {
                break;
            }
            let is_this = |held: &Arc<Entry>| Arc::ptr_eq(held, entry);
            if self.by_credential.get(digest).is_some_and(is_this) {
                self.by_credential.remove(digest);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::time::Timestamp;

    use super::*;

    const LASTS: Duration = Duration::from_secs(600);

    fn team(number: u128) -> TeamId {
        TeamId::new(Timestamp(1), number)
    }

    fn partition(number: u16) -> Partition {
        Partition::new(number).expect("in range")
    }

    fn at(seconds: u64) -> Elapsed {
        Elapsed::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn only_the_same_credential_of_the_same_team_and_partition_shares_an_epoch() {
        let epochs = Epochs::lasting(LASTS);
        let first = epochs.of(&team(1), partition(3), b"Bearer a", at(0));
        let again = epochs.of(&team(1), partition(3), b"Bearer a", at(599));
        assert!(Arc::ptr_eq(&first, &again));
        let test = team(1).in_environment(waybill_domain::id::Environment::Test);
        for (team, partition, credential) in [
            (team(2), partition(3), "Bearer a"),
            (test, partition(3), "Bearer a"),
            (team(1), partition(4), "Bearer a"),
            (team(1), partition(3), "Bearer b"),
        ] {
            let other = epochs.of(&team, partition, credential.as_bytes(), at(1));
            assert!(!Arc::ptr_eq(&first, &other), "{team} {credential}");
        }
    }

    #[test]
    fn an_epoch_ends_after_its_time_and_is_forgotten() {
        let epochs = Epochs::lasting(LASTS);
        let first = epochs.of(&team(1), partition(0), b"a", at(0));
        let next = epochs.of(&team(1), partition(0), b"a", at(600));
        assert!(!Arc::ptr_eq(&first, &next));
        assert_eq!(Arc::strong_count(&first), 1, "nothing else holds it");
        epochs.end(at(1_199));
        assert_eq!(epochs.held.lock().by_credential.len(), 1);
        epochs.end(at(1_200));
        let held = epochs.held.lock();
        assert_eq!((held.by_credential.len(), held.order.len()), (0, 0));
    }

    #[test]
    fn a_failure_is_for_those_who_waited() {
        let epochs = Epochs::lasting(LASTS);
        let of = || epochs.of(&team(1), partition(0), b"a", at(0));
        let (first, waiting) = (of(), of());
        assert!(Arc::ptr_eq(&first, &waiting));
        first.set(Err(ApiError::internal(&"away"))).ok();
        assert!(waiting.get().is_some_and(Result::is_err));
        assert!(of().get().is_none(), "a later task tries again");
    }

    #[test]
    fn the_oldest_make_room() {
        let epochs = Epochs::lasting(LASTS);
        let first = epochs.of(&team(1), partition(0), b"a", at(0));
        let held = |epochs: &Epochs| epochs.held.lock().order.len();
        for number in 0..2 * MAX_HELD {
            epochs.of(&team(2), partition(0), &number.to_be_bytes(), at(1));
        }
        assert!(held(&epochs) <= MAX_HELD + 1, "{}", held(&epochs));
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
