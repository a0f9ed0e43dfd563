//! The rule by which keys of epochs are destroyed, in a simulation: gateways that make keys and
//! append late, an owner that reads late, sweeps, takeovers and snapshots. Each part of the rule has
//! a variant without it, in which the simulation must find a task that lost its key.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::event::{TaskCancelled, TaskEvent, samples};
use crate::id::TaskId;
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::vault::epoch::{LASTS, SETTLED_AFTER};

const GATEWAYS: usize = 2;

/// Which parts of the rule hold.
#[derive(Debug, Clone, Copy)]
struct Rule {
    waits_until_settled: bool,
    reads_before_it_judges: bool,
    spares_open_tasks: bool,
    erases: bool,
}

const RULE: Rule = Rule {
    waits_until_settled: true,
    reads_before_it_judges: true,
    spares_open_tasks: true,
    erases: true,
};

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, in seconds.
    Wait(u16),
    /// A gateway accepts a task with the credential. Its creation is stored some seconds later.
    Create(usize, u8),
    /// A gateway forgets its epochs.
    Restart(usize),
    /// The owner reads some of what is stored.
    Read(u8),
    /// A task that the owner knows ends.
    End(u8),
    /// Another owner takes over, from the last snapshot and the log.
    TakeOver,
    Snapshot,
    /// Keys are listed.
    List,
    /// What was listed is judged, if the owner has read far enough.
    Judge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..700_u16).prop_map(Step::Wait),
        4 => (0..GATEWAYS, 0..60_u8).prop_map(|(gateway, late)| Step::Create(gateway, late)),
        1 => (0..GATEWAYS).prop_map(Step::Restart),
        3 => any::<u8>().prop_map(Step::Read),
        3 => any::<u8>().prop_map(Step::End),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Snapshot),
        3 => Just(Step::List),
        3 => Just(Step::Judge),
    ];
    proptest::collection::vec(step, 1..80)
}

struct World {
    rule: Rule,
    now: Timestamp,
    made: u128,
    epochs: [Option<(EpochId, Timestamp)>; GATEWAYS],
    /// Keys, with the times at which they were stored.
    keys: HashMap<EpochId, Timestamp>,
    /// Creations under way, with the times at which they are stored.
    under_way: Vec<(Timestamp, Box<TaskCreated>)>,
    log: Vec<TaskEvent>,
    owner: Dispatcher,
    snapshot: Option<Vec<u8>>,
    listed: Option<(usize, Vec<EpochId>)>,
}

impl World {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            now: Timestamp(1_000_000),
            made: 0,
            epochs: [None; GATEWAYS],
            keys: HashMap::new(),
            under_way: Vec::new(),
            log: Vec::new(),
            owner: Dispatcher::new(),
            snapshot: None,
            listed: None,
        }
    }

    fn fresh(&mut self) -> u128 {
        self.made += 1;
        self.made
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(seconds) => self.wait(Duration::from_secs(seconds.into())),
            Step::Create(gateway, late) => self.create(gateway, late),
            Step::Restart(gateway) => self.epochs[gateway] = None,
            Step::Read(some) => self.read(some.into()),
            Step::End(which) => self.end(which.into()),
            Step::TakeOver => self.take_over(),
            Step::Snapshot => self.snapshot = self.owner.snapshot(),
            Step::List => self.list(),
            Step::Judge => self.judge(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        let now = self.now;
        let (stored, under_way): (Vec<_>, _) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.under_way = under_way;
        let created = stored
            .into_iter()
            .map(|(_, created)| TaskEvent::Created(created));
        self.log.extend(created);
    }

    fn create(&mut self, gateway: usize, late: u8) {
        let is_on = |(_, begun): &(EpochId, Timestamp)| self.now.since(*begun) < LASTS;
        let epoch = match self.epochs[gateway].filter(is_on) {
            Some((epoch, _)) => epoch,
            None => {
                let epoch = EpochId::new(self.now, self.fresh());
                self.epochs[gateway] = Some((epoch, self.now));
                self.keys.insert(epoch, self.now);
                epoch
            }
        };
        let mut created = a_task(Some(epoch));
        created.id = TaskId::new(self.now, self.fresh(), Partition::default());
        created.at = self.now;
        let at = self.now.plus(Duration::from_secs(late.into()));
        self.under_way.push((at, created));
        self.wait(Duration::ZERO);
    }

    fn read(&mut self, some: usize) {
        let from = usize::try_from(self.owner.position().0).expect("a small log");
        let to = self.log.len().min(from.saturating_add(some));
        for at in from..to {
            let seq = StreamSeq(at as u64 + 1);
            self.owner.apply(seq, None, &self.log[at]);
            self.owner.replayed_to(seq);
        }
    }

    fn end(&mut self, which: usize) {
        self.read(usize::MAX);
        let mut open: Vec<TaskId> = self.owner.tasks.iter().map(|(id, _)| *id).collect();
        open.sort_unstable();
        if let Some(&task) = open.get(which % open.len().max(1)) {
            let end = TaskCancelled::idle(task, self.now);
            self.log.push(TaskEvent::Cancelled(end));
        }
    }

    fn take_over(&mut self) {
        let restored = self.snapshot.as_deref().map(Dispatcher::restore);
        self.owner = restored
            .transpose()
            .expect("a snapshot")
            .unwrap_or_default();
        self.listed = None;
    }

    fn list(&mut self) {
        let is_settled =
            |at: &Timestamp| !self.rule.waits_until_settled || self.now.since(*at) >= SETTLED_AFTER;
        let keys = self.keys.iter().filter(|(_, at)| is_settled(at));
        let keys = keys.map(|(epoch, _)| *epoch).collect();
        self.listed = Some((self.log.len(), keys));
    }

    fn judge(&mut self) {
        let read = usize::try_from(self.owner.position().0).expect("a small log");
        let is_read = |known_at: usize| read >= known_at || !self.rule.reads_before_it_judges;
        let Some((_, keys)) = self.listed.take_if(|(known_at, _)| is_read(*known_at)) else {
            return;
        };
        for epoch in keys {
            let is_spared = self.rule.spares_open_tasks && self.owner.needs_epoch(epoch);
            if self.rule.erases && !is_spared {
                self.keys.remove(&epoch);
            }
        }
    }

    /// The epochs of tasks that are accepted or stored and have not ended.
    fn needed(&self) -> impl Iterator<Item = EpochId> {
        let ended = |id| {
            self.log
                .iter()
                .any(|event| matches!(event, TaskEvent::Cancelled(end) if end.id == id))
        };
        let stored = self.log.iter().filter_map(|event| match event {
            TaskEvent::Created(created) => Some(created),
            _ => None,
        });
        let under_way = self.under_way.iter().map(|(_, created)| created);
        let all = stored
            .chain(under_way)
            .filter(move |created| !ended(created.id));
        all.filter_map(|created| created.sealed.as_ref()?.epoch)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        self.owner.check();
        for epoch in self.needed() {
            prop_assert!(self.keys.contains_key(&epoch), "an open task lost its key");
        }
        Ok(())
    }

    /// Once all tasks have ended, a sweep leaves nothing.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        self.wait(SETTLED_AFTER);
        self.read(usize::MAX);
        while self.owner.open() > 0 {
            self.end(0);
            self.read(usize::MAX);
        }
        self.list();
        self.judge();
        prop_assert!(self.keys.is_empty(), "a key is left: {:?}", self.keys);
        Ok(())
    }
}

fn a_task(epoch: Option<EpochId>) -> Box<TaskCreated> {
    let Some(TaskEvent::Created(mut created)) = samples::task_events().into_iter().next() else {
        panic!("the first sample is a creation");
    };
    created.on_complete_url = None;
    let sealed = created
        .sealed
        .as_mut()
        .expect("the sample has sealed headers");
    sealed.epoch = epoch;
    created
}

fn simulate(rule: Rule) -> Result<(), String> {
    let mut runner = TestRunner::new(Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    });
    let run = runner.run(&steps(), |steps| {
        let mut world = World::new(rule);
        for step in steps {
            world.take(&step);
            world.check()?;
        }
        world.finish()
    });
    run.map_err(|error| error.to_string())
}

#[test]
fn no_open_task_loses_its_key_and_no_key_is_left() {
    simulate(RULE).expect("the rule holds");
}

#[test]
fn each_part_of_the_rule_is_needed() {
    let lost = "an open task lost its key";
    for (broken, found) in [
        (
            Rule {
                waits_until_settled: false,
                ..RULE
            },
            lost,
        ),
        (
            Rule {
                reads_before_it_judges: false,
                ..RULE
            },
            lost,
        ),
        (
            Rule {
                spares_open_tasks: false,
                ..RULE
            },
            lost,
        ),
        (
            Rule {
                erases: false,
                ..RULE
            },
            "a key is left",
        ),
    ] {
        let error = simulate(broken).expect_err("a violation");
        assert!(error.contains(found), "{broken:?}: {error}");
    }
}

#[test]
fn the_end_of_a_task_frees_its_epoch_also_while_its_webhook_waits() {
    for webhook in [None, Some("https://example.com/".to_owned())] {
        let epoch = EpochId::new(Timestamp(5), 7);
        let mut created = a_task(Some(epoch));
        created.on_complete_url = webhook;
        let (id, at) = (created.id, created.at);
        let mut dispatcher = Dispatcher::new();
        dispatcher.apply(StreamSeq(1), None, &TaskEvent::Created(created));
        assert!(dispatcher.needs_epoch(epoch));
        assert!(!dispatcher.needs_epoch(EpochId::new(Timestamp(5), 8)));
        let end = TaskEvent::Cancelled(TaskCancelled::idle(id, at));
        dispatcher.apply(StreamSeq(2), None, &end);
        assert!(!dispatcher.needs_epoch(epoch));
        dispatcher.check();
    }
}

#[test]
fn a_task_of_an_older_snapshot_keeps_what_it_may_name() {
    let epoch = |at: Timestamp| EpochId::new(at, 7);
    let created = a_task(None);
    let (id, at) = (created.id, created.at);
    let mut dispatcher = Dispatcher::new();
    dispatcher.apply(StreamSeq(1), None, &TaskEvent::Created(created));
    assert!(
        !dispatcher.needs_epoch(epoch(at)),
        "it has a key of its own"
    );
    let open = dispatcher.tasks.get_mut(&id).expect("open");
    open.key = HeadersKey::Unknown;
    let snapshot = dispatcher.snapshot().expect("nothing in flight");
    let mut dispatcher = Dispatcher::restore(&snapshot).expect("of this version");
    assert!(dispatcher.needs_epoch(epoch(at)));
    let later = at.plus(2 * DISAGREEMENT);
    assert!(!dispatcher.needs_epoch(epoch(later)));
    let end = TaskEvent::Cancelled(TaskCancelled::idle(id, at));
    dispatcher.apply(StreamSeq(2), None, &end);
    assert!(!dispatcher.needs_epoch(epoch(at)));
    dispatcher.check();
}
