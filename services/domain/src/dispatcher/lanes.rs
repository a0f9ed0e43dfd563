//! The queues of the open tasks in this partition.
//!
//! Tasks refer to a queue by a small number instead of two names. Clients choose the names, so a
//! lane is removed with its last task: a client that invents a queue for every task costs no more
//! memory than the tasks themselves, and a snapshot of an empty partition is empty.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::id::{QueueName, TeamId};

/// The number of a team's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Lane(u32);

impl Lane {
    #[cfg(test)]
    pub(super) fn of(number: u32) -> Self {
        Self(number)
    }

    fn index(self) -> usize {
        self.0 as usize
    }

    /// A number that keeps its fairness keys apart from those of other lanes.
    pub(super) fn turn(self) -> u64 {
        (u64::from(self.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Free numbers below this limit are kept, since freeing their memory would cost more than it
/// saves.
const KEPT_FREE: usize = 64;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Lanes {
    /// Names by number; `None` if the number is free.
    names: Vec<Option<(TeamId, QueueName)>>,
    #[serde(skip)]
    numbers: HashMap<(TeamId, QueueName), Lane>,
    /// Number of tasks in each lane.
    #[serde(skip)]
    tasks: Vec<u32>,
    #[serde(skip)]
    free: BTreeSet<Lane>,
}

impl Lanes {
    /// Counts a task in its queue, and returns the queue's lane.
    pub(super) fn enter(&mut self, team: &TeamId, queue: &QueueName) -> Lane {
        let name = (team.clone(), queue.clone());
        let lane = match self.numbers.get(&name) {
            Some(&lane) => lane,
            None => self.open(name),
        };
        if let Some(tasks) = self.tasks.get_mut(lane.index()) {
            *tasks += 1;
        }
        lane
    }

    fn open(&mut self, name: (TeamId, QueueName)) -> Lane {
        // Takes the lowest number, so that higher ones can be freed.
        let lane = self.free.pop_first().unwrap_or_else(|| {
            self.names.push(None);
            self.tasks.push(0);
            Lane(u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX))
        });
        self.numbers.insert(name.clone(), lane);
        if let Some(slot) = self.names.get_mut(lane.index()) {
            *slot = Some(name);
        }
        lane
    }

    /// Counts a task out of its lane.
    pub(super) fn leave(&mut self, lane: Lane) {
        let Some(tasks) = self.tasks.get_mut(lane.index()) else {
            return;
        };
        *tasks = tasks.saturating_sub(1);
        if *tasks > 0 {
            return;
        }
        if let Some(name) = self.names.get_mut(lane.index()).and_then(Option::take) {
            self.numbers.remove(&name);
            self.free.insert(lane);
        }
        self.shrink();
    }

    /// Frees the memory of unused numbers at the end.
    fn shrink(&mut self) {
        while self.names.len() > KEPT_FREE && self.names.last().is_some_and(Option::is_none) {
            self.names.pop();
            self.tasks.pop();
            self.free.pop_last();
        }
        if self.names.capacity() / 4 > self.names.len().max(KEPT_FREE) {
            self.names.shrink_to(2 * self.names.len());
            self.tasks.shrink_to(2 * self.tasks.len());
            self.numbers.shrink_to(2 * self.numbers.len());
        }
    }

    /// The lanes of the queues of a team that have tasks.
    pub(super) fn of_team<'a>(&'a self, team: &'a TeamId) -> impl Iterator<Item = Lane> + 'a {
        let of_team = self.numbers.iter().filter(move |((of, _), _)| of == team);
        of_team.map(|(_, lane)| *lane)
    }

    /// The lane of a queue that has a task.
    pub(super) fn find(&self, name: &(TeamId, QueueName)) -> Option<Lane> {
        self.numbers.get(name).copied()
    }

    /// The names of a lane that has a task.
    pub(super) fn names(&self, lane: Lane) -> &(TeamId, QueueName) {
        #[expect(
            clippy::expect_used,
            reason = "tasks count in their lanes, and a snapshot in which one does not is refused"
        )]
        self.names
            .get(lane.index())
            .and_then(Option::as_ref)
            .expect("a lane with a task has names")
    }

    pub(super) fn holds(&self, lane: Lane) -> bool {
        matches!(self.names.get(lane.index()), Some(Some(_)))
    }

    /// Completes lanes read from a snapshot with the number of their tasks. Lanes without a task
    /// are dropped.
    pub(super) fn indexed(mut self, tasks: impl Iterator<Item = Lane>) -> Self {
        self.tasks = vec![0; self.names.len()];
        for lane in tasks {
            if let Some(count) = self.tasks.get_mut(lane.index()) {
                *count += 1;
            }
        }
        for ((number, name), &tasks) in (0..).zip(&mut self.names).zip(&self.tasks) {
            match name {
                Some(name) if tasks > 0 => {
                    self.numbers.insert(name.clone(), Lane(number));
                }
                _ => {
                    *name = None;
                    self.free.insert(Lane(number));
                }
            }
        }
        self.shrink();
        self
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn team() -> TeamId {
        TeamId::new(Timestamp(1), 1)
    }

    fn queue(number: u32) -> QueueName {
        QueueName::parse(&format!("q{number}")).expect("a name")
    }

    #[test]
    fn a_lane_goes_with_its_last_task() {
        let mut lanes = Lanes::default();
        let entered: Vec<_> = (0..60_000)
            .map(|number| lanes.enter(&team(), &queue(number)))
            .collect();
        assert_eq!(lanes.enter(&team(), &queue(7)), entered[7]);
        for &lane in &entered {
            lanes.leave(lane);
        }
        assert_eq!(lanes.len(), 1, "one task is left");
        assert_eq!(lanes.names(entered[7]), &(team(), queue(7)));
        lanes.leave(entered[7]);
        assert_eq!((lanes.len(), lanes.names.len()), (0, KEPT_FREE));
        assert!(lanes.names.capacity() < 1_000, "{}", lanes.names.capacity());
        assert_eq!(lanes.enter(&team(), &queue(9)), Lane(0));
    }

    #[test]
    fn older_snapshots_named_lanes_without_tasks() {
        let older = vec![(team(), queue(0)), (team(), queue(1)), (team(), queue(2))];
        let bytes = rmp_serde::to_vec(&(older,)).expect("encoded");
        let lanes: Lanes = rmp_serde::from_slice(&bytes).expect("read");
        let mut lanes = lanes.indexed([Lane(1)].into_iter());
        assert_eq!(lanes.len(), 1);
        assert_eq!(lanes.names(Lane(1)), &(team(), queue(1)));
        assert_eq!(lanes.enter(&team(), &queue(5)), Lane(0));
    }
}
