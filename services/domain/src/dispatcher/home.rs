//! The home of limit keys: divides what each of them allows among the partitions. The protocol is
//! explained in [`crate::limit`].
//!
//! Its state is what holders have told, and what it answered them; a new owner of the partition
//! begins with nothing and is told again.
//!
//! While less is wanted than a key allows, everybody gets what it wants. Otherwise the partitions
//! get equal shares, and what one does not want goes to the others. When there is less than one for
//! each, they take turns: who has had one comes last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rate::Bucket;
use crate::limit::{
    KeyAsk, KeyGrant, KeyPause, LimitAsk, LimitBounds, LimitGrant, LimitId, LimitNudge,
};
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::time::Elapsed;

/// Starts that are handed out before they are allowed, since a holder asks no more often.
const AHEAD: Duration = Duration::from_millis(100);
/// A holder that was told to ask is not told again for that long.
const NUDGE_PAUSE: Duration = Duration::from_millis(200);
/// A holder that has not asked for that long may have another owner, which does not know that
/// anything is held.
const SILENCE: Duration = Duration::from_secs(2);
/// Holders wait for a start in turn, as long as they still ask for it.
const WAITS: Duration = Duration::from_millis(1_500);
/// How often it is looked who is silent, and which keys can be forgotten.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time after which a holder may ask for another start.
const LEAST_AGAIN: Duration = Duration::from_millis(5);

/// The home of the keys of one partition, under one fence.
#[derive(Debug)]
pub struct Home {
    me: Partition,
    term: StreamSeq,
    /// Since when nobody else has granted anything.
    since: Elapsed,
    /// Partitions of which no owner has been heard yet, with the oldest fence that counts.
    unheard: BTreeMap<Partition, StreamSeq>,
    /// The newest term of each partition, and its latest ask.
    heard: BTreeMap<Partition, (StreamSeq, u64)>,
    keys: BTreeMap<LimitId, Kept>,
    /// Whether anybody has asked.
    is_used: bool,
    /// Whether all partitions have been heard.
    is_open: bool,
    tick_at: Elapsed,
}

#[derive(Debug, Default)]
struct Kept {
    holders: BTreeMap<Partition, Holding>,
    bounds: LimitBounds,
    bucket: Option<Bucket>,
    turns: u64,
    /// The pause that a target has asked for, and when it ends.
    paused: Option<(KeyPause, Elapsed)>,
}

/// What the home knows of a holder.
#[derive(Debug, Clone, Copy, Default)]
struct Holding {
    /// It runs no more than that, and starts none beyond it.
    bound: u32,
    running: u32,
    wants: u32,
    says: Option<(StreamSeq, LimitBounds)>,
    /// When it had its last turn.
    turn: u64,
    /// Since when it waits for a start.
    waits_since: Option<Elapsed>,
    asked: Elapsed,
    nudged: Option<Elapsed>,
}

impl Holding {
    fn waits(&self, now: Elapsed) -> bool {
        self.waits_since.is_some() && now.since(self.asked) < WAITS
    }
}

impl Home {
    /// A home that has heard from nobody. `last` are the last fences of all partitions, read after
    /// the fence `term` was stored.
    #[must_use]
    pub fn new(
        me: Partition,
        term: StreamSeq,
        last: &BTreeMap<Partition, StreamSeq>,
        now: Elapsed,
    ) -> Self {
        Self {
            me,
            term,
            since: now,
            unheard: last.clone(),
            heard: BTreeMap::new(),
            keys: BTreeMap::new(),
            is_used: false,
            is_open: false,
            tick_at: now,
        }
    }

    /// Answers an ask; `None` if a later one was heard before. An owner that is overtaken is told so:
    /// one that lost its lease and got it again would not learn it while it has nothing to store.
    /// `fence` is the owner's latest, `pins` are the bounds that were set at run time. Holders that
    /// should ask are added to `nudges`.
    pub fn ask(
        &mut self,
        ask: &LimitAsk,
        fence: StreamSeq,
        pins: &dyn Fn(LimitId) -> Option<LimitBounds>,
        now: Elapsed,
        nudges: &mut Vec<(Partition, LimitNudge)>,
    ) -> Option<LimitGrant> {
        let former = self.heard.get(&ask.holder).copied();
        if let Some(former) = former.filter(|former| (ask.term, ask.number) <= *former) {
            return (former.0 > ask.fence).then(|| LimitGrant {
                newer: Some(former.0),
                ..LimitGrant::of_nothing(self.term, fence, ask.number)
            });
        }
        if !self.is_used {
            (self.is_used, self.tick_at) = (true, now);
        }
        let mut grant = LimitGrant::of_nothing(self.term, fence, ask.number);
        let is_new = former.is_none_or(|(term, _)| term < ask.term);
        let least = self.unheard.get(&ask.holder).copied().unwrap_or_default();
        let counts = ask.home_term == self.term && ask.fence >= least;
        if !counts || (is_new && !ask.is_full) {
            grant.newer = Some(least).filter(|least| *least > ask.fence);
            return Some(grant);
        }
        self.unheard.remove(&ask.holder);
        self.heard.insert(ask.holder, (ask.term, ask.number));
        let mut told = Vec::new();
        if ask.is_full {
            self.release_others(ask, &mut told);
        }
        for key in &ask.keys {
            self.note(ask.holder, key, now, &mut told);
        }
        grant.is_open = self.unheard.is_empty();
        if grant.is_open && !self.is_open {
            // Until now a former home may have handed out starts.
            (self.is_open, self.since) = (true, now);
        }
        if grant.is_open {
            for key in &ask.keys {
                let answer = self.grant(ask.holder, key, pins(key.limit), now, &mut told);
                grant.keys.push(answer);
            }
        }
        self.nudge(told, fence, nudges);
        Some(grant)
    }

    /// Reminds those that should ask. `pins` were set for these keys since.
    pub fn tick(
        &mut self,
        pinned: &[LimitId],
        fence: StreamSeq,
        now: Elapsed,
        nudges: &mut Vec<(Partition, LimitNudge)>,
    ) {
        let mut told = Vec::new();
        for limit in pinned {
            let Some(kept) = self.keys.get_mut(limit) else {
                continue;
            };
            for (holder, holding) in &mut kept.holders {
                holding.nudged = Some(now);
                told.push((*holder, *limit));
            }
        }
        if self.is_used && now >= self.tick_at {
            if !self.unheard.is_empty() {
                self.tick_at = now.plus(NUDGE_PAUSE);
                for holder in self.unheard.keys() {
                    nudges.push((*holder, self.nudge_about(Vec::new(), fence)));
                }
            } else {
                self.tick_at = now.plus(TICK);
            }
            self.keys.retain(|_, kept| {
                !kept.holders.is_empty()
                    || kept.bucket.is_some_and(|bucket| !bucket.is_full(now))
                    || kept.pause_left(now).is_some()
            });
            for (limit, kept) in &mut self.keys {
                for (holder, holding) in &mut kept.holders {
                    if now.since(holding.asked) >= SILENCE && may_nudge(holding, now) {
                        told.push((*holder, *limit));
                    }
                }
            }
        }
        self.nudge(told, fence, nudges);
    }

    /// Time until [`Home::tick`] has something to do.
    #[must_use]
    pub fn next_in(&self, now: Elapsed) -> Option<Duration> {
        let is_idle = self.unheard.is_empty() && self.keys.is_empty();
        (self.is_used && !is_idle).then(|| self.tick_at.since(now))
    }

    /// Under the same fence, what a holder may have running of a key as far as this home reckons.
    #[cfg(any(test, feature = "check"))]
    #[must_use]
    pub fn reckons(&self, limit: LimitId) -> BTreeMap<Partition, u32> {
        let kept = self.keys.get(&limit);
        let holders = kept.iter().flat_map(|kept| &kept.holders);
        holders.map(|(holder, of)| (*holder, of.bound)).collect()
    }

    fn nudge_about(&self, keys: Vec<LimitId>, fence: StreamSeq) -> LimitNudge {
        LimitNudge {
            home: self.me,
            term: self.term,
            fence,
            keys,
        }
    }

    fn nudge(
        &self,
        told: Vec<(Partition, LimitId)>,
        fence: StreamSeq,
        nudges: &mut Vec<(Partition, LimitNudge)>,
    ) {
        let mut by_holder: BTreeMap<Partition, Vec<LimitId>> = BTreeMap::new();
        for (holder, limit) in told {
            by_holder.entry(holder).or_default().push(limit);
        }
        for (holder, keys) in by_holder {
            nudges.push((holder, self.nudge_about(keys, fence)));
        }
    }

    /// A holder has stated everything: it holds nothing of the keys that it did not name.
    fn release_others(&mut self, ask: &LimitAsk, told: &mut Vec<(Partition, LimitId)>) {
        let named: std::collections::BTreeSet<_> = ask.keys.iter().map(|key| key.limit).collect();
        for (limit, kept) in &mut self.keys {
            if !named.contains(limit) && kept.holders.remove(&ask.holder).is_some() {
                told.extend(kept.holders.keys().map(|holder| (*holder, *limit)));
            }
        }
    }

    fn note(
        &mut self,
        holder: Partition,
        ask: &KeyAsk,
        now: Elapsed,
        told: &mut Vec<(Partition, LimitId)>,
    ) {
        // Since this home began it has granted nothing of a key that it does not know.
        let kept = self.keys.entry(ask.limit).or_default();
        if let Some(pause) = ask.paused
            && kept
                .paused
                .is_none_or(|(known, _)| known.until < pause.until)
        {
            let end = now.plus(Duration::from_millis(pause.left_ms));
            kept.paused = Some((pause, end));
            for (other, holding) in &mut kept.holders {
                if *other != holder {
                    holding.nudged = Some(now);
                    told.push((*other, ask.limit));
                }
            }
        }
        let holding = kept.holders.entry(holder).or_default();
        *holding = Holding {
            bound: ask.held.max(ask.running),
            running: ask.running,
            wants: ask.wants.max(ask.running),
            says: ask.says,
            asked: now,
            nudged: None,
            ..*holding
        };
    }

    fn grant(
        &mut self,
        holder: Partition,
        ask: &KeyAsk,
        pin: Option<LimitBounds>,
        now: Elapsed,
        told: &mut Vec<(Partition, LimitId)>,
    ) -> KeyGrant {
        let since = self.since;
        let kept = self.keys.entry(ask.limit).or_default();
        if kept.follow(pin, since, now) {
            // What they were granted may be too much.
            for (other, holding) in kept
                .holders
                .iter_mut()
                .filter(|(other, _)| **other != holder)
            {
                holding.nudged = Some(now);
                told.push((*other, ask.limit));
            }
        }
        let most = kept.bounds.concurrency.unwrap_or(u32::MAX);
        let targets = kept.targets(most);
        let target = |of: &Partition| targets.get(of).copied().unwrap_or_default();
        let others: u64 = kept
            .holders
            .iter()
            .filter(|(other, _)| **other != holder)
            .map(|(_, holding)| u64::from(holding.bound))
            .sum();
        let free = u64::from(most).saturating_sub(others);
        let left_to_it = match ask.keeps {
            0 => 0,
            keeps => ask.running.saturating_add(keeps).min(ask.held),
        };
        let share = target(&holder).max(left_to_it);
        let share = share.min(u32::try_from(free).unwrap_or(u32::MAX));
        kept.turns += 1;
        let turns = kept.turns;
        if let Some(own) = kept.holders.get_mut(&holder) {
            if share > ask.running {
                own.turn = turns;
            }
            // Until it has this answer it may start as many as it held.
            own.bound = share.max(ask.held);
        }
        let starts = kept.starts(holder, ask, share, now);
        let own_unmet = share < ask.wants;
        let held: u64 = kept
            .holders
            .values()
            .map(|holding| u64::from(holding.bound))
            .sum();
        let has_room = held < u64::from(most);
        let mut is_wanted = false;
        for (other, holding) in kept
            .holders
            .iter_mut()
            .filter(|(other, _)| **other != holder)
        {
            let is_unmet = holding.bound < holding.wants;
            is_wanted |= is_unmet;
            let can_give =
                own_unmet && (holding.bound > target(other) || holding.bound > holding.running);
            let can_take = has_room && is_unmet && target(other) > holding.bound;
            let may_start = starts.others_may && holding.waits(now);
            if (can_give || can_take || may_start) && may_nudge(holding, now) {
                told.push((*other, ask.limit));
            }
        }
        if ask.held == 0 && ask.wants == 0 {
            kept.holders.remove(&holder);
        }
        KeyGrant {
            limit: ask.limit,
            share,
            starts: starts.granted,
            again_ms: starts.again_ms,
            is_wanted,
            paused: kept.pause_left(now),
        }
    }
}

/// Whether a holder should be told to ask, and was not just now.
fn may_nudge(holding: &mut Holding, now: Elapsed) -> bool {
    let may = holding.nudged.is_none_or(|at| now.since(at) >= NUDGE_PAUSE);
    if may {
        holding.nudged = Some(now);
    }
    may
}

/// Starts that a holder got.
struct Starts {
    granted: Option<u32>,
    again_ms: u32,
    /// Whether some are left for others that wait.
    others_may: bool,
}

impl Kept {
    /// The pause that a target has asked for, while it lasts.
    fn pause_left(&self, now: Elapsed) -> Option<KeyPause> {
        let (pause, end) = self.paused.filter(|(_, end)| *end > now)?;
        let left = u64::try_from(end.since(now).as_millis()).unwrap_or(u64::MAX);
        Some(KeyPause {
            left_ms: left,
            ..pause
        })
    }

    /// Works out what the key allows; returns whether that has changed.
    fn follow(&mut self, pin: Option<LimitBounds>, since: Elapsed, now: Elapsed) -> bool {
        let said = self.holders.values().filter_map(|holding| holding.says);
        let newest = said.max_by_key(|(seq, _)| *seq).map(|(_, bounds)| bounds);
        let bounds = pin.or(newest).unwrap_or_default();
        // A bucket that is not there was never needed, or was full when it was forgotten.
        let is_new = self.bounds.are_none() && self.turns == 0;
        let before = std::mem::replace(&mut self.bounds, bounds);
        self.bucket = match (self.bucket, bounds.rate) {
            (_, None) => None,
            (None, Some(rate)) if is_new => Some(Bucket::new(rate, since)),
            (None, Some(rate)) => Some(Bucket::new(rate, now)),
            (Some(bucket), Some(rate)) if bucket.rate() != rate => {
                Some(bucket.with_rate(rate, now))
            }
            (known, Some(_)) => known,
        };
        before != bounds && !is_new
    }

    /// How `most` is divided, by what everybody wants.
    fn targets(&self, most: u32) -> BTreeMap<Partition, u32> {
        let mut waiting: Vec<_> = self.holders.iter().filter(|(_, of)| of.wants > 0).collect();
        let is_scarce = waiting.len() as u64 > u64::from(most);
        let mut left = most;
        if is_scarce {
            waiting.sort_by_key(|(holder, of)| (of.turn, **holder));
            let turns = waiting.into_iter().take(most as usize);
            return turns.map(|(holder, _)| (*holder, 1)).collect();
        }
        waiting.sort_by_key(|(holder, of)| (of.wants, **holder));
        let mut to_serve = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        let mut targets = BTreeMap::new();
        for (holder, of) in waiting {
            // Rounded up, so that nothing is left over.
            let target = of.wants.min(left.div_ceil(to_serve));
            targets.insert(*holder, target);
            left -= target;
            to_serve -= 1;
        }
        targets
    }

    /// Starts for a holder, behind those that have waited longer.
    fn starts(&mut self, holder: Partition, ask: &KeyAsk, share: u32, now: Elapsed) -> Starts {
        let Some(mut bucket) = self.bucket else {
            return Starts {
                granted: None,
                again_ms: 0,
                others_may: false,
            };
        };
        let own = self.holders.get(&holder).and_then(|own| own.waits_since);
        let place = (own.unwrap_or(now), holder);
        let before = self.holders.iter().filter(|(other, of)| {
            **other != holder && of.waits(now) && (of.waits_since.unwrap_or(now), **other) < place
        });
        let before = before.count() as u64;
        let usable = ask.starts.min(share.saturating_sub(ask.running));
        let there = bucket.ahead(AHEAD, now);
        let taken = bucket.take_ahead(
            u64::from(usable).min(there.saturating_sub(before)),
            AHEAD,
            now,
        );
        self.bucket = Some(bucket);
        let taken = u32::try_from(taken).unwrap_or(usable);
        if let Some(own) = self.holders.get_mut(&holder) {
            own.waits_since = match (taken < usable, taken) {
                (false, _) => None,
                (true, 0) => Some(own.waits_since.unwrap_or(now)),
                // Those that wait come first now.
                (true, _) => Some(now),
            };
        }
        let again = bucket.until_ahead(AHEAD, now).max(LEAST_AGAIN);
        Starts {
            granted: Some(taken),
            again_ms: u32::try_from(again.as_millis()).unwrap_or(u32::MAX),
            others_may: bucket.ahead(AHEAD, now) > 0,
        }
    }
}
