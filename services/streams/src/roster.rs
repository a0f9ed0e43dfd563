//! The listeners: plain data, touched only under the hub's lock.
//!
//! Listeners are kept by team, and those of a single task by task, so that an event costs nothing for teams without listeners
//! and a thousand waiting requests cost nothing for each other's tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use waybill_domain::id::TaskId;

use super::filter::EventFilter;
use super::view::Step;

/// The receiving end of a listener.
#[derive(Debug)]
pub struct Inbox {
    /// Ends when the listener has been taken off the roster.
    pub steps: mpsc::Receiver<Arc<Step>>,
    lagged: Arc<AtomicBool>,
}

impl Inbox {
    /// Whether the listener was taken off because its queue was full.
    pub fn lagged(&self) -> bool {
        // Pairs with the Release of the roster: whoever sees it finds the queue closed.
        self.lagged.load(Ordering::Acquire)
    }
}

/// Identifies a listener, to take it off again.
#[derive(Debug)]
pub(crate) struct Place {
    filter: Arc<EventFilter>,
    id: u64,
}

/// What a listener makes of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// It shows them to a client, labels and all.
    Events,
    /// It wants to know that something has happened.
    Changes,
}

struct Listener {
    id: u64,
    reads: Reads,
    filter: Arc<EventFilter>,
    steps: mpsc::Sender<Arc<Step>>,
    lagged: Arc<AtomicBool>,
}

impl Listener {
    /// Hands the event over if it is wanted. `false`: the listener is to be taken off, since its queue is full or nobody reads it.
    fn offer(&self, step: &Arc<Step>) -> bool {
        if !self.filter.matches(step) {
            return true;
        }
        match self.steps.try_send(Arc::clone(step)) {
            Ok(()) => true,
            Err(refused) => {
                let full = matches!(refused, mpsc::error::TrySendError::Full(_));
                self.lagged.store(full, Ordering::Release);
                false
            }
        }
    }
}

#[derive(Default)]
struct Team {
    all: Vec<Listener>,
    by_task: HashMap<TaskId, Vec<Listener>>,
}

/// All listeners of a gateway.
#[derive(Default)]
pub(crate) struct Roster {
    teams: HashMap<Box<str>, Team>,
    next_id: u64,
}

impl Roster {
    pub(crate) fn is_empty(&self) -> bool {
        self.teams.is_empty()
    }

    /// Whether anybody listens to this team.
    pub(crate) fn has(&self, team: &str) -> bool {
        self.teams.contains_key(team)
    }

    /// Will somebody show this event to a client?
    pub(crate) fn shows(&self, team: &str, step: &Step) -> bool {
        let shows =
            |listener: &Listener| listener.reads == Reads::Events && listener.filter.matches(step);
        self.teams.get(team).is_some_and(|team| {
            let of_task = team.by_task.get(&step.task).into_iter().flatten();
            team.all.iter().chain(of_task).any(shows)
        })
    }

    /// Adds a listener whose queue holds that many events.
    pub(crate) fn add(
        &mut self,
        filter: Arc<EventFilter>,
        reads: Reads,
        queue: usize,
    ) -> (Place, Inbox) {
        self.next_id += 1;
        let id = self.next_id;
        let (sender, steps) = mpsc::channel(queue);
        let lagged = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            id,
            reads,
            filter: Arc::clone(&filter),
            steps: sender,
            lagged: Arc::clone(&lagged),
        };
        let team = self.teams.entry(filter.of_team().as_str().into());
        let team = team.or_default();
        match filter.of_task() {
            Some(task) => team.by_task.entry(task).or_default().push(listener),
            None => team.all.push(listener),
        }
        (Place { filter, id }, Inbox { steps, lagged })
    }

    /// Takes a listener off, if it is still there.
    pub(crate) fn remove(&mut self, place: &Place) {
        let name = place.filter.of_team().as_str();
        let Some(team) = self.teams.get_mut(name) else {
            return;
        };
        match place.filter.of_task() {
            Some(task) => team.keep(task, |listener| listener.id != place.id),
            None => team.all.retain(|listener| listener.id != place.id),
        }
        if team.is_empty() {
            self.teams.remove(name);
        }
    }

    /// Takes all listeners off.
    pub(crate) fn clear(&mut self) {
        // Not by making a new roster: a listener that was taken off still removes itself later, by an id that must stay its own.
        self.teams.clear();
    }

    /// Hands an event to every listener of the team that wants it. Those whose queue is full are taken off.
    pub(crate) fn deliver(&mut self, name: &str, step: &Arc<Step>) {
        let Some(team) = self.teams.get_mut(name) else {
            return;
        };
        team.all.retain(|listener| listener.offer(step));
        team.keep(step.task, |listener| listener.offer(step));
        if team.is_empty() {
            self.teams.remove(name);
        }
    }
}

impl Team {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.by_task.is_empty()
    }

    fn keep(&mut self, task: TaskId, wanted: impl FnMut(&Listener) -> bool) {
        if let Some(listeners) = self.by_task.get_mut(&task) {
            listeners.retain(wanted);
            if listeners.is_empty() {
                self.by_task.remove(&task);
            }
        }
    }
}
