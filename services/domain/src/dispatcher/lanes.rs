//! The queues that open tasks of this partition are in.
//!
//! Tasks hold a small number instead of two names. Clients choose names, so a lane goes with its last task: who invents a new queue
//! for every task costs no more than the tasks do, and a snapshot of an empty partition is empty.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::id::{QueueName, TeamId};

/// A queue of a team, as a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Lane(u32);

impl Lane {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Numbers below this are kept although they are free: to give their memory back would cost more than it is worth.
const KEPT_FREE: usize = 64;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Lanes {
    /// By number. `None`: the number is free.
    names: Vec<Option<(TeamId, QueueName)>>,
    #[serde(skip)]
    numbers: HashMap<(TeamId, QueueName), Lane>,
    /// How many tasks are in each.
    #[serde(skip)]
    tasks: Vec<u32>,
    #[serde(skip)]
    free: BTreeSet<Lane>,
}

impl Lanes {
    /// A task comes to its queue.
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
        // The lowest one, so that the numbers above it can go.
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

    /// A task is gone.
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

    /// Gives back what free numbers at the end take.
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

    /// The names of a lane that a task is in.
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

    /// The same after it was read from a snapshot, with the tasks that are in the lanes. A lane without a task goes.
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

    /// How many there are.
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
