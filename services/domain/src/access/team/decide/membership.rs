//! Decisions about members and invitations.

use super::{Deciding, Decision, unless};
use crate::access::email::EmailHash;
use crate::access::local_owner::local_owner;
use crate::access::role::Role;
use crate::access::team::{Invitation, InvitationDraft, MAX_OPEN_INVITATIONS, Member, TeamRefusal};
use crate::actor::Actor;
use crate::event::{
    ControlEvent, InvitationAccepted, InvitationSent, InvitationWithdrawn, MemberJoined,
    MemberRemoved, MemberRoleChanged,
};
use crate::id::{InvitationId, UserId};

impl Deciding<'_> {
    pub(super) fn invite(&self, draft: InvitationDraft) -> Decision {
        let own = self.needs_role(Role::Admin)?;
        if draft.role > own {
            return Err(TeamRefusal::NotEntitled);
        }
        let open = |invitation: &&Invitation| invitation.expires_at > self.now;
        let count = self.team.invitations.values().filter(open).count();
        let earlier = self
            .team
            .invitations
            .iter()
            .find(|(_, invitation)| invitation.email_hash == draft.email_hash);
        // A second invitation to the same address replaces the first.
        let others = count - usize::from(earlier.is_some_and(|(_, first)| open(&first)));
        if others >= MAX_OPEN_INVITATIONS {
            return Err(TeamRefusal::TooManyInvitations(MAX_OPEN_INVITATIONS));
        }
        self.room_for_members(self.team.members.len() + others)?;
        let mut events = Vec::new();
        events.extend(earlier.map(|(id, _)| {
            ControlEvent::InvitationWithdrawn(InvitationWithdrawn {
                team: self.info.id.clone(),
                invitation: id.clone(),
                at: self.now,
            })
        }));
        events.push(ControlEvent::InvitationSent(InvitationSent {
            team: self.info.id.clone(),
            invitation: draft.id,
            email: draft.email.as_str().to_owned(),
            email_hash: draft.email_hash,
            role: draft.role,
            mac: draft.mac,
            pepper_version: draft.pepper_version,
            expires_at: self.now.plus(draft.lifetime),
            at: self.now,
        }));
        Ok(events)
    }

    pub(super) fn withdraw_invitation(&self, invitation: InvitationId) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Admin)?;
        if !self.team.invitations.contains_key(&invitation) {
            return Err(TeamRefusal::NoSuchInvitation);
        }
        Ok(vec![ControlEvent::InvitationWithdrawn(
            InvitationWithdrawn {
                team: id,
                invitation,
                at,
            },
        )])
    }

    pub(super) fn accept_invitation(
        &self,
        invitation: InvitationId,
        user: UserId,
        email_hash: &EmailHash,
    ) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        let open = self.team.invitations.get(&invitation);
        let role = open
            .filter(|open| open.expires_at > at && open.email_hash == *email_hash)
            .map(|open| open.role)
            .ok_or(TeamRefusal::NoSuchInvitation)?;
        if self.team.members.contains_key(&user) {
            return Err(TeamRefusal::AlreadyMember);
        }
        self.room_for_members(self.team.members.len())?;
        Ok(vec![
            ControlEvent::InvitationAccepted(InvitationAccepted {
                team: id.clone(),
                invitation,
                user: user.clone(),
                at,
            }),
            ControlEvent::MemberJoined(MemberJoined {
                team: id,
                user,
                role,
                at,
            }),
        ])
    }

    pub(super) fn change_role(&self, user: UserId, role: Role) -> Decision {
        let own = self.needs_role(Role::Admin)?;
        let member = self
            .team
            .members
            .get(&user)
            .ok_or(TeamRefusal::NoSuchMember)?;
        if role > own || member.role > own {
            return Err(TeamRefusal::NotEntitled);
        }
        if member.role == Role::Owner && role != Role::Owner {
            self.another_owner(&user)?;
        }
        Ok(unless(member.role == role, || {
            ControlEvent::MemberRoleChanged(MemberRoleChanged {
                team: self.info.id.clone(),
                user,
                role,
                at: self.now,
            })
        }))
    }

    pub(super) fn remove_member(&self, user: UserId) -> Decision {
        let member = self.team.members.get(&user);
        // Every member may leave.
        if *self.by != Actor::User(user.clone()) {
            let own = self.needs_role(Role::Admin)?;
            if member.is_some_and(|member| member.role > own) {
                return Err(TeamRefusal::NotEntitled);
            }
        }
        let member = member.ok_or(TeamRefusal::NoSuchMember)?;
        if member.role == Role::Owner {
            self.another_owner(&user)?;
        }
        Ok(vec![ControlEvent::MemberRemoved(MemberRemoved {
            team: self.info.id.clone(),
            user,
            at: self.now,
        })])
    }

    pub(super) fn admit_local_owner(&self) -> Decision {
        if !matches!(self.by, Actor::System(_) | Actor::Operator(_)) {
            return Err(TeamRefusal::NotEntitled);
        }
        let user = local_owner();
        if self.team.members.contains_key(&user) {
            return Ok(Vec::new());
        }
        if !self.team.members.is_empty() {
            return Err(TeamRefusal::HasMembers);
        }
        Ok(vec![ControlEvent::MemberJoined(MemberJoined {
            team: self.info.id.clone(),
            user,
            role: Role::Owner,
            at: self.now,
        })])
    }

    fn room_for_members(&self, taken: usize) -> Result<(), TeamRefusal> {
        match self.plan.max_members {
            Some(limit) if taken >= limit as usize => {
                let plan = self.info.plan.clone();
                Err(TeamRefusal::MemberLimit { plan, limit })
            }
            _ => Ok(()),
        }
    }

    fn another_owner(&self, than: &UserId) -> Result<(), TeamRefusal> {
        let other = |(user, member): (&UserId, &Member)| member.role == Role::Owner && user != than;
        if self.team.members.iter().any(other) {
            Ok(())
        } else {
            Err(TeamRefusal::LastOwner)
        }
    }
}
