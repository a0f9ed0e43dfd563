//! Slots for calls, divided into compartments, so that one hanging target or team cannot take all
//! of them.
//!
//! - Completion webhooks have a share of their own, which nothing else uses.
//! - Each team and each host may hold a limited number of the other slots.
//! - Part of these is a reserve that only responsive hosts may use: when hanging targets have taken
//!   all they may, a call to a responsive host still gets a slot at once.
//!
//! General slots and those of the reserve are waited for in a queue, so that no partition starves
//! (tokio's semaphores are fair). Whoever waits because a team or host has reached its limit uses
//! [`Bulkhead::freed`].

mod lacks;

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use metrics::counter;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use waybill_domain::dispatcher::{Admission, CallKind, Compartment, Wanted};
use waybill_domain::event::FailureKind;
use waybill_domain::task::retry::Outcome;

/// Concurrent calls to an unknown host that may use the reserve.
const FEW: usize = 4;
/// A host whose calls take longer than this on average counts as unresponsive, and may not use the
/// reserve.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Neither may a host that has answered nothing for this long, and for twice its average, while
/// calls to it are running.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Limit of hosts without calls whose response times are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Pauses after the worker could not make a call: as long as resources are exhausted, each retry
/// costs a task an attempt.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Limits of slots per host and per team. By default half of all slots, and seven eighths of what
/// is not reserved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    pub per_host: Option<usize>,
    pub per_team: Option<usize>,
}

/// Sizes of the compartments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    general: usize,
    reserve: usize,
    webhooks: usize,
    per_host: usize,
    per_team: usize,
}

impl Sizes {
    fn of(slots: usize, caps: Caps) -> Self {
        // With only a few slots, none are set apart.
        let (reserve, webhooks) = match slots {
            0..4 => (0, 0),
            _ => (slots / 4, (slots / 8).max(1)),
        };
        let general = slots.saturating_sub(reserve + webhooks).max(1);
        let per_team = caps.per_team.unwrap_or(general - general / 8);
        let per_host = caps.per_host.unwrap_or(match slots {
            0..4 => slots,
            _ => slots / 2,
        });
        Self {
            general,
            reserve,
            webhooks,
            per_host: per_host.max(1),
            per_team: per_team.max(1),
        }
    }
}

/// All slots of a worker.
#[derive(Debug)]
pub struct Bulkhead {
    sizes: Sizes,
    general: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    webhooks: Arc<Semaphore>,
    /// Never held across an await.
    state: Mutex<State>,
    /// Counts the events that [`Bulkhead::freed`] waits for.
    given_back: AtomicU64,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    attempts: Holders,
    deliveries: Holders,
    hosts: HashMap<u64, Speed>,
    /// No call begins before this time, because the worker could not make the last ones.
    resume_at: Option<Instant>,
    pause: Option<Duration>,
}

/// Slots held by each team and host.
#[derive(Debug, Default)]
struct Holders {
    teams: HashMap<u64, Held>,
    hosts: HashMap<u64, Held>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    all: usize,
    reserved: usize,
}

/// Average response time of a host.
#[derive(Debug, Clone, Copy)]
struct Speed {
    mean: Duration,
    last: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    General,
    Reserve,
    Webhooks,
}

impl Holders {
    fn of(&self, compartment: Compartment) -> (Held, Held) {
        let held = |map: &HashMap<u64, Held>, key| map.get(&key).copied().unwrap_or_default();
        (
            held(&self.teams, compartment.team),
            held(&self.hosts, compartment.host),
        )
    }

    fn add(&mut self, compartment: Compartment, pool: Pool) {
        for held in [
            self.teams.entry(compartment.team).or_default(),
            self.hosts.entry(compartment.host).or_default(),
        ] {
            held.all += 1;
            held.reserved += usize::from(pool == Pool::Reserve);
        }
    }

    fn sub(&mut self, compartment: Compartment, pool: Pool) {
        for (map, key) in [
            (&mut self.teams, compartment.team),
            (&mut self.hosts, compartment.host),
        ] {
            if let Some(held) = map.get_mut(&key) {
                held.all = held.all.saturating_sub(1);
                let reserved = usize::from(pool == Pool::Reserve);
                held.reserved = held.reserved.saturating_sub(reserved);
                if held.all == 0 {
                    map.remove(&key);
                }
            }
        }
    }
}

impl State {
    /// Whether a host with `running` calls counts as responsive.
    fn answers(&self, host: u64, running: usize, now: Instant) -> bool {
        match self.hosts.get(&host) {
            None => running < FEW,
            Some(speed) => {
                let silent = SILENT_AFTER.max(speed.mean * 2);
                speed.mean <= ANSWERS_WITHIN
                    && (running < FEW || now.duration_since(speed.last) < silent)
            }
        }
    }

    fn took(&mut self, host: u64, duration: Duration, now: Instant) {
        if self.hosts.len() >= MAX_REMEMBERED && !self.hosts.contains_key(&host) {
            let running = &self.attempts.hosts;
            self.hosts.retain(|host, _| running.contains_key(host));
        }
        let speed = self.hosts.entry(host).or_insert(Speed {
            mean: duration,
            last: now,
        });
        speed.mean = (speed.mean * 3 + duration) / 4;
        speed.last = now;
    }
}

impl Bulkhead {
    /// Divides this many slots.
    #[must_use]
    pub fn new(slots: usize, caps: Caps) -> Arc<Self> {
        let sizes = Sizes::of(slots, caps);
        Arc::new(Self {
            sizes,
            general: Arc::new(Semaphore::new(sizes.general)),
            reserve: Arc::new(Semaphore::new(sizes.reserve)),
            webhooks: Arc::new(Semaphore::new(sizes.webhooks)),
            state: Mutex::default(),
            given_back: AtomicU64::new(0),
            freed: Arc::default(),
        })
    }

    /// The general slots; they are waited for in a queue.
    #[must_use]
    pub fn general(&self) -> Arc<Semaphore> {
        Arc::clone(&self.general)
    }

    /// The slots for responsive hosts.
    #[must_use]
    pub fn reserve(&self) -> Arc<Semaphore> {
        Arc::clone(&self.reserve)
    }

    /// Number of times that a team or host at its limit, or a set-apart compartment, gave a slot
    /// back. Read it before trying to get slots; see [`Bulkhead::freed`].
    #[must_use]
    pub fn given_back(&self) -> u64 {
        // Acquire: pairs with the increment when a slot is given back, so that whoever sees the
        // number sees the free slot.
        self.given_back.load(Ordering::Acquire)
    }

    /// Completes once something was given back since the count `since`.
    #[must_use]
    pub fn freed(&self, since: u64) -> BoxFuture<'static, ()> {
        let mut notified = Box::pin(Arc::clone(&self.freed).notified_owned());
        // Registered before the count is read, so that nothing is missed in between.
        notified.as_mut().enable();
        if self.given_back() == since {
            notified
        } else {
            ready(()).boxed()
        }
    }

    /// When calls may begin again; `None` if the worker does not pause.
    #[must_use]
    pub fn resume_at(&self) -> Option<Instant> {
        self.state()
            .resume_at
            .filter(|resume| *resume > Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Finds a slot for a call, or returns the reason why there is none. `spare` has slots that
    /// were waited for.
    pub fn admit(self: &Arc<Self>, wanted: &Wanted, spare: &mut Spare) -> Result<Slot, Refusal> {
        let now = Instant::now();
        let mut state = self.state();
        if state.resume_at.is_some_and(|resume| resume > now) {
            return Err(Refusal::Paused);
        }
        let compartment = wanted.compartment;
        // With too few slots to set some apart, webhooks use the general ones.
        if wanted.running.kind == CallKind::Delivery && self.sizes.webhooks > 0 {
            let (team, host) = state.deliveries.of(compartment);
            let share = self.sizes.webhooks;
            if team.all >= (share - share / 4).max(1) {
                return Err(Refusal::TeamFull);
            }
            if host.all >= (share / 2).max(1) {
                return Err(Refusal::HostFull);
            }
            let Ok(permit) = Arc::clone(&self.webhooks).try_acquire_owned() else {
                return Err(Refusal::NoWebhookSlot);
            };
            return Ok(self.slot(&mut state, permit, Pool::Webhooks, compartment, now));
        }
        let (team, host) = state.attempts.of(compartment);
        if team.all >= self.sizes.per_team {
            return Err(Refusal::TeamFull);
        }
        if host.all >= self.sizes.per_host {
            return Err(Refusal::HostFull);
        }
        let general = spare
            .general
            .take()
            .or_else(|| Arc::clone(&self.general).try_acquire_owned().ok());
        if let Some(permit) = general {
            return Ok(self.slot(&mut state, permit, Pool::General, compartment, now));
        }
        let may_reserve = state.answers(compartment.host, host.all, now)
            && host.reserved < (self.sizes.reserve / 4).max(1)
            && team.reserved < (self.sizes.reserve / 2).max(1);
        if !may_reserve {
            return Err(Refusal::NoGeneralSlot);
        }
        let reserve = spare
            .reserve
            .take()
            .or_else(|| Arc::clone(&self.reserve).try_acquire_owned().ok());
        match reserve {
            Some(permit) => Ok(self.slot(&mut state, permit, Pool::Reserve, compartment, now)),
            None => Err(Refusal::NoSlot),
        }
    }

    fn slot(
        self: &Arc<Self>,
        state: &mut State,
        permit: OwnedSemaphorePermit,
        pool: Pool,
        compartment: Compartment,
        since: Instant,
    ) -> Slot {
        let holders = match pool {
            Pool::Webhooks => &mut state.deliveries,
            Pool::General | Pool::Reserve => &mut state.attempts,
        };
        holders.add(compartment, pool);
        Slot {
            permit: Some(permit),
            pool,
            compartment,
            since,
            bulkhead: Arc::clone(self),
        }
    }

    fn gave_back(&self, slot: &Slot) {
        let mut state = self.state();
        let holders = match slot.pool {
            Pool::Webhooks => &mut state.deliveries,
            Pool::General | Pool::Reserve => &mut state.attempts,
        };
        let (team, host) = holders.of(slot.compartment);
        holders.sub(slot.compartment, slot.pool);
        let sizes = &self.sizes;
        let had_its_share = team.all >= sizes.per_team || host.all >= sizes.per_host;
        if had_its_share || slot.pool != Pool::General {
            drop(state);
            self.given_back.fetch_add(1, Ordering::AcqRel);
            self.freed.notify_waiters();
        }
    }

    fn ended(&self, slot: &Slot, outcome: &Outcome) {
        let now = Instant::now();
        let mut state = self.state();
        if let Outcome::Failed(failure) = outcome
            && failure.kind == FailureKind::WorkerFault
        {
            // Calls that began together fail together, and count as one reason to pause.
            if state.resume_at.is_none_or(|resume| resume <= now) {
                let pause = state.pause.map_or(SHORTEST_PAUSE, |pause| pause * 2);
                let pause = pause.min(LONGEST_PAUSE);
                state.pause = Some(pause);
                state.resume_at = Some(now + pause);
                counter!("waybill_worker_pauses_total").increment(1);
            }
            return;
        }
        if matches!(outcome, Outcome::Answered(_)) {
            state.pause = None;
        }
        if slot.pool != Pool::Webhooks {
            let mut took = now.duration_since(slot.since);
            if matches!(outcome, Outcome::Failed(failure) if failure.kind == FailureKind::Timeout) {
                // However short the time limit was, the host did not answer.
                took = took.max(ANSWERS_WITHIN * 4);
            }
            state.took(slot.compartment.host, took, now);
        }
    }
}

/// Slots that a partition has waited for and not yet used.
#[derive(Debug, Default)]
pub struct Spare {
    /// A general slot.
    pub general: Option<OwnedSemaphorePermit>,
    /// A slot of the reserve.
    pub reserve: Option<OwnedSemaphorePermit>,
}

/// Why a call gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The team has reached its limit.
    TeamFull,
    /// The host has reached its limit.
    HostFull,
    /// All general slots are taken, and the host may not use the reserve.
    NoGeneralSlot,
    /// All slots that the call may use are taken.
    NoSlot,
    /// All slots for webhooks are taken.
    NoWebhookSlot,
    /// The worker pauses, because it could not make the last calls.
    Paused,
}

impl From<Refusal> for Admission {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TeamFull => Self::TeamFull,
            // Another host of the team may be allowed to use the reserve.
            Refusal::HostFull | Refusal::NoGeneralSlot => Self::HostFull,
            Refusal::NoSlot | Refusal::NoWebhookSlot | Refusal::Paused => Self::Full,
        }
    }
}

/// A slot for one call; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    pool: Pool,
    compartment: Compartment,
    since: Instant,
    bulkhead: Arc<Bulkhead>,
}

impl Slot {
    /// Records the outcome of the call.
    pub fn ended(&self, outcome: &Outcome) {
        self.bulkhead.ended(self, outcome);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Released before waiters are notified.
        drop(self.permit.take());
        let bulkhead = Arc::clone(&self.bulkhead);
        bulkhead.gave_back(self);
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::dispatcher::Running;
    use waybill_domain::event::Failure;
    use waybill_domain::id::TaskId;
    use waybill_domain::partition::Partition;
    use waybill_domain::time::Timestamp;

    use super::*;

    fn wanted(kind: CallKind, team: u64, host: u64) -> Wanted {
        let partition = Partition::new(0).expect("a partition");
        Wanted {
            running: Running {
                task: TaskId::new(Timestamp(1), 1, partition),
                number: 1,
                kind,
            },
            compartment: Compartment { team, host },
        }
    }

    fn attempt(bulkhead: &Arc<Bulkhead>, team: u64, host: u64) -> Result<Slot, Refusal> {
        bulkhead.admit(
            &wanted(CallKind::Attempt, team, host),
            &mut Spare::default(),
        )
    }

    /// Takes slots until none is left.
    fn all(bulkhead: &Arc<Bulkhead>, team: u64, host: u64) -> Vec<Slot> {
        std::iter::from_fn(|| attempt(bulkhead, team, host).ok()).collect()
    }

    fn failed(kind: FailureKind) -> Outcome {
        Outcome::Failed(Failure {
            kind,
            message: "a fault".into(),
        })
    }

    #[tokio::test]
    async fn a_host_that_hangs_takes_half_of_the_slots_and_no_more() {
        let bulkhead = Bulkhead::new(512, Caps::default());
        let hanging = all(&bulkhead, 1, 1);
        assert_eq!(hanging.len(), 256);
        assert!(attempt(&bulkhead, 1, 2).is_ok(), "another host of the team");
        assert!(attempt(&bulkhead, 2, 3).is_ok(), "another team");
    }

    #[tokio::test]
    async fn a_team_whose_hosts_all_hang_leaves_slots_to_others() {
        let bulkhead = Bulkhead::new(512, Caps::default());
        let mut hanging = Vec::new();
        for host in 0..100 {
            hanging.extend(all(&bulkhead, 1, host));
        }
        assert_eq!(hanging.len(), 280, "seven eighths of what is not reserved");
        assert!(attempt(&bulkhead, 2, 1000).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_general_slots_hang_hosts_that_answer_use_the_reserve() {
        let bulkhead = Bulkhead::new(512, Caps::default());
        // A host that is known to be responsive.
        let slot = attempt(&bulkhead, 9, 900).expect("a slot");
        slot.ended(&failed(FailureKind::HttpStatus));
        drop(slot);
        let mut hanging = Vec::new();
        for team in 0..4 {
            hanging.extend(all(&bulkhead, team, team));
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        for slot in hanging.iter().take(8) {
            slot.ended(&failed(FailureKind::Timeout));
        }
        let before = hanging.len();
        assert!(before >= 320, "all general slots are taken: {before}");
        for team in 5..8 {
            let few = all(&bulkhead, team, team);
            assert_eq!(few.len(), FEW, "a host of which nothing is known");
            hanging.extend(few);
        }
        assert!(all(&bulkhead, 9, 900).len() >= FEW, "it still answers");
    }

    #[tokio::test]
    async fn webhooks_have_their_share_and_take_nothing_else() {
        let bulkhead = Bulkhead::new(512, Caps::default());
        let delivery = |team, host| {
            let wanted = wanted(CallKind::Delivery, team, host);
            bulkhead.admit(&wanted, &mut Spare::default())
        };
        let mut deliveries: Vec<Slot> = std::iter::from_fn(|| delivery(1, 1).ok()).collect();
        assert_eq!(deliveries.len(), 32, "one receiver");
        deliveries.extend(std::iter::from_fn(|| delivery(1, 2).ok()));
        assert_eq!(deliveries.len(), 48, "one team");
        for team in 2..10 {
            deliveries.extend(std::iter::from_fn(|| delivery(team, team).ok()));
        }
        assert_eq!(deliveries.len(), 64);
        assert_eq!(all(&bulkhead, 1, 1).len(), 256, "calls have theirs");
    }

    #[tokio::test]
    async fn who_waits_for_a_full_host_hears_when_something_is_given_back() {
        let bulkhead = Bulkhead::new(8, Caps::default());
        let mut slots = all(&bulkhead, 1, 1);
        let since = bulkhead.given_back();
        assert!(attempt(&bulkhead, 1, 1).is_err());
        let compartment = Compartment { team: 1, host: 1 };
        assert_eq!(bulkhead.lacks(compartment), Some(Refusal::HostFull));
        let freed = bulkhead.freed(since);
        slots.pop();
        freed.await;
        assert_eq!(bulkhead.lacks(compartment), None);
        assert!(attempt(&bulkhead, 1, 1).is_ok());
        // Even if it was given back before anybody waited.
        bulkhead.freed(since).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_make_calls_pauses_longer_and_longer() {
        let bulkhead = Bulkhead::new(8, Caps::default());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let slot = attempt(&bulkhead, 1, 1).expect("a slot");
            slot.ended(&failed(FailureKind::WorkerFault));
            assert_eq!(attempt(&bulkhead, 2, 2).err(), Some(Refusal::Paused));
            let resume = bulkhead.resume_at().expect("a pause");
            let pause = resume - Instant::now();
            pauses.push(pause.as_millis());
            tokio::time::advance(pause).await;
        }
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 2_000, 2_000]);
    }

    #[tokio::test]
    async fn a_worker_with_few_slots_sets_none_apart() {
        for slots in 1..4 {
            let bulkhead = Bulkhead::new(slots, Caps::default());
            let held: Vec<_> = (0..10)
                .flat_map(|host| all(&bulkhead, host, host))
                .collect();
            assert_eq!(held.len(), slots);
            let delivery = wanted(CallKind::Delivery, 50, 50);
            let delivery = bulkhead.admit(&delivery, &mut Spare::default());
            assert!(delivery.is_err(), "webhooks use the same slots");
        }
    }
}
