//! Who opens an event stream: a caller, or whoever holds a token that a caller made for this one stream.
//!
//! Browsers cannot send headers with `EventSource`, so a token may stand in the query string, of streams alone. It is checked like the
//! credential that made it, and again and again while the stream is open: it never outlives that credential.

use std::sync::Arc;

use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::id::TeamId;
use waybill_domain::stream_token::{Maker, StreamKey, StreamToken};
use waybill_streams::StillValid;

use super::caller::context;
use crate::error::{ApiError, ErrorCode};
use crate::principal::Principal;
use crate::state::Edge;
use waybill_commands::entropy;

/// The parameter of a stream that holds a token.
const ACCESS_TOKEN: &str = "access_token";

/// A token that was accepted.
#[derive(Debug)]
pub struct TokenHolder {
    /// What the token says: the stream that it opens, its maker and its end.
    pub token: StreamToken,
    /// The caller that made it.
    pub principal: Principal,
}

impl TokenHolder {
    /// Whether the token and the credential that made it are still valid.
    pub fn still_valid(&self, edge: &Edge) -> StillValid {
        let (edge, principal) = (edge.clone(), self.principal.clone());
        let (team, until) = (self.token.team.clone(), self.token.expires_at);
        Box::new(move || {
            entropy::now() < until
                && edge.fence.may_decide().is_ok()
                && edge.auth.stands(&principal, &team)
        })
    }
}

/// The maker of a token, as it stands in one.
#[must_use]
pub fn maker(principal: &Principal) -> Maker {
    match principal {
        Principal::Key(key) => Maker::Key(key.created.key.clone()),
        Principal::User { user, session, .. } => Maker::User {
            user: user.clone(),
            session: session.clone(),
        },
        Principal::App {
            app, grant, user, ..
        } => Maker::App {
            app: app.clone(),
            grant: grant.clone(),
            user: user.clone(),
        },
    }
}

/// The token in a query string. Beside a credential in a header, or twice, it is refused: nobody could say which one counts.
pub fn presented(parts: &Parts) -> Result<Option<String>, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let mut tokens = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == ACCESS_TOKEN)
        .map(|(_, value)| value.into_owned());
    let Some(token) = tokens.next() else {
        return Ok(None);
    };
    let in_header = ["authorization", "x-api-key"];
    if tokens.next().is_some()
        || in_header
            .iter()
            .any(|name| parts.headers.contains_key(*name))
    {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidRequest,
            "access_token must be the only credential, and there once",
        ));
    }
    Ok(Some(token))
}

/// Accepts a token that was made with `key`, has not expired, and whose maker may still read tasks. Charged to the maker.
pub async fn redeem(
    parts: &Parts,
    edge: &Edge,
    key: &StreamKey,
    presented: &str,
) -> Result<TokenHolder, ApiError> {
    let context = context(parts)?;
    edge.auth.check_caught_up()?;
    // Checked before anything is looked up: afterwards, a renewed lease would cover data that was read while it had lapsed.
    edge.fence.may_decide_soon().await?;
    let taken = key
        .open(presented, entropy::now())
        .and_then(|token| {
            let (principal, plan) = standing(edge, &token)?;
            Some((TokenHolder { token, principal }, plan))
        })
        .filter(|(holder, _)| match &holder.principal {
            // What a key bound to networks makes is bound to them.
            Principal::Key(key) => key.may_come_from(context.source),
            _ => true,
        });
    let Some((holder, plan)) = taken else {
        edge.limiter
            .charge_failure(&context.limits, context.source)?;
        return Err(ApiError::token_refused());
    };
    let team = &holder.token.team;
    context.attribution.to_team(team);
    context.attribution.to_credential(holder.principal.actor());
    let charged = edge
        .limiter
        .take(&context.limits, team, holder.principal.id(), &plan);
    charged.await?;
    if !(plan.api_access && Scope::TasksRead.api().is_none_or(|api| plan.has(api))) {
        return Err(ApiError::feature_not_allowed(&plan.name));
    }
    Ok(holder)
}

/// The maker of a token, with the rights that they have now. `None`: they may not read tasks any more.
fn standing(edge: &Edge, token: &StreamToken) -> Option<(Principal, Arc<Plan>)> {
    let team: &TeamId = &token.team;
    let directory = edge.auth.directory();
    let (principal, scopes) = match &token.maker {
        Maker::Key(id) => {
            let key = directory.key(id)?;
            let scopes = key.scopes;
            (Principal::Key(key), scopes)
        }
        Maker::User { user, session } => {
            let role = directory.role_of(user, &team.base())?;
            let (user, session) = (user.clone(), session.clone());
            let principal = Principal::User {
                user,
                session,
                role,
            };
            (principal, role.scopes())
        }
        Maker::App { app, grant, user } => {
            // A token only reads, so it needs no other scope of the application.
            let scopes: ScopeSet = [Scope::TasksRead].into_iter().collect();
            let principal = Principal::App {
                app: app.clone(),
                grant: grant.clone(),
                user: user.clone(),
                scopes,
            };
            (principal, scopes)
        }
    };
    let stands = scopes.contains(Scope::TasksRead) && edge.auth.stands(&principal, team);
    let plan = directory.plan_of(&team.base()).filter(|_| stands)?;
    Some((principal, plan))
}
