//! The buckets of all holders: a map in shards, bounded, with one short lock for a whole decision.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use waybill_domain::access::limit::{Ask, Bucket, Check, HandBack, Meter, PartitionKey, Window};
use waybill_domain::access::plan::Policy;
use waybill_domain::time::{Times, Timestamp};

/// One thing that a request is charged to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) holder: &'a str,
    pub(super) policy: &'a Arc<Policy>,
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Times,
    /// Gateways that serve now.
    pub(super) live: u32,
    /// The counter does not answer.
    pub(super) away: bool,
    /// How many credits may be asked for at once.
    pub(super) grain: Grain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// As many as half a lease needs.
    Lease,
    /// Only what is spent at once.
    Single,
}

/// What came of a request.
pub(super) enum Attempt {
    /// Charged to all.
    Admitted(Vec<Meter>),
    /// Charged to none.
    Refused(Vec<Meter>),
    /// The counter has to be asked: fly these, wait for one of `landings`, and try again.
    Wait {
        departures: Vec<Departure>,
        landing: watch::Receiver<()>,
    },
    /// No room for another holder.
    Full,
}

/// A request to the counter that must be made now. While it is under way nobody else asks for the same bucket.
pub(super) struct Departure {
    pub(super) shard: usize,
    pub(super) holder: Box<str>,
    pub(super) policy: Arc<Policy>,
    pub(super) ask: Ask,
    /// Dropped when the answer has been taken in: who waits for it tries again.
    pub(super) landing: watch::Sender<()>,
}

/// Credits that have lain too long.
pub(super) struct Return {
    pub(super) holder: Box<str>,
    pub(super) policy: Arc<Policy>,
    pub(super) back: HandBack,
}

/// Two generations: when the young one is full it becomes the old one, and what may be forgotten of the old one is.
#[derive(Default)]
struct Shard {
    young: HashMap<Box<str>, Entry>,
    old: HashMap<Box<str>, Entry>,
}

/// What a holder has.
struct Entry {
    partition: PartitionKey,
    slots: Vec<Slot>,
}

struct Slot {
    policy: Arc<Policy>,
    bucket: Bucket,
    /// The request to the counter that is under way. Closed when its maker is gone, whatever became of it.
    flight: Option<watch::Receiver<()>>,
    /// Requests that wait for it.
    waiting: u64,
}

/// The buckets of all holders.
pub(super) struct Buckets {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Most holders in a shard.
    capacity: usize,
}

impl Buckets {
    /// `shards` is how many decisions can be made at once, `holders` how many are remembered at the most.
    pub(super) fn new(shards: usize, holders: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            capacity: holders.div_ceil(shards),
        }
    }

    /// Charges a request to all claims or to none. Claims with the same `group` share a lock.
    pub(super) fn attempt<'a, C>(&self, group: &str, claims: C, at: Circumstances) -> Attempt
    where
        C: Iterator<Item = Claim<'a>> + Clone,
    {
        let index = self.index(group);
        let mut shard = self.lock(index);
        let (mut asks, mut refused) = (false, false);
        for claim in claims.clone() {
            let Some((_, slot)) = shard.slot(&claim, at.now.wall, self.capacity) else {
                return Attempt::Full;
            };
            match slot.bucket.check(claim.policy, at.now, at.live, at.away) {
                Check::Ready => {}
                Check::Ask => asks = true,
                Check::Refused => refused = true,
            }
        }
        if asks && !refused {
            return shard.depart(index, claims, at);
        }
        let mut meters = Vec::with_capacity(claims.size_hint().0);
        for claim in claims {
            let Some((partition, slot)) = shard.slot(&claim, at.now.wall, self.capacity) else {
                return Attempt::Full;
            };
            let check = slot.bucket.check(claim.policy, at.now, at.live, at.away);
            if !refused {
                slot.bucket.spend();
            }
            let violated = check == Check::Refused;
            let left = slot
                .bucket
                .remaining(claim.policy, at.now.wall, at.live, at.away);
            meters.push(Meter {
                policy: Arc::clone(claim.policy),
                partition,
                remaining: if violated { 0 } else { left },
                window: Window::at(at.now.wall, claim.policy),
                violated,
            });
        }
        if refused {
            Attempt::Refused(meters)
        } else {
            Attempt::Admitted(meters)
        }
    }

    /// Takes back what a request was charged to all claims.
    pub(super) fn forgive<'a>(
        &self,
        group: &str,
        claims: impl Iterator<Item = Claim<'a>>,
        now: Timestamp,
    ) {
        let mut shard = self.lock(self.index(group));
        for claim in claims {
            // Whoever was forgotten meanwhile is not charged for anything.
            if let Some(slot) = shard.find(claim.holder, claim.policy) {
                slot.bucket.unspend(claim.policy, now);
            }
        }
    }

    /// Takes in the counter's answer: the total of the window before, for a smooth policy, and the new one. `None`: there was none.
    /// Gives what must go back to the counter.
    pub(super) fn land(
        &self,
        departure: &Departure,
        previous: Option<i64>,
        total: Option<i64>,
        now: Times,
    ) -> Option<HandBack> {
        let Departure { policy, ask, .. } = departure;
        let mut shard = self.lock(departure.shard);
        let Some(slot) = shard.find(&departure.holder, policy) else {
            // Forgotten meanwhile: nothing of it was used.
            return total.map(|_| HandBack {
                window: ask.window,
                credits: ask.wanted,
            });
        };
        slot.flight = None;
        if let Some(previous) = previous {
            slot.bucket.learn_previous(ask, policy, previous);
        }
        let back = slot.bucket.granted(policy, ask, total?, now);
        slot.waiting = slot.waiting.saturating_sub(slot.bucket.credits());
        back
    }

    /// Forgets what is over and gives what has lapsed. Locks one shard after the other.
    pub(super) fn sweep(&self, now: Times) -> Vec<Return> {
        let mut returns = Vec::new();
        for index in 0..self.shards.len() {
            let mut shard = self.lock(index);
            let Shard { young, old } = &mut *shard;
            for generation in [young, old] {
                generation.retain(|holder, entry| {
                    entry.sweep(holder, now, &mut returns);
                    !entry.slots.is_empty()
                });
                if generation.is_empty() {
                    *generation = HashMap::new();
                }
            }
        }
        returns
    }

    /// Holders that are remembered.
    pub(super) fn len(&self) -> usize {
        let len = |index| {
            let shard = self.lock(index);
            shard.young.len() + shard.old.len()
        };
        (0..self.shards.len()).map(len).sum()
    }

    fn index(&self, group: &str) -> usize {
        match self.shards.len() {
            1 => 0,
            #[expect(clippy::cast_possible_truncation, reason = "a hash")]
            shards => self.hasher.hash_one(group) as usize % shards,
        }
    }

    /// Held for one decision, never across an await. A panic inside leaves numbers that are each valid by themselves.
    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The bucket of a claim, made if there is room.
    fn slot(
        &mut self,
        claim: &Claim<'_>,
        now: Timestamp,
        capacity: usize,
    ) -> Option<(PartitionKey, &mut Slot)> {
        if !self.young.contains_key(claim.holder) {
            self.insert(claim.holder, now, capacity)?;
        }
        let entry = self.young.get_mut(claim.holder)?;
        let found = entry
            .slots
            .iter()
            .position(|slot| slot.policy.name == claim.policy.name);
        let index = found.unwrap_or_else(|| {
            entry.slots.push(Slot::new(claim.policy));
            entry.slots.len() - 1
        });
        let slot = entry.slots.get_mut(index)?;
        if !Arc::ptr_eq(&slot.policy, claim.policy) {
            slot.policy = Arc::clone(claim.policy);
        }
        Some((entry.partition, slot))
    }

    /// Makes the holder young. `None`: there is no room, since nobody of so many may be forgotten.
    fn insert(&mut self, holder: &str, now: Timestamp, capacity: usize) -> Option<()> {
        let half = (capacity / 2).max(1);
        if self.young.len() >= half {
            // The counter knows what it has granted: who is forgotten loses the credits that lie here, and no more.
            self.old.retain(|_, entry| !entry.may_go(now));
            if self.old.len() >= half {
                return None;
            }
            let kept = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.young = kept;
        }
        let entry = self.old.remove(holder).unwrap_or_else(|| Entry {
            partition: PartitionKey::of(holder),
            slots: Vec::with_capacity(1),
        });
        self.young.insert(holder.into(), entry);
        Some(())
    }

    fn find(&mut self, holder: &str, policy: &Policy) -> Option<&mut Slot> {
        let entry = match self.young.get_mut(holder) {
            Some(entry) => entry,
            None => self.old.get_mut(holder)?,
        };
        entry
            .slots
            .iter_mut()
            .find(|slot| slot.policy.name == policy.name)
    }

    /// Asks the counter for all claims that need it and are not being asked for already.
    fn depart<'a>(
        &mut self,
        index: usize,
        claims: impl Iterator<Item = Claim<'a>>,
        at: Circumstances,
    ) -> Attempt {
        let mut departures = Vec::new();
        let mut first = None;
        for Claim { holder, policy } in claims {
            let Some(slot) = self.find(holder, policy) else {
                continue;
            };
            if slot.bucket.check(policy, at.now, at.live, at.away) != Check::Ask {
                continue;
            }
            slot.waiting += 1;
            if let Some(flight) = slot.flight.as_ref().filter(|_| slot.is_flying()) {
                first.get_or_insert_with(|| flight.clone());
                continue;
            }
            let mut ask = slot.bucket.ask(policy, at.now, at.live, slot.waiting);
            if at.grain == Grain::Single {
                ask.wanted = 1;
            }
            let (landing, flight) = watch::channel(());
            first.get_or_insert_with(|| flight.clone());
            slot.flight = Some(flight);
            departures.push(Departure {
                shard: index,
                holder: holder.into(),
                policy: Arc::clone(policy),
                ask,
                landing,
            });
        }
        match first {
            Some(landing) => Attempt::Wait {
                departures,
                landing,
            },
            // Cannot be: one of the claims has just said that it needs the counter.
            None => Attempt::Full,
        }
    }
}

impl Entry {
    /// Forgets what is idle, and takes what has lapsed.
    fn sweep(&mut self, holder: &str, now: Times, returns: &mut Vec<Return>) {
        self.slots.retain_mut(|slot| {
            if slot.is_flying() {
                return true;
            }
            if let Some(back) = slot.bucket.lapse(&slot.policy, now) {
                returns.push(Return {
                    holder: holder.into(),
                    policy: Arc::clone(&slot.policy),
                    back,
                });
            }
            !slot.bucket.is_idle(&slot.policy, now.wall)
        });
    }

    fn may_go(&self, now: Timestamp) -> bool {
        self.slots.iter().all(|slot| slot.may_go(now))
    }
}

impl Slot {
    fn new(policy: &Arc<Policy>) -> Self {
        Self {
            policy: Arc::clone(policy),
            bucket: Bucket::default(),
            flight: None,
            waiting: 0,
        }
    }

    /// A receiver whose sender is gone has landed, or crashed.
    fn is_flying(&self) -> bool {
        let flying = |flight: &watch::Receiver<()>| flight.has_changed().is_ok();
        self.flight.as_ref().is_some_and(flying)
    }

    fn may_go(&self, now: Timestamp) -> bool {
        !self.is_flying() && self.bucket.is_forgettable(&self.policy, now)
    }
}
