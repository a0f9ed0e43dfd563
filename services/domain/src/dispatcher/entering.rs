//! How a task that may run comes into the order of service: past its host, its limits and its queue, each
//! of which may hold it back.

use super::Dispatcher;
use super::limited::claimant;
use crate::id::TaskId;

impl Dispatcher {
    /// Puts a task that may run into the order of service, as far as its host, its queue and its
    /// limits let it.
    pub(super) fn queue(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        // What holds it back is asked when somebody claims it.
        if task.is_pulled() {
            self.push(id);
            self.mark_going_on(id, self.now);
            return;
        }
        let host = (task.compartment(), task.lane);
        if self.hosts.enter(host, task.created, id, self.now) {
            self.pass_host(id);
        } else {
            let by = self.hosts.why(host.0, self.now);
            self.mark_new(id, by, None);
        }
    }

    /// The same for a task that its host lets go on.
    pub(super) fn pass_host(&mut self, id: TaskId) {
        if let Some(of) = claimant(&self.tasks, &self.lanes, id)
            && let Some(limit) = self.keys.behind(of.claims, self.now)
        {
            self.keys.park(of, limit, self.now);
            let by = self.keys.why(limit, self.now);
            self.mark_new(id, by, Some(limit));
            return;
        }
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let place = (self.lanes.names(task.lane), task.lane);
        if self.gates.enter(place, task.rank(), id, self.now) {
            self.make_ready(id);
            self.mark_going_on(id, self.now);
        } else {
            self.mark_parked_new(id);
        }
    }

    /// Undoes [`Dispatcher::queue`].
    pub(super) fn withdraw(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.is_pulled() {
            self.offers.remove(&task.entry(id));
        }
        self.ready.remove(&task.entry(id));
        self.gates
            .leave(self.lanes.names(task.lane), task.rank(), id);
        self.hosts
            .leave((task.compartment(), task.lane), task.created, id);
        if let Some(of) = claimant(&self.tasks, &self.lanes, id) {
            self.keys.leave(of, self.now);
        }
    }
}
