//! Members of workflows: a task that runs after others is ready once they have completed, and is
//! cancelled once it never can be.
//!
//! Nothing is counted. A member has the *set* of those of its predecessors that have not ended; the
//! end of one in the log takes it out, whoever applies it. So there is nothing to undo after a
//! crash, and a predecessor need not be known any more: a member that is restated says who is left.
//!
//! The end of a task that did not complete settles at once all that can never run because of it,
//! directly or through others: that is one event in the log, and each of their cancellations only
//! repeats what follows from it.
//!
//! The members of a workflow are one append, but an owner that serves reads them one after the
//! other. None of them starts before the last one is read, or the end of a task might come before
//! those that wait for it.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::open::{Open, Phase};
use crate::event::{
    Answer, Failure, FailureKind, TaskCreated, TaskDead, TaskEvent, TaskRestated, Waits,
};
use crate::flow::{Given, MemberOf, Place, RunAfterMode};
use crate::id::{TaskId, WorkflowId};
use crate::partition::Partition;
use crate::time::{Elapsed, Times, Timestamp};
use crate::workflow::places::{self, MAX_GIVEN_BYTES};

/// What a task that runs after others, or is filled in with their results, has besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    mode: RunAfterMode,
    /// Those of its predecessors that have not ended, in their order.
    left: BTreeSet<TaskId>,
    /// The task that did not complete, so that this one never runs.
    forsaken: Option<TaskId>,
    /// What is still to be filled in of the results of predecessors.
    places: Vec<Place>,
    /// What is filled in.
    given: Vec<Given>,
}

impl Member {
    pub(super) fn of(created: &TaskCreated) -> Option<Box<Self>> {
        let member = created.member.as_deref()?;
        let has_none = member.after.is_empty() && member.given.is_empty();
        (!has_none).then(|| {
            Box::new(Self {
                mode: member.mode,
                left: member.after.iter().copied().collect(),
                forsaken: None,
                places: member.places.clone(),
                given: member.given.clone(),
            })
        })
    }

    /// The same of one that was restated while it was open.
    pub(super) fn restated(event: &TaskRestated) -> Option<Box<Self>> {
        let mut member = Self::of(&event.created)?;
        if let (Some(waits), Some(of)) = (&event.member, &event.created.member) {
            let left = waits.left.iter();
            let left = left.filter_map(|place| of.after.get(usize::from(*place)));
            member.left = left.copied().collect();
            member.given.clone_from(&waits.given);
            let given = &member.given;
            let is_open = |place: &Place| given.iter().all(|given| given.text != place.text);
            member.places.retain(is_open);
        }
        Some(member)
    }

    /// Drops which one of several was the cause: that depends on when each was read.
    #[cfg(test)]
    pub(super) fn forget_cause(&mut self) {
        let least = TaskId::new(Timestamp(0), 0, Partition::default());
        self.forsaken = self.forsaken.map(|_| least);
    }

    fn take(&mut self, ended: TaskId, end: Ended<'_>) -> Verdict {
        if !self.left.remove(&ended) {
            return Verdict::Waits;
        }
        if let Ended::Well(answer) = end {
            self.fill(ended, answer);
        }
        match (end, self.mode) {
            (Ended::Badly, RunAfterMode::All) => Verdict::Forsaken,
            (Ended::Badly, RunAfterMode::Any) if self.left.is_empty() => Verdict::Forsaken,
            (Ended::Well(_), RunAfterMode::Any) => self.goes_on(),
            _ if self.left.is_empty() => self.goes_on(),
            _ => Verdict::Waits,
        }
    }

    /// Takes over what places stand for in the result of a predecessor.
    fn fill(&mut self, ended: TaskId, answer: &Answer) {
        let of_it = |place: &Place| place.task == ended;
        for place in self.places.iter().filter(|place| of_it(place)) {
            let used: usize = self.given.iter().map(Given::bytes).sum();
            let room = MAX_GIVEN_BYTES.saturating_sub(used);
            self.given.push(places::give(&place.text, answer, room));
        }
        self.places.retain(|place| !of_it(place));
    }

    fn goes_on(&mut self) -> Verdict {
        self.left.clear();
        let rest = std::mem::take(&mut self.places);
        let rest = rest.iter().map(|place| Given::nothing(&place.text));
        self.given.extend(rest);
        Verdict::Ready
    }
}

/// How a predecessor ended.
#[derive(Debug, Clone, Copy)]
enum Ended<'a> {
    /// It completed, with this answer.
    Well(&'a Answer),
    Badly,
}

/// What follows for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Waits,
    Ready,
    Forsaken,
}

/// Who waits for whom: pairs of a task and one that runs after it. An index of the open tasks.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeSet<(TaskId, TaskId)>);

impl Followers {
    pub(super) fn enter(&mut self, id: TaskId, task: &Open) {
        for other in task.left() {
            self.0.insert((other, id));
        }
    }

    pub(super) fn leave(&mut self, id: TaskId, task: &Open) {
        for other in task.left() {
            self.0.remove(&(other, id));
        }
    }

    fn of(&self, id: TaskId) -> Vec<TaskId> {
        let least = TaskId::new(Timestamp(0), 0, Partition::default());
        let from = self.0.range((id, least)..);
        from.take_while(|(of, _)| *of == id)
            .map(|(_, follower)| *follower)
            .collect()
    }

    /// Those that somebody waits for.
    fn awaited(&self) -> Vec<TaskId> {
        let mut awaited: Vec<_> = self.0.iter().map(|(id, _)| *id).collect();
        awaited.dedup();
        awaited
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> &BTreeSet<(TaskId, TaskId)> {
        &self.0
    }
}

/// The members of a workflow of which not all are read yet.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    held: HashSet<TaskId>,
    /// The workflow and try that they are of.
    of: Option<(WorkflowId, u16)>,
    /// How many records of it were passed, and how many there are.
    passed: u32,
    all: u32,
}

impl Arriving {
    pub(super) fn holds(&self, id: TaskId) -> bool {
        self.held.contains(&id)
    }

    /// A creation has been read. Returns those that need not wait any longer.
    pub(super) fn read(&mut self, id: TaskId, member: Option<&MemberOf>) -> Vec<TaskId> {
        let of = member.map(|member| (member.workflow.clone(), member.retry));
        // The members follow each other, so the append before is over.
        let mut free = if self.of == of {
            Vec::new()
        } else {
            self.let_go()
        };
        let Some(member) = member else {
            return free;
        };
        (self.passed, self.all) = (u32::from(member.at) + 1, member.of.into());
        if self.passed < self.all {
            self.of = of;
            self.held.insert(id);
        } else {
            free.extend(self.let_go());
        }
        free
    }

    /// A record was passed that is no creation, or cannot be read: if not all members are read yet, it
    /// stands for one of them. Returns those that need not wait any longer.
    pub(super) fn skipped(&mut self) -> Vec<TaskId> {
        if self.of.is_none() {
            return Vec::new();
        }
        self.passed += 1;
        if self.passed < self.all {
            Vec::new()
        } else {
            self.let_go()
        }
    }

    fn let_go(&mut self) -> Vec<TaskId> {
        self.of = None;
        let mut free: Vec<_> = self.held.drain().collect();
        free.sort_unstable();
        free
    }
}

impl Open {
    /// The tasks that it waits for.
    pub(super) fn left(&self) -> impl Iterator<Item = TaskId> + '_ {
        let member = self.member.as_deref();
        member
            .into_iter()
            .flat_map(|member| member.left.iter().copied())
    }

    /// Whether all those that it runs after have ended as they must.
    pub(super) fn is_released(&self) -> bool {
        self.left().next().is_none()
    }

    /// The task because of which it never runs.
    pub(super) fn forsaken(&self) -> Option<TaskId> {
        self.member.as_deref()?.forsaken
    }

    /// Whether it could run, but for a result that does not fit into its request.
    pub(super) fn is_unfit(&self) -> bool {
        let idle = matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. });
        idle && self.attempts == 0 && self.is_released() && self.why_unfit().is_some()
    }

    fn why_unfit(&self) -> Option<&str> {
        let member = self.member.as_deref()?;
        let wrong = member
            .given
            .iter()
            .find_map(|given| given.value.as_ref().err());
        wrong.map(String::as_str)
    }

    /// What is filled in in its request.
    pub(super) fn given(&self) -> &[Given] {
        self.member.as_deref().map_or(&[], |member| &member.given)
    }

    /// What a restatement says about those that it runs after.
    pub(super) fn waits_as_stated(&self, created: &TaskCreated) -> Option<Waits> {
        let member = self.member.as_deref()?;
        let all = created.member.iter().flat_map(|of| of.after.iter());
        let places = (0_u16..).zip(all);
        let left = places.filter(|(_, other)| member.left.contains(other));
        Some(Waits {
            left: left.map(|(place, _)| place).collect(),
            given: member.given.clone(),
        })
    }
}

impl Dispatcher {
    /// Whether those that a task runs after have ended as they must, all members of its workflow are
    /// known, and it is not about to be cancelled with others.
    pub(super) fn may_run_as_member(&self, id: TaskId, task: &Open) -> bool {
        let is_held = self.arriving.holds(id) || self.together.holds(id);
        task.is_released() && !task.is_unfit() && !is_held
    }

    /// What is filled in in the request of an open task.
    #[must_use]
    pub fn given_to(&self, id: TaskId) -> &[Given] {
        self.tasks.get(&id).map_or(&[], Open::given)
    }

    /// How many tasks one waits for, and the first of them.
    pub(super) fn waits_for(&self, task: &Open) -> Option<(TaskId, u32)> {
        let first = task.left().next()?;
        Some((
            first,
            u32::try_from(task.left().count()).unwrap_or(u32::MAX),
        ))
    }

    /// A creation has been read, by an owner that serves. Those that it runs after stand before it
    /// and have not started, so whoever is not open was cancelled, or cannot be read.
    pub(super) fn settle_member(&mut self, id: TaskId) {
        let task = self.tasks.get(&id);
        let lost = task.map_or_else(Vec::new, |task| {
            let lost = task.left().filter_map(|other| {
                let forsaken = self.tasks.get(&other).and_then(Open::forsaken);
                let cause = forsaken.or((!self.is_open(other)).then_some(other))?;
                Some((other, cause))
            });
            lost.collect()
        });
        for (other, cause) in lost {
            self.go_on_with_followers((other, cause), Ended::Badly, (self.now.wall, None));
        }
    }

    /// What members wait for, by an owner that has read everything: of a task that is not open the
    /// end would have been read, so it cannot be read at all.
    pub(super) fn settle_members(&mut self) {
        for id in self.followers.awaited() {
            if !self.is_open(id) {
                self.go_on_with_followers((id, id), Ended::Badly, (self.now.wall, None));
            }
        }
    }

    /// Those that wait for a task whose end waits for the log. A restatement in front of that would
    /// say that they wait for it still.
    pub(super) fn about_to_go_on(&self) -> HashSet<TaskId> {
        let pending = self.in_flight.iter().chain(&self.decided);
        let ends = pending.filter(|decision| end_of(&decision.event).is_some());
        ends.flat_map(|decision| self.followers.of(decision.event.id()))
            .collect()
    }

    /// A task may have ended, by `event`: those that run after it go on, or never will.
    pub(super) fn settle_followers(&mut self, event: &TaskEvent, at: Option<Elapsed>) {
        let Some(end) = end_of(event) else { return };
        let id = event.id();
        if let Some(task) = self.tasks.get_mut(&id) {
            self.followers.leave(id, task);
            if matches!(task.phase, Phase::Ended { .. }) {
                task.member = None;
            }
        }
        if self.followers.0.is_empty() {
            return;
        }
        self.go_on_with_followers((id, id), end, (event.at(), at));
    }

    /// `cause`: the task because of which it ended, if that was not well.
    fn go_on_with_followers(
        &mut self,
        (id, cause): (TaskId, TaskId),
        end: Ended<'_>,
        (at, elapsed): (Timestamp, Option<Elapsed>),
    ) {
        let mut ended = vec![(id, end)];
        while let Some((of, end)) = ended.pop() {
            for follower in self.followers.of(of) {
                self.disarm(follower);
                if let Some(task) = self.tasks.get_mut(&follower) {
                    self.followers.leave(follower, task);
                    let member = task.member.as_deref_mut();
                    match member.map_or(Verdict::Waits, |member| member.take(of, end)) {
                        Verdict::Waits => {}
                        Verdict::Ready => {
                            if let Phase::Ready { since, from } = &mut task.phase {
                                (*since, *from) = (at, elapsed.unwrap_or_default());
                            }
                        }
                        Verdict::Forsaken => {
                            if let Some(member) = &mut task.member {
                                member.forsaken = Some(cause);
                                member.left.clear();
                            }
                            ended.push((follower, Ended::Badly));
                        }
                    }
                    self.followers.enter(follower, task);
                }
                self.arm(follower);
            }
        }
    }

    /// Ends a task whose request lacks a result.
    pub(super) fn end_unfit(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Some(why) = task.why_unfit() else { return };
        let event = TaskEvent::Dead(TaskDead {
            id,
            attempt: task.attempts,
            at: now.wall,
            failure: Failure {
                kind: FailureKind::InvalidRequest,
                message: why.to_owned(),
            },
            answer: None,
            cancels_to: None,
        });
        self.decide(event, None, now);
    }
}

/// How an event ends its task; `None` if it does not.
fn end_of(event: &TaskEvent) -> Option<Ended<'_>> {
    match event {
        TaskEvent::Succeeded(end) => Some(Ended::Well(&end.answer)),
        TaskEvent::Dead(_) | TaskEvent::Expired(_) | TaskEvent::Cancelled(_) => Some(Ended::Badly),
        _ => None,
    }
}
