//! Weights of queues and teams: how many of their tasks start in a turn. They hold nothing back, so a
//! queue that has only a weight has no gate.

use std::collections::HashMap;

use super::action::Compartment;
use super::{Dispatcher, Place};
use crate::access::plan::Catalogue;
use crate::event::ControlEvent;
use crate::id::{Environment, TeamId};

/// A team in an environment, as turns know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamTurn(u64);

impl TeamTurn {
    /// Of a team in its environment.
    #[must_use]
    pub fn of(team: &TeamId) -> Self {
        Self(Compartment::team(team))
    }
}

/// The weights of teams by their plans, as far as they are not 1, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamWeightsBook(HashMap<TeamTurn, u8>);

impl TeamWeightsBook {
    /// Applies an event; applied again, it changes nothing. Returns the team of which it has changed the
    /// weight, in each environment.
    pub fn apply(&mut self, event: &ControlEvent, plans: &Catalogue) -> Option<[TeamTurn; 2]> {
        let (team, weight) = match event {
            ControlEvent::TeamCreated(e) => (&e.team, plans.plan(&e.plan).weight),
            ControlEvent::TeamPlanChanged(e) => (&e.team, plans.plan(&e.plan).weight),
            ControlEvent::TeamDeleted(e) => (&e.team, 1),
            _ => return None,
        };
        let turns = [Environment::Live, Environment::Test]
            .map(|environment| TeamTurn::of(&team.in_environment(environment)));
        if turns.iter().all(|turn| self.weight(*turn) == weight) {
            return None;
        }
        for turn in turns {
            if weight > 1 {
                self.0.insert(turn, weight);
            } else {
                self.0.remove(&turn);
            }
        }
        Some(turns)
    }

    /// The weight of a team.
    #[must_use]
    pub fn weight(&self, turn: TeamTurn) -> u8 {
        self.0.get(&turn).copied().unwrap_or(1)
    }

    /// The teams that have another weight than 1, in no particular order.
    pub fn teams(&self) -> impl Iterator<Item = TeamTurn> + '_ {
        self.0.keys().copied()
    }
}

impl Dispatcher {
    /// Sets how many tasks of a team start in a turn. A turn that has begun may be shorter or longer.
    pub fn set_team_weight(&mut self, turn: TeamTurn, weight: u8) {
        if weight > 1 {
            self.weights.teams.insert(turn.0, weight);
        } else {
            self.weights.teams.remove(&turn.0);
        }
    }
}

/// The weights that are not 1.
#[derive(Debug, Default)]
pub(super) struct Weights {
    queues: HashMap<Place, u8>,
    teams: HashMap<u64, u8>,
}

impl Weights {
    pub(super) fn set(&mut self, place: &Place, weight: Option<u8>) {
        match weight.filter(|weight| *weight > 1) {
            Some(weight) => self.queues.insert(place.clone(), weight),
            None => self.queues.remove(place),
        };
    }

    /// How many tasks of a team start in a turn.
    pub(super) fn of_team(&self, team: u64) -> u32 {
        if self.teams.is_empty() {
            return 1;
        }
        self.teams.get(&team).copied().map_or(1, u32::from)
    }

    /// `place` is asked for only if any queue has a weight.
    pub(super) fn of<'a>(&self, place: impl FnOnce() -> &'a Place) -> u32 {
        if self.queues.is_empty() {
            return 1;
        }
        self.queues.get(place()).copied().map_or(1, u32::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TeamCreated, TeamPlanChanged};
    use crate::time::Timestamp;

    #[test]
    fn the_plan_of_a_team_says_its_weight_in_both_environments() {
        let plans = Catalogue::builtin();
        let team = TeamId::new(Timestamp(1), 7);
        let mut book = TeamWeightsBook::default();
        let created = ControlEvent::TeamCreated(TeamCreated {
            team: team.clone(),
            name: "Ours".into(),
            plan: "enterprise".into(),
            at: Timestamp(1),
        });
        assert!(book.apply(&created, plans).is_some());
        assert_eq!(book.apply(&created, plans), None, "it is so already");
        let turns = [Environment::Live, Environment::Test]
            .map(|environment| TeamTurn::of(&team.in_environment(environment)));
        assert_eq!(turns.map(|turn| book.weight(turn)), [4, 4]);
        let change = |plan: &str| {
            ControlEvent::TeamPlanChanged(TeamPlanChanged {
                team: team.clone(),
                plan: plan.into(),
                at: Timestamp(2),
            })
        };
        book.apply(&change("pro"), plans);
        assert_eq!(book.weight(turns[0]), 2);
        book.apply(&change("no such plan"), plans);
        assert_eq!(book, TeamWeightsBook::default(), "as the free plan");
    }
}
