//! Properties of any history: it is well-ordered, every task ends once, and a replay reproduces the
//! state.

use proptest::prelude::*;

use super::in_order::assert_in_order;
use super::*;
use crate::dispatcher::allowance::Allowance;
use crate::dispatcher::dedup::Past;
use crate::task::{DedupRequest, Priority, SingletonRequest};

/// One random step of a history.
#[derive(Debug, Clone)]
enum Step {
    Create {
        priority: i64,
        delay: u64,
        retries: i64,
        wait: u64,
        hook: bool,
        line: u8,
        age: Option<u64>,
        /// A key, and what it means.
        shared: Option<(u8, u8)>,
        /// Whether workers claim it.
        pulled: bool,
    },
    Claim {
        max: usize,
        wait: u64,
        lease: u32,
    },
    /// Of any claim that was ever answered, however long ago.
    Report {
        which: usize,
        what: u8,
    },
    Withdraw(usize),
    Fill(usize),
    Store,
    Refuse,
    EndCall {
        which: usize,
        outcome: u8,
    },
    EndDelivery {
        which: usize,
        outcome: u8,
    },
    Cancel(usize),
    /// Cancels it only if it waits.
    CancelWaiting(usize),
    PurgeLetter(usize),
    RunNow(usize),
    Unblock(usize),
    /// A client does a failed task again.
    Retry(usize),
    ChangePriority {
        which: usize,
        priority: u8,
    },
    Workflow(super::members::Shape),
    Pass(u64),
    /// The owner's wall clock jumps, as that of a new machine may.
    Jump(i64),
    Snapshot,
    Restate(usize),
    Purge,
    Crash {
        stored: bool,
        snapshot: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=10_i64, 0..20_u64, 0..4_i64, 1..40_u64, any::<bool>(), 0..9_u8, proptest::option::weighted(0.2, 1..20_u64), proptest::option::weighted(0.4, (0..2_u8, 0..8_u8)), proptest::bool::weighted(0.4))
            .prop_map(|(priority, delay, retries, wait, hook, line, age, shared, pulled)| Step::Create { priority, delay, retries, wait, hook, line, age, shared, pulled }),
        3 => (1..4_usize, 0..8_000_u64, 1..9_000_u32).prop_map(|(max, wait, lease)| Step::Claim { max, wait, lease }),
        5 => (any::<usize>(), any::<u8>()).prop_map(|(which, what)| Step::Report { which, what }),
        1 => any::<usize>().prop_map(Step::Withdraw),
        4 => (0..4_usize).prop_map(Step::Fill),
        5 => Just(Step::Store),
        1 => Just(Step::Refuse),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::EndCall { which, outcome }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::EndDelivery { which, outcome }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::CancelWaiting),
        1 => any::<usize>().prop_map(Step::PurgeLetter),
        1 => any::<usize>().prop_map(Step::RunNow),
        1 => any::<usize>().prop_map(Step::Unblock),
        1 => any::<usize>().prop_map(Step::Retry),
        2 => (any::<usize>(), 1..=10_u8).prop_map(|(which, priority)| Step::ChangePriority { which, priority }),
        2 => super::members::shape().prop_map(Step::Workflow),
        4 => (0..30_000_u64).prop_map(Step::Pass),
        1 => (-5_000_000..5_000_000_i64).prop_map(Step::Jump),
        1 => (-5_000..5_000_i64).prop_map(Step::Jump),
        1 => Just(Step::Snapshot),
        2 => (1..5_usize).prop_map(Step::Restate),
        2 => Just(Step::Purge),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(stored, snapshot)| Step::Crash { stored, snapshot }),
    ]
}

fn outcome(number: u8) -> Outcome {
    match number % 8 {
        0..=2 => answered(200),
        3 => answered(404),
        4 => answered(500),
        5 => answered(429),
        6 => failed(FailureKind::Connect),
        _ => failed(FailureKind::BlockedAddress),
    }
}

/// Invariants 1 and 2 of the design: attempts count 1, 2, 3...; each ends before the next begins;
/// after an end come only deliveries, and no second end.
pub(super) fn assert_orderly(log: &[TaskEvent]) {
    #[derive(Default)]
    struct Life {
        attempts: u32,
        running: bool,
        ends: u32,
        to_cancel: bool,
        failed: bool,
        priority: Priority,
    }
    let mut lives: HashMap<TaskId, Life> = HashMap::new();
    assert_in_order(log);
    super::keys::assert_keys_are_kept(log);
    super::members::assert_members_wait(log);
    for event in log {
        if event.id() == super::members::unreadable() {
            continue;
        }
        let life = lives.entry(event.id()).or_default();
        match event {
            TaskEvent::Created(e) => life.priority = e.priority,
            TaskEvent::CallbackRequested(_) => {}
            TaskEvent::Unblocked(_) => assert_eq!(life.ends, 1, "{event:?}"),
            TaskEvent::LimitPaused(_) | TaskEvent::TargetDisabled(_) => {
                assert!(life.running, "{event:?}");
            }
            TaskEvent::Restated(e) => {
                let changed = e.changed_priority.as_ref();
                let priority = changed.map_or(e.created.priority, |changed| changed.to);
                assert_eq!(priority, life.priority, "{event:?}");
            }
            TaskEvent::PriorityChanged(e) => {
                assert!(!life.running && life.ends == 0, "{event:?}");
                assert_eq!(e.from, life.priority, "{event:?}");
                assert_ne!(e.from, e.priority, "{event:?}");
                life.priority = e.priority;
            }
            TaskEvent::Started(e) => {
                assert!(!life.running && life.ends == 0, "{event:?}");
                assert!(!life.to_cancel, "{event:?}");
                assert_eq!(e.attempt, life.attempts + 1, "{event:?}");
                (life.attempts, life.running) = (e.attempt, true);
            }
            TaskEvent::AttemptFailed(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
                (life.running, life.failed) = (false, life.failed || e.counted);
            }
            TaskEvent::Released(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
                life.running = false;
            }
            TaskEvent::Succeeded(TaskSucceeded { attempt, .. }) => {
                assert!(
                    life.running && life.ends == 0 && *attempt == life.attempts,
                    "{event:?}"
                );
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::Dead(TaskDead { attempt, .. }) => {
                // Between two attempts, a task with `maxAge` may become too old for the next one, and
                // one without any may lack the result of another one.
                assert!(
                    (life.running || life.failed || *attempt == 0)
                        && life.ends == 0
                        && *attempt == life.attempts,
                    "{event:?}"
                );
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::RunRequested(_) => {
                assert!(
                    !life.running && life.ends == 0 && !life.to_cancel,
                    "{event:?}"
                );
            }
            TaskEvent::Expired(e) => {
                assert!(
                    life.ends == 0 && life.running == e.attempt.is_some(),
                    "{event:?}"
                );
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::CancelRequested(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
                assert!(!life.to_cancel, "{event:?}");
                life.to_cancel = true;
            }
            TaskEvent::Cancelled(e) => {
                let attempt = life.running.then_some(life.attempts);
                assert!(life.ends == 0 && e.attempt == attempt, "{event:?}");
                assert!(life.to_cancel || !life.running, "{event:?}");
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) | TaskEvent::Purged(_) => {
                assert_eq!(life.ends, 1, "{event:?}");
            }
            TaskEvent::Progressed(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
            }
        }
    }
}

fn run(steps: Vec<Step>) -> World {
    let mut world = World::new();
    let mut snapshot = None;
    for step in steps {
        match step {
            Step::Create {
                priority,
                delay,
                retries,
                wait,
                hook,
                line,
                age,
                shared,
                pulled,
            } => {
                // The client's clock is correct.
                let at = Timestamp(world.now.wall.0 - world.skew);
                let at = at.plus(Duration::from_secs(delay));
                let deadline = at.max(world.now.wall).plus(Duration::from_secs(1 + wait));
                let is_delayed = delay > 10 && shared.is_none_or(|(_, meaning)| meaning > 1);
                world.create(|r| {
                    if pulled {
                        r.target_url = None;
                    }
                    r.priority = Some(priority);
                    r.fairness_key = (priority % 3 > 0).then(|| format!("customer {priority}"));
                    // Of nine tasks six are in two lines, some of which cancel the rest.
                    r.ordering_key =
                        (line < 6 && shared.is_none()).then(|| format!("line {}", line % 2));
                    r.on_failure = (line < 4 && shared.is_none()).then(|| {
                        let modes = ["cancelRest", "block"];
                        modes[usize::from(line / 2)].to_owned()
                    });
                    r.delay_until = is_delayed.then(|| at.to_rfc3339());
                    r.max_retries = Some(retries);
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let length = Length::Seconds(wait as f64);
                    r.expires_in = (!is_delayed).then_some(length);
                    r.deadline = (is_delayed && priority > 5).then(|| deadline.to_rfc3339());
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let age = age.map(|age| Length::Seconds(age as f64));
                    r.max_age = age;
                    match shared {
                        None => {}
                        Some((key, meaning @ 0..=1)) => {
                            r.debounce = Some(DebounceRequest {
                                key: Some(format!("window {key}")),
                                delay: Some(Length::Seconds(0.9)),
                                max_delay: Some(Length::Seconds(2.0)),
                                mode: (meaning == 0).then(|| "first".to_owned()),
                            });
                        }
                        Some((key, meaning @ 5..)) => {
                            let older = if meaning == 5 {
                                "replaceIfNotStarted"
                            } else {
                                "existing"
                            };
                            let failed = if meaning == 6 { "existing" } else { "new" };
                            r.dedup = Some(DedupRequest {
                                key: Some(format!("dedup {key}")),
                                window: Some(Length::Seconds(5.0)),
                                on_duplicate: Some(older.into()),
                                if_failed: Some(failed.into()),
                                ..DedupRequest::default()
                            });
                        }
                        Some((key, meaning)) => {
                            let modes = ["skip", "queue", "cancelRunning"];
                            r.singleton = Some(SingletonRequest {
                                key: Some(format!("single {key}")),
                                mode: Some(modes[usize::from(meaning) - 2].to_owned()),
                            });
                        }
                    }
                    r.on_complete_url = hook.then(|| "http://hook/".into());
                });
            }
            Step::Fill(slots) => {
                let mut actions = Vec::new();
                world.dispatcher.tick(world.now);
                let used = world.dispatcher.fill(slots, world.now, &mut actions);
                assert!(used <= slots);
                world.dispatcher.serve_claims(world.now, &mut actions);
                world.carry_out(actions);
            }
            Step::Claim { max, wait, lease } => {
                let wait = Duration::from_millis(wait);
                world.claim_as("worker", &["default"], max, wait, lease);
            }
            Step::Report { which, what } => {
                let leases: Vec<_> = world.claimed.values().flatten().copied().collect();
                if !leases.is_empty() {
                    let lease = leases[which % leases.len()];
                    world.report_unstored(lease, super::pull::report(what));
                }
            }
            Step::Withdraw(which) => {
                let asks = 1 + world.tickets;
                world.withdraw(which as u64 % asks);
            }
            Step::Store => world.append(),
            Step::Refuse => {
                if world.dispatcher.begin_append(2).is_some() {
                    world.dispatcher.not_appended();
                }
            }
            Step::EndCall {
                which,
                outcome: number,
            } => {
                if !world.calls.is_empty() {
                    let call = world.calls.remove(which % world.calls.len());
                    if number % 16 == 15 {
                        world
                            .dispatcher
                            .attempt_released(call.task, call.attempt, world.now);
                    }
                    // After a release, a report arrives too late.
                    world.dispatcher.attempt_ended(
                        call.task,
                        call.attempt,
                        outcome(number),
                        world.now,
                    );
                    // A second report of the same outcome changes nothing.
                    world.dispatcher.attempt_ended(
                        call.task,
                        call.attempt,
                        outcome(number / 8),
                        world.now,
                    );
                }
            }
            Step::EndDelivery {
                which,
                outcome: number,
            } => {
                if !world.deliveries.is_empty() {
                    let delivery = world.deliveries.remove(which % world.deliveries.len());
                    world.dispatcher.delivery_ended(
                        delivery.task,
                        delivery.number,
                        &outcome(number),
                        world.now,
                    );
                }
            }
            Step::Cancel(which) | Step::CancelWaiting(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.tickets += 1;
                    let request = Cancel {
                        task: id,
                        team: World::team(),
                        actor: Actor::System("test".into()),
                        traceparent: None,
                        ticket: Ticket(world.tickets),
                        only_waiting: matches!(step, Step::CancelWaiting(_)),
                    };
                    let mut actions = Vec::new();
                    world.dispatcher.cancel(request, world.now, &mut actions);
                    world.carry_out(actions);
                }
            }
            Step::PurgeLetter(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.ask_to_purge(id);
                }
            }
            Step::RunNow(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.ask_to_run(id);
                }
            }
            Step::ChangePriority { which, priority } => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.ask_for_priority(id, priority);
                }
            }
            Step::Unblock(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.ask_to_unblock(id);
                }
            }
            Step::Retry(which) => {
                let failed: Vec<_> = world.failed_in_line();
                if !failed.is_empty() {
                    world.retry(failed[which % failed.len()]);
                }
            }
            Step::Workflow(shape) => {
                world.make(&shape);
            }
            Step::Pass(millis) => {
                world.go_on(Duration::from_millis(millis));
                world.dispatcher.tick(world.now);
            }
            Step::Jump(millis) => world.jump(millis),
            Step::Restate(max) => world.restate(max),
            Step::Purge => world.purge(),
            Step::Snapshot => snapshot = world.dispatcher.snapshot().or(snapshot),
            Step::Crash {
                stored,
                snapshot: from_snapshot,
            } => {
                // Whether the append in flight was stored is unknown.
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
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_history_is_orderly_and_every_task_comes_to_its_one_end(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = run(steps);
        // From here on nothing fails and the clock is correct, so every open task must end.
        world.jump(-world.skew);
        for round in 0..400 {
            if world.dispatcher.open() == 0 {
                break;
            }
            world.serve(8);
            while !world.calls.is_empty() {
                world.end_call(answered(200));
            }
            let ticket = world.claim_as("last", &["default"], 100, Duration::ZERO, 60_000);
            world.serve(0);
            for lease in world.claimed.remove(&ticket).unwrap_or_default() {
                world.report(lease, super::pull::report(0));
            }
            for delivery in std::mem::take(&mut world.deliveries) {
                world.dispatcher.delivery_ended(delivery.task, delivery.number, &answered(200), world.now);
            }
            for id in world.failed_in_line() {
                world.ask_to_unblock(id);
            }
            world.append();
            // First for the retries, then for the webhooks, which are repeated for more than a day.
            let pause = if round < 200 { 3 } else { 600 };
            world.pass(Duration::from_secs(pause));
        }
        prop_assert_eq!(world.dispatcher.open(), 0, "no task is lost");
        assert_orderly(&world.log);
        world.assert_reports_are_true();
        let created = world.log.iter().filter(|e| matches!(e, TaskEvent::Created(_))).count();
        let ends = world.log.iter().filter(|e| {
            matches!(e, TaskEvent::Succeeded(_) | TaskEvent::Dead(_) | TaskEvent::Expired(_) | TaskEvent::Cancelled(_))
        }).count();
        prop_assert_eq!(created, ends, "one end each");
    }

    #[test]
    fn a_replay_is_the_state(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = run(steps);
        world.append();
        // Who gives way takes effect with the end that says so.
        for _ in 0..3 {
            world.pass(Duration::ZERO);
        }
        let mut replayed = Dispatcher::new();
        let left = (1..).map(StreamSeq).zip(&world.log);
        for (seq, event) in left.filter(|(seq, _)| seq.0 > world.gone) {
            replayed.apply(seq, None, event);
            // Applying an event twice changes nothing.
            replayed.apply(seq, None, event);
        }
        // As an owner does that has read everything: nobody waits for what cannot be read.
        replayed.settle_members();
        let without_derived = |dispatcher: &Dispatcher| {
            let mut tasks: Vec<_> = dispatcher.tasks.iter().map(|(id, task)| {
                let mut task = task.clone();
                (task.busy, task.restating, task.read_from) = (false, false, None);
                (task.allowance, task.retries_until) = (Allowance::Endless, Allowance::Endless);
                if task.is_in_window() {
                    task.phase = Phase::Ready { since: START, from: Elapsed(0) };
                }
                task.forget_derived();
                if let Some(member) = &mut task.member {
                    member.forget_cause();
                }
                if let Some(lease) = task.lease_mut() {
                    (lease.end, lease.extending) = (Elapsed(0), 0);
                }
                if let Some(after) = &mut task.cancelled_after {
                    after.needed = StreamSeq(0);
                }
                match &mut task.phase {
                    Phase::Ended { claimed, wake, .. } => (*claimed, *wake) = (false, Elapsed(0)),
                    Phase::Waiting { wake, from, .. } => (*wake, *from) = (Elapsed(0), None),
                    Phase::Ready { from, .. } => *from = Elapsed(0),
                    Phase::Running { .. } => {}
                }
                if let Phase::Ready { since, .. } = task.phase
                    && (task.not_before.is_some() || task.attempts > 0)
                {
                    task.phase = Phase::Waiting {
                        until: since,
                        from: None,
                        wake: Elapsed(0),
                    };
                }
                (*id, task)
            }).collect();
            tasks.sort_by_key(|(id, _)| *id);
            tasks
        };
        // An owner forgets with time, and a replay does not, but for what the log has no more: a snapshot may still have that.
        let kept: HashSet<_> = replayed.remembered.all().map(|past| past.id).collect();
        let in_log = |past: &Past| past.needed.0 > world.gone;
        let mut remembered = world.dispatcher.remembered.all();
        prop_assert!(remembered.all(|past| !in_log(past) || kept.contains(&past.id)));
        prop_assert_eq!(without_derived(&replayed), without_derived(&world.dispatcher));
    }
}
