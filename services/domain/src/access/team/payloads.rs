//! Who sees the bodies and headers of tasks: a right of a role. Keys and applications that read tasks always do.

use super::Team;
use super::decide::{Deciding, Decision};
use crate::access::role::Role;
use crate::event::{ControlEvent, TeamPayloadPolicyChanged};

impl Team {
    /// Whether a member with that role sees the bodies and headers of tasks and of their answers.
    #[must_use]
    pub fn shows_payloads_to(&self, role: Role) -> bool {
        let info = self.info.as_ref();
        role > Role::Viewer || info.is_some_and(|info| info.viewers_see_payloads)
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, viewers_see_payloads: bool) -> Decision {
    deciding.needs_role(Role::Owner)?;
    if deciding.info.viewers_see_payloads == viewers_see_payloads {
        return Ok(Vec::new());
    }
    Ok(vec![ControlEvent::TeamPayloadPolicyChanged(
        TeamPayloadPolicyChanged {
            team: deciding.info.id.clone(),
            viewers_see_payloads,
            at: deciding.now,
        },
    )])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Aggregate as _;
    use crate::access::plan::Catalogue;
    use crate::access::team::{TeamCommand, TeamRefusal};
    use crate::actor::Actor;
    use crate::event::MemberJoined;
    use crate::id::{TeamId, UserId};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp(1);

    fn run(team: &mut Team, command: TeamCommand, by: &Actor) -> Result<usize, TeamRefusal> {
        let events = team.decide(command, by, Catalogue::builtin(), NOW)?;
        events.iter().for_each(|event| team.evolve(event));
        Ok(events.len())
    }

    #[test]
    fn viewers_see_payloads_when_an_owner_says_so_and_no_longer() {
        let (owner, admin) = (UserId::new(NOW, 1), UserId::new(NOW, 2));
        let mut team = Team::default();
        let create = TeamCommand::Create {
            team: TeamId::new(NOW, 1),
            name: "Ours".into(),
            plan: "free".into(),
            owner: Some(owner.clone()),
        };
        run(&mut team, create, &Actor::Operator("test".into())).expect("created");
        team.evolve(&ControlEvent::MemberJoined(MemberJoined {
            team: TeamId::new(NOW, 1),
            user: admin.clone(),
            role: Role::Admin,
            at: NOW,
        }));
        let set = |viewers_see_payloads| TeamCommand::ChangePayloadPolicy {
            viewers_see_payloads,
        };
        let seen = |team: &Team| Role::ALL.map(|role| team.shows_payloads_to(role));
        assert_eq!(seen(&team), [false, true, true, true]);
        let refused = run(&mut team, set(true), &Actor::User(admin));
        assert_eq!(refused, Err(TeamRefusal::NotEntitled));
        let owner = Actor::User(owner);
        assert_eq!(run(&mut team, set(true), &owner), Ok(1));
        assert_eq!(seen(&team), [true; 4]);
        assert_eq!(run(&mut team, set(true), &owner), Ok(0), "it is so");
        assert_eq!(run(&mut team, set(false), &owner), Ok(1));
        assert_eq!(seen(&team), [false, true, true, true]);
        assert!(!Team::default().shows_payloads_to(Role::Viewer));
    }
}
