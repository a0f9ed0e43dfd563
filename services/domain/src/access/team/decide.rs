//! The decisions of a team.
//!
//! The caller's rights are checked here once more, from the same events that the append expects to
//! be the last: a key or a member that lost its rights a moment ago changes nothing
//! (docs/design/access.md, "Commands check who acts once more").

mod entitlement;
mod key;
mod membership;
mod settings;

use crate::access::plan::{Catalogue, Plan};
use crate::access::role::Role;
use crate::access::team::vault::TokenCommand;
use crate::access::team::{
    Team, TeamCommand, TeamInfo, TeamRefusal, app, jobs_keys, limits, listeners, organization,
    payloads, queues, targets, vault, views, workers,
};
use crate::actor::Actor;
use crate::event::{ControlEvent, MemberJoined, TeamCreated};
use crate::id::{TeamId, UserId};
use crate::time::Timestamp;
pub(super) use key::KeyBounds;
pub(super) use settings::valid_name;

pub(super) type Decision = Result<Vec<ControlEvent>, TeamRefusal>;

pub(super) fn decide(
    team: &Team,
    command: TeamCommand,
    by: &Actor,
    rules: &Catalogue,
    now: Timestamp,
) -> Decision {
    if let TeamCommand::Create {
        team: id,
        name,
        plan,
        owner,
    } = command
    {
        return create(team, id, &name, plan, owner, now);
    }
    let info = team.info.as_ref().ok_or(TeamRefusal::NoSuchTeam)?;
    // The commands that are still allowed for a deleted team.
    let is_cleaning_up = matches!(
        command,
        TeamCommand::Token(TokenCommand::NoteShredded { .. })
    );
    if info.deleted.is_some() && !is_cleaning_up {
        return Err(TeamRefusal::NoSuchTeam);
    }
    let deciding = Deciding {
        team,
        info,
        plan: rules.plan(&info.plan),
        by,
        now,
    };
    deciding.decide(command, rules)
}

fn create(
    team: &Team,
    id: TeamId,
    name: &str,
    plan: String,
    owner: Option<UserId>,
    at: Timestamp,
) -> Decision {
    if team.info.is_some() {
        return Err(TeamRefusal::AlreadyExists);
    }
    let name = valid_name(name)?;
    let mut events = vec![ControlEvent::TeamCreated(TeamCreated {
        team: id.clone(),
        name,
        plan,
        at,
    })];
    events.extend(owner.map(|user| {
        ControlEvent::MemberJoined(MemberJoined {
            team: id,
            user,
            role: Role::Owner,
            at,
        })
    }));
    Ok(events)
}

pub(super) struct Deciding<'a> {
    pub(super) team: &'a Team,
    pub(super) info: &'a TeamInfo,
    pub(super) plan: &'a Plan,
    pub(super) by: &'a Actor,
    pub(super) now: Timestamp,
}

impl Deciding<'_> {
    fn decide(&self, command: TeamCommand, rules: &Catalogue) -> Decision {
        match command {
            TeamCommand::Create { .. } => Err(TeamRefusal::AlreadyExists),
            TeamCommand::Rename { name } => self.rename(&name),
            TeamCommand::ChangePlan { plan } => self.change_plan(plan, rules),
            TeamCommand::ChangeLeakPolicy { leaked_keys } => self.change_leak_policy(leaked_keys),
            TeamCommand::RotateSigningSecret {
                environment,
                overlap,
            } => self.rotate_signing_secret(environment, overlap),
            TeamCommand::ChangeVaultPolicy {
                sealed_headers,
                require_allowed_hosts,
            } => self.change_vault_policy(sealed_headers.as_deref(), require_allowed_hosts),
            TeamCommand::ChangeTaskDefaults(change) => self.change_task_defaults(*change),
            TeamCommand::Delete => self.delete(),
            TeamCommand::App(command) => app::decide(self, command),
            TeamCommand::Token(command) => vault::decide(self, command),
            TeamCommand::Queue(command) => queues::decide(self, command),
            TeamCommand::Target(command) => targets::decide(self, command),
            TeamCommand::Limit(command) => limits::decide(self, command),
            TeamCommand::Worker(command) => workers::decide(self, command),
            TeamCommand::Invite(draft) => self.invite(*draft),
            TeamCommand::WithdrawInvitation { invitation } => self.withdraw_invitation(invitation),
            TeamCommand::AcceptInvitation {
                invitation,
                user,
                email_hash,
            } => self.accept_invitation(invitation, user, &email_hash),
            TeamCommand::ChangeRole { user, role } => self.change_role(user, role),
            TeamCommand::RemoveMember { user } => self.remove_member(user),
            TeamCommand::CreateKey {
                draft,
                name,
                scopes,
                expires_at,
                sources,
                queues,
                request,
            } => {
                let bounds = KeyBounds {
                    scopes,
                    expires_at,
                    sources,
                    queues,
                };
                self.create_key(&draft, &name, bounds, request)
            }
            TeamCommand::RotateKey {
                key,
                draft,
                overlap,
            } => self.rotate_key(key, &draft, overlap),
            TeamCommand::RevokeKey { key, reason } => self.revoke_key(key, reason),
            TeamCommand::ReportKey {
                key,
                reporter,
                source,
                url,
            } => self.report_key(key, reporter, source, url),
            TeamCommand::AdmitLocalOwner => self.admit_local_owner(),
            TeamCommand::ChangePayloadPolicy {
                viewers_see_payloads,
            } => payloads::decide(self, viewers_see_payloads),
            TeamCommand::View(command) => views::decide(self, command),
            TeamCommand::JobsKey(command) => jobs_keys::decide(self, *command, rules),
            TeamCommand::DeleteOrganization => organization::delete(self),
            TeamCommand::ChangeOrganization(change) => organization::decide(self, *change, rules),
            TeamCommand::Listener(command) => listeners::decide(self, command),
        }
    }
}

/// No event if the state is already as requested.
fn unless(is_so: bool, event: impl FnOnce() -> ControlEvent) -> Vec<ControlEvent> {
    if is_so { Vec::new() } else { vec![event()] }
}
