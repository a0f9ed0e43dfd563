//! The schedules of teams, in memory: all that are not deleted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use waybill_domain::access::Aggregate;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{ScheduleId, TeamId};
use waybill_domain::schedule::Schedule;
use waybill_domain::time::Timestamp;

/// Schedules of all teams.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_id: HashMap<ScheduleId, Arc<Schedule>>,
    /// Those of a team in an environment. Ids begin with the time of their creation.
    of_team: HashMap<TeamId, BTreeSet<ScheduleId>>,
    /// Those of which something was read since that was last asked.
    changed: HashSet<ScheduleId>,
    /// Up to when all instants have outcomes.
    pub(super) reached: Option<Timestamp>,
}

impl Schedules {
    pub(super) fn apply(&mut self, id: &ScheduleId, event: &ControlEvent) {
        self.changed.insert(id.clone());
        match event {
            ControlEvent::ScheduleSet(e) => {
                let team = e.team.in_environment(e.environment);
                self.of_team.entry(team).or_default().insert(id.clone());
                let known = self.by_id.entry(id.clone()).or_default();
                Arc::make_mut(known).evolve(event);
            }
            ControlEvent::ScheduleDeleted(e) => {
                let team = e.team.in_environment(e.environment);
                if let Some(known) = self.of_team.get_mut(&team) {
                    known.remove(id);
                }
                self.by_id.remove(id);
            }
            _ => {
                if let Some(known) = self.by_id.get_mut(id) {
                    Arc::make_mut(known).evolve(event);
                }
            }
        }
    }

    pub(super) fn get(&self, id: &ScheduleId) -> Option<Arc<Schedule>> {
        self.by_id.get(id).cloned()
    }

    /// Those of a team in an environment, newest first.
    pub(super) fn of_team(&self, team: &TeamId) -> Vec<Arc<Schedule>> {
        let known = self.of_team.get(team).into_iter().flatten().rev();
        known.filter_map(|id| self.get(id)).collect()
    }

    /// Those that have changed or are gone since this was last called.
    pub(super) fn take_changed(&mut self) -> HashSet<ScheduleId> {
        std::mem::take(&mut self.changed)
    }

    /// Those could not be looked at.
    pub(super) fn changed_again(&mut self, ids: HashSet<ScheduleId>) {
        self.changed.extend(ids);
    }

    pub(super) fn count(&self, team: &TeamId) -> usize {
        self.of_team.get(team).map_or(0, BTreeSet::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn all(&self) -> Vec<Arc<Schedule>> {
        self.by_id.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::{Boundary, samples};
    use waybill_domain::id::Environment;

    #[test]
    fn a_schedule_is_known_to_its_environment_until_it_is_deleted() {
        let events = samples::control_events();
        let of_schedules = events
            .iter()
            .filter(|event| event.aggregate().0 == "schedule");
        let mut schedules = Schedules::default();
        let mut seen = false;
        for event in of_schedules {
            let (Some(Boundary::Schedule(id)), Some(team)) = (event.boundary(), event.team())
            else {
                panic!("{} belongs to a schedule", event.name());
            };
            schedules.apply(&id, event);
            // Applied once more, it changes nothing.
            let before = schedules.get(&id);
            schedules.apply(&id, event);
            assert_eq!(schedules.get(&id), before);
            let is_deleted = matches!(event, ControlEvent::ScheduleDeleted(_));
            assert_eq!(before.is_none(), is_deleted);
            assert_eq!(schedules.of_team(team).is_empty(), is_deleted);
            assert_eq!(schedules.all().is_empty(), is_deleted);
            assert!(
                schedules
                    .of_team(&team.in_environment(Environment::Test))
                    .is_empty()
            );
            seen |= is_deleted;
        }
        assert!(seen);
    }
}
