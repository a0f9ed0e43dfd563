//! Which events a client wants, and may see.

use waybill_domain::id::QueueName;

use crate::event::JobsEvent;

/// Most subscriptions of one WebSocket.
const MOST: usize = 1_000;

/// Events of a queue, of a job, or of a job in a queue; of all if it names neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) queue: Option<String>,
    pub(crate) job: Option<String>,
}

/// What a client wants: the sum of its selections, or everything if it has none.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    selections: Vec<Selection>,
    /// Names of events; empty: all.
    names: Vec<String>,
    /// The queues that its credential is limited to. `None`: it is not.
    only: Option<Vec<QueueName>>,
}

impl Wanted {
    pub(crate) fn new(only: Option<&[QueueName]>, names: Vec<String>) -> Self {
        Self {
            selections: Vec::new(),
            names,
            only: only.map(<[_]>::to_vec),
        }
    }

    /// Adds a selection. `false`: there are too many.
    pub(crate) fn add(&mut self, mut selection: Selection) -> bool {
        // Ids are written in one case here.
        selection.job = selection.job.map(|job| job.to_ascii_lowercase());
        if self.selections.contains(&selection) {
            return true;
        }
        let has_room = self.selections.len() < MOST;
        if has_room {
            self.selections.push(selection);
        }
        has_room
    }

    /// Removes that selection, and no other.
    pub(crate) fn remove(&mut self, selection: &Selection) {
        let job = selection.job.as_ref().map(|job| job.to_ascii_lowercase());
        self.selections
            .retain(|one| !(one.queue == selection.queue && one.job == job));
    }

    pub(crate) fn has(&self, event: &JobsEvent) -> bool {
        let is_named = self.names.is_empty() || self.names.iter().any(|name| name == event.name());
        let Some((job, queue)) = event.about() else {
            return is_named;
        };
        let may_see = |only: &Vec<QueueName>| only.iter().any(|one| one.as_str() == queue);
        let selects = |one: &Selection| {
            one.queue.as_deref().is_none_or(|wanted| wanted == queue)
                && one.job.as_deref().is_none_or(|wanted| wanted == job)
        };
        is_named
            && self.only.as_ref().is_none_or(may_see)
            && (self.selections.is_empty() || self.selections.iter().any(selects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::JobsJobCreated;
    use waybill_domain::time::Timestamp;
    use waybill_edge::iso::Iso;

    fn created(job: &str, queue: &str) -> JobsEvent {
        JobsEvent::JobCreated(JobsJobCreated {
            job_id: job.to_owned(),
            queue_name: queue.to_owned(),
            priority: 0,
            timestamp: Iso(Timestamp(0)),
        })
    }

    fn of(queue: Option<&str>, job: Option<&str>) -> Selection {
        Selection {
            queue: queue.map(str::to_owned),
            job: job.map(str::to_owned),
        }
    }

    #[test]
    fn selections_add_up_and_none_is_everything() {
        let mut wanted = Wanted::default();
        assert!(wanted.has(&created("j", "q")));
        assert!(wanted.add(of(Some("q"), None)) && wanted.add(of(None, Some("J"))));
        assert!(wanted.has(&created("other", "q")) && wanted.has(&created("j", "other")));
        assert!(!wanted.has(&created("other", "other")));
        assert!(wanted.has(&JobsEvent::ping()), "it is about no job");
        wanted.remove(&of(Some("q"), None));
        assert!(!wanted.has(&created("other", "q")) && wanted.has(&created("j", "q")));
        wanted.remove(&of(None, Some("j")));
        assert!(wanted.has(&created("other", "other")));
    }

    #[test]
    fn a_limited_key_sees_its_queues_alone_whatever_it_selects() {
        let only = [QueueName::parse("a").expect("a name")];
        let mut wanted = Wanted::new(Some(&only), Vec::new());
        assert!(wanted.has(&created("j", "a")) && !wanted.has(&created("j", "b")));
        wanted.add(of(Some("b"), None));
        assert!(!wanted.has(&created("j", "b")));
        let named = Wanted::new(None, vec!["job.failed".to_owned()]);
        assert!(!named.has(&created("j", "a")));
    }
}
