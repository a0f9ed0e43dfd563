//! An operation that is run by processes which crash and overtake each other, against a log that
//! keeps only what was appended under the right expectation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::{Environment, TeamId};
use crate::partition::Partition;
use crate::seq::StreamSeq;

const NOW: Timestamp = Timestamp(1_000);

fn by() -> Actor {
    Actor::Operator("test".into())
}

fn draft(action: BulkAction) -> OperationCreated {
    OperationCreated {
        operation: OperationId::new(NOW, 1),
        team: TeamId::new(NOW, 1),
        environment: Environment::Live,
        action,
        filter: BTreeMap::from([("queue".into(), vec!["mail".into()])]),
        tasks: Vec::new(),
        undoes: None,
        rate: 100,
        reason: Some(" the receiver is back ".into()),
        matched: 10,
        up_to: StreamSeq(5),
        created_by: String::new(),
        at: Timestamp(0),
        priority: None,
    }
}

fn task(number: usize) -> TaskId {
    TaskId::new(NOW, number as u128, Partition::default())
}

/// Decides a command and applies what follows from it.
fn run(operation: &mut Operation, command: OperationCommand) -> Result<usize, OperationRefusal> {
    let events = operation.decide(command, &by(), &(), NOW)?;
    for event in &events {
        operation.evolve(event);
    }
    Ok(events.len())
}

fn created(action: BulkAction) -> Operation {
    let mut operation = Operation::default();
    let create = OperationCommand::Create(Box::new(draft(action)));
    assert_eq!(run(&mut operation, create), Ok(1));
    operation
}

fn step(operation: &Operation, done: u64, ends: bool) -> OperationCommand {
    let from = operation.progress.clone();
    let to = Progress {
        done,
        cursor: Some(done.to_string()),
        ..from.clone()
    };
    OperationCommand::Progress { from, to, ends }
}

#[test]
fn it_is_created_once_and_repeated_without_harm() {
    let mut operation = created(BulkAction::Retry);
    let first = operation.created.clone().expect("there");
    assert_eq!(first.reason.as_deref(), Some("the receiver is back"));
    assert_eq!(first.created_by, "operator:test");
    let mut again = draft(BulkAction::Retry);
    (again.matched, again.up_to) = (11, StreamSeq(9));
    let create = OperationCommand::Create(Box::new(again));
    assert_eq!(run(&mut operation, create), Ok(0));
    let other = OperationCommand::Create(Box::new(draft(BulkAction::Replay)));
    assert_eq!(run(&mut operation, other), Err(OperationRefusal::Mismatch));
}

#[test]
fn a_pause_holds_whatever_progress_is_written_down() {
    let mut operation = created(BulkAction::Retry);
    assert_eq!(run(&mut operation, OperationCommand::Pause), Ok(1));
    assert_eq!(run(&mut operation, OperationCommand::Pause), Ok(0));
    let command = step(&operation, 3, false);
    assert_eq!(run(&mut operation, command), Ok(1));
    assert_eq!(operation.state(), State::Paused);
    assert_eq!(run(&mut operation, OperationCommand::Resume), Ok(1));
    assert_eq!(run(&mut operation, OperationCommand::Resume), Ok(0));
    assert_eq!(operation.state(), State::Running);
    let command = step(&operation, 5, true);
    assert_eq!(run(&mut operation, command), Ok(1));
    assert_eq!(operation.state(), State::Completed);
    assert_eq!(operation.progress.done, 5);
    for late in [
        OperationCommand::Pause,
        OperationCommand::Resume,
        OperationCommand::Cancel,
    ] {
        assert_eq!(run(&mut operation, late), Err(OperationRefusal::Over));
    }
}

#[test]
fn a_cancelled_one_stays_so_and_tells_what_was_done() {
    let mut operation = created(BulkAction::Cancel);
    assert_eq!(run(&mut operation, OperationCommand::Cancel), Ok(1));
    assert_eq!(run(&mut operation, OperationCommand::Cancel), Ok(0));
    let command = step(&operation, 4, true);
    assert_eq!(run(&mut operation, command), Ok(1));
    assert_eq!(
        (operation.state(), operation.progress.done),
        (State::Cancelled, 4)
    );
    let resume = run(&mut operation, OperationCommand::Resume);
    assert_eq!(resume, Err(OperationRefusal::Over));
}

#[test]
fn whoever_was_overtaken_writes_nothing_down() {
    let mut operation = created(BulkAction::Retry);
    let (one, other) = (step(&operation, 3, false), step(&operation, 2, false));
    assert_eq!(run(&mut operation, one), Ok(1));
    assert_eq!(run(&mut operation, other), Err(OperationRefusal::Overtaken));
    let none = run(&mut Operation::default(), OperationCommand::Pause);
    assert_eq!(none, Err(OperationRefusal::NoSuchOperation));
}

#[test]
fn bounds_are_named() {
    let field = |change: &dyn Fn(&mut OperationCreated)| {
        let mut draft = draft(BulkAction::Retry);
        change(&mut draft);
        let create = OperationCommand::Create(Box::new(draft));
        match run(&mut Operation::default(), create) {
            Err(OperationRefusal::Invalid(TeamRefusal::Invalid { field, .. })) => Some(field),
            _ => None,
        }
    };
    assert_eq!(field(&|_| {}), None);
    assert_eq!(field(&|draft| draft.rate = 0), Some("rate"));
    assert_eq!(field(&|draft| draft.rate = MAX_RATE + 1), Some("rate"));
    assert_eq!(
        field(&|draft| draft.matched = MAX_MATCHED + 1),
        Some("filter")
    );
    let many = |draft: &mut OperationCreated| draft.tasks = (0..=MAX_NAMED).map(task).collect();
    assert_eq!(field(&many), Some("ids"));
    let long = |draft: &mut OperationCreated| draft.reason = Some("x".repeat(501));
    assert_eq!(field(&long), Some("reason"));
}

#[test]
fn refusals_are_listed_up_to_a_bound_and_counted_beyond() {
    let mut progress = Progress::default();
    let refused = || Verdict::Refused {
        code: "not_ended".into(),
        error: "x".repeat(1_000),
    };
    progress.take_in((0..150).map(|n| (task(n), refused())), Some("a".into()));
    progress.take_in(
        [(task(150), Verdict::Done), (task(151), Verdict::Skipped)],
        None,
    );
    assert_eq!((progress.done, progress.refused), (1, 150));
    assert_eq!(progress.refusals.len(), progress::MAX_REFUSALS);
    assert_eq!(progress.refusals[99].task, task(99));
    assert_eq!(progress.refusals[0].error.len(), 300);
    assert_eq!(progress.cursor.as_deref(), Some("a"));
}

#[test]
fn checkpoints_are_few_and_never_far_apart() {
    let at = |done| Progress {
        done,
        ..Progress::default()
    };
    let second = Duration::from_secs(1);
    let due = |done, matched, since| at(done).is_due(&at(0), matched, since);
    assert!(!due(9, 1_000, second) && due(10, 1_000, second));
    assert!(!due(10, 1_000, second / 2));
    assert!(due(1, 100_000, second * 60) && !due(0, 100_000, second * 60));
    // At most a hundred by their number, and one a minute besides.
    let (mut last, mut count) = (at(0), 0);
    for done in 0..=100_000 {
        if at(done).is_due(&last, 100_000, second * 59) {
            (last, count) = (at(done), count + 1);
        }
    }
    assert_eq!(count, 100);
}

/// In any time `w`, at most `1 + rate * w` tasks begin, however late some of them were.
#[test]
fn a_pace_is_kept_and_not_made_up_for() {
    let mut pace = Pace::new(10);
    let millis = Duration::from_millis;
    let mut begun = Vec::new();
    for now in [0, 0, 0, 1_000, 1_000, 1_050, 5_000, 5_000] {
        begun.push(pace.turn(millis(now)).as_millis());
    }
    assert_eq!(begun, [0, 100, 200, 1_000, 1_100, 1_200, 5_000, 5_100]);
}

/// What one process does next in a history.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Takes the next slice, of so many tasks.
    Slice(usize),
    /// Takes so many tasks of a slice, and dies.
    DieIn(usize),
    /// Writes down what it has, and dies before it knows whether that worked.
    DieAfterCheckpoint,
    Checkpoint,
    Pause,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        4 => (1_usize..6).prop_map(Step::Slice),
        2 => (0_usize..6).prop_map(Step::DieIn),
        1 => Just(Step::DieAfterCheckpoint),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ];
    // Two processes, so that one may go on while the other believes that it still runs it.
    prop::collection::vec((0_usize..2, step), 1..60)
}

/// A process: what it has done since it loaded the operation.
struct Process {
    from: Progress,
    to: Progress,
    complete: bool,
}

struct World {
    tasks: usize,
    operation: Operation,
    /// The tasks that were made, by idempotency key: how many under each.
    made: BTreeMap<String, usize>,
    /// Everything that was made, for the negative control: without keys.
    keyless: usize,
    processes: [Option<Process>; 2],
}

impl World {
    fn new(tasks: usize, action: BulkAction) -> Self {
        Self {
            tasks,
            operation: created(action),
            made: BTreeMap::new(),
            keyless: 0,
            processes: [None, None],
        }
    }

    /// Makes what a task is to become, unless its key exists: the log's own rule.
    fn make(&mut self, number: usize) {
        let created = self.operation.created.as_deref().expect("there");
        let key = item_key(created, task(number)).expect("makes tasks");
        self.made.entry(key).or_insert(1);
        self.keyless += 1;
    }

    fn slice(&mut self, process: usize, most: usize, dies: bool) {
        if self.operation.state() != State::Running {
            self.processes[process] = None;
            return;
        }
        let progress = self.operation.progress.clone();
        let mut running = self.processes[process].take().unwrap_or(Process {
            from: progress.clone(),
            to: progress,
            complete: false,
        });
        if running.complete {
            self.processes[process] = Some(running);
            return;
        }
        let cursor = running.to.cursor.as_ref();
        let from = cursor.map_or(0, |cursor| cursor.parse().expect("a number"));
        let end = self.tasks.min(from + most);
        for number in from..end {
            self.make(number);
        }
        if dies {
            return;
        }
        let verdicts = (from..end).map(|number| (task(number), Verdict::Done));
        running.to.take_in(verdicts, Some(end.to_string()));
        running.complete = end == self.tasks;
        self.processes[process] = Some(running);
    }

    fn checkpoint(&mut self, process: usize) {
        if let Some(running) = self.processes[process].take() {
            let command = OperationCommand::Progress {
                from: running.from,
                to: running.to.clone(),
                ends: running.complete,
            };
            let written = run(&mut self.operation, command);
            if written.is_ok() && !running.complete {
                self.processes[process] = Some(Process {
                    from: running.to.clone(),
                    ..running
                });
            }
        }
    }

    fn take(&mut self, process: usize, step: Step) {
        match step {
            Step::Slice(most) => self.slice(process, most, false),
            Step::DieIn(most) => {
                self.slice(process, most, true);
                self.processes[process] = None;
            }
            Step::DieAfterCheckpoint => {
                self.checkpoint(process);
                self.processes[process] = None;
            }
            Step::Checkpoint => self.checkpoint(process),
            Step::Pause => {
                let _ = run(&mut self.operation, OperationCommand::Pause);
            }
            Step::Resume => {
                let _ = run(&mut self.operation, OperationCommand::Resume);
            }
        }
    }

    /// Lets one process finish it.
    fn finish(&mut self) {
        let _ = run(&mut self.operation, OperationCommand::Resume);
        self.processes = [None, None];
        while !self.operation.is_over() {
            self.slice(0, 3, false);
            self.checkpoint(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_task_is_done_once_and_counted_once(
        tasks in 0_usize..30,
        steps in steps(),
        action in prop_oneof![Just(BulkAction::Retry), Just(BulkAction::Replay), Just(BulkAction::Undo)],
    ) {
        let mut world = World::new(tasks, action);
        for (process, step) in steps {
            world.take(process, step);
            prop_assert!(world.operation.progress.done <= tasks as u64);
        }
        world.finish();
        prop_assert_eq!(world.operation.state(), State::Completed);
        prop_assert_eq!(world.operation.progress.done, tasks as u64);
        let of_task: BTreeSet<_> = world.made.keys().collect();
        prop_assert_eq!(of_task.len(), tasks);
        prop_assert!(world.made.values().all(|count| *count == 1));
    }
}

/// The negative control: without the derived keys, a crash in a slice makes tasks twice, so the
/// histories above do repeat work.
#[test]
fn without_derived_keys_a_crash_makes_tasks_twice() {
    let mut world = World::new(10, BulkAction::Replay);
    for step in [
        Step::Slice(4),
        Step::Checkpoint,
        Step::Slice(2),
        Step::DieIn(3),
    ] {
        world.take(0, step);
    }
    world.finish();
    assert_eq!(world.made.len(), 10);
    assert!(world.keyless > 10, "{}", world.keyless);
}

/// The state is the same from the latest event of each type, which is what a gateway keeps.
#[test]
fn the_latest_event_of_each_type_tells_all() {
    let mut whole = Operation::default();
    let mut events: Vec<ControlEvent> = Vec::new();
    let commands: [&dyn Fn(&Operation) -> OperationCommand; 7] = [
        &|_| OperationCommand::Create(Box::new(draft(BulkAction::Retry))),
        &|operation| step(operation, 2, false),
        &|_| OperationCommand::Pause,
        &|operation| step(operation, 4, false),
        &|_| OperationCommand::Resume,
        &|_| OperationCommand::Pause,
        &|_| OperationCommand::Cancel,
    ];
    for command in commands {
        let decided = whole
            .decide(command(&whole), &by(), &(), NOW)
            .expect("allowed");
        for event in decided {
            whole.evolve(&event);
            events.retain(|known| known.name() != event.name());
            events.push(event);
            let mut kept = Operation::default();
            for event in &events {
                kept.evolve(event);
            }
            assert_eq!(kept, whole);
        }
    }
}
