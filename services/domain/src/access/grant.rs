//! A grant: what a person gave to an OAuth application, or what an application holds for itself,
//! with every token that stems from it.
//!
//! A code can be used once and for a minute, a refresh token once. If either is presented a second
//! time, somebody has copied it, and the grant ends. A grant has one valid access token at a time:
//! refreshing replaces it.

pub mod device;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::pkce::Challenge;
use crate::access::proof::Proof;
use crate::access::scope::ScopeSet;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, GrantAsked, GrantEnd, GrantGiven, GrantRedeemed, GrantRefreshed, GrantRevoked,
    GrantTokenRevoked,
};
use crate::id::{AppId, TeamId, UserId};
use crate::time::Timestamp;

/// Lifetime of an authorization code.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Lifetime of an access token.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// A grant ends after this long without a refresh.
pub const GRANT_IDLE: Duration = Duration::from_secs(30 * 86_400);
/// Longest lifetime of a grant.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(180 * 86_400);

/// A grant, built from the latest event of each type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// `None` until the grant is given.
    pub given: Option<Box<GrantGiven>>,
    /// The current access token; it may have expired.
    pub token: Option<AccessToken>,
    /// When the grant was last redeemed or refreshed.
    pub used_at: Option<Timestamp>,
    /// When the grant ends unless it is refreshed. `None` while the code is not redeemed, or if
    /// there is no code.
    pub idle_until: Option<Timestamp>,
    /// Why the grant ended; `None` while it lasts.
    pub revoked: Option<GrantEnd>,
    /// What a device asked for, if it began so.
    pub asked: Option<Box<GrantAsked>>,
    refresh: Option<Stored>,
}

/// An access token of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// MAC of the token.
    pub stored: Stored,
    /// Scopes of the token, limited further by those of the grant.
    pub scopes: ScopeSet,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// The stored MAC of a secret of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// HMAC-SHA-256, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
}

/// MACs of a new access token and a new refresh token.
#[derive(Debug, Clone)]
pub struct FreshTokens {
    /// HMAC-SHA-256 of the access token, in hex.
    pub token_mac: String,
    /// HMAC-SHA-256 of the refresh token, in hex.
    pub refresh_mac: String,
    /// Version of the pepper under which both were made.
    pub pepper_version: u32,
}

/// Commands to a grant.
#[derive(Debug, Clone)]
pub enum GrantCommand {
    /// Create the grant.
    Give(Box<GrantGiven>),
    /// Exchange the code for tokens.
    Redeem {
        /// The client that presents the code.
        app: AppId,
        /// The presented code.
        code: Proof,
        /// Challenge computed from the presented verifier.
        challenge: Challenge,
        /// The redirect URI that the client names; `None` if it names none.
        redirect_uri: Option<String>,
        /// Tokens to issue.
        tokens: FreshTokens,
    },
    /// Exchange a refresh token for new tokens.
    Refresh {
        /// The client that presents the token.
        app: AppId,
        /// The presented refresh token.
        refresh: Proof,
        /// Narrower scopes for the access token; `None` keeps those of the grant.
        scopes: Option<ScopeSet>,
        /// Tokens to issue, one pair under each known pepper. They are derived from the presented
        /// token, so every gateway derives the same. The first pair is stored.
        tokens: Vec<FreshTokens>,
        /// Within this time after its first use, the same refresh token yields the same tokens: an
        /// answer may have been lost. Later, the token counts as copied.
        grace: Duration,
    },
    /// Revoke one access token, on behalf of the application that holds it.
    ReturnToken {
        /// The client that presents the token.
        app: AppId,
        /// The presented access token.
        token: Proof,
    },
    /// Revoke the whole grant by one of its refresh tokens, used or not.
    Return {
        /// The client that presents the token.
        app: AppId,
        /// The presented refresh token.
        refresh: Proof,
    },
    /// End the grant, on behalf of the person who gave it. Idempotent.
    Revoke {
        /// The reason to record.
        reason: GrantEnd,
    },
    /// Ask for the grant on a device, for a person who decides elsewhere.
    Ask(Box<GrantAsked>),
    /// Give what a device asked for, on behalf of the person who decides.
    Approve {
        user: UserId,
        /// The team that the application may act in.
        team: TeamId,
        /// Of what it asked for, as much as the person may give.
        scopes: ScopeSet,
    },
    /// Refuse what a device asked for, on behalf of the person who decides.
    Deny,
    /// Exchange the code of a device for tokens, once somebody has approved.
    RedeemDevice {
        /// The client that presents the code.
        app: AppId,
        /// The presented code.
        code: Proof,
        /// Tokens to issue.
        tokens: FreshTokens,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    #[error("there is no such grant")]
    NoSuchGrant,
    #[error("the grant exists already")]
    AlreadyGiven,
    /// The grant ended or expired.
    #[error("the grant is over")]
    Over,
    /// The code or token belongs to another client or another grant.
    #[error("the code or token is not this client's")]
    NotYours,
    /// The verifier does not match the challenge of the authorization request.
    #[error("code_verifier does not match")]
    WrongVerifier,
    /// The redirect URI differs from the one that the code was sent to.
    #[error("redirect_uri is not the one that the code was sent to")]
    WrongRedirect,
    /// A refresh may only narrow the scopes.
    #[error("the grant does not include these scopes")]
    WiderThanGrant,
    /// Nobody has decided yet.
    #[error("nobody has decided yet")]
    Undecided,
    /// A person refused.
    #[error("somebody refused")]
    Denied,
    /// Nobody decided in time, or the device did not ask again in time.
    #[error("the device code has expired")]
    Expired,
}

impl Grant {
    /// What was given, while the grant can still be used.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Option<&GrantGiven> {
        let given = self.given.as_deref()?;
        (self.revoked.is_none() && self.lasts_until().is_some_and(|end| now < end)).then_some(given)
    }

    /// The access token, while it is valid.
    #[must_use]
    pub fn live_token(&self, now: Timestamp) -> Option<(&GrantGiven, &AccessToken)> {
        let given = self.live(now)?;
        let token = self.token.as_ref().filter(|token| now < token.expires_at)?;
        Some((given, token))
    }

    /// Whether the presented token is the current refresh token.
    #[must_use]
    pub fn refreshes_with(&self, proof: &Proof) -> bool {
        self.refresh.as_ref().is_some_and(|own| own.is(proof))
    }

    /// Scopes of the grant.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.given
            .as_ref()
            .map(|given| given.scopes.iter().copied().collect())
            .unwrap_or_default()
    }

    /// When the grant ends: with the time to decide about it, with its code, with its idle time, or with its only token.
    #[must_use]
    pub fn lasts_until(&self) -> Option<Timestamp> {
        let Some(given) = self.given.as_ref() else {
            return self.asked.as_ref().map(|asked| asked.expires_at);
        };
        let end = self
            .idle_until
            .or(given.code_expires_at)
            .or(given.token_expires_at);
        Some(end.unwrap_or(given.at).min(given.expires_at))
    }

    /// When the code or access token that was handed out last expires.
    #[must_use]
    pub fn tokens_until(&self) -> Option<Timestamp> {
        let Some(given) = self.given.as_ref() else {
            return self.asked.as_ref().map(|asked| asked.expires_at);
        };
        let token = self.token.as_ref().map(|token| token.expires_at);
        token.max(given.code_expires_at).max(given.token_expires_at)
    }

    /// Whether these are the current tokens.
    #[must_use]
    pub fn holds(&self, tokens: &FreshTokens) -> bool {
        let is = |stored: &Stored, mac: &str| {
            stored.mac == mac && stored.pepper_version == tokens.pepper_version
        };
        let access = self.token.as_ref();
        access.is_some_and(|token| is(&token.stored, &tokens.token_mac))
            && self
                .refresh
                .as_ref()
                .is_some_and(|stored| is(stored, &tokens.refresh_mac))
    }

    /// Applies an event. The latest event of each type gives the same state as all events.
    pub fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::GrantGiven(e) if self.given.is_none() => {
                self.token = e.token_mac.clone().map(|mac| AccessToken {
                    stored: Stored {
                        mac,
                        pepper_version: e.pepper_version,
                    },
                    scopes: e.scopes.iter().copied().collect(),
                    expires_at: e.token_expires_at.unwrap_or(e.at),
                });
                self.given = Some(e.clone());
            }
            ControlEvent::GrantAsked(e) => {
                self.asked.get_or_insert_with(|| e.clone());
            }
            ControlEvent::GrantRedeemed(e) => {
                self.token = Some(AccessToken {
                    stored: Stored {
                        mac: e.token_mac.clone(),
                        pepper_version: e.pepper_version,
                    },
                    scopes: self.scopes(),
                    expires_at: e.token_expires_at,
                });
                self.refreshed(&e.refresh_mac, e.pepper_version, e.idle_until, e.at);
            }
            ControlEvent::GrantRefreshed(e) => {
                self.token = Some(AccessToken {
                    stored: Stored {
                        mac: e.token_mac.clone(),
                        pepper_version: e.pepper_version,
                    },
                    scopes: e.scopes.iter().copied().collect(),
                    expires_at: e.token_expires_at,
                });
                self.refreshed(&e.refresh_mac, e.pepper_version, e.idle_until, e.at);
            }
            // The event was decided for the token that was current then.
            ControlEvent::GrantTokenRevoked(_) => self.token = None,
            ControlEvent::GrantRevoked(e) => {
                self.revoked.get_or_insert(e.reason);
            }
            _ => {}
        }
    }

    fn refreshed(&mut self, mac: &str, pepper_version: u32, idle_until: Timestamp, at: Timestamp) {
        self.refresh = Some(Stored {
            mac: mac.to_owned(),
            pepper_version,
        });
        self.idle_until = Some(idle_until);
        self.used_at = Some(at);
    }
}

impl Stored {
    /// Compares with the presented token, in constant time.
    #[must_use]
    pub fn is(&self, presented: &Proof) -> bool {
        presented.is_of(&self.mac, self.pepper_version)
    }
}

/// A grant with every refresh token that it ever had. Commands are decided from the whole history,
/// which has the used ones; gateways keep only the [`Grant`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFamily {
    pub grant: Grant,
    used: Vec<Stored>,
}

impl Aggregate for GrantFamily {
    type Command = GrantCommand;
    type Rules = ();
    type Refusal = GrantRefusal;

    fn decide(
        &self,
        command: GrantCommand,
        by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, GrantRefusal> {
        let given = self.grant.given.as_deref().ok_or(GrantRefusal::NoSuchGrant);
        let deciding = |given| Deciding {
            grant: &self.grant,
            used: &self.used,
            given,
            now,
        };
        match command {
            GrantCommand::Give(given) => match self.grant.given {
                Some(_) => Err(GrantRefusal::AlreadyGiven),
                None => Ok(vec![ControlEvent::GrantGiven(given)]),
            },
            GrantCommand::Ask(asked) => device::ask(&self.grant, asked),
            GrantCommand::Approve { user, team, scopes } => {
                device::approve(&self.grant, (by, user), team, scopes, now)
            }
            GrantCommand::Deny => device::deny(&self.grant, by, now),
            GrantCommand::RedeemDevice { app, code, tokens } => {
                device::redeem(&self.grant, (&app, &code), tokens, now)
            }
            GrantCommand::Redeem {
                app,
                code,
                challenge,
                redirect_uri,
                tokens,
            } => deciding(given?).redeem(&app, &code, &challenge, redirect_uri.as_deref(), tokens),
            GrantCommand::Refresh {
                app,
                refresh,
                scopes,
                tokens,
                grace,
            } => deciding(given?).refresh(&app, &refresh, scopes, tokens, grace),
            GrantCommand::ReturnToken { app, token } => deciding(given?).return_token(&app, &token),
            GrantCommand::Return { app, refresh } => deciding(given?).return_all(&app, &refresh),
            GrantCommand::Revoke { reason } => deciding(given?).revoke(by, reason),
        }
    }

    fn evolve(&mut self, event: &ControlEvent) {
        let before = self.grant.refresh.clone();
        self.grant.evolve(event);
        if before != self.grant.refresh {
            self.used.extend(before);
        }
    }
}

type Decision = Result<Vec<ControlEvent>, GrantRefusal>;

struct Deciding<'a> {
    grant: &'a Grant,
    /// Refresh tokens that were used.
    used: &'a [Stored],
    given: &'a GrantGiven,
    now: Timestamp,
}

impl Deciding<'_> {
    fn redeem(
        &self,
        app: &AppId,
        code: &Proof,
        challenge: &Challenge,
        redirect_uri: Option<&str>,
        tokens: FreshTokens,
    ) -> Decision {
        let given = self.given;
        let is_ours = given
            .code_mac
            .as_ref()
            .is_some_and(|mac| code.is_of(mac, given.pepper_version));
        if given.app != *app || !is_ours {
            return Err(GrantRefusal::NotYours);
        }
        if self.grant.revoked.is_some() {
            return Err(GrantRefusal::Over);
        }
        // Presented twice: the thief uses it either now or did so before, and the two cannot be
        // told apart.
        if self.grant.idle_until.is_some() {
            return Ok(self.end(GrantEnd::CodeReused));
        }
        self.grant.live(self.now).ok_or(GrantRefusal::Over)?;
        if !given
            .challenge
            .as_ref()
            .is_some_and(|stored| challenge.is(stored))
        {
            return Err(GrantRefusal::WrongVerifier);
        }
        if redirect_uri.is_some_and(|uri| given.redirect_uri.as_deref() != Some(uri)) {
            return Err(GrantRefusal::WrongRedirect);
        }
        Ok(vec![ControlEvent::GrantRedeemed(GrantRedeemed {
            grant: given.grant.clone(),
            app: given.app.clone(),
            team: given.team.clone(),
            token_mac: tokens.token_mac,
            token_expires_at: self.at_most(TOKEN_LIFETIME),
            refresh_mac: tokens.refresh_mac,
            pepper_version: tokens.pepper_version,
            idle_until: self.at_most(GRANT_IDLE),
            at: self.now,
        })])
    }

    fn refresh(
        &self,
        app: &AppId,
        refresh: &Proof,
        scopes: Option<ScopeSet>,
        tokens: Vec<FreshTokens>,
        grace: Duration,
    ) -> Decision {
        let given = self.given;
        let grant = self.grant;
        if given.app != *app {
            return Err(GrantRefusal::NotYours);
        }
        grant.live(self.now).ok_or(GrantRefusal::Over)?;
        if !grant.refreshes_with(refresh) {
            let used = self.used;
            if !used.iter().any(|used| used.is(refresh)) {
                return Err(GrantRefusal::NotYours);
            }
            // The last token, used a moment ago: either the answer was lost, or two parts of an
            // application refreshed at once.
            let is_last = used.last().is_some_and(|last| last.is(refresh));
            let is_recent = grant.used_at.is_some_and(|at| self.now.since(at) < grace);
            if is_last && is_recent && tokens.iter().any(|tokens| grant.holds(tokens)) {
                return Ok(Vec::new());
            }
            return Ok(self.end(GrantEnd::RefreshReused));
        }
        let tokens = tokens.into_iter().next().ok_or(GrantRefusal::NotYours)?;
        let scopes = scopes.unwrap_or_else(|| grant.scopes());
        if !scopes.is_within(grant.scopes()) {
            return Err(GrantRefusal::WiderThanGrant);
        }
        Ok(vec![ControlEvent::GrantRefreshed(GrantRefreshed {
            grant: given.grant.clone(),
            app: given.app.clone(),
            team: given.team.clone(),
            scopes: scopes.iter().collect(),
            token_mac: tokens.token_mac,
            token_expires_at: self.at_most(TOKEN_LIFETIME),
            refresh_mac: tokens.refresh_mac,
            pepper_version: tokens.pepper_version,
            idle_until: self.at_most(GRANT_IDLE),
            at: self.now,
        })])
    }

    fn return_token(&self, app: &AppId, token: &Proof) -> Decision {
        let given = self.given;
        if given.app != *app {
            return Err(GrantRefusal::NotYours);
        }
        match self.grant.live_token(self.now) {
            Some((_, own)) if own.stored.is(token) => {}
            _ => return Ok(Vec::new()),
        }
        // A grant without a user has no refresh token, so nothing else remains of it.
        if given.user.is_none() {
            return Ok(self.end(GrantEnd::Returned));
        }
        Ok(vec![ControlEvent::GrantTokenRevoked(GrantTokenRevoked {
            grant: given.grant.clone(),
            app: given.app.clone(),
            team: given.team.clone(),
            at: self.now,
        })])
    }

    fn return_all(&self, app: &AppId, refresh: &Proof) -> Decision {
        let is_own =
            self.grant.refreshes_with(refresh) || self.used.iter().any(|used| used.is(refresh));
        if self.given.app != *app || !is_own {
            return Err(GrantRefusal::NotYours);
        }
        Ok(match self.grant.revoked {
            Some(_) => Vec::new(),
            None => self.end(GrantEnd::Returned),
        })
    }

    fn revoke(&self, by: &Actor, reason: GrantEnd) -> Decision {
        let may = match by {
            Actor::User(user) => self.given.user.as_ref() == Some(user),
            Actor::System(_) | Actor::Operator(_) => true,
            Actor::Key(_) | Actor::App(_) => false,
        };
        if !may {
            return Err(GrantRefusal::NotYours);
        }
        Ok(match self.grant.revoked {
            Some(_) => Vec::new(),
            None => self.end(reason),
        })
    }

    fn end(&self, reason: GrantEnd) -> Vec<ControlEvent> {
        vec![ControlEvent::GrantRevoked(GrantRevoked {
            grant: self.given.grant.clone(),
            app: self.given.app.clone(),
            team: self.given.team.clone(),
            reason,
            at: self.now,
        })]
    }

    fn at_most(&self, lifetime: Duration) -> Timestamp {
        self.now.plus(lifetime).min(self.given.expires_at)
    }
}
