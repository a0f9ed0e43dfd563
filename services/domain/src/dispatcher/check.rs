//! Consistency checks of a dispatcher's state, for tests and simulations.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::epochs::Epochs;
use super::open::{Open, Phase};
use super::{Decision, Dispatcher};
use crate::event::TaskEvent;
use crate::id::TaskId;
use crate::task::waits::WaitKind;

impl Dispatcher {
    /// Panics if parts of the state contradict each other. It visits every task, so it is for tests
    /// and simulations only.
    pub fn check(&self) {
        self.ready.check();
        self.due_deliveries.check();
        self.offers.check();
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
        // A restatement, the pause of a limit and the word that a host is disabled do not change their
        // task, and a request to cancel and a heartbeat leave the attempt running, so all of them may be
        // pending beside a decision.
        let changes = |decision: &&Decision| {
            !matches!(
                decision.event,
                TaskEvent::Restated(_)
                    | TaskEvent::CancelRequested(_)
                    | TaskEvent::Progressed(_)
                    | TaskEvent::LimitPaused(_)
                    | TaskEvent::TargetDisabled(_)
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
            .filter_map(|(id, task)| Some(((task.line()?, task.place_in_line()), *id)))
            .collect();
        assert_eq!(
            *self.orders.all(),
            lines,
            "in a line is: every open task with an ordering key, and every failed one that blocks"
        );
        let shared: BTreeMap<_, _> = self
            .tasks
            .iter()
            .filter_map(|(id, task)| Some(((task.shares()?, task.created), *id)))
            .collect();
        assert_eq!(
            *self.sharing.all(),
            shared,
            "in the index of keys is: every open task that concerns others by its key"
        );
        let waits = |(id, task): (&TaskId, &Open)| {
            let id = *id;
            task.left()
                .map(move |other| (other, id))
                .collect::<Vec<_>>()
        };
        let waits: BTreeSet<_> = self.tasks.iter().flat_map(waits).collect();
        assert_eq!(
            *self.followers.all(),
            waits,
            "in the index of followers is: every open task that waits for others"
        );
        if self.active {
            for (other, id) in &waits {
                assert!(
                    self.is_open(*other),
                    "{id} waits for {other}, which has ended"
                );
            }
        }
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
            let wrong = self.limit_mismatches();
            assert_eq!(
                wrong, 0,
                "slots of keys are held by what runs or is about to"
            );
        }
        if self.active {
            let decisions = self.in_flight.iter().chain(&self.decided);
            let starting = decisions.filter_map(|decision| match &decision.event {
                TaskEvent::Started(event) if event.probe => Some(event.id),
                _ => None,
            });
            let probes = |(id, task): (&TaskId, &Open)| {
                (task.probes && matches!(task.phase, Phase::Running { .. })).then_some(*id)
            };
            let probing: BTreeSet<_> = self
                .tasks
                .iter()
                .filter_map(probes)
                .chain(starting)
                .collect();
            assert_eq!(self.hosts.probing(), probing, "probes are what runs as one");
        }
        let (mut timers, mut parked, mut at_hosts, mut parked_by_keys) = (0, 0, 0, 0);
        self.hosts.check(self.now);
        self.check_singles(&slots);
        self.remembered.check(self.active);
        let lanes: HashSet<_> = self.tasks.values().map(|task| task.lane).collect();
        assert_eq!(self.lanes.len(), lanes.len(), "no lane without a task");
        for (id, task) in self.tasks.iter() {
            assert_eq!(
                task.busy,
                decided.contains(id),
                "busy is: a decision waits ({id})"
            );
            let entry = task.entry(*id);
            let queued = self.ready.contains(&entry) || self.offers.contains(&entry);
            assert!(
                !self.ready.contains(&entry) || !task.is_pulled(),
                "what workers claim is not called ({id})"
            );
            let should = self.active
                && !task.busy
                && matches!(task.phase, Phase::Ready { .. })
                && !task.is_to_be_cancelled()
                && self.may_run_as_member(*id, task)
                && self.is_its_turn(*id, task)
                && self.is_next_of_its_key(*id, task);
            let held = self
                .gates
                .is_parked(self.lanes.names(task.lane), task.rank());
            let limited = super::limited::claimant(&self.tasks, &self.lanes, *id);
            let limited = limited.is_some_and(|of| self.keys.is_parked(of.claims, of.rank));
            let host = (task.compartment(), task.lane);
            let at_host = self.hosts.is_parked(host, task.created);
            let places = [queued, held, at_host, limited];
            let places = places.into_iter().filter(|is| *is).count();
            assert!(places <= 1, "in one of them only ({id})");
            parked += usize::from(held);
            at_hosts += usize::from(at_host);
            parked_by_keys += usize::from(limited);
            assert_eq!(
                places == 1,
                should,
                "in the queue, or held back, is: ready, not busy, and first of its ordering key ({id}, {:?})",
                task.phase
            );
            let mark = self.marked.last(*id);
            let is_ready = matches!(task.phase, Phase::Ready { .. });
            let is_idle = is_ready || matches!(task.phase, Phase::Waiting { .. });
            assert!(mark.is_none() || is_idle, "only who waits has marks ({id})");
            if self.active && is_ready && !task.busy && !task.is_to_be_cancelled() {
                let is_right = match mark {
                    _ if !self.may_run_as_member(*id, task) => mark == Some(WaitKind::Predecessors),
                    _ if !self.is_its_turn(*id, task) => mark == Some(WaitKind::Order),
                    _ if !self.is_next_of_its_key(*id, task) => mark == Some(WaitKind::Singleton),
                    _ if at_host => matches!(
                        mark,
                        Some(WaitKind::TargetOpen | WaitKind::WaitingForListener)
                    ),
                    Some(by) if limited => matches!(
                        by,
                        WaitKind::LimitPaused | WaitKind::LimitConcurrency | WaitKind::LimitRate
                    ),
                    Some(by) if held => {
                        matches!(
                            by,
                            WaitKind::QueuePaused
                                | WaitKind::QueueConcurrency
                                | WaitKind::QueueRate
                                | WaitKind::Turn
                        )
                    }
                    Some(by) => by.is_turn(),
                    None => !limited && !held,
                };
                assert!(is_right, "marked as it waits ({id}, {mark:?})");
            }
            if matches!(task.phase, Phase::Running { .. }) {
                assert!(
                    task.is_released(),
                    "what waits for others does not run ({id})"
                );
            }
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
        for id in self.marked.ids() {
            assert!(
                self.tasks.contains_key(&id),
                "no mark outlives its task ({id})"
            );
        }
        assert_eq!(self.gates.parked(), parked, "only ready tasks are parked");
        assert_eq!(self.hosts.parked(), at_hosts, "the same at hosts");
        assert_eq!(self.keys.parked(), parked_by_keys, "under one key each");
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
