//! Which teams have invited an address.

use std::collections::{BTreeSet, HashMap};

use waybill_domain::access::email::EmailHash;
use waybill_domain::access::team::{Invitation, Team};
use waybill_domain::event::ControlEvent;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;

use super::Directory;

/// By address, the teams with an invitation that was neither accepted nor withdrawn. Whether it has expired, the team knows.
#[derive(Default)]
pub(super) struct Invited(HashMap<EmailHash, BTreeSet<TeamId>>);

impl Invited {
    /// `team` is as it was before the event: an event that ends an invitation does not name the address.
    pub(super) fn apply(&mut self, team: &Team, event: &ControlEvent) {
        let ended = match event {
            ControlEvent::InvitationSent(e) => {
                let teams = self.0.entry(e.email_hash.clone()).or_default();
                teams.insert(e.team.clone());
                return;
            }
            ControlEvent::InvitationAccepted(e) => team.invitations.get(&e.invitation),
            ControlEvent::InvitationWithdrawn(e) => team.invitations.get(&e.invitation),
            ControlEvent::TeamDeleted(_) => {
                for invitation in team.invitations.values() {
                    self.forget(team, invitation);
                }
                return;
            }
            _ => return,
        };
        // A team has at most one open invitation to an address: the next one withdraws it first.
        if let Some(invitation) = ended {
            self.forget(team, invitation);
        }
    }

    fn forget(&mut self, team: &Team, invitation: &Invitation) {
        let Some(info) = &team.info else { return };
        if let Some(teams) = self.0.get_mut(&invitation.email_hash) {
            teams.remove(&info.id);
            if teams.is_empty() {
                self.0.remove(&invitation.email_hash);
            }
        }
    }
}

impl Directory {
    /// Whether some team has an open invitation to that address.
    #[must_use]
    pub fn is_invited(&self, address: &EmailHash, now: Timestamp) -> bool {
        self.read(|inner| {
            let teams = inner.invited.0.get(address).into_iter().flatten();
            let mut entries = teams.filter_map(|team| inner.teams.get(team));
            entries.any(|entry| {
                let mut invitations = entry.team.invitations.values();
                invitations.any(|open| open.email_hash == *address && now < open.expires_at)
            })
        })
    }
}
