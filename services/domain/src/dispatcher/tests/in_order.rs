//! What a log must say about tasks with an ordering key.

use super::*;

/// Of tasks with the same ordering key each starts after the end of all that were created before
/// it, and a failure that cancels the rest leaves none of those behind it to run. Behind one that
/// blocks none starts, until it is done again at its place or those behind it are let go.
pub(super) fn assert_in_order(log: &[TaskEvent]) {
    struct InLine {
        id: TaskId,
        seq: u64,
        ended: bool,
        cancels_rest: bool,
        is_cancelled: bool,
        on_failure: OnFailure,
        blocks: bool,
        again: Option<TaskId>,
    }
    let mut lines: BTreeMap<String, Vec<InLine>> = BTreeMap::new();
    for (seq, event) in (1..).zip(log) {
        if let TaskEvent::Created(created) = event
            && let Some(ordering) = &created.ordering
        {
            let line = lines.entry(ordering.key.clone()).or_default();
            line.push(InLine {
                id: created.id,
                seq,
                ended: false,
                cancels_rest: ordering.on_failure == OnFailure::CancelRest,
                is_cancelled: false,
                on_failure: ordering.on_failure,
                blocks: false,
                again: created.replay_of,
            });
        }
        let id = event.id();
        let Some((line, at)) = lines.values_mut().find_map(|line| {
            let at = line.iter().position(|task| task.id == id)?;
            Some((line, at))
        }) else {
            continue;
        };
        match event {
            // Nobody will retry it.
            TaskEvent::Purged(_) => line[at].blocks = false,
            TaskEvent::Started(_) => {
                assert!(line[..at].iter().all(|task| task.ended), "{event:?}");
                assert!(line[..at].iter().all(|task| !task.blocks), "{event:?}");
                assert!(!line[at].is_cancelled, "{event:?}");
            }
            TaskEvent::Dead(TaskDead { cancels_to, .. })
            | TaskEvent::Expired(TaskExpired { cancels_to, .. }) => {
                line[at].ended = true;
                line[at].blocks = line[at].on_failure == OnFailure::Block;
                assert_eq!(cancels_to.is_some(), line[at].cancels_rest, "{event:?}");
                let last = cancels_to.unwrap_or_default().0;
                let (before, behind) = line.split_at_mut(at + 1);
                // One that does a blocking task again comes before those that this one blocks.
                let comes_before = |again: Option<TaskId>| {
                    let mut blocking = before[..at].iter().filter(|task| task.blocks);
                    blocking.any(|task| Some(task.id) == again)
                };
                for task in behind.iter_mut().filter(|task| task.seq <= last) {
                    task.is_cancelled |= !task.ended && !comes_before(task.again);
                }
            }
            TaskEvent::Cancelled(cancelled) => {
                line[at].ended = true;
                if let Some(failed) = cancelled.after {
                    assert!(line[at].is_cancelled, "{event:?}");
                    assert!(line[..at].iter().any(|task| task.id == failed), "{event:?}");
                }
            }
            TaskEvent::Succeeded(_) => line[at].ended = true,
            TaskEvent::Unblocked(unblocked) => {
                assert!(line[at].blocks, "{event:?}");
                line[at].blocks = false;
                if let Some(by) = unblocked.by {
                    let from = line.iter().position(|task| task.id == by);
                    let heir = line.remove(from.expect("it is in the line"));
                    assert_eq!(heir.again, Some(id), "{event:?}");
                    // In the place of the one that it does again, before all that it blocked.
                    line.insert(at, heir);
                }
            }
            TaskEvent::Restated(restated) => {
                let blocks = restated.blocks.is_some();
                assert_eq!(blocks, line[at].blocks, "{event:?}");
            }
            _ => {}
        }
    }
}
