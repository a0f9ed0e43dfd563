//! Which applications may act in a team, and who let them.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::grant::Grant;
use waybill_domain::access::team::App;

use super::grants::GrantObject;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;

/// What somebody granted to an application that acts in the team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TeamGrantObject {
    #[serde(flatten)]
    grant: GrantObject,
    /// The team that registered the application; it may be another one.
    app_team_id: String,
    /// Who granted it. It can do no more than they may.
    granted_by: Granter,
}

/// Whoever granted an application access.
#[derive(Debug, Serialize, ToSchema)]
pub struct Granter {
    #[schema(example = "user_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    /// Email address of the account, if it is known.
    #[schema(value_type = Option<String>)]
    email: Option<String>,
    /// Their name, as they wrote it.
    name: Option<String>,
}

impl TeamGrantObject {
    fn new(state: &AccountApi, grant: &Grant, app: &App) -> Option<Self> {
        let user = grant.given.as_ref()?.user.as_ref()?;
        let known = state.auth.directory().user(user);
        let (email, name) = known
            .as_ref()
            .and_then(|known| known.confirmed())
            .map(|(who, account)| (who.email.clone(), account.name.clone()))
            .unzip();
        Some(Self {
            grant: GrantObject::new(grant, app)?,
            app_team_id: app.created.team.to_string(),
            granted_by: Granter {
                id: user.to_string(),
                email,
                name,
            },
        })
    }
}

/// `{"grants": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TeamGrantList {
    /// The valid ones, newest first.
    grants: Vec<TeamGrantObject>,
}

/// List which applications the members of a team let act in it, and when each was let and used.
///
/// An application of another team is listed too, if a member let it in; what an application of this team was granted elsewhere is not.
/// Whoever granted it can withdraw it; removing an application of the team, or the person from the team, ends it as well.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/grants",
    operation_id = "oauth.team_grant.list",
    tag = "oauth",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "The valid grants", body = TeamGrantList),
    )
)]
pub(crate) async fn list_given(
    State(state): State<AccountApi>,
    member: Member<Admin>,
) -> axum::Json<TeamGrantList> {
    let given = state
        .auth
        .directory()
        .grants_in(&member.team, entropy::now());
    let shown = given
        .iter()
        .filter_map(|(grant, app)| TeamGrantObject::new(&state, grant, app));
    axum::Json(TeamGrantList {
        grants: shown.collect(),
    })
}
