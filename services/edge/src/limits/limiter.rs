//! The limiter of a gateway.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::access::limit::{Limited, Network, Standing};
use waybill_domain::access::plan::{Catalogue, Guard, Plan, Policy, PolicyScope};
use waybill_domain::id::{TeamId, UserId};
use waybill_domain::time::{Times, Timestamp};
use waybill_log::{CounterAway, CounterName, Counters};

use super::buckets::{Attempt, Buckets, Claim, Context, RefillSize};
use super::error::LimitRefusal;
use super::refill;
use super::slot::LimitSlot;
use super::sources::Sources;
use waybill_commands::entropy;

/// Locks among which holders are spread, so that this many decisions can be made at once.
const SHARDS: usize = 64;
/// Teams and credentials that are remembered: about 300 bytes each. Beyond, one is forgotten for each that comes, which costs it the
/// credits that lie here.
const MAX_HOLDERS: usize = 200_000;
/// Networks and accounts that are remembered for guards.
const MAX_GUARDED: usize = 100_000;
/// How long a request waits for credits. An answer of the counter takes a second at the most; several may be needed under contention.
const WAIT_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two sweeps of lapsed credits and closed windows, and between two probes of a counter that did not answer.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Who is charged for something that is worth guessing or flooding.
#[derive(Debug, Clone, Copy)]
pub struct Guarded<'a> {
    /// Where the request comes from. `None`: the caller is authenticated, so other callers of its network do not count.
    pub source: Option<IpAddr>,
    /// The account that is tried, as a token of a subject: the hash of an address, or a client's id. Never the address itself.
    pub account: Option<&'a str>,
    /// The team that it is for.
    pub team: Option<&'a TeamId>,
}

type Clock = Box<dyn Fn() -> Times + Send + Sync>;

/// Limits the requests to one gateway, together with those of all others.
pub struct Limiter {
    catalogue: Arc<Catalogue>,
    counters: Arc<dyn Counters>,
    live: Arc<AtomicU32>,
    refills: TaskTracker,
    clock: Clock,
    is_unavailable: AtomicBool,
    ordinary: Arc<Buckets>,
    guarded: Arc<Buckets>,
    sources: Sources,
}

impl Limiter {
    /// A limiter on shared counters. `live`: how many gateways serve now, updated by the fence. `refills`: owner of the requests to the counters.
    #[must_use]
    pub fn new(
        catalogue: Arc<Catalogue>,
        counters: Arc<dyn Counters>,
        live: Arc<AtomicU32>,
        refills: TaskTracker,
    ) -> Arc<Self> {
        Self::with_clock(catalogue, counters, live, refills, Box::new(entropy::times))
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(
        catalogue: Arc<Catalogue>,
        counters: Arc<dyn Counters>,
        live: Arc<AtomicU32>,
        refills: TaskTracker,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            sources: Sources::new(Arc::clone(catalogue.failures())),
            ordinary: Arc::new(Buckets::new(SHARDS, MAX_HOLDERS)),
            // Each decision of a guard asks the counter: one lock is enough.
            guarded: Arc::new(Buckets::new(1, MAX_GUARDED)),
            is_unavailable: AtomicBool::new(false),
            catalogue,
            counters,
            live,
            refills,
            clock,
        })
    }

    /// Charges a request of a credential of `team` (which is in its environment) to its plan.
    ///
    /// The common path takes a lock and no network. While the counter does not answer, each gateway admits its share.
    pub async fn take(
        self: &Arc<Self>,
        slot: &LimitSlot,
        team: &TeamId,
        credential: &str,
        plan: &Plan,
    ) -> Result<(), LimitRefusal> {
        self.take_of(slot, team, credential, plan, None).await
    }

    /// The same, also charged to a policy of the credential's own.
    pub async fn take_of(
        self: &Arc<Self>,
        slot: &LimitSlot,
        team: &TeamId,
        credential: &str,
        plan: &Plan,
        own: Option<&Arc<Policy>>,
    ) -> Result<(), LimitRefusal> {
        if plan.is_unlimited() && own.is_none() {
            slot.note(Standing::Unlimited);
            return Ok(());
        }
        let team = team.as_str();
        let claims = plan.policies.iter().chain(own).map(|policy| Claim {
            policy,
            holder: match policy.scope {
                PolicyScope::Key => credential,
                PolicyScope::Team
                | PolicyScope::Ip
                | PolicyScope::Account
                | PolicyScope::AccountNetwork => team,
            },
        });
        let outcome = self.charge(&self.ordinary, team, claims, RefillSize::Lease);
        self.conclude(slot, outcome.await)
    }

    /// Charges a request of a person that is about no team.
    pub async fn take_person(
        self: &Arc<Self>,
        slot: &LimitSlot,
        user: &UserId,
    ) -> Result<(), LimitRefusal> {
        let holder = user.as_str();
        let policy = self.catalogue.person();
        let claims = std::iter::once(Claim { policy, holder });
        let outcome = self.charge(&self.ordinary, holder, claims, RefillSize::Lease);
        self.conclude(slot, outcome.await)
    }

    /// Charges one try of something worth guessing or flooding. Without the counter nothing passes.
    pub async fn guard(
        self: &Arc<Self>,
        slot: &LimitSlot,
        guard: Guard,
        who: &Guarded<'_>,
    ) -> Result<(), LimitRefusal> {
        let holders = Holders::of(who);
        let claims = self.claims(guard, &holders);
        let outcome = self.charge(&self.guarded, "", claims, RefillSize::Single);
        self.conclude(slot, outcome.await)
    }

    /// Takes back what [`Self::guard`] charged for a try that was no guess, so that only failures count.
    pub fn forgive(&self, guard: Guard, who: &Guarded<'_>) {
        let holders = Holders::of(who);
        let claims = self.claims(guard, &holders);
        self.guarded.forgive("", claims, self.now());
    }

    fn claims<'a>(
        &'a self,
        guard: Guard,
        holders: &'a Holders<'a>,
    ) -> impl Iterator<Item = Claim<'a>> + Clone {
        let policies = self.catalogue.guard(guard).iter();
        policies.filter_map(|policy| {
            let holder = holders.of_scope(policy.scope)?;
            Some(Claim { holder, policy })
        })
    }

    /// Whether callers that were not recognised may call from there: not after too many failed attempts to authenticate.
    pub fn admit_source(&self, slot: &LimitSlot, source: IpAddr) -> Result<(), LimitRefusal> {
        let meter = self.sources.meter(Network::of(source), self.now());
        if !meter.violated {
            return Ok(());
        }
        metrics::counter!("waybill_limit_sources_refused_total").increment(1);
        let meters = vec![meter];
        slot.note(Standing::Metered(meters.clone()));
        Err(self.limited(Limited { meters }))
    }

    /// Counts a failed attempt to authenticate; an error (429) after too many.
    pub fn charge_failure(&self, slot: &LimitSlot, source: IpAddr) -> Result<(), LimitRefusal> {
        self.admit_source(slot, source)?;
        self.source_failed(source);
        Ok(())
    }

    /// Whether so few attempts from that address failed that credentials may be looked up in the log.
    #[must_use]
    pub fn is_source_open(&self, source: IpAddr) -> bool {
        let meter = self.sources.meter(Network::of(source), self.now());
        !meter.violated
    }

    /// An attempt to authenticate from there has failed.
    pub fn source_failed(&self, source: IpAddr) {
        self.sources.failed(Network::of(source), self.now());
    }

    /// The standing of an unrecognised caller: how many failed attempts are left.
    #[must_use]
    pub fn source_standing(&self, source: IpAddr) -> Standing {
        Standing::Metered(vec![self.sources.meter(Network::of(source), self.now())])
    }

    /// Sweeps until stopped.
    pub async fn run_sweeper(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(_tick) = stop.run_until_cancelled(ticks.tick()).await {
            self.sweep().await;
        }
    }

    /// Forgets windows that are over, hands back credits that nobody has used for a while, and tries a counter that did not answer.
    pub async fn sweep(&self) {
        let now = self.times();
        self.sources.sweep(now.wall);
        let mut lapsed = self.ordinary.sweep(now);
        lapsed.extend(self.guarded.sweep(now));
        if self.is_counter_unavailable()
            && let Some(probe) = CounterName::new("probe", "gateway", 0)
            && self.counters.add(probe, 0).await.is_ok()
        {
            self.counter_answered();
        }
        refill::hand_back_all(self, lapsed).await;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("waybill_limit_holders").set(self.holders() as f64);
    }

    /// Holders that are remembered, of all kinds.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.ordinary.len() + self.guarded.len() + self.sources.len()
    }

    /// This gateway's wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.times().wall
    }

    /// Both of its clocks.
    pub(super) fn times(&self) -> Times {
        (self.clock)()
    }

    pub(super) fn counters(&self) -> &dyn Counters {
        &*self.counters
    }

    pub(super) fn is_counter_unavailable(&self) -> bool {
        self.is_unavailable.load(Ordering::Relaxed)
    }

    pub(super) fn counter_answered(&self) {
        if self.is_unavailable.swap(false, Ordering::Relaxed) {
            tracing::info!("the counter of rate limits answers again");
        }
    }

    pub(super) fn counter_failed(&self, error: &CounterAway) {
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the counter of rate limits does not answer; each gateway admits its share, and guarded operations are closed");
        }
    }

    async fn charge<'a, C>(
        self: &Arc<Self>,
        buckets: &Arc<Buckets>,
        group: &str,
        claims: C,
        size: RefillSize,
    ) -> Outcome
    where
        C: Iterator<Item = Claim<'a>> + Clone,
    {
        let mut give_up = None;
        loop {
            let at = Context {
                now: self.times(),
                live: self.live.load(Ordering::Relaxed).max(1),
                counter_unavailable: self.is_counter_unavailable(),
                size,
            };
            if at.counter_unavailable && size == RefillSize::Single {
                return Outcome::CounterUnavailable;
            }
            let (requests, mut done) = match buckets.attempt(group, claims.clone(), at) {
                Attempt::Admitted(meters) => return Outcome::Admitted(Standing::Metered(meters)),
                Attempt::Refused(meters) => return Outcome::Limited(Limited { meters }),
                Attempt::Full => return Outcome::Full,
                Attempt::Wait { requests, done } => (requests, done),
            };
            for request in requests {
                let refill = refill::refill(Arc::clone(self), Arc::clone(buckets), request);
                self.refills.spawn(refill);
            }
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + WAIT_LIMIT);
            // The channel closes when the answer was applied; nothing is ever sent on it.
            if tokio::time::timeout_at(give_up, done.changed())
                .await
                .is_err()
            {
                return Outcome::CounterUnavailable;
            }
        }
    }

    fn conclude(&self, slot: &LimitSlot, outcome: Outcome) -> Result<(), LimitRefusal> {
        match outcome {
            Outcome::Admitted(standing) => {
                slot.note(standing);
                Ok(())
            }
            Outcome::Limited(limited) => {
                metrics::counter!("waybill_limit_refused_total").increment(1);
                slot.note(Standing::Metered(limited.meters.clone()));
                Err(self.limited(limited))
            }
            Outcome::Full => {
                metrics::counter!("waybill_limit_full_total").increment(1);
                Err(LimitRefusal::Full)
            }
            Outcome::CounterUnavailable => Err(LimitRefusal::CounterUnavailable),
        }
    }

    fn limited(&self, limited: Limited) -> LimitRefusal {
        LimitRefusal::Limited {
            retry_after_s: limited.retry_after_s(self.now()),
            limited,
        }
    }
}

/// Who is charged by policies of each scope.
struct Holders<'a> {
    network: Option<String>,
    account: Option<&'a str>,
    account_there: Option<String>,
    team: Option<&'a str>,
}

impl<'a> Holders<'a> {
    fn of(who: &Guarded<'a>) -> Self {
        let network = who.source.map(|source| Network::of(source).to_string());
        let account_there = who.account.zip(network.as_deref());
        Self {
            account_there: account_there.map(|(account, network)| format!("{account}-{network}")),
            account: who.account,
            team: who.team.map(TeamId::as_str),
            network,
        }
    }

    fn of_scope(&self, scope: PolicyScope) -> Option<&str> {
        match scope {
            PolicyScope::Ip => self.network.as_deref(),
            PolicyScope::Account | PolicyScope::Key => self.account,
            PolicyScope::AccountNetwork => self.account_there.as_deref(),
            PolicyScope::Team => self.team,
        }
    }
}

enum Outcome {
    Admitted(Standing),
    Limited(Limited),
    Full,
    CounterUnavailable,
}
