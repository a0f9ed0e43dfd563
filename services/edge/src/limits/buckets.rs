//! The buckets of all holders: a map in shards, bounded, with one short lock for a whole decision.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
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

/// What a decision depends on besides the buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) now: Times,
    /// Gateways that serve now.
    pub(super) live: u32,
    /// The counter does not answer.
    pub(super) counter_unavailable: bool,
    /// How many credits may be asked for at once.
    pub(super) size: RefillSize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefillSize {
    /// As many as half a lease needs.
    Lease,
    /// Only what is spent at once.
    Single,
}

/// The outcome of charging a request.
pub(super) enum Attempt {
    /// Charged to all.
    Admitted(Vec<Meter>),
    /// Charged to none.
    Refused(Vec<Meter>),
    /// The counter has to be asked: make these requests, wait for `done`, and try again.
    Wait {
        requests: Vec<RefillRequest>,
        done: watch::Receiver<()>,
    },
    /// No room for another holder.
    Full,
}

/// A request to the counter that must be made now. While it is under way nobody else asks for the same bucket.
pub(super) struct RefillRequest {
    pub(super) shard: usize,
    pub(super) holder: Box<str>,
    pub(super) policy: Arc<Policy>,
    pub(super) ask: Ask,
    /// Dropped when the answer has been applied: whoever waits for it tries again.
    pub(super) done: watch::Sender<()>,
}

/// Credits that have lapsed unused and go back to the counter.
pub(super) struct Return {
    pub(super) holder: Box<str>,
    pub(super) policy: Arc<Policy>,
    pub(super) back: HandBack,
}

/// Two generations of holders. When the young one is full it takes the place of the old one, of which only those stay that must be remembered.
#[derive(Default)]
struct Shard {
    young: HashMap<Box<str>, Entry>,
    old: HashMap<Box<str>, Entry>,
}

/// The buckets of one holder, by policy.
struct Entry {
    partition: PartitionKey,
    slots: Vec<Slot>,
}

struct Slot {
    policy: Arc<Policy>,
    bucket: Bucket,
    /// The request to the counter that is under way. Closed when its maker is gone, whatever became of it.
    refill: Option<watch::Receiver<()>>,
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
    pub(super) fn attempt<'a, C>(&self, group: &str, claims: C, at: Context) -> Attempt
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
            match slot
                .bucket
                .check(claim.policy, at.now, at.live, at.counter_unavailable)
            {
                Check::Ready => {}
                Check::Ask => asks = true,
                Check::Refused => refused = true,
            }
        }
        if asks && !refused {
            return shard.request_refills(index, claims, at);
        }
        let mut meters = Vec::with_capacity(claims.size_hint().0);
        for claim in claims {
            let Some((partition, slot)) = shard.slot(&claim, at.now.wall, self.capacity) else {
                return Attempt::Full;
            };
            let check = slot
                .bucket
                .check(claim.policy, at.now, at.live, at.counter_unavailable);
            if !refused {
                slot.bucket.spend();
            }
            let violated = check == Check::Refused;
            let left =
                slot.bucket
                    .remaining(claim.policy, at.now.wall, at.live, at.counter_unavailable);
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

    /// Takes back a charge, from all claims of a request.
    pub(super) fn forgive<'a>(
        &self,
        group: &str,
        claims: impl Iterator<Item = Claim<'a>>,
        now: Timestamp,
    ) {
        let mut shard = self.lock(self.index(group));
        for claim in claims {
            // A holder that was forgotten meanwhile is not charged for anything.
            if let Some(slot) = shard.find(claim.holder, claim.policy) {
                slot.bucket.unspend(claim.policy, now);
            }
        }
    }

    /// Applies the counter's answer: the total of the window before, for a smooth policy, and the new total; `None` if it did not answer.
    /// Returns what must go back to the counter.
    pub(super) fn apply(
        &self,
        request: &RefillRequest,
        previous: Option<i64>,
        total: Option<i64>,
        now: Times,
    ) -> Option<HandBack> {
        let RefillRequest { policy, ask, .. } = request;
        let mut shard = self.lock(request.shard);
        let Some(slot) = shard.find(&request.holder, policy) else {
            // Forgotten meanwhile: nothing of it was used.
            return total.map(|_| HandBack {
                window: ask.window,
                credits: ask.wanted,
            });
        };
        slot.refill = None;
        if let Some(previous) = previous {
            slot.bucket.learn_previous(ask, policy, previous);
        }
        let back = slot.bucket.granted(policy, ask, total?, now);
        slot.waiting = slot.waiting.saturating_sub(slot.bucket.credits());
        back
    }

    /// Forgets windows that are over and returns credits that have lapsed. Locks one shard after the other, never two.
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
        self.shards[index].lock()
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

    /// Moves the holder into the young generation. `None`: there is no room, since no holder may be forgotten.
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
    fn request_refills<'a>(
        &mut self,
        index: usize,
        claims: impl Iterator<Item = Claim<'a>>,
        at: Context,
    ) -> Attempt {
        let mut requests = Vec::new();
        let mut first = None;
        for Claim { holder, policy } in claims {
            let Some(slot) = self.find(holder, policy) else {
                continue;
            };
            if slot
                .bucket
                .check(policy, at.now, at.live, at.counter_unavailable)
                != Check::Ask
            {
                continue;
            }
            slot.waiting += 1;
            if let Some(refill) = slot.refill.as_ref().filter(|_| slot.is_refilling()) {
                first.get_or_insert_with(|| refill.clone());
                continue;
            }
            let mut ask = slot.bucket.ask(policy, at.now, at.live, slot.waiting);
            if at.size == RefillSize::Single {
                ask.wanted = 1;
            }
            let (done, refill) = watch::channel(());
            first.get_or_insert_with(|| refill.clone());
            slot.refill = Some(refill);
            requests.push(RefillRequest {
                shard: index,
                holder: holder.into(),
                policy: Arc::clone(policy),
                ask,
                done,
            });
        }
        match first {
            Some(done) => Attempt::Wait { requests, done },
            // Unreachable: under the same lock one of the claims has just said that it needs the counter.
            None => Attempt::Full,
        }
    }
}

impl Entry {
    /// Forgets idle buckets, and collects lapsed credits.
    fn sweep(&mut self, holder: &str, now: Times, returns: &mut Vec<Return>) {
        self.slots.retain_mut(|slot| {
            if slot.is_refilling() {
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
            refill: None,
            waiting: 0,
        }
    }

    /// The sender of a request is dropped when its answer was applied, or when its task died.
    fn is_refilling(&self) -> bool {
        let is_open = |refill: &watch::Receiver<()>| refill.has_changed().is_ok();
        self.refill.as_ref().is_some_and(is_open)
    }

    fn may_go(&self, now: Timestamp) -> bool {
        !self.is_refilling() && self.bucket.is_forgettable(&self.policy, now)
    }
}
