//! Limit keys of a partition's owner: it asks the homes of its tasks' keys for shares, and is the home
//! of some keys itself. The protocol is explained in `waybill_domain::limit`; nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio::task::JoinSet;
use tokio::time::Instant;
use waybill_domain::command::{MAX_STANDINGS, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::Home;
use waybill_domain::id::{LimitKey, TeamId};
use waybill_domain::limit::{LimitAsk, LimitGrant, LimitNudge};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_log::subject::TaskSubject;
use waybill_log::{Log, ReadError, Stream, StreamSeq};

use super::Serving;
use crate::command::CommandSource;

/// Pause before the fences are read again, if that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// How many fences are read at a time.
const READS: usize = 16;
/// How often it is checked that the slots of keys are held by what runs.
const RECOUNT: Duration = Duration::from_secs(10);

/// The last fence of each partition that ever had an owner.
type Fences = BTreeMap<Partition, StreamSeq>;

/// What an owner has to do with limit keys beside its dispatcher.
pub(super) struct Limits {
    count: PartitionCount,
    owners: Arc<dyn CommandSource>,
    /// The fence by which this owner took over.
    term: StreamSeq,
    /// `None` until it was needed, and the fences are read.
    home: Option<Home>,
    is_needed: bool,
    pub(super) reading: Option<BoxFuture<'static, Result<Fences, ReadError>>>,
    read_at: Instant,
    /// Messages to other owners.
    pub(super) sent: JoinSet<Sent>,
    recount_at: Instant,
    /// A fence of this partition that another owner knows of and this one does not.
    pub(super) superseded: Option<StreamSeq>,
}

/// What has become of a message.
pub(super) enum Sent {
    /// An ask, its number, and the answer.
    Asked(Partition, u64, Option<LimitGrant>),
    /// A nudge: it is not known whether it arrived.
    Nudged,
}

impl Limits {
    pub(super) fn new(
        count: PartitionCount,
        owners: Arc<dyn CommandSource>,
        term: StreamSeq,
    ) -> Self {
        let now = Instant::now();
        Self {
            count,
            owners,
            term,
            home: None,
            is_needed: false,
            reading: None,
            read_at: now,
            sent: JoinSet::new(),
            recount_at: now + RECOUNT,
            superseded: None,
        }
    }

    fn send_nudges(&mut self, nudges: Vec<(Partition, LimitNudge)>) {
        for (holder, nudge) in nudges {
            let owners = Arc::clone(&self.owners);
            self.sent.spawn(async move {
                owners.ask(holder, OwnerRequest::NudgeLimits(nudge)).await;
                Sent::Nudged
            });
        }
    }
}

async fn last_fences(log: Arc<dyn Log>, count: PartitionCount) -> Result<Fences, ReadError> {
    let read = |partition| {
        let log = Arc::clone(&log);
        async move {
            let subject = TaskSubject::owner(partition).to_string();
            let last = log.last(Stream::Tasks, &subject).await?;
            Ok::<_, ReadError>(last.map(|record| (partition, record.seq)))
        }
    };
    let all: Vec<_> = stream::iter(count.all())
        .map(read)
        .buffer_unordered(READS)
        .try_collect()
        .await?;
    Ok(all.into_iter().flatten().collect())
}

impl Serving<'_> {
    /// Asks for shares, and reminds others. Returns whether it has granted itself something.
    pub(super) fn ask_limits(&mut self, may_start: bool) -> bool {
        let now = self.parts.executor.clock.times();
        self.open_office();
        if Instant::now() >= self.limits.recount_at {
            self.limits.recount_at = Instant::now() + RECOUNT;
            let wrong = self.dispatcher.limit_mismatches();
            if wrong > 0 {
                counter!("waybill_limit_mismatch_total").increment(wrong);
                tracing::error!(partition = %self.parts.partition, wrong, "slots of limit keys are not held by what runs; this is a defect");
            }
        }
        let me = self.parts.partition;
        let mut nudges = Vec::new();
        let pinned = self.dispatcher.take_pinned_limits();
        if let Some(home) = &mut self.limits.home {
            home.tick(&pinned, self.fence, now.elapsed, &mut nudges);
        }
        let mut is_granted = false;
        for (partition, ask) in self.dispatcher.limit_asks(self.fence, may_start, now) {
            if partition == me {
                match self.grant(&ask, &mut nudges) {
                    Some(grant) => {
                        self.heed(&grant);
                        is_granted |= grant.is_open;
                        self.dispatcher.limit_granted(me, &grant, now);
                    }
                    None => self.dispatcher.limit_unanswered(me, ask.number, now),
                }
                continue;
            }
            let owners = Arc::clone(&self.limits.owners);
            self.limits.sent.spawn(async move {
                let number = ask.number;
                let reply = owners.ask(partition, OwnerRequest::AskLimits(ask)).await;
                let grant = match reply {
                    Some(OwnerReply::Granted(grant)) => Some(grant),
                    _ => None,
                };
                Sent::Asked(partition, number, grant)
            });
        }
        self.carry_nudges(nudges);
        is_granted
    }

    /// Begins to read where the other owners stand, once that is needed.
    fn open_office(&mut self) {
        let limits = &mut self.limits;
        if limits.home.is_some() || limits.reading.is_some() || Instant::now() < limits.read_at {
            return;
        }
        let now = self.parts.executor.clock.times();
        if limits.is_needed || self.dispatcher.lacks_limit_office(now) {
            let log = Arc::clone(&self.parts.executor.log);
            limits.reading = Some(last_fences(log, limits.count).boxed());
        }
    }

    /// The fences were read, after that of this owner was stored.
    pub(super) fn fences_read(&mut self, read: Result<Fences, ReadError>) {
        let (me, term) = (self.parts.partition, self.limits.term);
        match read {
            Ok(last) => {
                let now = self.parts.executor.clock.elapsed();
                self.limits.home = Some(Home::new(me, term, &last, now));
                self.dispatcher
                    .open_limit_office(me, term, self.limits.count, last);
            }
            Err(error) => {
                self.limits.read_at = Instant::now() + READ_AGAIN;
                tracing::warn!(partition = %me, %error, "reading who owns the partitions failed; tasks with limits wait, and it is retried");
            }
        }
    }

    fn grant(
        &mut self,
        ask: &LimitAsk,
        nudges: &mut Vec<(Partition, LimitNudge)>,
    ) -> Option<LimitGrant> {
        let now = self.parts.executor.clock.elapsed();
        if let Some(later) = ask.later_home(self.limits.term, self.fence) {
            // As a home this owner would not be listened to, and with nothing to append it would not notice.
            self.limits.superseded = self.limits.superseded.max(Some(later));
            return None;
        }
        let Some(home) = &mut self.limits.home else {
            self.limits.is_needed = true;
            return None;
        };
        let dispatcher = &self.dispatcher;
        home.ask(
            ask,
            self.fence,
            &|limit| dispatcher.limit_pin(limit),
            now,
            nudges,
        )
    }

    fn carry_nudges(&mut self, mut nudges: Vec<(Partition, LimitNudge)>) {
        let now = self.parts.executor.clock.times();
        let me = self.parts.partition;
        for (_, nudge) in nudges.extract_if(.., |(holder, _)| *holder == me) {
            self.dispatcher.limit_nudged(&nudge, now);
        }
        self.limits.send_nudges(nudges);
    }

    /// What another owner asks, as the home of a key. `None`: it is asked to try again.
    pub(super) fn asked(&mut self, ask: &LimitAsk) -> Option<OwnerReply> {
        let mut nudges = Vec::new();
        let grant = self.grant(ask, &mut nudges);
        self.carry_nudges(nudges);
        grant.map(OwnerReply::Granted)
    }

    /// The home of a key wants to be asked.
    pub(super) fn nudged(&mut self, nudge: &LimitNudge) -> OwnerReply {
        // It comes again, should it be too early for it.
        self.limits.is_needed = true;
        let now = self.parts.executor.clock.times();
        self.dispatcher.limit_nudged(nudge, now);
        OwnerReply::Noted
    }

    /// How the limit keys of a team stand.
    pub(super) fn standings(&self, team: &TeamId, key: Option<&LimitKey>) -> OwnerReply {
        let now = self.parts.executor.clock.times();
        let mut all = self.dispatcher.limit_standing(team, now);
        all.retain(|standing| key.is_none_or(|key| standing.key == *key));
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.truncate(MAX_STANDINGS);
        OwnerReply::Limits(all)
    }

    /// A message to another owner has an answer, or will have none.
    pub(super) fn sent(&mut self, sent: Sent) {
        let now = self.parts.executor.clock.times();
        match sent {
            Sent::Asked(home, _, Some(grant)) => {
                self.heed(&grant);
                self.dispatcher.limit_granted(home, &grant, now);
            }
            Sent::Asked(home, number, None) => {
                self.dispatcher.limit_unanswered(home, number, now);
            }
            Sent::Nudged => {}
        }
    }

    /// A partition in which nothing is to be stored may have another owner for long before this one
    /// would notice: homes do not listen to it meanwhile, nor wait for anybody else.
    fn heed(&mut self, grant: &LimitGrant) {
        let newer = grant.newer.filter(|newer| *newer > self.fence);
        self.limits.superseded = self.limits.superseded.or(newer);
    }

    /// When [`Serving::ask_limits`] has something to do.
    pub(super) fn limits_wake(&self) -> Option<Duration> {
        let home = self.limits.home.as_ref()?;
        home.next_in(self.parts.executor.clock.elapsed())
    }
}
