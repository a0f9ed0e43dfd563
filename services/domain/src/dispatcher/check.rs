//! Consistency checks of a dispatcher's state, for tests and simulations.

use std::collections::HashSet;

use super::epochs::Epochs;
use super::open::Phase;
use super::{Decision, Dispatcher};
use crate::event::TaskEvent;

impl Dispatcher {
    /// Panics if parts of the state contradict each other. It visits every task, so it is for tests
    /// and simulations only.
    pub fn check(&self) {
        self.ready.check();
        self.due_deliveries.check();
        let owed: u64 = self.tasks.values().map(|task| u64::from(task.bytes)).sum();
        assert_eq!(
            self.owed().bytes,
            owed,
            "what is owed is: the creations of all that is open"
        );
        let mut epochs = Epochs::default();
        self.tasks.values().for_each(|task| epochs.enter(task));
        self.epochs.check(&epochs);
        let mut decided = HashSet::new();
        // A restatement does not change its task, and a request to cancel leaves the attempt
        // running, so both may be pending beside a decision.
        let changes = |decision: &&Decision| {
            !matches!(
                decision.event,
                TaskEvent::Restated(_) | TaskEvent::CancelRequested(_)
            )
        };
        for decision in self.in_flight.iter().chain(&self.decided).filter(changes) {
            assert!(
                decided.insert(decision.event.id()),
                "one decision about a task at a time"
            );
        }
        let mut timers = 0;
        let lanes: HashSet<_> = self.tasks.values().map(|task| task.lane).collect();
        assert_eq!(self.lanes.len(), lanes.len(), "no lane without a task");
        for (id, task) in &self.tasks {
            assert_eq!(
                task.busy,
                decided.contains(id),
                "busy is: a decision waits ({id})"
            );
            let queued = self
                .ready
                .contains(task.compartment(), task.priority, task.created);
            let should = self.active
                && !task.busy
                && matches!(task.phase, Phase::Ready { .. })
                && !task.is_to_be_cancelled();
            assert_eq!(
                queued, should,
                "in the queue is: ready and not busy ({id}, {:?})",
                task.phase
            );
            if self.active && !task.busy {
                let mut alarms: Vec<_> = task.alarms().collect();
                alarms.dedup();
                timers += alarms.len();
                for alarm in alarms {
                    assert!(
                        self.timers.contains(alarm, *id),
                        "who waits is woken ({id}, {alarm:?})"
                    );
                }
            }
        }
        assert_eq!(
            self.timers.len(),
            timers,
            "no timer outlives its task's state"
        );
    }
}
