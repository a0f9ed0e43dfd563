//! The order of service: which ready task runs next.
//!
//! Higher priorities come first, and within a priority tasks are served in the order of creation; a
//! task that is retried keeps its place. Ready tasks are grouped by team and host, so that all
//! tasks of a team or host that has used its share of the slots are skipped in one step, however
//! many they are. Any future rule that holds a ready task back or lets another one overtake belongs
//! here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::action::{Admission, Compartment};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::Priority;

/// Limit of compartments without a free slot that one turn tries. Compartments behind them wait for
/// the next turn, so that a turn stays short with any number of teams and hosts.
const MAX_PASSED_OVER: usize = 1_024;
/// Limit of tasks that leave the queue in one turn because they are blocked, for the same reason.
const MAX_BLOCKED: usize = 10_000;

/// A task's position; the smallest is served first.
type Place = (Reverse<Priority>, StreamSeq);

#[derive(Debug, Default)]
pub(super) struct Ready {
    queue: BTreeMap<(Compartment, Place), TaskId>,
    /// The first task of each compartment, by team: team, place, host.
    hosts: BTreeSet<(u64, Place, u64)>,
    /// The first task of each team.
    teams: BTreeSet<(Place, u64)>,
    /// Whether the last turn ended because so many tasks were blocked.
    is_cut_short: bool,
}

/// A task to serve next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    compartment: Compartment,
    place: Place,
    id: TaskId,
    /// Whether it leaves the queue without being served.
    is_blocked: bool,
}

impl Ready {
    pub(super) fn push(
        &mut self,
        compartment: Compartment,
        priority: Priority,
        seq: StreamSeq,
        id: TaskId,
    ) {
        let place = (Reverse(priority), seq);
        let head = self.head(compartment);
        self.queue.insert((compartment, place), id);
        if head.is_none_or(|head| place < head) {
            self.move_head(compartment, head, Some(place));
        }
    }

    pub(super) fn remove(&mut self, compartment: Compartment, priority: Priority, seq: StreamSeq) {
        self.take(compartment, (Reverse(priority), seq));
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the last turn ended before its time, so that another one finds more to do at once.
    pub(super) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Removes and returns the tasks that may be served now, in order. `admit` decides about one
    /// task after the other. Those that it calls blocked are removed too, and not returned.
    pub(super) fn serve(
        &mut self,
        mut admit: impl FnMut(TaskId, Compartment) -> Admission,
    ) -> Vec<TaskId> {
        let picks = self.pick(&mut admit);
        for pick in &picks {
            self.take(pick.compartment, pick.place);
        }
        let blocked = picks.iter().filter(|pick| pick.is_blocked).count();
        self.is_cut_short = blocked >= MAX_BLOCKED;
        let served = picks.into_iter().filter(|pick| !pick.is_blocked);
        served.map(|pick| pick.id).collect()
    }

    fn pick(&self, admit: &mut impl FnMut(TaskId, Compartment) -> Admission) -> Vec<Pick> {
        let mut picks = Vec::new();
        let (mut passed_over, mut blocked) = (0, 0);
        // Two sorted sources: teams that are not yet started, and the next task of each started
        // team.
        let mut teams = self.teams.iter().peekable();
        let mut begun: BinaryHeap<Reverse<(Place, u64, u64)>> = BinaryHeap::new();
        while passed_over < MAX_PASSED_OVER && blocked < MAX_BLOCKED {
            let next_team = teams.peek().map(|(place, _)| *place);
            let next_begun = begun.peek().map(|Reverse((place, ..))| *place);
            let from_begun = match (next_team, next_begun) {
                (None, None) => break,
                (Some(team), Some(begun)) => begun < team,
                (team, _) => team.is_none(),
            };
            if !from_begun {
                if let Some((_, team)) = teams.next() {
                    begun.extend(self.first_host(*team).map(Reverse));
                }
                continue;
            }
            let Some(Reverse((place, team, host))) = begun.pop() else {
                break;
            };
            let compartment = Compartment { team, host };
            let Some(&id) = self.queue.get(&(compartment, place)) else {
                continue;
            };
            match admit(id, compartment) {
                admission @ (Admission::Yes | Admission::Blocked) => {
                    let is_blocked = admission == Admission::Blocked;
                    blocked += usize::from(is_blocked);
                    picks.push(Pick {
                        compartment,
                        place,
                        id,
                        is_blocked,
                    });
                    // The compartment continues with its next task. The team's other hosts are in
                    // the heap already, or enter it with their first task.
                    begun.extend(self.after(compartment, place).map(Reverse));
                    if self.head(compartment) == Some(place) {
                        begun.extend(self.host_after(team, place, host).map(Reverse));
                    }
                }
                Admission::HostFull => {
                    passed_over += 1;
                    if self.head(compartment) == Some(place) {
                        begun.extend(self.host_after(team, place, host).map(Reverse));
                    }
                }
                Admission::TeamFull => {
                    passed_over += 1;
                    begun.retain(|Reverse((_, of, _))| *of != team);
                }
                Admission::Full => break,
            }
        }
        picks
    }

    /// The first host of a team.
    fn first_host(&self, team: u64) -> Option<(Place, u64, u64)> {
        let first = (Reverse(Priority::MAX), StreamSeq(0));
        let &(of, place, host) = self.hosts.range((team, first, 0)..).next()?;
        (of == team).then_some((place, team, host))
    }

    /// The team's next host, whose first task comes after that one.
    fn host_after(&self, team: u64, place: Place, host: u64) -> Option<(Place, u64, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (Excluded((team, place, host)), Unbounded);
        let &(of, place, host) = self.hosts.range(range).next()?;
        (of == team).then_some((place, team, host))
    }

    /// The next task of the compartment.
    fn after(&self, compartment: Compartment, place: Place) -> Option<(Place, u64, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (Excluded((compartment, place)), Unbounded);
        let (&(of, place), _) = self.queue.range(range).next()?;
        (of == compartment).then_some((place, compartment.team, compartment.host))
    }

    fn head(&self, compartment: Compartment) -> Option<Place> {
        let first = (Reverse(Priority::MAX), StreamSeq(0));
        let (&(of, place), _) = self.queue.range((compartment, first)..).next()?;
        (of == compartment).then_some(place)
    }

    fn take(&mut self, compartment: Compartment, place: Place) {
        let head = self.head(compartment);
        if self.queue.remove(&(compartment, place)).is_some() && head == Some(place) {
            let next = self.head(compartment);
            self.move_head(compartment, head, next);
        }
    }

    fn move_head(&mut self, compartment: Compartment, from: Option<Place>, to: Option<Place>) {
        let Compartment { team, host } = compartment;
        let team_from = self.first_host(team).map(|(place, ..)| place);
        if let Some(from) = from {
            self.hosts.remove(&(team, from, host));
        }
        if let Some(to) = to {
            self.hosts.insert((team, to, host));
        }
        let team_to = self.first_host(team).map(|(place, ..)| place);
        if team_from != team_to {
            if let Some(from) = team_from {
                self.teams.remove(&(from, team));
            }
            if let Some(to) = team_to {
                self.teams.insert((to, team));
            }
        }
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(
        &self,
        compartment: Compartment,
        priority: Priority,
        seq: StreamSeq,
    ) -> bool {
        self.queue
            .contains_key(&(compartment, (Reverse(priority), seq)))
    }

    /// Panics if the first tasks do not match the queue.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        let mut firsts: BTreeMap<Compartment, Place> = BTreeMap::new();
        for (compartment, place) in self.queue.keys() {
            firsts.entry(*compartment).or_insert(*place);
        }
        let hosts: BTreeSet<_> = firsts
            .iter()
            .map(|(compartment, place)| (compartment.team, *place, compartment.host))
            .collect();
        assert_eq!(self.hosts, hosts, "each compartment has its head");
        let mut teams: BTreeMap<u64, Place> = BTreeMap::new();
        for (team, place, _) in &hosts {
            teams.entry(*team).or_insert(*place);
        }
        let teams: BTreeSet<_> = teams
            .into_iter()
            .map(|(team, place)| (place, team))
            .collect();
        assert_eq!(self.teams, teams, "each team has its head");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::partition::Partition;
    use crate::time::Timestamp;

    fn id(number: u64) -> TaskId {
        let partition = Partition::new(0).expect("a partition");
        TaskId::new(Timestamp(1), u128::from(number), partition)
    }

    /// What a simple walk over all tasks in order would serve.
    fn model(
        tasks: &[(Compartment, Priority)],
        blocked: impl Fn(Compartment) -> Admission,
    ) -> Vec<TaskId> {
        let mut ordered: Vec<_> = (0..).zip(tasks).collect();
        ordered.sort_by_key(|(seq, (_, priority))| (Reverse(*priority), *seq));
        ordered
            .into_iter()
            .filter(|(_, (compartment, _))| blocked(*compartment) == Admission::Yes)
            .map(|(seq, _)| id(seq))
            .collect()
    }

    proptest! {
        #[test]
        fn those_who_may_not_be_served_are_passed_over_and_all_others_keep_their_order(
            tasks in prop::collection::vec((0_u64..4, 0_u64..4, 1_u8..=10), 0..60),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            full_team in 0_u64..5,
            full_hosts in prop::collection::btree_set(0_u64..5, 0..4),
            blocked_ones in prop::collection::btree_set(0_u64..60, 0..10),
        ) {
            let blocked = |compartment: Compartment| {
                if compartment.team == full_team {
                    Admission::TeamFull
                } else if full_hosts.contains(&compartment.host) {
                    Admission::HostFull
                } else {
                    Admission::Yes
                }
            };
            let tasks: Vec<_> = tasks
                .into_iter()
                .map(|(team, host, priority)| {
                    let priority = Priority::new(priority).expect("1 to 10");
                    (Compartment { team, host }, priority)
                })
                .collect();
            let mut ready = Ready::default();
            for (seq, (compartment, priority)) in (0..).zip(&tasks) {
                ready.push(*compartment, *priority, StreamSeq(seq), id(seq));
                ready.check();
            }
            let mut gone = Vec::new();
            if !tasks.is_empty() {
                for index in removed {
                    let at = index.index(tasks.len());
                    let (compartment, priority) = tasks[at];
                    ready.remove(compartment, priority, StreamSeq(at as u64));
                    ready.check();
                    gone.push(id(at as u64));
                }
            }
            let is_blocked = |task: TaskId| blocked_ones.iter().any(|number| task == id(*number));
            let mut expected = model(&tasks, blocked);
            expected.retain(|id| !gone.contains(id) && !is_blocked(*id));
            let mut left = Vec::new();
            let served = ready.serve(|task, compartment| {
                let admission = blocked(compartment);
                if admission == Admission::Yes && is_blocked(task) {
                    left.push(task);
                    return Admission::Blocked;
                }
                admission
            });
            ready.check();
            prop_assert_eq!(&served, &expected);
            let rest = ready.serve(|_, _| Admission::Yes);
            prop_assert!(rest.iter().all(|id| !gone.contains(id) && !left.contains(id)));
            prop_assert_eq!(served.len() + left.len() + rest.len() + gone.iter().collect::<BTreeSet<_>>().len(), tasks.len());
            prop_assert_eq!(ready.len(), 0);
        }
    }

    #[test]
    fn a_turn_that_finds_too_many_blocked_tasks_is_cut_short_and_the_next_one_goes_on() {
        let mut ready = Ready::default();
        let compartment = Compartment { team: 1, host: 1 };
        let all = MAX_BLOCKED as u64 + 5;
        for seq in 0..all {
            ready.push(compartment, Priority::default(), StreamSeq(seq), id(seq));
        }
        let last = id(all - 1);
        let admit = |id: TaskId, _: Compartment| {
            if id == last {
                Admission::Yes
            } else {
                Admission::Blocked
            }
        };
        assert!(ready.serve(admit).is_empty());
        assert!(ready.is_cut_short());
        assert_eq!(ready.serve(admit), [last]);
        assert!(!ready.is_cut_short());
        assert_eq!(ready.len(), 0);
    }

    #[test]
    fn no_more_than_is_admitted_is_served() {
        let mut ready = Ready::default();
        let compartment = Compartment { team: 1, host: 1 };
        for seq in 0..10 {
            ready.push(compartment, Priority::default(), StreamSeq(seq), id(seq));
        }
        let mut left = 3;
        let served = ready.serve(|_, _| {
            if left == 0 {
                return Admission::Full;
            }
            left -= 1;
            Admission::Yes
        });
        assert_eq!(served, [id(0), id(1), id(2)]);
        assert_eq!(ready.len(), 7);
    }
}
