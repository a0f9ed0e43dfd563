//! Tokens of the vault: what is told of them without their values, and what may be done to them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::access::scope::Scope;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded,
};
use crate::id::{Environment, TokenId};
use crate::time::Timestamp;

use super::decide::{Deciding, Decision, valid_name};
use super::{Team, TeamRefusal};

/// Tokens of one team that may count at a time, whatever its plan: each is looked at by every worker.
pub const MAX_TOKENS: u32 = 10_000;
/// Headers that a team may have sealed beside those that always are.
pub const MAX_SEALED_HEADERS: usize = 20;

/// How a team guards its credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaultPolicy {
    /// Headers of tasks whose values are sealed, beside those that always are; in lower case.
    pub sealed_headers: Vec<String>,
    /// New tokens must name the hosts that they may be sent to.
    pub require_allowed_hosts: bool,
}

/// A token as its events tell. Its value is sealed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The world whose tasks may refer to it.
    pub environment: Environment,
    /// For people.
    pub name: String,
    /// Which value it has.
    pub version: u32,
    /// The value can stand in a header.
    pub fits_header: bool,
    /// Hosts that it may be sent to. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// From when on nothing may refer to it.
    pub expires_at: Option<Timestamp>,
    /// Who put it there, as actors are written.
    pub created_by: String,
    /// When it was put there.
    pub created_at: Timestamp,
    /// When it got the value that it has now, when that is not its first.
    pub rotated_at: Option<Timestamp>,
    /// Since when it is no more, and why.
    pub revoked: Option<(Timestamp, TokenEnd)>,
    /// When its keys were erased.
    pub shredded: Option<Timestamp>,
}

/// A token to be kept, its value sealed already.
#[derive(Debug, Clone)]
pub struct TokenDraft {
    /// Its id.
    pub id: TokenId,
    /// The world whose tasks may refer to it.
    pub environment: Environment,
    /// For people.
    pub name: String,
    /// The sealed value, in unpadded base64url.
    pub envelope: String,
    /// The value can stand in a header.
    pub fits_header: bool,
    /// Hosts that it may be sent to, checked. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// From when on nothing may refer to it.
    pub expires_at: Option<Timestamp>,
}

/// What may be wanted of a team's tokens.
#[derive(Debug, Clone)]
pub enum TokenCommand {
    /// Keep one.
    Create(Box<TokenDraft>),
    /// Give one another value.
    Rotate {
        /// Which.
        token: TokenId,
        /// Above the version that it has; the value is sealed under it.
        version: u32,
        /// The sealed value, in unpadded base64url.
        envelope: String,
        /// The value can stand in a header.
        fits_header: bool,
    },
    /// Let nothing use one any more.
    Revoke {
        /// Which.
        token: TokenId,
        /// Why.
        reason: TokenEnd,
    },
    /// Note that the keys of one are erased. It is revoked already.
    NoteShredded {
        /// Which.
        token: TokenId,
    },
}

/// Why a command about a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token in this team and environment, or no more.
    #[error("Token not found or already revoked")]
    NoSuchToken,
    /// The plan has no room for another one.
    #[error("The plan {plan} allows {limit} vault tokens; revoke one or change the plan")]
    TooMany {
        /// Name of the plan.
        plan: String,
        /// Tokens that it allows.
        limit: u32,
    },
    /// Another value came first, under this number or a later one.
    #[error("The token was rotated at the same time; try again")]
    VersionMoved,
}

impl Token {
    fn new(e: &TokenCreated) -> Self {
        Self {
            id: e.token.clone(),
            environment: e.environment,
            name: e.name.clone(),
            version: e.version,
            fits_header: e.fits_header,
            allowed_hosts: e.allowed_hosts.clone(),
            expires_at: e.expires_at,
            created_by: e.created_by.clone(),
            created_at: e.at,
            rotated_at: None,
            revoked: None,
            shredded: None,
        }
    }

    /// Whether tasks may refer to it at that time.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.has_expired(now)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl Team {
    /// A token that tasks of that environment may refer to.
    #[must_use]
    pub fn token(
        &self,
        id: &TokenId,
        environment: Environment,
        now: Timestamp,
    ) -> Option<&Arc<Token>> {
        let usable = |token: &&Arc<Token>| token.environment == environment && token.is_active(now);
        self.tokens.get(id).filter(usable)
    }

    /// Tokens that tasks of that environment may refer to, oldest first.
    #[must_use]
    pub fn tokens_by_age(&self, environment: Environment, now: Timestamp) -> Vec<Arc<Token>> {
        let usable = |token: &&Arc<Token>| token.environment == environment && token.is_active(now);
        let mut tokens: Vec<_> = self.tokens.values().filter(usable).cloned().collect();
        tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        tokens
    }

    /// Tokens that count, in both environments: what a plan limits.
    #[must_use]
    pub fn counted_tokens(&self, now: Timestamp) -> usize {
        let tokens = self.tokens.values();
        tokens.filter(|token| token.is_active(now)).count()
    }

    pub(super) fn evolve_token(&mut self, event: &ControlEvent) {
        match event {
            // Told twice, it changes nothing: what was revoked stays revoked.
            ControlEvent::TokenCreated(e) => {
                self.tokens
                    .entry(e.token.clone())
                    .or_insert_with(|| Arc::new(Token::new(e)));
            }
            ControlEvent::TokenRotated(e) => self.change_token(&e.token, |token| {
                token.version = token.version.max(e.version);
                token.fits_header = e.fits_header;
                token.rotated_at = Some(e.at);
            }),
            ControlEvent::TokenRevoked(e) => self.change_token(&e.token, |token| {
                token.revoked.get_or_insert((e.at, e.reason));
            }),
            ControlEvent::TokenShredded(e) => self.change_token(&e.token, |token| {
                token.shredded.get_or_insert(e.at);
            }),
            _ => {}
        }
    }

    fn change_token(&mut self, id: &TokenId, change: impl FnOnce(&mut Token)) {
        if let Some(token) = self.tokens.get_mut(id) {
            change(Arc::make_mut(token));
        }
    }

    /// The end of the team is the end of its tokens.
    pub(super) fn end_tokens(&mut self, at: Timestamp) {
        for token in self.tokens.values_mut() {
            let token = Arc::make_mut(token);
            token.revoked.get_or_insert((at, TokenEnd::TeamDeleted));
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: TokenCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        TokenCommand::Create(draft) => {
            let draft = *draft;
            may_write(deciding, draft.environment)?;
            deciding.needs_api_access()?;
            has_room(deciding)?;
            if deciding.team.tokens.contains_key(&draft.id) {
                return Err(TeamRefusal::AlreadyExists);
            }
            let name = valid_name(&draft.name)?;
            if draft.expires_at.is_some_and(|expires| expires <= at) {
                let message = "expiresAt must be in the future";
                return Err(TeamRefusal::invalid("expiresAt", message));
            }
            if deciding.info.vault.require_allowed_hosts && draft.allowed_hosts.is_empty() {
                let message = "allowedHosts is required by the team: name the hosts that the token may be sent to";
                return Err(TeamRefusal::invalid("allowedHosts", message));
            }
            Ok(vec![ControlEvent::TokenCreated(TokenCreated {
                token: draft.id,
                team,
                environment: draft.environment,
                name,
                version: 1,
                envelope: draft.envelope,
                fits_header: draft.fits_header,
                allowed_hosts: draft.allowed_hosts,
                expires_at: draft.expires_at,
                created_by: deciding.by.to_string(),
                at,
            })])
        }
        TokenCommand::Rotate {
            token,
            version,
            envelope,
            fits_header,
        } => {
            let found = active(deciding, &token)?;
            if version <= found.version {
                return Err(TokenRefusal::VersionMoved.into());
            }
            Ok(vec![ControlEvent::TokenRotated(TokenRotated {
                token,
                team,
                version,
                envelope,
                fits_header,
                at,
            })])
        }
        TokenCommand::Revoke { token, reason } => {
            // One whose time is over is nobody's business any more but the janitor's.
            if reason == TokenEnd::Requested {
                active(deciding, &token)?;
            } else {
                known(deciding, &token)?;
            }
            Ok(vec![ControlEvent::TokenRevoked(TokenRevoked {
                token,
                team,
                reason,
                at,
            })])
        }
        TokenCommand::NoteShredded { token } => {
            let found = deciding.team.tokens.get(&token);
            let found = found.ok_or(TokenRefusal::NoSuchToken)?;
            if found.revoked.is_none() {
                return Err(TeamRefusal::NotEntitled);
            }
            if found.shredded.is_some() {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::TokenShredded(TokenShredded {
                token,
                team,
                at,
            })])
        }
    }
}

/// A token that whoever acts may change, and that still counts.
fn active<'a>(deciding: &Deciding<'a>, id: &TokenId) -> Result<&'a Token, TeamRefusal> {
    let token = known(deciding, id)?;
    if token.has_expired(deciding.now) {
        return Err(TokenRefusal::NoSuchToken.into());
    }
    Ok(token)
}

/// A token that whoever acts may change, and that nobody has revoked. One of the other environment is as good as none.
fn known<'a>(deciding: &Deciding<'a>, id: &TokenId) -> Result<&'a Token, TeamRefusal> {
    let token = deciding.team.tokens.get(id);
    let token = token.filter(|token| token.revoked.is_none());
    let token = token.ok_or(TokenRefusal::NoSuchToken)?;
    match may_write(deciding, token.environment) {
        Err(TeamRefusal::BeyondCaller { .. }) => Err(TokenRefusal::NoSuchToken.into()),
        other => other.map(|()| &**token),
    }
}

/// Whether whoever acts may change tokens of that environment.
fn may_write(deciding: &Deciding<'_>, environment: Environment) -> Result<(), TeamRefusal> {
    let own = match deciding.by {
        Actor::Key(id) => {
            let key = deciding.acting_key(id)?;
            (key.scopes, Some(key.environment()))
        }
        Actor::User(user) => {
            let role = deciding.team.role_of(user);
            (role.ok_or(TeamRefusal::NotEntitled)?.scopes(), None)
        }
        Actor::App(id) => {
            let app = deciding.team.app(id).ok_or(TeamRefusal::NotEntitled)?;
            (app.scopes, Some(app.created.environment))
        }
        Actor::System(_) | Actor::Operator(_) => return Ok(()),
    };
    let (scopes, world) = own;
    if !scopes.contains(Scope::TokensWrite) {
        return Err(TeamRefusal::NotEntitled);
    }
    if world.is_some_and(|world| world != environment) {
        return Err(TeamRefusal::BeyondCaller {
            field: "environment",
            message: "environment must be that of the calling credential".into(),
        });
    }
    Ok(())
}

/// The environments share the room.
fn has_room(deciding: &Deciding<'_>) -> Result<(), TeamRefusal> {
    let limit = deciding.plan.max_tokens.unwrap_or(MAX_TOKENS);
    if deciding.team.counted_tokens(deciding.now) >= limit as usize {
        let plan = deciding.info.plan.clone();
        return Err(TokenRefusal::TooMany { plan, limit }.into());
    }
    Ok(())
}

/// Checks names of headers; gives them in lower case, each once.
pub(super) fn valid_sealed_headers(names: &[String]) -> Result<Vec<String>, TeamRefusal> {
    let invalid = |message: String| Err(TeamRefusal::invalid("sealedHeaders", message));
    if names.len() > MAX_SEALED_HEADERS {
        return invalid(format!(
            "sealedHeaders must hold at most {MAX_SEALED_HEADERS} names, not {}",
            names.len()
        ));
    }
    let mut valid: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if crate::egress::check_header(name, "x").is_err() {
            let shown: String = name.chars().take(60).collect();
            return invalid(format!(
                "sealedHeaders must hold names of headers that a task may have, not {shown:?}"
            ));
        }
        let name = name.to_ascii_lowercase();
        if !valid.contains(&name) {
            valid.push(name);
        }
    }
    Ok(valid)
}
