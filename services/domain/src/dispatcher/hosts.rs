//! Tasks that are held back because their host fails, by the rule that their team has set.
//!
//! A host with a rule is closed, open or probing, like the contact of a fuse: while it is open
//! nothing is started there, and its tasks are parked outside of the ready queue, in which they use
//! up no attempt. After a pause one task is let go to find out, the oldest of those that nothing
//! else holds; if its attempt succeeds all others follow, and if it fails the next pause is longer.
//!
//! Which of the three a host is follows from what the partition's events say about it
//! ([`HostRecord`]), from the rule and from the clock. Nothing is counted up and down, so a replay
//! finds the same, and a rule that is set later judges what is remembered. Each partition judges by
//! its own tasks.
//!
//! Somebody may hold a host back as well, and a rule may end the probes of a host that has failed for
//! very long: then nothing starts until it is closed by hand, or the date of the former has come.
//!
//! A task in the ready queue when its host opens is parked when its turn comes, as with a pause of a
//! queue. Tasks come here before their queue is asked, so that they take up none of its limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::action::Compartment;
use super::host_record::{HostRecord, Reading};
use super::lanes::Lane;
use super::rules::{Hold, HostRules, Listening};
use crate::command::{HostHealth, HostState};
use crate::event::TaskEvent;
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::waits::WaitKind;
use crate::time::{Elapsed, Times, Timestamp};

/// Most parked tasks of a host that go on in one turn, so that a turn stays short.
const AT_ONCE: usize = 1_000;
/// Hosts of which failures are remembered. Clients name them, so there is a bound: beyond it the
/// half that failed longest ago is forgotten, but for those with a rule.
const MAX_RECORDS: usize = 10_000;

/// A host that failed, and when by this owner's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    record: HostRecord,
    at: Elapsed,
}

/// Whether attempts may start at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Not before then.
    Open(Elapsed),
    /// One, to find out.
    Probing,
    /// Not before somebody closes it, or that date.
    Held(Option<Timestamp>),
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    failed: HashMap<Compartment, Failed>,
    rules: HashMap<Compartment, HostRules>,
    /// The ready tasks that are held back, by queue and age; no host without one.
    parked: HashMap<Compartment, BTreeMap<Lane, BTreeMap<StreamSeq, TaskId>>>,
    /// The task of each host that was let go to find out and has not started.
    chosen: BTreeMap<Compartment, TaskId>,
    /// The tasks whose attempt is to find out: it is running, or its start waits for the log.
    probes: HashMap<Compartment, BTreeSet<TaskId>>,
    /// Hosts whose parked tasks may be able to go on.
    stirred: BTreeSet<Compartment>,
    /// When pauses end.
    pauses: BTreeSet<(Elapsed, Compartment)>,
    /// When what somebody holds goes on by itself, and when leases of listeners end.
    dates: BTreeSet<(Timestamp, Compartment)>,
    /// Whether the next turn finds something to let go, without anything else happening.
    is_cut_short: bool,
}

impl Hosts {
    fn state(&self, host: Compartment, now: Times) -> State {
        if self.is_unheard(host, now) {
            return State::Held(None);
        }
        self.state_if_heard(host, now)
    }

    /// Whether nobody listens to a host that has to be listened to.
    pub(super) fn is_unheard(&self, host: Compartment, now: Times) -> bool {
        let listening = self.rules.get(&host).and_then(|rules| rules.listening);
        listening.is_some_and(|of| of.at(now.wall) == Listening::Over)
    }

    /// What holds the tasks of a host back.
    pub(super) fn why(&self, host: Compartment, now: Times) -> WaitKind {
        if self.is_unheard(host, now) {
            WaitKind::WaitingForListener
        } else {
            WaitKind::TargetOpen
        }
    }

    fn state_if_heard(&self, host: Compartment, now: Times) -> State {
        let Some(rules) = self.rules.get(&host) else {
            return State::Closed;
        };
        match rules.held {
            Some(Hold::Open) => return State::Held(None),
            Some(Hold::Until(until)) if until > now.wall => return State::Held(Some(until)),
            Some(Hold::Until(_)) | None => {}
        }
        let (Some(failed), Some(rule)) = (self.failed.get(&host), &rules.rule) else {
            return State::Closed;
        };
        if !failed.record.is_ill(rule) {
            return State::Closed;
        }
        if failed.record.is_disabled(rule) {
            return State::Held(None);
        }
        let end = failed.at.plus(rule.pause(failed.record.probes));
        if end > now.elapsed {
            State::Open(end)
        } else {
            State::Probing
        }
    }

    /// Sets or removes the rules of a host.
    pub(super) fn set(&mut self, host: Compartment, rules: HostRules) {
        let before = if rules == HostRules::default() {
            self.rules.remove(&host)
        } else {
            self.rules.insert(host, rules)
        };
        if let Some(Listening::Until(until)) = before.and_then(|before| before.listening) {
            self.dates.remove(&(until, host));
        }
        if let Some(Listening::Until(until)) = rules.listening {
            self.dates.insert((until, host));
        }
        if let Some(until) = rules.cleared
            && let Some(failed) = self.failed.remove(&host)
            && let Some(record) = failed.record.cleared(until)
        {
            self.failed.insert(host, Failed { record, ..failed });
        }
        self.stirred.insert(host);
    }

    /// Whether somebody holds the host back, or nobody listens to it.
    pub(super) fn is_held(&self, host: Compartment, now: Times) -> bool {
        if self.is_unheard(host, now) {
            return true;
        }
        match self.rules.get(&host).and_then(|rules| rules.held) {
            Some(Hold::Open) => true,
            Some(Hold::Until(until)) => until > now.wall,
            None => false,
        }
    }

    /// Since when the host has failed, if what an event says about it means that it is not probed any
    /// more.
    pub(super) fn disables(
        &self,
        host: Compartment,
        event: &TaskEvent,
        probe: bool,
    ) -> Option<Timestamp> {
        let rule = self.rules.get(&host)?.rule?;
        rule.disable_after_ms?;
        let former = self.failed.get(&host).map(|of| of.record);
        if former.is_some_and(|record| record.is_disabled(&rule)) {
            return None;
        }
        let record = HostRecord::after(former, Reading::of(event)?, probe, event.at())?;
        record.is_disabled(&rule).then_some(record.since)
    }

    /// Takes in what an event says about the host that it is about. `at` is when it was decided, by
    /// this owner's clock; `None` in a replay.
    pub(super) fn take_in(
        &mut self,
        host: Compartment,
        event: &TaskEvent,
        probe: bool,
        at: Option<Elapsed>,
    ) {
        let Some(reading) = Reading::of(event) else {
            return;
        };
        let former = self.failed.get(&host);
        let record = HostRecord::after(former.map(|of| of.record), reading, probe, event.at());
        match (record, reading) {
            (None, _) if former.is_none() => return,
            (None, _) => {
                self.failed.remove(&host);
            }
            (Some(record), Reading::Well) => {
                let at = former.map_or_else(Elapsed::default, |of| of.at);
                self.failed.insert(host, Failed { record, at });
            }
            (Some(record), Reading::Ill { .. }) => {
                let at = at.unwrap_or_default();
                self.failed.insert(host, Failed { record, at });
                self.forget_some();
            }
        }
        if self.rules.contains_key(&host) {
            self.stirred.insert(host);
        }
    }

    fn forget_some(&mut self) {
        if self.failed.len() <= MAX_RECORDS {
            return;
        }
        let without_rule = self
            .failed
            .iter()
            .filter(|(host, _)| !self.rules.contains_key(host));
        let mut by_age: Vec<_> = without_rule
            .map(|(host, of)| (of.record.last, *host))
            .collect();
        by_age.sort_unstable();
        for (_, host) in by_age.into_iter().take(MAX_RECORDS / 2) {
            self.failed.remove(&host);
        }
    }

    /// What is remembered, for a snapshot.
    pub(super) fn records(&self) -> Vec<(Compartment, HostRecord)> {
        let all = self.failed.iter();
        let mut all: Vec<_> = all.map(|(host, of)| (*host, of.record)).collect();
        all.sort_unstable_by_key(|(host, _)| *host);
        all
    }

    /// The same as read from a snapshot.
    pub(super) fn restore(records: Vec<(Compartment, HostRecord)>) -> Self {
        let failed = records.into_iter().map(|(host, record)| {
            let at = Elapsed::default();
            (host, Failed { record, at })
        });
        Self {
            failed: failed.collect(),
            ..Self::default()
        }
    }

    /// Converts the dates in the log to the clock of an owner that takes over. A pause that has
    /// begun lasts neither longer than it should, nor less than no time, however wrong a clock is.
    pub(super) fn place(&mut self, now: Times) {
        for failed in self.failed.values_mut() {
            failed.at = now.began(failed.record.last);
        }
        let ruled = self
            .failed
            .keys()
            .filter(|host| self.rules.contains_key(host));
        self.stirred.extend(ruled);
    }

    /// A task has become ready. Returns whether it may go on; otherwise it is parked.
    pub(super) fn enter(
        &mut self,
        (host, lane): (Compartment, Lane),
        created: StreamSeq,
        id: TaskId,
        now: Times,
    ) -> bool {
        if self.rules.is_empty() || self.state(host, now) == State::Closed {
            return true;
        }
        self.park((host, lane), created, id);
        false
    }

    /// Parks a ready task.
    pub(super) fn park(
        &mut self,
        (host, lane): (Compartment, Lane),
        created: StreamSeq,
        id: TaskId,
    ) {
        if self.chosen.get(&host) == Some(&id) {
            self.chosen.remove(&host);
        }
        let lanes = self.parked.entry(host).or_default();
        lanes.entry(lane).or_default().insert(created, id);
        self.stirred.insert(host);
    }

    /// The same in the middle of a turn, which may have been to let another one go.
    pub(super) fn park_in_turn(
        &mut self,
        (host, lane): (Compartment, Lane),
        created: StreamSeq,
        id: TaskId,
        now: Times,
    ) {
        self.park((host, lane), created, id);
        self.is_cut_short |= self.state(host, now) == State::Probing && !self.finds_out(host);
    }

    /// A task is no longer ready, or a decision about it is pending.
    pub(super) fn leave(
        &mut self,
        (host, lane): (Compartment, Lane),
        created: StreamSeq,
        id: TaskId,
    ) {
        if self.chosen.get(&host) == Some(&id) {
            self.chosen.remove(&host);
            self.stirred.insert(host);
        }
        let Some(lanes) = self.parked.get_mut(&host) else {
            return;
        };
        if let Some(tasks) = lanes.get_mut(&lane) {
            tasks.remove(&created);
            if tasks.is_empty() {
                lanes.remove(&lane);
            }
        }
        if lanes.is_empty() {
            self.parked.remove(&host);
        }
    }

    /// Whether a task is on its way to find out about the host.
    fn finds_out(&self, host: Compartment) -> bool {
        self.chosen.contains_key(&host) || self.probes.contains_key(&host)
    }

    /// Whether a task whose turn it is may start.
    pub(super) fn allows(&self, host: Compartment, id: TaskId, now: Times) -> bool {
        match self.state(host, now) {
            State::Closed => true,
            State::Open(_) | State::Held(_) => false,
            State::Probing => self.chosen.get(&host) == Some(&id),
        }
    }

    /// A task starts.
    pub(super) fn starts(&mut self, host: Compartment, id: TaskId, now: Times) {
        let is_chosen = self.chosen.get(&host) == Some(&id);
        if is_chosen {
            self.chosen.remove(&host);
        }
        if is_chosen && self.state(host, now) == State::Probing {
            self.probes.entry(host).or_default().insert(id);
        }
    }

    /// Whether the attempt that the task starts or makes is to find out.
    pub(super) fn is_probe(&self, host: Compartment, id: TaskId) -> bool {
        let probes = self.probes.get(&host);
        probes.is_some_and(|probes| probes.contains(&id))
    }

    /// Notes whether an attempt of a task is running that is to find out.
    pub(super) fn runs(&mut self, host: Compartment, id: TaskId, probes: bool) {
        if probes {
            self.probes.entry(host).or_default().insert(id);
            return;
        }
        if let Some(probes) = self.probes.get_mut(&host)
            && probes.remove(&id)
        {
            if probes.is_empty() {
                self.probes.remove(&host);
            }
            self.stirred.insert(host);
        }
    }

    /// Ends the pauses whose time has come.
    pub(super) fn tick(&mut self, now: Times) {
        while let Some((at, _)) = self.pauses.first()
            && *at <= now.elapsed
            && let Some((_, host)) = self.pauses.pop_first()
        {
            self.stirred.insert(host);
        }
        while let Some((until, _)) = self.dates.first()
            && *until <= now.wall
            && let Some((until, host)) = self.dates.pop_first()
        {
            if let Some(rules) = self.rules.get_mut(&host)
                && rules.listening == Some(Listening::Until(until))
            {
                // For good, whatever the wall clock says from now on: a renewal is another rule.
                rules.listening = Some(Listening::Over);
            }
            self.stirred.insert(host);
        }
    }

    /// Time until there is something to do.
    pub(super) fn next_in(&self, now: Times) -> Option<Duration> {
        if self.is_cut_short {
            return Some(Duration::ZERO);
        }
        let pause = self.pauses.first().map(|(at, _)| at.since(now.elapsed));
        let date = self.dates.first().map(|(at, _)| at.since(now.wall));
        pause.into_iter().chain(date).min()
    }

    /// Tasks that were let go to find out, and cannot since something pauses them: others may.
    pub(super) fn stuck(&self, is_paused: impl Fn(TaskId) -> bool) -> Vec<TaskId> {
        let chosen = self.chosen.values().copied();
        chosen.filter(|id| is_paused(*id)).collect()
    }

    /// The parked tasks that go on now.
    pub(super) fn let_go(&mut self, is_paused: impl Fn(TaskId) -> bool, now: Times) -> Vec<TaskId> {
        let mut free = Vec::new();
        self.is_cut_short = false;
        for host in std::mem::take(&mut self.stirred) {
            let state = self.state(host, now);
            if state == State::Closed {
                self.chosen.remove(&host);
            }
            if !self.parked.contains_key(&host) {
                continue;
            }
            match state {
                State::Closed => {
                    let first: Vec<_> = self.oldest_first(host).take(AT_ONCE).collect();
                    for (lane, created, id) in first {
                        self.leave((host, lane), created, id);
                        free.push(id);
                    }
                    if self.parked.contains_key(&host) {
                        self.stirred.insert(host);
                        self.is_cut_short = true;
                    }
                }
                State::Open(end) => {
                    self.pauses.insert((end, host));
                }
                State::Held(until) => {
                    self.dates.extend(until.map(|until| (until, host)));
                }
                State::Probing if self.finds_out(host) => {}
                State::Probing => {
                    let lanes = self.parked.get(&host).into_iter().flatten();
                    let first = lanes
                        .filter_map(|(lane, tasks)| {
                            let mut oldest = tasks.iter().take(AT_ONCE);
                            let (created, id) = oldest.find(|(_, id)| !is_paused(**id))?;
                            Some((*created, *lane, *id))
                        })
                        .min();
                    match first {
                        Some((created, lane, id)) => {
                            self.leave((host, lane), created, id);
                            self.chosen.insert(host, id);
                            free.push(id);
                        }
                        // All of them are paused; which of them goes on first is not known.
                        None => {
                            self.stirred.insert(host);
                        }
                    }
                }
            }
        }
        free
    }

    fn oldest_first(
        &self,
        host: Compartment,
    ) -> impl Iterator<Item = (Lane, StreamSeq, TaskId)> + '_ {
        let lanes = self.parked.get(&host).into_iter().flatten();
        lanes.flat_map(|(lane, tasks)| {
            let tasks = tasks.iter();
            tasks.map(|(created, id)| (*lane, *created, *id))
        })
    }

    /// How many parked tasks of the host are older than that one, counted up to `most`; `None` if
    /// it is not held back.
    pub(super) fn ahead(
        &self,
        (host, lane): (Compartment, Lane),
        created: StreamSeq,
        most: usize,
    ) -> Option<usize> {
        let lanes = self.parked.get(&host)?;
        lanes.get(&lane)?.get(&created)?;
        let older = lanes.values().flat_map(|tasks| tasks.range(..created));
        Some(older.take(most).count())
    }

    /// Until when nothing starts at the host, if that is known; `None` if tasks start, or one finds
    /// out.
    pub(super) fn opens(&self, host: Compartment, now: Times) -> Option<Option<Timestamp>> {
        match self.state(host, now) {
            State::Open(end) => Some(Some(now.wall.plus(end.since(now.elapsed)))),
            State::Held(until) => Some(until),
            State::Closed | State::Probing => None,
        }
    }

    /// What is known about a host.
    pub(super) fn health(&self, host: Compartment, now: Times) -> HostHealth {
        let record = self.failed.get(&host).map(|failed| failed.record);
        let (state, until) = match self.state_if_heard(host, now) {
            State::Closed => (HostState::Closed, None),
            State::Open(end) => (HostState::Open, Some(now.wall.plus(end.since(now.elapsed)))),
            State::Held(until) => (HostState::Open, until),
            State::Probing => (HostState::Probing, None),
        };
        let rule = self.rules.get(&host).and_then(|rules| rules.rule);
        let disabled = record.zip(rule);
        let held = self.parked.get(&host).into_iter().flatten();
        HostHealth {
            state,
            until,
            since: record.map(|record| record.since),
            in_a_row: record.map_or(0, |record| record.in_a_row),
            last: record.map(|record| record.last),
            kind: record.map(|record| record.kind),
            status: record.and_then(|record| record.status),
            held: held.map(|(_, tasks)| tasks.len() as u64).sum(),
            disabled: disabled.is_some_and(|(record, rule)| record.is_disabled(&rule)),
        }
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn is_parked(&self, (host, lane): (Compartment, Lane), created: StreamSeq) -> bool {
        let lanes = self.parked.get(&host);
        lanes.is_some_and(|lanes| {
            let tasks = lanes.get(&lane);
            tasks.is_some_and(|tasks| tasks.contains_key(&created))
        })
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn parked(&self) -> usize {
        let lanes = self.parked.values().flatten();
        lanes.map(|(_, tasks)| tasks.len()).sum()
    }

    /// Hosts and tasks whose attempts are to find out.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn probing(&self) -> BTreeSet<TaskId> {
        self.probes.values().flatten().copied().collect()
    }

    /// Panics if a host with parked tasks is forgotten: something will look at it again.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self, now: Times) {
        for host in self.parked.keys() {
            let woken = match self.state(*host, now) {
                State::Closed => false,
                State::Open(end) => self.pauses.contains(&(end, *host)),
                State::Probing => self.finds_out(*host),
                State::Held(until) => {
                    until.is_none_or(|until| self.dates.contains(&(until, *host)))
                }
            };
            assert!(
                woken
                    || self.stirred.contains(host)
                    || self.pauses.iter().any(|(_, of)| of == host),
                "what is held back is looked at again"
            );
        }
    }
}
