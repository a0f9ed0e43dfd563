//! Founding a team is allowed as long as the person does not own too many teams.
//!
//! The history of a team does not show its founder's other teams, so this is decided from all
//! events about one person's memberships.

use std::collections::BTreeMap;

use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::{Team, TeamCommand, TeamRefusal};
use crate::actor::Actor;
use crate::event::ControlEvent;
use crate::id::{TeamId, UserId};
use crate::time::Timestamp;

/// Limit of teams that one person may own when founding another: each comes with a free quota.
pub const MAX_TEAMS_OWNED: usize = 10;

/// The teams of one person, built from their membership events in all teams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memberships {
    roles: BTreeMap<TeamId, Role>,
}

/// Command to found a team.
#[derive(Debug, Clone)]
pub struct Found {
    pub team: TeamId,
    /// The person whose memberships were read, who becomes the owner.
    pub founder: UserId,
    /// Name shown to people.
    pub name: String,
}

impl Memberships {
    /// Number of teams that the person owns.
    #[must_use]
    pub fn owned(&self) -> usize {
        let owned = |role: &&Role| **role == Role::Owner;
        self.roles.values().filter(owned).count()
    }
}

impl Aggregate for Memberships {
    type Command = Found;
    type Rules = Catalogue;
    type Refusal = TeamRefusal;

    fn decide(
        &self,
        found: Found,
        by: &Actor,
        rules: &Catalogue,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, TeamRefusal> {
        if *by != Actor::User(found.founder.clone()) {
            return Err(TeamRefusal::NotEntitled);
        }
        if self.owned() >= MAX_TEAMS_OWNED {
            return Err(TeamRefusal::TooManyTeams(MAX_TEAMS_OWNED));
        }
        let create = TeamCommand::Create {
            team: found.team,
            name: found.name,
            plan: rules.plan_of_new_teams().name.to_string(),
            owner: Some(found.founder),
        };
        Team::default().decide(create, by, rules, now)
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::MemberJoined(e) => {
                self.roles.insert(e.team.clone(), e.role);
            }
            ControlEvent::MemberRoleChanged(e) => {
                if let Some(role) = self.roles.get_mut(&e.team) {
                    *role = e.role;
                }
            }
            ControlEvent::MemberRemoved(e) => {
                self.roles.remove(&e.team);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{MemberRemoved, MemberRoleChanged};

    const NOW: Timestamp = Timestamp(1_000);

    fn ann() -> UserId {
        UserId::new(Timestamp(1), 1)
    }

    fn team(number: u128) -> TeamId {
        TeamId::new(Timestamp(1), number)
    }

    fn found(memberships: &mut Memberships, number: u128) -> Result<(), TeamRefusal> {
        let command = Found {
            team: team(number),
            founder: ann(),
            name: format!("Team {number}"),
        };
        let by = Actor::User(ann());
        let events = memberships.decide(command, &by, Catalogue::builtin(), NOW)?;
        events.iter().for_each(|event| memberships.evolve(event));
        Ok(())
    }

    #[test]
    fn a_person_owns_so_many_teams_and_no_more() {
        let mut memberships = Memberships::default();
        for number in 0..MAX_TEAMS_OWNED as u128 {
            found(&mut memberships, number).expect("room");
        }
        let refused = Err(TeamRefusal::TooManyTeams(MAX_TEAMS_OWNED));
        assert_eq!(found(&mut memberships, 99), refused);
        memberships.evolve(&ControlEvent::MemberRemoved(MemberRemoved {
            team: team(0),
            user: ann(),
            at: NOW,
        }));
        found(&mut memberships, 100).expect("room again");
        assert_eq!(found(&mut memberships, 101), refused);
        memberships.evolve(&ControlEvent::MemberRoleChanged(MemberRoleChanged {
            team: team(1),
            user: ann(),
            role: Role::Admin,
            at: NOW,
        }));
        found(&mut memberships, 102).expect("room again");
    }

    #[test]
    fn nobody_founds_a_team_for_somebody_else() {
        let command = Found {
            team: team(1),
            founder: ann(),
            name: "Theirs".into(),
        };
        let by = Actor::User(UserId::new(Timestamp(1), 2));
        let decided = Memberships::default().decide(command, &by, Catalogue::builtin(), NOW);
        assert_eq!(decided, Err(TeamRefusal::NotEntitled));
    }
}
