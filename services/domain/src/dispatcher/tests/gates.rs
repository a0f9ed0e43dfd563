//! Pauses and limits of queues: what is held back, and that nothing is held back for ever.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::command::Blocker;
use crate::id::QueueName;
use crate::rate::StartRate;

const QUEUES: [&str; 3] = ["a", "b", "c"];

fn place(queue: &str) -> Place {
    let queue = QueueName::parse(queue).expect("a name");
    (World::team(), queue)
}

fn paused() -> QueueRules {
    QueueRules {
        paused: Some(Hold::Open),
        ..QueueRules::default()
    }
}

fn at_a_time(most: u32) -> QueueRules {
    QueueRules {
        concurrency: Some(most),
        ..QueueRules::default()
    }
}

impl World {
    fn rule(&mut self, queue: &str, rules: QueueRules) {
        let place = place(queue);
        self.dispatcher.set_rules(&place, rules, self.now);
        self.rules.insert(place, rules);
        self.dispatcher.check();
    }

    fn create_in(&mut self, queue: &str) -> TaskId {
        self.create(|task| task.queue = Some(queue.into()))
    }

    fn called(&self) -> Vec<TaskId> {
        self.calls.iter().map(|call| call.task).collect()
    }

    /// How many slots each queue holds according to the log and to what waits for it.
    fn slots(&self) -> BTreeMap<String, usize> {
        let mut queues: HashMap<TaskId, String> = HashMap::new();
        let mut running: HashSet<TaskId> = HashSet::new();
        let waiting = self.dispatcher.in_flight.iter();
        let waiting = waiting.chain(&self.dispatcher.decided);
        let starts = waiting
            .map(|decision| &decision.event)
            .filter(|event| matches!(event, TaskEvent::Started(_)));
        for event in self.log.iter().chain(starts) {
            match event {
                TaskEvent::Created(e) => {
                    queues.insert(e.id, e.queue.as_str().to_owned());
                }
                TaskEvent::Started(e) => {
                    running.insert(e.id);
                }
                TaskEvent::CancelRequested(_)
                | TaskEvent::Restated(_)
                | TaskEvent::Progressed(_) => {}
                other => {
                    running.remove(&other.id());
                }
            }
        }
        let mut slots = BTreeMap::new();
        for id in running {
            *slots.entry(queues[&id].clone()).or_default() += 1;
        }
        slots
    }
}

#[test]
fn nothing_of_a_paused_queue_starts_and_all_of_it_does_afterwards() {
    let mut world = World::new();
    let before = world.create_in("a");
    world.serve(10);
    let waiting = world.create_in("a");
    world.rule("a", paused());
    let new = world.create_in("a");
    let other = world.create_in("b");
    world.serve(10);
    world.serve(10);
    assert_eq!(world.called(), [before, other]);
    assert_eq!(
        world.dispatcher.wanted_slots(),
        0,
        "the held ones ask for none"
    );
    world.rule("a", QueueRules::default());
    world.serve(10);
    assert_eq!(world.called(), [before, other, waiting, new]);
}

#[test]
fn a_task_that_is_held_back_says_by_what_and_until_when() {
    let mut world = World::new();
    let running = world.create_in("a");
    world.serve(10);
    let (first, second) = (world.create_in("a"), world.create_in("a"));
    let explained = |world: &World, id: TaskId| {
        let explained = world
            .dispatcher
            .explain(id, &World::team(), world.now, |_| None);
        let explained = explained.expect("it is open");
        (explained.blocker, explained.ahead, explained.not_before)
    };
    assert_eq!(explained(&world, running), (None, None, None));
    let until = world.now.wall.plus(Duration::from_secs(60));
    for (hold, until) in [(Hold::Open, None), (Hold::Until(until), Some(until))] {
        world.rule(
            "a",
            QueueRules {
                paused: Some(hold),
                ..QueueRules::default()
            },
        );
        world.serve(10);
        let paused = Some(Blocker::QueuePaused { until });
        assert_eq!(explained(&world, second), (paused, Some(1), until));
    }
    world.rule("a", at_a_time(1));
    world.serve(10);
    let busy = Some(Blocker::QueueConcurrency);
    assert_eq!(explained(&world, first), (busy, Some(0), None));
    world.rule("a", at_a_time(2));
    assert_eq!(explained(&world, first).0, Some(Blocker::Turn));
    world.rule(
        "a",
        QueueRules {
            rate: Some(StartRate {
                limit: 1,
                per_ms: 10_000,
                burst: 1,
            }),
            ..QueueRules::default()
        },
    );
    world.serve(10);
    let until = world.now.wall.plus(Duration::from_secs(10));
    let rate = Some(Blocker::QueueRate { until });
    assert_eq!(explained(&world, second), (rate, Some(1), Some(until)));
}

#[test]
fn a_retry_of_a_paused_queue_waits_and_its_webhook_does_not() {
    let mut world = World::new();
    let failing = world.create_in("a");
    let ending = world.create(|task| {
        task.queue = Some("a".into());
        task.on_complete_url = Some("http://hook/".into());
    });
    world.serve(10);
    world.rule("a", paused());
    world.end_call(answered(500));
    world.end_call(answered(200));
    world.pass(Duration::from_secs(60));
    world.serve(10);
    assert_eq!(world.called(), []);
    let delivered: Vec<_> = world.deliveries.iter().map(|of| of.task).collect();
    assert_eq!(delivered, [ending]);
    world.rule("a", QueueRules::default());
    world.serve(10);
    assert_eq!(world.called(), [failing]);
}

#[test]
fn a_pause_ends_at_its_date_also_by_a_clock_that_was_set_forward() {
    let mut world = World::new();
    let until = world.now.wall.plus(Duration::from_secs(60));
    world.rule(
        "a",
        QueueRules {
            paused: Some(Hold::Until(until)),
            ..QueueRules::default()
        },
    );
    let id = world.create_in("a");
    world.serve(10);
    let wait = world.dispatcher.wake_in(world.now);
    assert_eq!(wait, Some(Duration::from_secs(60)));
    world.pass(Duration::from_secs(59));
    world.serve(10);
    assert_eq!(world.called(), []);
    world.jump(1_000);
    world.serve(10);
    assert_eq!(world.called(), [id]);
}

#[test]
fn a_paused_task_still_expires_and_can_be_cancelled() {
    let mut world = World::new();
    world.rule("a", paused());
    let old = world.create(|task| {
        task.queue = Some("a".into());
        task.expires_in = Some(Length::Seconds(5.0));
    });
    let unwanted = world.create_in("a");
    world.serve(10);
    assert!(matches!(
        world.cancel(unwanted),
        Some(OwnerReply::Done { .. })
    ));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.kinds(old), ["created", "expired"]);
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn a_start_that_waits_for_the_log_when_its_queue_is_paused_is_told() {
    let mut world = World::new();
    let id = world.create_in("a");
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    assert!(!world.dispatcher.starts_paused());
    world.rule("a", paused());
    assert!(world.dispatcher.starts_paused());
    assert!(world.dispatcher.begin_append(10).is_some());
    assert!(world.dispatcher.starts_paused());
    world.dispatcher.not_appended();
    world.append();
    assert!(!world.dispatcher.starts_paused());
    assert_eq!(world.called(), [id]);
}

#[test]
fn no_more_attempts_than_the_limit_best_first_and_also_by_the_next_owner() {
    let mut world = World::new();
    world.rule("a", at_a_time(2));
    for _ in 0..4 {
        world.create_in("a");
    }
    let urgent = world.create(|task| {
        task.queue = Some("a".into());
        task.priority = Some(9);
    });
    world.serve(10);
    assert_eq!(world.calls.len(), 2);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(world.calls.len(), 2);
    assert_eq!(world.calls[1].task, urgent);
    world.crash(None);
    assert_eq!(world.slots().values().sum::<usize>(), 0, "they are lost");
    world.pass(Duration::from_secs(60));
    world.serve(10);
    assert_eq!(world.calls.len(), 2);
    world.rule("a", at_a_time(1));
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(
        world.calls.len(),
        1,
        "a lower limit holds as slots come back"
    );
}

#[test]
fn starts_are_spaced_by_the_rate_and_unused_ones_made_up_for_up_to_the_burst() {
    let mut world = World::new();
    let rate = StartRate {
        limit: 60,
        per_ms: 60_000,
        burst: 3,
    };
    world.rule(
        "a",
        QueueRules {
            rate: Some(rate),
            ..QueueRules::default()
        },
    );
    for _ in 0..10 {
        world.create_in("a");
    }
    world.serve(20);
    assert_eq!(world.calls.len(), 0, "it begins empty");
    let wait = world.dispatcher.wake_in(world.now);
    assert_eq!(wait, Some(Duration::from_secs(1)));
    world.pass(Duration::from_millis(1_000));
    world.serve(20);
    assert_eq!(world.calls.len(), 1);
    world.pass(Duration::from_secs(100));
    world.serve(20);
    world.serve(20);
    assert_eq!(world.calls.len(), 4);
    // The wall clock means nothing to it.
    world.jump(3_600_000);
    world.serve(20);
    assert_eq!(world.calls.len(), 4);
}

#[test]
fn a_crowd_that_is_let_go_comes_back_in_order_turn_by_turn() {
    let mut world = World::new();
    world.rule("a", paused());
    let crowd: Vec<_> = (0..2_500).map(|_| world.dispatcher_only("a")).collect();
    world.rule("a", QueueRules::default());
    let mut called = Vec::new();
    for _ in 0..3 {
        world.serve(10_000);
        called.extend(world.calls.drain(..).map(|call| call.task));
    }
    assert_eq!(called, crowd);
}

impl World {
    /// Creates a task without checking the whole state, which is slow with many.
    fn dispatcher_only(&mut self, queue: &str) -> TaskId {
        let request = TaskRequest {
            target_url: Some("http://sink/".into()),
            queue: Some(queue.into()),
            ..TaskRequest::default()
        };
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(3_600),
        };
        let spec = TaskSpec::check(request, &limits, self.now.wall).expect("a valid request");
        let partition = Partition::new(0).expect("a partition");
        let id = TaskId::new(self.now.wall, self.log.len() as u128, partition);
        let created = spec.accept(id, Self::team(), None, self.now.wall);
        let event = TaskEvent::Created(Box::new(created));
        let seq = self.store(event.clone());
        self.dispatcher.apply(seq, None, &event);
        id
    }
}

#[derive(Debug, Clone)]
enum Step {
    Create {
        queue: usize,
        priority: i64,
    },
    Fill(usize),
    Store,
    Refuse,
    EndCall {
        which: usize,
        ok: bool,
    },
    Cancel(usize),
    Pass(u64),
    Rules {
        queue: usize,
        paused: u8,
        listening: u8,
        most: u32,
    },
    Restate,
    Crash {
        stored: bool,
        snapshot: bool,
    },
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 1..=10_i64).prop_map(|(queue, priority)| Step::Create { queue, priority }),
        5 => (0..9_usize).prop_map(Step::Fill),
        5 => Just(Step::Store),
        1 => Just(Step::Refuse),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, ok)| Step::EndCall { which, ok }),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (0..5_000_u64).prop_map(Step::Pass),
        3 => (0..3_usize, 0..4_u8, 0..4_u8, 0..4_u32)
            .prop_map(|(queue, paused, listening, most)| Step::Rules { queue, paused, listening, most }),
        1 => Just(Step::Restate),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(stored, snapshot)| Step::Crash { stored, snapshot }),
        1 => Just(Step::Snapshot),
    ]
}

/// The rules of a queue at a time: whether nothing starts, and how many attempts may run.
fn rules_of(world: &World, queue: &str) -> (bool, usize) {
    let rules = world.rules.get(&place(queue)).copied().unwrap_or_default();
    let paused = match rules.paused {
        None => false,
        Some(Hold::Open) => true,
        Some(Hold::Until(until)) => until > world.now.wall,
    };
    let unheard = match rules.listening {
        None => false,
        Some(Listening::Over) => true,
        Some(Listening::Until(until)) => until <= world.now.wall,
    };
    let most = rules.concurrency.map_or(usize::MAX, |most| most as usize);
    (paused || unheard, most)
}

/// Fills, and checks what started against the rules.
fn fill(world: &mut World, slots: usize) {
    world.dispatcher.tick(world.now);
    let before = world.slots();
    let mut actions = Vec::new();
    world.dispatcher.fill(slots, world.now, &mut actions);
    world.carry_out(actions);
    let after = world.slots();
    for queue in QUEUES {
        let of = |slots: &BTreeMap<String, usize>| slots.get(queue).copied().unwrap_or_default();
        let (before, after) = (of(&before), of(&after));
        let (paused, most) = rules_of(world, queue);
        if after > before {
            assert!(!paused, "{queue} is paused, or nobody listens to it");
            assert!(after <= most, "{queue}: {after} of {most}");
        }
    }
}

/// How many tasks of a queue could start, if there were slots and no rules.
fn ready(world: &World, queue: &str) -> usize {
    let of_queue = |id: &TaskId| world.dispatcher.place_of(*id) == Some(&place(queue));
    let tasks = world.dispatcher.tasks.iter();
    tasks
        .filter(|(id, task)| {
            of_queue(id)
                && matches!(task.phase, Phase::Ready { .. })
                && !task.busy
                && !task.is_to_be_cancelled()
        })
        .count()
}

fn run(steps: Vec<Step>) -> World {
    let mut world = World::new();
    let mut snapshot = None;
    for step in steps {
        match step {
            Step::Create { queue, priority } => {
                world.create(|task| {
                    task.queue = Some(QUEUES[queue].into());
                    task.priority = Some(priority);
                });
            }
            Step::Fill(slots) => fill(&mut world, slots),
            Step::Store => world.append(),
            Step::Refuse => {
                if world.dispatcher.begin_append(2).is_some() {
                    world.dispatcher.not_appended();
                }
            }
            Step::EndCall { which, ok } => {
                if !world.calls.is_empty() {
                    let call = world.calls.remove(which % world.calls.len());
                    let outcome = answered(if ok { 200 } else { 500 });
                    let now = world.now;
                    let (task, attempt) = (call.task, call.attempt);
                    world.dispatcher.attempt_ended(task, attempt, outcome, now);
                }
            }
            Step::Cancel(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.cancel(id);
                    for attempt in std::mem::take(&mut world.cut_off) {
                        world.calls.retain(|call| call.task != attempt.task);
                        let (task, number) = (attempt.task, attempt.number);
                        world.dispatcher.attempt_released(task, number, world.now);
                    }
                }
            }
            Step::Pass(millis) => {
                world.go_on(Duration::from_millis(millis));
                world.dispatcher.tick(world.now);
            }
            Step::Rules {
                queue,
                paused,
                listening,
                most,
            } => {
                let until = world.now.wall.plus(Duration::from_secs(2));
                let rules = QueueRules {
                    paused: match paused {
                        0 => Some(Hold::Open),
                        1 => Some(Hold::Until(until)),
                        _ => None,
                    },
                    concurrency: (most > 0).then_some(most),
                    rate: None,
                    weight: None,
                    listening: match listening {
                        0 => Some(Listening::Over),
                        1 => Some(Listening::Until(until)),
                        _ => None,
                    },
                };
                world.rule(QUEUES[queue], rules);
            }
            Step::Restate => world.restate(2),
            Step::Snapshot => snapshot = world.dispatcher.snapshot().or(snapshot),
            Step::Crash {
                stored,
                snapshot: from_snapshot,
            } => {
                if let Some(decisions) = world.dispatcher.begin_append(3)
                    && stored
                {
                    let events: Vec<_> = decisions.iter().map(|d| d.event.clone()).collect();
                    world.log.extend(events);
                }
                world.crash(snapshot.clone().filter(|_| from_snapshot));
            }
        }
        world.dispatcher.check();
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The check after each step compares the slots that are held with the running tasks.
    #[test]
    fn no_rule_is_broken_no_slot_leaks_and_what_may_start_starts(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = run(steps);
        world.append();
        fill(&mut world, 1_000);
        fill(&mut world, 1_000);
        let slots = world.slots();
        for queue in QUEUES {
            let (paused, most) = rules_of(&world, queue);
            let used = slots.get(queue).copied().unwrap_or_default();
            let waiting = ready(&world, queue);
            prop_assert!(waiting == 0 || paused || used >= most, "{}: {} wait, {} of {}", queue, waiting, used, most);
        }
        world.append();
        // Without rules, everything comes to its end.
        for queue in QUEUES {
            world.rule(queue, QueueRules::default());
        }
        for _ in 0..200 {
            if world.dispatcher.open() == 0 {
                break;
            }
            world.serve(8);
            while !world.calls.is_empty() {
                world.end_call(answered(200));
            }
            world.pass(Duration::from_secs(3));
        }
        prop_assert_eq!(world.dispatcher.open(), 0, "no task is held for ever");
        prop_assert_eq!(world.slots().len(), 0);
    }
}
