//! The operations of teams, in memory: all that are not over, and the last ones that are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use waybill_domain::access::Aggregate;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{OperationId, TeamId};
use waybill_domain::operation::Operation;
use waybill_domain::time::Timestamp;

/// Operations of one team in one environment that are remembered after they are over.
const MAX_OVER: usize = 100;

/// Operations of all teams.
#[derive(Debug, Default)]
pub(super) struct Operations {
    by_id: HashMap<OperationId, Arc<Operation>>,
    /// Those of a team in an environment, by the time of their creation.
    of_team: HashMap<TeamId, BTreeSet<(Timestamp, OperationId)>>,
}

impl Operations {
    pub(super) fn apply(&mut self, id: &OperationId, event: &ControlEvent) {
        if let ControlEvent::OperationCreated(e) = event {
            let team = e.team.in_environment(e.environment);
            let known = self.of_team.entry(team).or_default();
            known.insert((e.at, id.clone()));
            self.by_id.entry(id.clone()).or_default();
        }
        let Some(operation) = self.by_id.get_mut(id) else {
            return;
        };
        Arc::make_mut(operation).evolve(event);
        if operation.is_over()
            && let Some(created) = &operation.created
        {
            let team = created.team.in_environment(created.environment);
            self.forget(&team);
        }
    }

    /// Forgets the oldest operations of a team that are over.
    fn forget(&mut self, team: &TeamId) {
        let Some(known) = self.of_team.get_mut(team) else {
            return;
        };
        let is_over = |id: &OperationId| {
            let operation = self.by_id.get(id);
            operation.is_none_or(|operation| operation.is_over())
        };
        let over: Vec<_> = known
            .iter()
            .filter(|(_, id)| is_over(id))
            .cloned()
            .collect();
        for place in over.iter().take(over.len().saturating_sub(MAX_OVER)) {
            known.remove(place);
            self.by_id.remove(&place.1);
        }
    }

    pub(super) fn get(&self, id: &OperationId) -> Option<Arc<Operation>> {
        self.by_id.get(id).cloned()
    }

    /// Those of a team in an environment, newest first.
    pub(super) fn of_team(&self, team: &TeamId) -> Vec<Arc<Operation>> {
        let known = self.of_team.get(team).into_iter().flatten().rev();
        known
            .filter_map(|(_, id)| self.by_id.get(id).cloned())
            .collect()
    }

    /// All that are not over, oldest first.
    pub(super) fn open(&self) -> Vec<Arc<Operation>> {
        let mut open: Vec<_> = self
            .by_id
            .values()
            .filter(|operation| operation.created.is_some() && !operation.is_over())
            .cloned()
            .collect();
        open.sort_by_key(|operation| operation.created.as_ref().map(|created| created.at));
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::{BulkAction, OperationCreated, OperationEnded};
    use waybill_domain::id::Environment;
    use waybill_log::StreamSeq;

    fn created(number: u32, at: i64) -> ControlEvent {
        ControlEvent::OperationCreated(Box::new(OperationCreated {
            operation: id(number),
            team: TeamId::new(Timestamp(1), 1),
            environment: Environment::Test,
            action: BulkAction::Retry,
            filter: std::collections::BTreeMap::new(),
            tasks: Vec::new(),
            undoes: None,
            rate: 1,
            reason: None,
            matched: 0,
            up_to: StreamSeq(0),
            created_by: String::new(),
            at: Timestamp(at),
            priority: None,
        }))
    }

    fn id(number: u32) -> OperationId {
        OperationId::new(Timestamp(1), number.into())
    }

    fn ended(number: u32) -> ControlEvent {
        ControlEvent::OperationEnded(OperationEnded {
            operation: id(number),
            team: TeamId::new(Timestamp(1), 1),
            environment: Environment::Test,
            done: 0,
            refused: 0,
            refusals: Vec::new(),
            at: Timestamp(9),
        })
    }

    #[test]
    fn those_that_are_over_are_forgotten_and_open_ones_never() {
        let mut operations = Operations::default();
        let team = TeamId::new(Timestamp(1), 1);
        operations.apply(&id(0), &created(0, 0));
        for number in 1..=150 {
            operations.apply(&id(number), &created(number, number.into()));
            operations.apply(&id(number), &ended(number));
        }
        let test = team.in_environment(Environment::Test);
        assert_eq!(operations.of_team(&test).len(), MAX_OVER + 1);
        assert!(
            operations.of_team(&team).is_empty(),
            "of the other environment"
        );
        assert_eq!(operations.open().len(), 1);
        assert!(operations.get(&id(50)).is_none() && operations.get(&id(51)).is_some());
        // Read again, it does not open again.
        operations.apply(&id(51), &created(51, 51));
        assert_eq!(operations.open().len(), 1);
    }
}
