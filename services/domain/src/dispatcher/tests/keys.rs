//! What is promised about tasks with the same key, checked against a log.

use super::*;
use crate::task::Once;
use crate::task::once::{Dedup, IfFailed, InsteadReason, OnDuplicate};

/// When a task with a debounce starts, all that were created before it with the same key have
/// started or ended; when one of a singleton does, all that started before it have ended. No
/// duplicate starts within the window of a task that counts. One that gave way names another one of its key; if that is for a window, or because it was skipped, it
/// never started.
pub(super) fn assert_keys_are_kept(log: &[TaskEvent]) {
    struct Sharing {
        id: TaskId,
        started: bool,
        ended: bool,
        /// What counts for its duplicates.
        dedup: Option<(Timestamp, Dedup)>,
        counts: bool,
        succeeded: bool,
        /// Whether the clock went back since.
        is_unclear: bool,
    }
    let mut last = Timestamp(0);
    let mut keys: BTreeMap<(u8, String), Vec<Sharing>> = BTreeMap::new();
    for event in log {
        let id = event.id();
        if event.at() < last {
            let all = keys.values_mut().flatten();
            all.for_each(|task| task.is_unclear = true);
        }
        last = event.at();
        if let TaskEvent::Created(created) = event
            && let Some(once) = &created.once
        {
            let kind = match &**once {
                Once::Singleton(_) => 0,
                Once::Debounce(_) => 1,
                Once::Dedup(_) => 2,
            };
            let key = (kind, once.key().to_owned());
            keys.entry(key).or_default().push(Sharing {
                id,
                started: false,
                ended: false,
                dedup: once.dedup().map(|dedup| (created.at, dedup.clone())),
                counts: true,
                succeeded: false,
                is_unclear: false,
            });
        }
        let Some((kind, sharing, at)) = keys.iter_mut().find_map(|((kind, _), sharing)| {
            let at = sharing.iter().position(|task| task.id == id)?;
            Some((*kind, sharing, at))
        }) else {
            continue;
        };
        match event {
            TaskEvent::Started(_) if kind == 2 => {
                let (came, own) = sharing[at].dedup.clone().expect("a dedup");
                if !sharing[at].started {
                    for other in &mut sharing[..at] {
                        let (before, theirs) = other.dedup.clone().expect("a dedup");
                        let window = Duration::from_millis(theirs.window_ms);
                        if !other.counts || other.is_unclear || came.since(before) >= window {
                            continue;
                        }
                        let replaced = own.on_duplicate == OnDuplicate::ReplaceIfNotStarted
                            && !other.started
                            && !other.ended;
                        let failed = other.ended && !other.succeeded;
                        let again = failed && own.if_failed == IfFailed::New;
                        assert!(replaced || again, "{event:?}");
                        // From now on it must not start.
                        other.counts = !replaced;
                    }
                }
                assert!(sharing[at].counts || sharing[at].started, "{event:?}");
                sharing[at].started = true;
            }
            TaskEvent::Started(_) if kind == 1 => {
                let before = &sharing[..at];
                assert!(
                    before.iter().all(|task| task.started || task.ended),
                    "{event:?}"
                );
                sharing[at].started = true;
            }
            TaskEvent::Started(_) => {
                let runs = |task: &Sharing| task.id != id && task.started && !task.ended;
                assert!(!sharing.iter().any(runs), "{event:?}");
                sharing[at].started = true;
            }
            TaskEvent::CancelRequested(_) => sharing[at].counts = false,
            TaskEvent::Cancelled(cancelled) => {
                (sharing[at].ended, sharing[at].counts) = (true, false);
                if let Some(instead) = cancelled.instead {
                    let started = sharing[at].started;
                    let other = sharing.iter().position(|task| task.id == instead.task);
                    let other = other.expect("a task of its key");
                    match instead.reason {
                        InsteadReason::Debounced => assert!(!started && other != at, "{event:?}"),
                        InsteadReason::Skipped => assert!(!started && other < at, "{event:?}"),
                        InsteadReason::Replaced => assert!(other > at, "{event:?}"),
                        InsteadReason::Duplicate => assert!(!started && other < at, "{event:?}"),
                        InsteadReason::Refreshed => assert!(!started && other > at, "{event:?}"),
                    }
                }
            }
            TaskEvent::Succeeded(_) | TaskEvent::Dead(_) | TaskEvent::Expired(_) => {
                sharing[at].ended = true;
                sharing[at].succeeded = matches!(event, TaskEvent::Succeeded(_));
            }
            _ => {}
        }
    }
}
