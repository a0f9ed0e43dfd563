//! Members of workflows.

use proptest::prelude::*;

use super::*;
use crate::command::Blocker;
use crate::flow::{MemberOf, Place, RunAfterMode};
use crate::id::WorkflowId;

/// A workflow: of each member, in order, those of the earlier ones that it runs after.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    members: Vec<Node>,
    /// How many members are read before the owner does what it can.
    pause: usize,
    /// The member that is cancelled then.
    cancels: usize,
    /// Whether the creation of this one cannot be read.
    damaged: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    after: Vec<usize>,
    any: bool,
    pulled: bool,
    hook: bool,
    /// What is filled in of the result of the first predecessor.
    place: Option<&'static str>,
    seconds: Option<u64>,
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    let place = proptest::option::weighted(
        0.2,
        prop_oneof![Just("status"), Just("status"), Just("body.x")],
    );
    let node = (
        proptest::collection::btree_set(0..6_usize, 0..3),
        any::<bool>(),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.2),
        place,
        proptest::option::weighted(0.2, 1..30_u64),
    );
    (
        proptest::collection::vec(node, 1..7),
        0..7_usize,
        0..7_usize,
        proptest::option::weighted(0.1, 0..7_usize),
    )
        .prop_map(|(nodes, pause, cancels, damaged)| {
            let members = nodes.into_iter().enumerate();
            let members = members.map(|(at, (after, any, pulled, hook, place, seconds))| Node {
                after: after.into_iter().filter(|other| *other < at).collect(),
                any,
                pulled,
                hook,
                place,
                seconds,
            });
            Shape {
                members: members.collect(),
                pause,
                cancels,
                damaged,
            }
        })
}

pub(super) fn node(after: &[usize]) -> Node {
    Node {
        after: after.to_vec(),
        any: false,
        pulled: false,
        hook: false,
        place: None,
        seconds: None,
    }
}

pub(super) fn flow(members: &[Node]) -> Shape {
    Shape {
        members: members.to_vec(),
        pause: members.len(),
        cancels: members.len(),
        damaged: None,
    }
}

/// The task of records that stand for those that cannot be read.
pub(super) fn unreadable() -> TaskId {
    let partition = Partition::new(0).expect("a partition");
    TaskId::new(START, u128::MAX, partition)
}

impl World {
    /// Stores a workflow, and lets the owner read it. Returns its tasks.
    pub(super) fn make(&mut self, shape: &Shape) -> Vec<TaskId> {
        let begin = self.log.len();
        let workflow = WorkflowId::new(self.now.wall, begin as u128);
        let partition = Partition::new(0).expect("a partition");
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(366 * 86_400),
        };
        let mut ids: Vec<TaskId> = Vec::new();
        let mut stored = Vec::new();
        for (at, node) in shape.members.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let request = TaskRequest {
                target_url: (!node.pulled).then(|| "http://sink/".into()),
                max_retries: Some(0),
                on_complete_url: node.hook.then(|| "http://hook/".into()),
                expires_in: node.seconds.map(|seconds| Length::Seconds(seconds as f64)),
                ..TaskRequest::default()
            };
            let spec = TaskSpec::check(request, &limits, self.now.wall).expect("a valid request");
            let id = TaskId::new(self.now.wall, (begin + at) as u128, partition);
            ids.push(id);
            let after: Vec<_> = node.after.iter().map(|other| ids[*other]).collect();
            let place = node.place.zip(after.first()).map(|(what, task)| Place {
                task: *task,
                text: format!("tasks.a.result.{what}"),
            });
            let mut created = spec.accept(id, Self::team(), None, self.now.wall);
            created.member = Some(Box::new(MemberOf {
                workflow: workflow.clone(),
                name: format!("m{at}"),
                at: u16::try_from(at).expect("small"),
                of: u16::try_from(shape.members.len()).expect("small"),
                retry: 0,
                after,
                done: Vec::new(),
                mode: if node.any {
                    RunAfterMode::Any
                } else {
                    RunAfterMode::All
                },
                places: place.into_iter().collect(),
                given: Vec::new(),
                about: None,
            }));
            let event = TaskEvent::Created(Box::new(created));
            if shape.damaged == Some(at) {
                // It stands for a record that nobody can read.
                let seq = self.store(TaskEvent::Purged(crate::event::TaskPurged {
                    id: unreadable(),
                    at: self.now.wall,
                }));
                stored.push((seq, None));
            } else {
                stored.push((self.store(event.clone()), Some(event)));
            }
        }
        for (read, (seq, event)) in stored.iter().enumerate() {
            if read == shape.pause {
                let mut actions = Vec::new();
                self.dispatcher.tick(self.now);
                self.dispatcher.fill(10, self.now, &mut actions);
                self.dispatcher.serve_claims(self.now, &mut actions);
                self.carry_out(actions);
                if let Some(id) = ids.get(shape.cancels) {
                    self.cancel_unstored(*id);
                }
                self.append();
            }
            if let Some(event) = event {
                self.dispatcher.apply(*seq, None, event);
            }
            self.dispatcher.replayed_to(*seq);
            self.dispatcher.check();
        }
        ids
    }

    /// Ends the call of a task.
    pub(super) fn end_call_of(&mut self, id: TaskId, status: u16) {
        let at = self.calls.iter().position(|call| call.task == id);
        let call = self.calls.remove(at.expect("a call of it"));
        self.dispatcher
            .attempt_ended(id, call.attempt, answered(status), self.now);
        self.append();
        self.pass(Duration::ZERO);
    }

    fn serves(&mut self) -> Vec<TaskId> {
        self.serve(100);
        let mut called: Vec<_> = self.calls.iter().map(|call| call.task).collect();
        called.sort_unstable();
        called
    }

    fn why(&self, id: TaskId) -> Option<Blocker> {
        let explained = self
            .dispatcher
            .explain(id, &Self::team(), self.now, |_| None);
        explained.expect("an open task").blocker
    }

    /// The member that did not complete, by the cancellation of another one.
    pub(super) fn cancelled_for(&self, id: TaskId) -> Option<TaskId> {
        self.events(id).iter().find_map(|event| match event {
            TaskEvent::Cancelled(end) => end.predecessor,
            _ => None,
        })
    }
}

/// Panics if a member started before those that it runs after had ended as they must, or was
/// cancelled for one that completed.
pub(super) fn assert_members_wait(log: &[TaskEvent]) {
    let mut members: HashMap<TaskId, MemberOf> = HashMap::new();
    let mut ended: HashMap<TaskId, bool> = HashMap::new();
    for event in log {
        match event {
            TaskEvent::Created(created) => {
                if let Some(member) = &created.member {
                    members.insert(created.id, (**member).clone());
                }
            }
            TaskEvent::Started(started) => {
                let Some(member) = members.get(&started.id) else {
                    continue;
                };
                let mut after = member.after.iter();
                let is_well = |other: &TaskId| ended.get(other) == Some(&true);
                let may = member.after.is_empty()
                    || match member.mode {
                        RunAfterMode::All => after.all(is_well),
                        RunAfterMode::Any => after.any(is_well),
                    };
                assert!(may, "{event:?} before {member:?}");
            }
            TaskEvent::Succeeded(end) => {
                ended.insert(end.id, true);
            }
            TaskEvent::Dead(_) | TaskEvent::Expired(_) | TaskEvent::Cancelled(_) => {
                ended.insert(event.id(), false);
                if let TaskEvent::Cancelled(end) = event
                    && let Some(other) = end.predecessor
                {
                    assert_ne!(ended.get(&other), Some(&true), "{event:?}");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_chain_runs_one_after_the_other_and_says_what_it_waits_for() {
    for crash in [false, true] {
        let mut world = World::new();
        let [a, b, c] = world.make(&flow(&[node(&[]), node(&[0]), node(&[1])]))[..] else {
            panic!("three members");
        };
        if crash {
            world.crash(None);
        }
        assert_eq!(world.serves(), [a]);
        let blocker = |task| Some(Blocker::Predecessors { task, left: 1 });
        assert_eq!((world.why(b), world.why(c)), (blocker(a), blocker(b)));
        world.end_call_of(a, 200);
        assert_eq!(world.serves(), [b]);
        if crash {
            let snapshot = world.dispatcher.snapshot();
            world.crash(snapshot);
            world.pass(Duration::from_secs(60));
            assert_eq!(world.serves(), [b]);
        }
        world.end_call_of(b, 200);
        assert_eq!(world.serves(), [c]);
        world.end_call_of(c, 200);
        assert_eq!(world.dispatcher.open(), 0);
    }
}

#[test]
fn one_that_runs_after_several_waits_for_all_or_for_the_first() {
    let mut world = World::new();
    let any = Node {
        any: true,
        ..node(&[0, 1])
    };
    let ids = world.make(&flow(&[node(&[]), node(&[]), node(&[0, 1]), any]));
    assert_eq!(world.serves(), ids[..2]);
    world.end_call_of(ids[1], 200);
    assert_eq!(world.serves(), [ids[0], ids[3]]);
    let left = Blocker::Predecessors {
        task: ids[0],
        left: 1,
    };
    assert_eq!(world.why(ids[2]), Some(left));
    world.end_call_of(ids[0], 500);
    assert_eq!(world.serves(), [ids[3]]);
    assert_eq!(world.cancelled_for(ids[2]), Some(ids[0]));
    world.end_call_of(ids[3], 200);
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn the_end_of_a_root_reaches_all_descendants_at_once() {
    let mut world = World::new();
    let any = Node {
        any: true,
        ..node(&[1, 3])
    };
    let ids = world.make(&flow(&[
        node(&[]),
        node(&[0]),
        node(&[1]),
        node(&[]),
        any,
        node(&[2, 4]),
    ]));
    world.cancel_unstored(ids[0]);
    world.append();
    // Whoever replays the log up to that one event knows the same.
    for crash in [false, true] {
        if crash {
            world.crash(None);
        }
        for id in [ids[1], ids[2], ids[5]] {
            let task = world.dispatcher.tasks.get(&id);
            let open = task.is_none_or(|task| task.forsaken() == Some(ids[0]));
            assert!(open, "{id}");
        }
        let other = world.dispatcher.tasks.get(&ids[4]);
        assert_eq!(other.expect("it waits").forsaken(), None);
    }
    world.pass(Duration::ZERO);
    for id in [ids[1], ids[2], ids[5]] {
        assert_eq!(world.cancelled_for(id), Some(ids[0]));
        assert_eq!(world.kinds(id), ["created", "cancelled"]);
    }
    assert_eq!(world.serves(), [ids[3]]);
    world.end_call_of(ids[3], 200);
    assert_eq!(world.serves(), [ids[4]]);
}

#[test]
fn a_member_that_waits_can_be_cancelled_and_expires() {
    let mut world = World::new();
    let short = Node {
        seconds: Some(5),
        ..node(&[0])
    };
    let ids = world.make(&flow(&[
        node(&[]),
        short,
        node(&[0]),
        node(&[1]),
        node(&[2]),
    ]));
    assert_eq!(world.serves(), [ids[0]]);
    world.cancel(ids[2]);
    world.pass(Duration::from_secs(6));
    world.pass(Duration::ZERO);
    assert_eq!(world.kinds(ids[1]), ["created", "expired"]);
    assert_eq!(world.cancelled_for(ids[3]), Some(ids[1]));
    assert_eq!(world.cancelled_for(ids[4]), Some(ids[2]));
    world.end_call_of(ids[0], 200);
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn none_starts_before_the_last_one_is_read() {
    let mut world = World::new();
    let mut shape = flow(&[node(&[]), node(&[0])]);
    shape.pause = 1;
    let ids = world.make(&shape);
    assert_eq!(
        world.kinds(ids[0]),
        ["created"],
        "it was not served in between"
    );
    assert_eq!(world.serves(), [ids[0]]);
    // If the record of the second one is damaged, it is known that there is none.
    let mut world = World::new();
    let mut shape = flow(&[node(&[]), node(&[0])]);
    shape.damaged = Some(1);
    let ids = world.make(&shape);
    assert_eq!(world.serves(), [ids[0]]);
}

#[test]
fn whoever_waits_for_a_creation_that_cannot_be_read_is_cancelled() {
    for crash in [false, true] {
        let mut world = World::new();
        let mut shape = flow(&[node(&[]), node(&[0]), node(&[1])]);
        shape.damaged = Some(0);
        let ids = world.make(&shape);
        if crash {
            world.crash(None);
        }
        world.pass(Duration::ZERO);
        world.pass(Duration::ZERO);
        assert_eq!(world.cancelled_for(ids[1]), Some(ids[0]));
        assert_eq!(world.cancelled_for(ids[2]), Some(ids[0]));
        assert_eq!(world.dispatcher.open(), 0);
    }
}

#[test]
fn a_member_outlives_the_records_of_its_predecessors() {
    let mut world = World::new();
    let status = Node {
        place: Some("status"),
        ..node(&[0, 1])
    };
    let ids = world.make(&flow(&[node(&[]), node(&[]), status]));
    world.serve(1);
    world.end_call_of(ids[0], 404);
    // The other one waits for a slot for weeks.
    world.restate(10);
    world.append();
    world.purge();
    assert!(
        world.gone > 3,
        "the creations and the end of the first are gone"
    );
    world.crash(None);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.serves(), [ids[1]]);
    world.end_call_of(ids[1], 200);
    assert_eq!(world.serves(), [ids[2]]);
    let given = &world.calls[0].given;
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].text, "tasks.a.result.status");
    assert_eq!(given[0].value, Ok("404".to_owned()));
}

#[test]
fn a_member_is_not_restated_in_front_of_an_end_that_waits_for_the_log() {
    let mut world = World::new();
    let ids = world.make(&flow(&[node(&[]), node(&[0])]));
    assert_eq!(world.serves(), [ids[0]]);
    let call = world.calls.remove(0);
    world
        .dispatcher
        .attempt_ended(ids[0], call.attempt, answered(200), world.now);
    let horizon = StreamSeq(100);
    assert!(world.dispatcher.restatable(horizon, 10).is_empty());
    world.append();
    assert_eq!(world.dispatcher.restatable(horizon, 10).len(), 1);
}

#[test]
fn a_result_that_lacks_what_is_to_be_filled_in_ends_the_member() {
    for pulled in [false, true] {
        let mut world = World::new();
        let body = Node {
            place: Some("body.x"),
            pulled,
            ..node(&[0])
        };
        let ids = world.make(&flow(&[node(&[]), body, node(&[1])]));
        assert_eq!(world.serves(), [ids[0]]);
        world.end_call_of(ids[0], 200);
        world.pass(Duration::ZERO);
        let events = world.events(ids[1]);
        let Some(TaskEvent::Dead(end)) = events.last() else {
            panic!("it failed: {events:?}");
        };
        let message = &end.failure.message;
        assert!(message.contains("{{tasks.a.result.body.x}}"), "{message}");
        assert_eq!(world.cancelled_for(ids[2]), Some(ids[1]));
        assert_eq!(world.dispatcher.open(), 0);
    }
}

#[test]
fn a_long_chain_comes_to_its_end() {
    let mut world = World::new();
    let members: Vec<_> = (0..200_usize)
        .map(|at| node(&at.checked_sub(1).into_iter().collect::<Vec<_>>()))
        .collect();
    let ids = world.make(&flow(&members));
    for id in &ids {
        assert_eq!(world.serves(), [*id]);
        world.end_call_of(*id, 200);
    }
    assert_eq!(world.dispatcher.open(), 0);
}
