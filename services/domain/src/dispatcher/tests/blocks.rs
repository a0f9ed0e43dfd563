//! Failed tasks that block those behind them.

use super::*;
use crate::command::Blocker;
use crate::task::TaskRow;

impl World {
    /// Asks to let those go that wait behind a task.
    pub(super) fn ask_to_unblock(&mut self, task: TaskId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = Unblock {
            task,
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
        };
        self.dispatcher.unblock(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    fn unblock(&mut self, task: TaskId) -> Option<OwnerReply> {
        let ticket = self.ask_to_unblock(task);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// The tasks with an ordering key that have failed.
    pub(super) fn failed_in_line(&self) -> Vec<TaskId> {
        let failed = self.log.iter().filter_map(|event| match event {
            TaskEvent::Dead(TaskDead { id, .. }) | TaskEvent::Expired(TaskExpired { id, .. }) => {
                Some(*id)
            }
            _ => None,
        });
        failed
            .filter(|id| self.creation(*id).ordering.is_some())
            .collect()
    }

    fn creation(&self, id: TaskId) -> &TaskCreated {
        let found = self.log.iter().find_map(|event| match event {
            TaskEvent::Created(created) if created.id == id => Some(&**created),
            _ => None,
        });
        found.expect("a creation")
    }

    /// Does a task again, with its ordering key.
    pub(super) fn retry(&mut self, old: TaskId) -> TaskId {
        let ordering = self.creation(old).ordering.clone().expect("a key");
        self.create_with(
            |r| {
                r.ordering_key = Some(ordering.key.clone());
                r.on_failure = Some(ordering.on_failure.as_str().to_owned());
                r.max_retries = Some(0);
            },
            |created| created.replay_of = Some(old),
        )
    }
}

fn blocking(world: &mut World) -> TaskId {
    world.create(|r| {
        r.ordering_key = Some("a".into());
        r.on_failure = Some("block".into());
        r.max_retries = Some(0);
    })
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

fn blocked_by(world: &World, id: TaskId) -> Option<Blocker> {
    let team = &World::team();
    let explained = world.dispatcher.explain(id, team, world.now, |_| None);
    explained.expect("an open task").blocker
}

/// One that has failed, and two behind it.
fn blocked() -> (World, [TaskId; 3]) {
    let mut world = World::new();
    let ids = [(); 3].map(|()| blocking(&mut world));
    world.serve(10);
    assert_eq!(called(&world), [ids[0]]);
    world.end_call(answered(500));
    world.serve(10);
    assert_eq!(called(&world), []);
    (world, ids)
}

#[test]
fn those_behind_a_failure_wait_until_somebody_lets_them_go() {
    for crash in [false, true] {
        let (mut world, [first, second, third]) = blocked();
        let other = world.create(|r| r.ordering_key = Some("b".into()));
        if crash {
            world.crash(None);
        }
        world.serve(10);
        assert_eq!(called(&world), [other], "another key is not concerned");
        world.end_call(answered(200));
        let blocker = Blocker::OrderBlocked { task: first };
        assert_eq!(blocked_by(&world, second), Some(blocker));
        assert_eq!(blocked_by(&world, third), Some(blocker));
        assert_eq!(world.unblock(second), Some(OwnerReply::NotOpen));
        assert!(matches!(
            world.unblock(first),
            Some(OwnerReply::Done { .. })
        ));
        assert_eq!(world.unblock(first), Some(OwnerReply::NotOpen));
        assert_eq!(world.kinds(first).last(), Some(&"unblocked"));
        world.serve(10);
        assert_eq!(called(&world), [second]);
        world.end_call(answered(200));
        world.serve(10);
        assert_eq!(called(&world), [third]);
    }
}

#[test]
fn a_failure_that_is_purged_blocks_nobody() {
    for crash in [false, true] {
        let (mut world, [first, second, _]) = blocked();
        let ticket = world.ask_to_purge(first);
        world.append();
        let reply = world.replies.get(&ticket);
        assert!(matches!(reply, Some(OwnerReply::Done { .. })), "{reply:?}");
        if crash {
            world.crash(None);
        }
        assert_eq!(world.unblock(first), Some(OwnerReply::NotOpen));
        world.serve(10);
        assert_eq!(called(&world), [second]);
    }
}

#[test]
fn a_retry_has_the_place_of_the_failure_and_blocks_again_if_it_fails() {
    for crash in [false, true] {
        let (mut world, [first, second, third]) = blocked();
        let again = world.retry(first);
        if crash {
            world.crash(None);
        }
        world.serve(10);
        world.serve(10);
        assert_eq!(called(&world), [again]);
        world.end_call(answered(500));
        if crash {
            world.crash(None);
        }
        world.serve(10);
        let blocker = Blocker::OrderBlocked { task: again };
        assert_eq!(blocked_by(&world, second), Some(blocker));
        let third_time = world.retry(again);
        world.serve(10);
        world.serve(10);
        assert_eq!(called(&world), [third_time]);
        world.end_call(answered(200));
        world.serve(10);
        assert_eq!(called(&world), [second]);
        world.end_call(answered(200));
        world.serve(10);
        assert_eq!(called(&world), [third]);
        world.end_call(answered(200));
        assert_eq!(world.dispatcher.open(), 0, "nothing is left behind");
    }
}

#[test]
fn a_cancelled_retry_lets_the_others_go_and_so_does_a_cancelled_head() {
    let (mut world, [first, second, _]) = blocked();
    let again = world.retry(first);
    world.cancel(again);
    world.pass(Duration::ZERO);
    world.serve(10);
    assert_eq!(called(&world), [second]);
    let mut world = World::new();
    let ids = [(); 2].map(|()| blocking(&mut world));
    world.cancel(ids[0]);
    world.serve(10);
    assert_eq!(called(&world), [ids[1]], "a cancelled task is no failure");
}

#[test]
fn a_block_survives_restatements_and_purges_with_what_is_needed_to_do_it_again() {
    for hook in [false, true] {
        let mut world = World::new();
        let first = world.create(|r| {
            r.ordering_key = Some("a".into());
            r.on_failure = Some("block".into());
            r.max_retries = Some(0);
            r.method = Some("POST".into());
            r.body = Some("the request".into());
            r.on_complete_url = hook.then(|| "http://hook/".into());
        });
        let second = blocking(&mut world);
        world.serve(10);
        world.end_call(answered(500));
        if hook {
            world.restate(9);
            world.append();
            world.purge();
            world.crash(None);
            world.serve(10);
            assert_eq!(world.deliveries.len(), 1, "its webhook is still sent");
            world.end_delivery(&answered(200));
        }
        let row = |world: &World, from: usize| {
            let events = (1..).zip(&world.log).skip(from);
            let of_task = events.filter(|(_, event)| event.id() == first);
            of_task.fold(None, |row, (seq, event)| {
                TaskRow::evolve(row, StreamSeq(seq), event)
            })
        };
        for _ in 0..2 {
            let before = world.log.len();
            world.restate(9);
            world.append();
            world.purge();
            assert!(world.gone >= before as u64 - 1, "the log can drop the rest");
            let stated = world.log[before..].iter().find_map(|event| match event {
                TaskEvent::Restated(restated) if restated.created.id == first => Some(restated),
                _ => None,
            });
            let stated = stated.expect("the failed task is stated again");
            assert_eq!(stated.created.body.as_deref(), Some("the request"));
            assert_eq!(row(&world, 0), row(&world, before));
            world.crash(None);
            world.serve(10);
            assert_eq!((world.calls.len(), world.deliveries.len()), (0, 0));
            let blocker = Blocker::OrderBlocked { task: first };
            assert_eq!(blocked_by(&world, second), Some(blocker));
        }
        // And so does the place of the one that does it again.
        let again = world.create_with(
            |r| {
                r.ordering_key = Some("a".into());
                r.delay = Some(Length::Seconds(3_600.0));
            },
            |created| created.replay_of = Some(first),
        );
        world.pass(Duration::ZERO);
        world.append();
        for _ in 0..2 {
            world.restate(9);
            world.append();
            world.purge();
            world.crash(None);
            world.serve(10);
            assert_eq!(called(&world), [], "it is delayed, and first");
        }
        world.pass(Duration::from_secs(3_600));
        world.serve(10);
        assert_eq!(called(&world), [again]);
        world.end_call(answered(200));
        world.serve(10);
        assert_eq!(called(&world), [second]);
    }
}

#[test]
fn a_retry_that_is_read_before_the_failure_takes_effect_has_its_place_too() {
    let mut world = World::new();
    let [first, second] = [(); 2].map(|()| blocking(&mut world));
    world.serve(10);
    let call = world.calls.remove(0);
    let now = world.now;
    world
        .dispatcher
        .attempt_ended(call.task, call.attempt, answered(500), now);
    let mut actions = Vec::new();
    let decisions = world.dispatcher.begin_append(9).expect("a decision");
    let events: Vec<_> = decisions.iter().map(|d| d.event.clone()).collect();
    let seqs: Vec<_> = events.into_iter().map(|event| world.store(event)).collect();
    // The log has stored the failure, and its answer is late.
    let again = world.retry(first);
    world.dispatcher.appended(&seqs, &mut actions);
    world.carry_out(actions);
    world.pass(Duration::ZERO);
    world.append();
    world.serve(10);
    assert_eq!(called(&world), [again]);
    world.crash(None);
    assert_eq!(
        blocked_by(&world, second),
        Some(Blocker::OrderHead { task: again })
    );
}

#[test]
fn one_that_expires_while_it_is_blocked_blocks_in_its_turn() {
    let mut world = World::new();
    let first = blocking(&mut world);
    let second = world.create(|r| {
        r.ordering_key = Some("a".into());
        r.on_failure = Some("block".into());
        r.expires_in = Some(Length::Seconds(60.0));
    });
    let third = blocking(&mut world);
    world.serve(10);
    world.end_call(answered(500));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.kinds(second).last(), Some(&"expired"));
    world.unblock(first);
    world.serve(10);
    assert_eq!(called(&world), []);
    let blocker = Blocker::OrderBlocked { task: second };
    assert_eq!(blocked_by(&world, third), Some(blocker));
    world.unblock(second);
    world.serve(10);
    assert_eq!(called(&world), [third]);
}
