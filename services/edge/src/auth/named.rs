//! Which team a request is about: the one in its path, else the one that a person names in a header, else the person's only one.

use std::sync::Arc;

use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::role::Role;
use waybill_domain::event::Boundary;
use waybill_domain::id::{Environment, KeyId, TeamId};

use super::person::SignedIn;
use crate::error::ApiError;
use crate::path::{Naming, naming};
use crate::state::Edge;

/// Names the team that a person means, where the path does not.
const TEAM_HEADER: &str = "x-team-id";
/// Names the environment that a person means; `live` when it is not there.
const ENVIRONMENT_HEADER: &str = "x-environment";

/// A team that a person belongs to.
pub(super) struct OwnTeam {
    pub(super) team: TeamId,
    pub(super) role: Role,
    pub(super) plan: Arc<Plan>,
}

/// The team that a person means, when it is theirs. The request is charged to it; what finds no team is charged to the person.
pub(super) async fn own_team(
    parts: &mut Parts,
    state: &Edge,
    person: &SignedIn,
    environment: Environment,
) -> Result<OwnTeam, ApiError> {
    let found = match persons_team(parts, state, person).await {
        Ok(team) => standing(state, person, &team).map(|(role, plan)| OwnTeam { team, role, plan }),
        Err(error) => Err(error),
    };
    match found {
        Ok(own) => {
            let (slot, user) = (&person.context.limits, person.user.as_str());
            let team = own.team.clone().in_environment(environment);
            state.limiter.take(slot, &team, user, &own.plan).await?;
            let boundary = Boundary::Team(own.team.base());
            if state.auth.directory().is_closed(&boundary) {
                return Err(ApiError::not_understood());
            }
            Ok(own)
        }
        Err(error) => {
            person.charge(state).await?;
            Err(error)
        }
    }
}

/// The role and the plan of a person's team; 403 when it is not theirs.
fn standing(state: &Edge, person: &SignedIn, team: &TeamId) -> Result<(Role, Arc<Plan>), ApiError> {
    let directory = state.auth.directory();
    let plan = directory.plan_of(team);
    if plan.is_some() {
        // Also when they do not belong to it: the team may want to know.
        person.context.attribution.to_team(team);
    }
    let role = directory.role_of(&person.user, team);
    role.zip(plan).ok_or_else(ApiError::forbidden)
}

/// The team that a person means: the path's, else the header's, else the only one.
async fn persons_team(
    parts: &mut Parts,
    state: &Edge,
    person: &SignedIn,
) -> Result<TeamId, ApiError> {
    if let Some(named) = in_path(parts, state, Some(person)).await? {
        return named.map_err(|_| ApiError::forbidden());
    }
    if let Some(value) = parts.headers.get(TEAM_HEADER) {
        let team = value
            .to_str()
            .ok()
            .and_then(|text| TeamId::parse(text).ok());
        return team
            .filter(|team| team.environment() == Environment::Live)
            .ok_or_else(|| ApiError::bad_field(TEAM_HEADER, "X-Team-Id must be the id of a team"));
    }
    match state.auth.directory().teams_of(&person.user).as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(ApiError::forbidden()),
        _ => Err(ApiError::bad_field(
            TEAM_HEADER,
            "You belong to several teams: name one in the header X-Team-Id",
        )),
    }
}

/// A team in a path that does not exist.
#[derive(Debug, PartialEq)]
pub(super) struct NoTeam;

/// The team that the path names, itself or by one of its keys. `None`: it names none.
///
/// A key that is not known here is looked for in the log; a person pays for that look-up first, since no team does.
pub(super) async fn in_path(
    parts: &mut Parts,
    state: &Edge,
    person: Option<&SignedIn>,
) -> Result<Option<Result<TeamId, NoTeam>>, ApiError> {
    match naming(parts, state).await? {
        None => Ok(None),
        Some(Naming::Team(text)) => {
            let team = TeamId::parse(&text).ok();
            let base = team.filter(|team| team.environment() == Environment::Live);
            Ok(Some(base.ok_or(NoTeam)))
        }
        Some(Naming::Key(text)) => {
            let key = KeyId::parse(&text).map_err(|_| ApiError::no_such_key())?;
            let team = match state.auth.directory().key(&key) {
                Some(known) => known.created.team.clone(),
                // Made a moment ago through another gateway, perhaps.
                None => {
                    if let Some(person) = person {
                        person.charge(state).await?;
                    }
                    state.control.find_key(&key).await?
                }
            };
            Ok(Some(Ok(team)))
        }
    }
}

pub(super) fn environment(parts: &Parts) -> Result<Environment, ApiError> {
    let Some(value) = parts.headers.get(ENVIRONMENT_HEADER) else {
        return Ok(Environment::Live);
    };
    let environment = value.to_str().ok().and_then(Environment::parse);
    environment.ok_or_else(|| {
        ApiError::bad_field(ENVIRONMENT_HEADER, "X-Environment must be live or test")
    })
}
