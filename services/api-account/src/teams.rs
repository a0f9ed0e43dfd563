//! Teams: their members and roles, their plan, and what they use.
//!
//! All of it is for people who are signed in. A change that takes rights away is answered once every gateway has applied it, also when it
//! is repeated: a client that got 503 the first time must not be told too early that it is done.

pub mod accept;
pub mod delete;
pub mod guarding;
pub mod invitations;
pub mod leaks;
pub mod members;
pub mod payloads;
pub mod plan;
pub mod task_defaults;
pub mod team;
pub mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{Team, TeamCommand, TeamRefusal};
use waybill_domain::id::TeamId;
use waybill_log::Stream;

use crate::state::AccountApi;
use waybill_commands::{Author, CommandError, Loaded};
use waybill_edge::error::ApiError;

/// The routes of this resource.
pub(crate) fn router() -> OpenApiRouter<AccountApi> {
    OpenApiRouter::new()
        .routes(routes!(team::create_team, team::list_teams))
        .routes(routes!(
            team::get_team,
            team::rename_team,
            delete::delete_team
        ))
        .routes(routes!(members::list_members))
        .routes(routes!(members::change_role, members::remove_member))
        .routes(routes!(invitations::invite, invitations::list_invitations))
        .routes(routes!(
            invitations::get_invitation,
            invitations::withdraw_invitation
        ))
        .routes(routes!(accept::accept_invitation))
        .routes(routes!(plan::get_plan, plan::change_plan))
        .routes(routes!(leaks::change_leak_policy))
        .routes(routes!(guarding::change_vault_policy))
        .routes(routes!(payloads::change_payload_policy))
        .routes(routes!(task_defaults::change_task_defaults))
        .routes(routes!(usage::get_usage))
}

/// Runs a command that takes rights away, and returns once every gateway has applied it. That also holds when there is nothing left to
/// take away: an earlier request may have done it a moment ago, and not every gateway may have applied that.
async fn take_away(
    state: &AccountApi,
    team: &TeamId,
    command: TeamCommand,
    by: &Author,
) -> Result<Loaded<Team>, ApiError> {
    match state.control.run_team(team, command, by).await {
        Ok(after) => {
            state.settle_everywhere(after.version).await?;
            Ok(after)
        }
        Err(CommandError::Refused(
            gone @ (TeamRefusal::NoSuchMember | TeamRefusal::NoSuchInvitation),
        )) => {
            let seen = state.log.bounds(Stream::Control).await?;
            state.settle_everywhere(seen.last).await?;
            Err(gone.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A role, as requests name it.
fn role(text: Option<&str>) -> Result<Role, ApiError> {
    let text = text.ok_or_else(|| ApiError::bad_field("role", "role is required"))?;
    Role::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let all = Role::ALL.map(Role::as_str).join(", ");
        ApiError::bad_field("role", format!("role must be one of {all}, not {shown:?}"))
    })
}
