//! Vault tokens: what is known about them without their values, and their commands.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::access::scope::Scope;
use crate::event::{
    ControlEvent, TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded,
};
use crate::id::{Environment, TokenId};
use crate::time::Timestamp;

use super::decide::{Deciding, Decision, valid_name};
use super::{Team, TeamRefusal};

/// Limit of active tokens per team on any plan: every worker keeps all of them in memory.
pub const MAX_TOKENS: u32 = 10_000;
/// Limit of headers that a team may have sealed besides those that always are.
pub const MAX_SEALED_HEADERS: usize = 20;

/// How the credentials of a team are protected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaultPolicy {
    /// Headers of tasks to seal, besides those that always are; in lower case.
    pub sealed_headers: Vec<String>,
    /// Whether new tokens must name the hosts that they may be sent to.
    pub require_allowed_hosts: bool,
}

/// A token, built from its events. Its value is sealed and kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    /// Environment of the tasks that may refer to it.
    pub environment: Environment,
    /// Name shown to people.
    pub name: String,
    /// Version of its value; each rotation raises it.
    pub version: u32,
    /// Whether the value is valid in a header.
    pub fits_header: bool,
    /// Hosts that the value may be sent to. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// When the token expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// The actor who created it, in the text form of actors.
    pub created_by: String,
    pub created_at: Timestamp,
    /// When the current value was set, unless it is the first.
    pub rotated_at: Option<Timestamp>,
    /// When and why the token was revoked.
    pub revoked: Option<(Timestamp, TokenEnd)>,
    /// When its wrapped keys were erased.
    pub shredded: Option<Timestamp>,
}

/// A token to create; its value is already sealed.
#[derive(Debug, Clone)]
pub struct TokenDraft {
    pub id: TokenId,
    /// Environment of the tasks that may refer to it.
    pub environment: Environment,
    /// Name shown to people.
    pub name: String,
    /// The sealed value, in unpadded base64url.
    pub envelope: String,
    /// Whether the value is valid in a header.
    pub fits_header: bool,
    /// Hosts that the value may be sent to, already checked. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// When the token expires; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// Commands about the tokens of a team.
#[derive(Debug, Clone)]
pub enum TokenCommand {
    /// Create a token.
    Create(Box<TokenDraft>),
    /// Replace the value of a token.
    Rotate {
        token: TokenId,
        /// Version of the new value, above the current one; the value is sealed under it.
        version: u32,
        /// The sealed value, in unpadded base64url.
        envelope: String,
        /// Whether the value is valid in a header.
        fits_header: bool,
    },
    /// Revoke a token.
    Revoke {
        token: TokenId,
        /// The reason to record.
        reason: TokenEnd,
    },
    /// Record that the wrapped keys of a revoked token were erased.
    NoteShredded { token: TokenId },
}

/// Why a command about a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The team has no such token in this environment, or it was revoked.
    #[error("Token not found or already revoked")]
    NoSuchToken,
    /// The team has as many tokens as its plan allows.
    #[error("The plan {plan} allows {limit} vault tokens; revoke one or change the plan")]
    TooMany {
        /// Name of the plan.
        plan: String,
        /// Tokens that the plan allows.
        limit: u32,
    },
    /// Another rotation to this version or a later one was stored first.
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

    /// Whether tasks may refer to the token at the time `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.has_expired(now)
    }

    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl Team {
    /// A token that tasks of that environment may refer to at the time `now`.
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

    /// Tokens that tasks of that environment may refer to at the time `now`, oldest first.
    #[must_use]
    pub fn tokens_by_age(&self, environment: Environment, now: Timestamp) -> Vec<Arc<Token>> {
        let usable = |token: &&Arc<Token>| token.environment == environment && token.is_active(now);
        let mut tokens: Vec<_> = self.tokens.values().filter(usable).cloned().collect();
        tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        tokens
    }

    /// Active tokens of both environments, which the plan limits together.
    #[must_use]
    pub fn counted_tokens(&self, now: Timestamp) -> usize {
        let tokens = self.tokens.values();
        tokens.filter(|token| token.is_active(now)).count()
    }

    pub(super) fn evolve_token(&mut self, event: &ControlEvent) {
        match event {
            // Applied again, the event changes nothing: a revoked token stays revoked.
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

    /// Deleting the team ends its tokens.
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
            // An expired token can only be cleaned up by the janitor.
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

/// An active token that the caller may change.
fn active<'a>(deciding: &Deciding<'a>, id: &TokenId) -> Result<&'a Token, TeamRefusal> {
    let token = known(deciding, id)?;
    if token.has_expired(deciding.now) {
        return Err(TokenRefusal::NoSuchToken.into());
    }
    Ok(token)
}

/// A token that the caller may change and that is not revoked. One of the other environment is
/// reported as missing.
fn known<'a>(deciding: &Deciding<'a>, id: &TokenId) -> Result<&'a Token, TeamRefusal> {
    let token = deciding.team.tokens.get(id);
    let token = token.filter(|token| token.revoked.is_none());
    let token = token.ok_or(TokenRefusal::NoSuchToken)?;
    match may_write(deciding, token.environment) {
        Err(TeamRefusal::BeyondCaller { .. }) => Err(TokenRefusal::NoSuchToken.into()),
        other => other.map(|()| &**token),
    }
}

/// Whether the caller may change tokens of that environment.
fn may_write(deciding: &Deciding<'_>, environment: Environment) -> Result<(), TeamRefusal> {
    deciding.needs_scope_in(Scope::TokensWrite, environment)
}

/// Both environments share the plan's limit.
fn has_room(deciding: &Deciding<'_>) -> Result<(), TeamRefusal> {
    let limit = deciding.plan.max_tokens.unwrap_or(MAX_TOKENS);
    if deciding.team.counted_tokens(deciding.now) >= limit as usize {
        let plan = deciding.info.plan.clone();
        return Err(TokenRefusal::TooMany { plan, limit }.into());
    }
    Ok(())
}

/// Checks header names, and returns them in lower case without duplicates.
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
