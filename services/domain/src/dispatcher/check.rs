//! Consistency checks of a dispatcher's state, for tests and simulations.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::epochs::Epochs;
use super::open::{Open, Phase};
use super::{Decision, Dispatcher};
use crate::event::TaskEvent;
use crate::id::TaskId;

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
        let lines: BTreeMap<_, _> = self
            .tasks
            .iter()
            .filter_map(|(id, task)| Some(((task.line()?, task.created), *id)))
            .collect();
        assert_eq!(
            *self.orders.all(),
            lines,
            "in a line is: every open task with an ordering key"
        );
        let shared: BTreeMap<_, _> = self
            .tasks
            .iter()
            .filter_map(|(id, task)| Some(((task.shares()?, task.created), *id)))
            .collect();
        assert_eq!(
            *self.keys.all(),
            shared,
            "in the index of keys is: every open task that concerns others by its key"
        );
        let starting = |decision: &Decision| match &decision.event {
            TaskEvent::Started(event) => Some(event.id),
            _ => None,
        };
        let decisions = self.in_flight.iter().chain(&self.decided);
        let runs = |(id, task): (&TaskId, &Open)| {
            matches!(task.phase, Phase::Running { .. }).then_some(*id)
        };
        let slots: BTreeSet<_> = self
            .tasks
            .iter()
            .filter_map(runs)
            .chain(decisions.filter_map(starting))
            .collect();
        if self.active {
            let held = self.gates.running();
            assert_eq!(held, slots, "slots are held by what runs or is about to");
        }
        self.check_singles(&slots);
        self.remembered.check(self.active);
        let (mut timers, mut parked) = (0, 0);
        let lanes: HashSet<_> = self.tasks.values().map(|task| task.lane).collect();
        assert_eq!(self.lanes.len(), lanes.len(), "no lane without a task");
        for (id, task) in &self.tasks {
            assert_eq!(
                task.busy,
                decided.contains(id),
                "busy is: a decision waits ({id})"
            );
            let queued = self.ready.contains(&task.entry(*id));
            let should = self.active
                && !task.busy
                && matches!(task.phase, Phase::Ready { .. })
                && !task.is_to_be_cancelled()
                && self.is_its_turn(*id, task)
                && self.is_next_of_its_key(*id, task);
            let held = self
                .gates
                .is_parked(self.lanes.names(task.lane), task.rank());
            assert!(!(queued && held), "in one of them only ({id})");
            parked += usize::from(held);
            assert_eq!(
                queued || held,
                should,
                "in the queue, or held back, is: ready, not busy, and first of its ordering key ({id}, {:?})",
                task.phase
            );
            if task.attempts > 0 && matches!(task.phase, Phase::Running { .. }) {
                assert!(
                    self.is_its_turn(*id, task),
                    "of an ordering key only the first runs ({id})"
                );
            }
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
        assert_eq!(self.gates.parked(), parked, "only ready tasks are parked");
        assert_eq!(
            self.timers.len(),
            timers,
            "no timer outlives its task's state"
        );
    }

    /// Who has the key of a singleton, and who waits for it, follows from the tasks. `slots`: those
    /// that run or are about to.
    fn check_singles(&self, slots: &BTreeSet<TaskId>) {
        if !self.active {
            return;
        }
        let open = || {
            let open = |task: &Open| !matches!(task.phase, Phase::Ended { .. });
            let tasks = self.tasks.iter().filter(move |(_, task)| open(task));
            tasks.filter_map(|(id, task)| Some((task.single()?, *id, task)))
        };
        let has = |(line, id, task): (_, TaskId, &Open)| {
            (task.attempts > 0 || slots.contains(&id)).then_some((line, id))
        };
        let waits = |(line, id, task): (_, TaskId, &Open)| {
            let waits = task.attempts == 0
                && !task.busy
                && matches!(task.phase, Phase::Ready { .. })
                && !task.is_to_be_cancelled();
            waits.then_some(((line, task.created), id))
        };
        let holders: BTreeSet<_> = open().filter_map(has).collect();
        let waiting: BTreeMap<_, _> = open().filter_map(waits).collect();
        assert_eq!(
            self.singles.all(),
            (&holders, &waiting),
            "of a singleton has started: its holder; and waits: who is ready"
        );
        let lines: BTreeSet<_> = holders.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines.len(), holders.len(), "a singleton has one holder");
    }
}
