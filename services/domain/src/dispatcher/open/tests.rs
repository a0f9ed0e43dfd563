use super::*;
use crate::dispatcher::{Action, Dispatcher};
use crate::event::{TaskCancelled, TaskEvent, samples};
use crate::id::{TaskId, TeamId};
use std::collections::HashSet;

fn created(sealed: bool) -> Box<TaskCreated> {
    let Some(TaskEvent::Created(mut created)) = samples::task_events().into_iter().next() else {
        panic!("the first sample is a creation");
    };
    if !sealed {
        created.sealed = None;
    }
    created
}

/// Whether cancelling the task yields an end with these values.
fn end(created: Box<TaskCreated>, snapshot: bool) -> Vec<(TaskId, TeamId, bool)> {
    let (id, at) = (created.id, created.at);
    let mut dispatcher = Dispatcher::new();
    dispatcher.apply(StreamSeq(1), None, &TaskEvent::Created(created));
    if snapshot {
        let bytes = dispatcher.snapshot().expect("nothing in flight");
        dispatcher = Dispatcher::restore(&bytes).expect("of this version");
    }
    let mut actions = Vec::new();
    let now = Times {
        elapsed: Elapsed(0),
        wall: at,
    };
    dispatcher.activate(now, &HashSet::new(), Vec::new(), &mut actions);
    let cancelled = TaskEvent::Cancelled(TaskCancelled::idle(id, at));
    dispatcher.evolve(StreamSeq(2), &cancelled, Some(now.elapsed), &mut actions);
    let ended = actions.into_iter().filter_map(|action| match action {
        Action::Ended {
            task, team, sealed, ..
        } => Some((task, team, sealed)),
        _ => None,
    });
    ended.collect()
}

#[test]
fn the_end_of_a_task_tells_whether_a_key_is_to_be_erased() {
    for snapshot in [false, true] {
        for sealed in [false, true] {
            let created = created(sealed);
            let (id, team) = (created.id, created.team.clone());
            assert_eq!(end(created, snapshot), [(id, team, sealed)], "{snapshot}");
        }
    }
}

#[test]
fn phases_in_older_snapshots_are_read() {
    #[derive(Serialize)]
    enum Older {
        Waiting {
            until: Timestamp,
        },
        Ready {
            since: Timestamp,
        },
        Ended {
            seq: StreamSeq,
            deliveries: u32,
            due: Timestamp,
            claimed: bool,
        },
    }
    let (until, since, due) = (Timestamp(5), Timestamp(5), Timestamp(5));
    let (wake, from) = (Elapsed(0), None);
    let (seq, deliveries, claimed) = (StreamSeq(3), 2, true);
    for (older, phase) in [
        (
            Older::Waiting { until },
            Phase::Waiting { until, from, wake },
        ),
        (Older::Ready { since }, Phase::Ready { since, from: wake }),
        (
            Older::Ended {
                seq,
                deliveries,
                due,
                claimed,
            },
            Phase::Ended {
                seq,
                deliveries,
                due,
                claimed,
                from,
                wake,
            },
        ),
    ] {
        let bytes = rmp_serde::to_vec(&older).expect("encoded");
        assert_eq!(rmp_serde::from_slice(&bytes).ok(), Some(phase));
    }
}
