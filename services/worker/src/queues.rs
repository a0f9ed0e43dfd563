//! What a team has decided about its queues and limit keys, as the partitions of this worker must
//! know it: which are paused, and what limits they have. Also by which rules failing hosts are left
//! alone.
//!
//! The worker follows CONTROL, and gives each partition the changes that concern its queues. A pause
//! is answered only once nothing of the queue is started any more, by the barrier of revocations:
//! the worker acknowledges a position of CONTROL only after every partition that it serves has
//! taken the rules up to there into account, and after no start that contradicts them waits for the
//! log ([`Seat`]). Whoever cannot acknowledge loses the lease, and without the lease nothing is
//! started.

mod books;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceTiming, LeaseKind};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::dispatcher::{Compartment, HostRules, LimitRules, Place, QueueRules, TeamTurn};
use waybill_domain::limit::LimitId;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_fence::{CopyCheck, Fence, FenceParts, FenceTask};
use waybill_log::{Fences, Log, Record, Stream, StreamSeq, control_event, set_aside};

use crate::follow::{ControlCopy, follow};
use books::{About, Books};

/// Pause before another look whether the rules are complete.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is needed to follow the rules of queues.
pub struct QueuesParts {
    /// To follow CONTROL.
    pub log: Arc<dyn Log>,
    /// The stream FENCE.
    pub fences: Arc<dyn Fences>,
    pub nats: async_nats::Client,
    /// How long leases last; equal in all processes.
    pub timing: FenceTiming,
    /// Number of partitions.
    pub partitions: PartitionCount,
    /// What plans say about teams.
    pub plans: Arc<Catalogue>,
}

/// The lease under which tasks are started.
#[async_trait]
pub trait StartLease: Send + Sync + 'static {
    /// Whether there is one now.
    fn is_held(&self) -> bool;
    /// Waits a moment for one.
    async fn soon(&self);
}

#[async_trait]
impl StartLease for Fence {
    fn is_held(&self) -> bool {
        self.may_decide().is_ok()
    }

    async fn soon(&self) {
        // Whoever waits looks again in any case.
        let _ = self.may_decide_soon().await;
    }
}

/// The rules of all queues, and how far each partition has taken them into account.
pub struct Queues {
    partitions: PartitionCount,
    lease: Arc<dyn StartLease>,
    /// Up to where CONTROL is taken into account by everything that starts tasks.
    applied: watch::Sender<StreamSeq>,
    /// Whether everything is known that CONTROL had when reading began. Changed under the lock.
    is_complete: AtomicBool,
    plans: Arc<Catalogue>,
    /// Locked for a look-up or a batch of events, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    book: Books,
    /// The books of the history that the log has now, while it is read after the former one was lost.
    /// Until all of it is known, the former rules hold.
    fresh: Option<Books>,
    /// Up to where CONTROL was read.
    read: StreamSeq,
    seats: BTreeMap<Partition, Seated>,
}

/// A partition that is served, or whose last start may have been stored.
struct Seated {
    changes: Vec<(Place, QueueRules)>,
    hosts: Vec<(Compartment, HostRules)>,
    limits: Vec<(LimitId, LimitRules)>,
    teams: Vec<(TeamTurn, u8)>,
    /// Up to where CONTROL is taken into account; `None`: as far as it was read.
    only_to: Option<StreamSeq>,
    /// Whether nothing is started in the partition, so that it need not know anything.
    is_vacant: bool,
    signal: Arc<Signal>,
}

/// Wakes a partition.
#[derive(Debug, Default)]
struct Signal {
    /// Whether there may be changes.
    is_up: AtomicBool,
    notify: Notify,
}

impl Signal {
    fn raise(&self) {
        self.is_up.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

/// Rules that a partition must take into account, and up to where they go.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) rules: Vec<(Place, QueueRules)>,
    /// A host may be called from every partition.
    pub(crate) hosts: Vec<(Compartment, HostRules)>,
    pub(crate) limits: Vec<(LimitId, LimitRules)>,
    pub(crate) teams: Vec<(TeamTurn, u8)>,
    pub(crate) up_to: StreamSeq,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").finish_non_exhaustive()
    }
}

impl Queues {
    /// The rules, and the service that keeps them and the lease.
    #[must_use]
    pub fn new(parts: QueuesParts) -> (Arc<Self>, QueuesService) {
        let applied = watch::Sender::new(StreamSeq(0));
        let copy_check = Arc::<CopyCheck>::default();
        // A lease of its own beside the vault's: either can be lost without the other.
        let (fence, task) = Fence::named(
            "starts",
            FenceParts {
                fences: parts.fences,
                log: Arc::clone(&parts.log),
                nats: parts.nats,
                control: applied.subscribe(),
                copy: Arc::clone(&copy_check),
                timing: parts.timing,
                kind: LeaseKind::Worker,
            },
        );
        let queues = Self::with(parts.partitions, fence, applied, parts.plans);
        let service = QueuesService {
            queues: Arc::clone(&queues),
            log: parts.log,
            copy_check,
            fence_task: Some(task),
        };
        (queues, service)
    }

    /// The same under another lease, which `applied` tells how far CONTROL is taken into account.
    #[must_use]
    pub fn under(
        lease: Arc<dyn StartLease>,
        applied: watch::Sender<StreamSeq>,
        log: Arc<dyn Log>,
        partitions: PartitionCount,
        plans: Arc<Catalogue>,
    ) -> (Arc<Self>, QueuesService) {
        let queues = Self::with(partitions, lease, applied, plans);
        let service = QueuesService {
            queues: Arc::clone(&queues),
            log,
            copy_check: Arc::default(),
            fence_task: None,
        };
        (queues, service)
    }

    fn with(
        partitions: PartitionCount,
        lease: Arc<dyn StartLease>,
        applied: watch::Sender<StreamSeq>,
        plans: Arc<Catalogue>,
    ) -> Arc<Self> {
        Arc::new(Self {
            plans,
            partitions,
            lease,
            applied,
            is_complete: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Whether tasks may be started now. Ask before the rules are taken into account, never after.
    pub(crate) fn may_start(&self) -> bool {
        self.lease.is_held() && self.is_complete.load(Ordering::Acquire)
    }

    /// Waits a moment until tasks may be started.
    async fn soon(&self) {
        if self.lease.is_held() {
            tokio::time::sleep(LOOK_AGAIN).await;
        } else {
            self.lease.soon().await;
        }
    }

    /// A seat for a partition, in which nothing is started yet.
    pub(crate) fn seat(self: &Arc<Self>, partition: Partition) -> Seat {
        let signal = Arc::<Signal>::default();
        let seated = Seated {
            changes: Vec::new(),
            hosts: Vec::new(),
            limits: Vec::new(),
            teams: Vec::new(),
            only_to: None,
            is_vacant: true,
            signal: Arc::clone(&signal),
        };
        self.state.lock().seats.insert(partition, seated);
        Seat {
            queues: Arc::clone(self),
            partition,
            signal,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let held_back = state.seats.values().filter_map(|seated| seated.only_to);
        let applied = held_back.fold(state.read, Ord::min);
        self.applied.send_if_modified(|known| {
            let changed = *known != applied;
            *known = applied;
            changed
        });
    }
}

impl State {
    /// Gives the rules of queues to the partitions that they are in.
    fn tell(&mut self, places: impl IntoIterator<Item = Place>, partitions: PartitionCount) {
        for place in places {
            let partition = Partition::of(&place.0, &place.1, partitions);
            let Some(seated) = self.seats.get_mut(&partition).filter(|of| !of.is_vacant) else {
                continue;
            };
            seated.only_to.get_or_insert(self.read);
            let rules = self.book.queue(&place);
            seated.changes.push((place, rules));
            seated.signal.raise();
        }
    }

    /// Gives the rules of hosts to all partitions.
    fn tell_of_hosts(&mut self, hosts: impl IntoIterator<Item = Compartment>) {
        for host in hosts {
            let rule = self.book.host(host);
            for seated in self.seats.values_mut().filter(|of| !of.is_vacant) {
                seated.only_to.get_or_insert(self.read);
                seated.hosts.push((host, rule));
                seated.signal.raise();
            }
        }
    }

    /// Gives the weights of teams to all partitions.
    fn tell_of_teams(&mut self, teams: impl IntoIterator<Item = TeamTurn>) {
        for team in teams {
            let weight = self.book.teams.weight(team);
            for seated in self.seats.values_mut().filter(|of| !of.is_vacant) {
                seated.only_to.get_or_insert(self.read);
                seated.teams.push((team, weight));
                seated.signal.raise();
            }
        }
    }

    /// Gives the rules of limit keys to all partitions, since their tasks may be in any.
    fn tell_limits(&mut self, limits: impl IntoIterator<Item = LimitId>) {
        for limit in limits {
            let rules = self.book.limits.rules(limit);
            for seated in self.seats.values_mut().filter(|of| !of.is_vacant) {
                seated.only_to.get_or_insert(self.read);
                seated.limits.push((limit, rules));
                seated.signal.raise();
            }
        }
    }
}

impl ControlCopy for Queues {
    fn name(&self) -> &'static str {
        "queues"
    }

    fn apply(&self, records: &[Record]) {
        let of_rules = records.iter().filter(|record| {
            ["queue.", "limit.", "target.", "team.", "listener."]
                .iter()
                .any(|kind| record.event.starts_with(kind))
        });
        let events = of_rules.filter_map(|record| match control_event(record) {
            Ok(event) => Some(event),
            Err(why) => {
                set_aside("queues", Stream::Control, record, &why);
                None
            }
        });
        let mut state = self.state.lock();
        for event in events {
            if let Some(fresh) = &mut state.fresh {
                fresh.apply(&event, &self.plans);
            } else {
                match state.book.apply(&event, &self.plans) {
                    Some(About::Queue(place)) => state.tell([place], self.partitions),
                    Some(About::Limit(limit)) => state.tell_limits([limit]),
                    Some(About::Host(host)) => state.tell_of_hosts([host]),
                    Some(About::Team(turns)) => state.tell_of_teams(turns),
                    Some(About::Listened(places, hosts)) => {
                        state.tell(places, self.partitions);
                        state.tell_of_hosts(hosts);
                    }
                    None => {}
                }
            }
        }
    }

    fn complete(&self) {
        self.change(|state| {
            if let Some(fresh) = state.fresh.take() {
                let before = std::mem::replace(&mut state.book, fresh);
                let (were, are) = (&before, &state.book);
                let of_both: BTreeSet<_> = were.places().chain(are.places()).cloned().collect();
                state.tell(of_both, self.partitions);
                let (were, are) = (&before.limits, &state.book.limits);
                let of_both: BTreeSet<_> = were.limits().chain(are.limits()).collect();
                state.tell_limits(of_both);
                let (were, are) = (&before, &state.book);
                let of_both: BTreeSet<_> = were.hosts().chain(are.hosts()).collect();
                state.tell_of_hosts(of_both);
                let (were, are) = (&before.teams, &state.book.teams);
                let of_both: BTreeSet<_> = were.teams().chain(are.teams()).collect();
                state.tell_of_teams(of_both);
            }
            if !self.is_complete.swap(true, Ordering::AcqRel) {
                for seated in state.seats.values() {
                    seated.signal.raise();
                }
            }
        });
    }

    fn applied(&self, seq: StreamSeq) {
        self.change(|state| state.read = seq);
    }

    fn begin_anew(&self) {
        self.change(|state| {
            self.is_complete.store(false, Ordering::Release);
            state.fresh = Some(Books::default());
            state.read = StreamSeq(0);
            for seated in state.seats.values_mut().filter(|of| !of.is_vacant) {
                // Nothing is acknowledged until the partition has taken the new rules into account.
                seated.only_to = Some(StreamSeq(0));
            }
        });
    }
}

/// A partition's place among those that must take the rules into account. Dropping it says that
/// nothing is started there.
#[derive(Debug)]
pub(crate) struct Seat {
    queues: Arc<Queues>,
    partition: Partition,
    signal: Arc<Signal>,
}

impl Seat {
    fn change<T: Default>(&self, change: impl FnOnce(&mut State, &mut Seated) -> T) -> T {
        let mut outcome = T::default();
        self.queues.change(|state| {
            // Taken out, so that the rest of the state can be read beside it.
            if let Some(mut seated) = state.seats.remove(&self.partition) {
                outcome = change(state, &mut seated);
                state.seats.insert(self.partition, seated);
            }
        });
        outcome
    }

    /// All rules of the partition: tasks may be started there from now on.
    pub(crate) fn take(&self) -> Changes {
        self.change(|state, seated| {
            seated.is_vacant = false;
            seated.changes.clear();
            seated.hosts.clear();
            seated.limits.clear();
            seated.teams.clear();
            seated.only_to.get_or_insert(state.read);
            let mine = |place: &&Place| {
                Partition::of(&place.0, &place.1, self.queues.partitions) == self.partition
            };
            let book = &state.book;
            let places: BTreeSet<_> = book.places().filter(mine).collect();
            let places = places.into_iter();
            let rules = places.map(|place| (place.clone(), book.queue(place)));
            let limits = &state.book.limits;
            let of_limits = limits.limits().map(|limit| (limit, limits.rules(limit)));
            let hosts: BTreeSet<_> = book.hosts().collect();
            let of_hosts = hosts.into_iter().map(|host| (host, book.host(host)));
            let teams = &state.book.teams;
            let of_teams = teams.teams().map(|team| (team, teams.weight(team)));
            Changes {
                rules: rules.collect(),
                hosts: of_hosts.collect(),
                limits: of_limits.collect(),
                teams: of_teams.collect(),
                up_to: state.read,
            }
        })
    }

    /// The rules that have changed since; `None` if there are none, or none yet that are complete.
    pub(crate) fn changes(&self) -> Option<Changes> {
        if !self.signal.is_up.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.change(|state, seated| {
            if !self.queues.is_complete.load(Ordering::Acquire) || seated.only_to.is_none() {
                return None;
            }
            Some(Changes {
                rules: std::mem::take(&mut seated.changes),
                hosts: std::mem::take(&mut seated.hosts),
                limits: std::mem::take(&mut seated.limits),
                teams: std::mem::take(&mut seated.teams),
                up_to: state.read,
            })
        })
    }

    /// The rules up to there are taken into account, and no start that contradicts them waits for
    /// the log.
    pub(crate) fn settled(&self, up_to: StreamSeq) {
        self.change(|_, seated| {
            let is_complete = self.queues.is_complete.load(Ordering::Acquire);
            let is_all = seated.changes.is_empty()
                && seated.hosts.is_empty()
                && seated.limits.is_empty()
                && seated.teams.is_empty()
                && is_complete;
            seated.only_to = (!is_all).then_some(up_to);
        });
    }

    /// Nothing is started in the partition until its rules are taken again, and no start waits for
    /// the log.
    pub(crate) fn vacate(&self) {
        self.change(|_, seated| {
            seated.is_vacant = true;
            seated.only_to = None;
            seated.changes.clear();
            seated.hosts.clear();
            seated.limits.clear();
            seated.teams.clear();
        });
    }

    /// Whether tasks may be started now. Ask before [`Seat::changes`], never after.
    pub(crate) fn may_start(&self) -> bool {
        self.queues.may_start()
    }

    /// Waits a moment until tasks may be started.
    pub(crate) async fn soon(&self) {
        self.queues.soon().await;
    }

    /// Waits until there may be changes. Cancellation safe: what is missed is told at once the next
    /// time.
    pub(crate) async fn changed(&self) {
        self.signal.notify.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.queues.change(|state| {
            state.seats.remove(&self.partition);
        });
    }
}

/// The background tasks of [`Queues`].
pub struct QueuesService {
    queues: Arc<Queues>,
    log: Arc<dyn Log>,
    copy_check: Arc<CopyCheck>,
    fence_task: Option<FenceTask>,
}

impl std::fmt::Debug for QueuesService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuesService").finish_non_exhaustive()
    }
}

impl QueuesService {
    /// The rules that it keeps.
    #[must_use]
    pub fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues)
    }

    /// Runs until stopped, and releases the lease. Dropping it ends it at once.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (following, log) = (stop.clone(), self.log);
        let (queues, copy_check) = (self.queues, self.copy_check);
        tasks.spawn(async move {
            // Following only reads: if it is dropped in the middle, the rules are a little older,
            // and nothing more is acknowledged.
            following
                .run_until_cancelled(follow(log, queues, copy_check))
                .await;
        });
        if let Some(fence_task) = self.fence_task {
            tasks.spawn(fence_task.run(stop));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a background task of the queues' rules crashed");
            }
        }
    }
}
