//! Telling a team that one of its keys was found in the open.

use waybill_domain::access::role::Role;
use waybill_domain::access::team::Key;
use waybill_domain::id::{TeamId, UserId};

use waybill_edge::Edge;
use waybill_mail::Occasion;

/// Writes to everybody who can do something about it: owners and admins.
pub(super) fn send(state: &Edge, team: &TeamId, key: &Key) {
    let directory = state.auth.directory();
    let known = directory.with_team(team, |team| {
        let name = team.info.as_ref().map(|info| info.name.clone());
        let may = team
            .members
            .iter()
            .filter(|(_, member)| member.role >= Role::Admin);
        let users: Vec<UserId> = may.map(|(user, _)| user.clone()).collect();
        (name.unwrap_or_default(), users)
    });
    let Some((name, users)) = known else {
        return;
    };
    let occasion = Occasion::LeakedKey {
        team: name,
        key: key.created.name.clone(),
        revoked: key.revoked.is_some(),
    };
    for user in users {
        if let Some(user) = directory.user(&user)
            && let Some((who, _)) = user.confirmed()
        {
            state.people.notify(&who.email, &occasion);
        }
    }
}
