//! A grant: what an OAuth application was given once, by a person or by itself, with every token that comes from it.
//!
//! A code is good once and for a minute, a refresh token once; whichever is presented a second time was copied, and ends the grant. One
//! access token of a grant is good at a time: a refreshed one takes the place of the one before.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::pkce::Challenge;
use crate::access::proof::Proof;
use crate::access::scope::ScopeSet;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, GrantEnd, GrantGiven, GrantRedeemed, GrantRefreshed, GrantRevoked,
    GrantTokenRevoked,
};
use crate::id::AppId;
use crate::time::Timestamp;

/// How long a code is good.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long an access token is good.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a grant lasts that is not refreshed.
pub const GRANT_IDLE: Duration = Duration::from_secs(30 * 86_400);
/// How long a grant lasts at most.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(180 * 86_400);

/// A grant as its latest events tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Set once it was given.
    pub given: Option<Box<GrantGiven>>,
    /// The access token that is good, if its time is not over.
    pub token: Option<AccessToken>,
    /// When it was last redeemed or refreshed.
    pub used_at: Option<Timestamp>,
    /// Void from then on unless it is refreshed. `None`: the code was not redeemed, or there is none.
    pub idle_until: Option<Timestamp>,
    /// Set once it was ended.
    pub revoked: Option<GrantEnd>,
    refresh: Option<Stored>,
}

/// An access token of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What it is recognised by.
    pub stored: Stored,
    /// What it may do, as far as the grant goes.
    pub scopes: ScopeSet,
    /// Void from then on.
    pub expires_at: Timestamp,
}

/// What is stored of a secret of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// HMAC-SHA-256, in hex.
    pub mac: String,
    /// Which pepper made it.
    pub pepper_version: u32,
}

/// MACs of two tokens just made.
#[derive(Debug, Clone)]
pub struct FreshTokens {
    /// Of the access token.
    pub token_mac: String,
    /// Of the refresh token.
    pub refresh_mac: String,
    /// Which pepper made them.
    pub pepper_version: u32,
}

/// What may be wanted of a grant.
#[derive(Debug, Clone)]
pub enum GrantCommand {
    /// Give it.
    Give(Box<GrantGiven>),
    /// Exchange the code for tokens.
    Redeem {
        /// Who asks.
        app: AppId,
        /// The code presented.
        code: Proof,
        /// What the verifier presented answers.
        challenge: Challenge,
        /// Where the code was received, if the client says so.
        redirect_uri: Option<String>,
        /// What it gets.
        tokens: FreshTokens,
    },
    /// Use a refresh token, and have another one.
    Refresh {
        /// Who asks.
        app: AppId,
        /// The token presented.
        refresh: Proof,
        /// Fewer scopes for the access token.
        scopes: Option<ScopeSet>,
        /// What it gets, under each pepper that is known: derived from the token presented, so that they are the same whoever
        /// derives them. The first ones are stored.
        tokens: Vec<FreshTokens>,
        /// For so long after its use the same refresh token gets the same tokens. Later, somebody has a copy.
        grace: Duration,
    },
    /// Give back an access token: it is accepted no more, if it still was.
    ReturnToken {
        /// Who asks.
        app: AppId,
        /// The token presented.
        token: Proof,
    },
    /// Give back everything, by a refresh token, used or not.
    Return {
        /// Who asks.
        app: AppId,
        /// The token presented.
        refresh: Proof,
    },
    /// End it, as the person who gave it may. Ending twice is fine and changes nothing.
    Revoke {
        /// Why.
        reason: GrantEnd,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// There is no such grant.
    #[error("there is no such grant")]
    NoSuchGrant,
    /// It exists already.
    #[error("the grant exists already")]
    AlreadyGiven,
    /// It ended, or its time is over.
    #[error("the grant is over")]
    Over,
    /// The code or token is not this client's, or not of this grant.
    #[error("the code or token is not this client's")]
    NotYours,
    /// The verifier is not the one that the code was asked for with.
    #[error("code_verifier does not match")]
    WrongVerifier,
    /// The code was sent elsewhere.
    #[error("redirect_uri is not the one that the code was sent to")]
    WrongRedirect,
    /// A refresh can narrow, never widen.
    #[error("the grant does not include these scopes")]
    WiderThanGrant,
}

impl Grant {
    /// What was given, while anything of it can still be used.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Option<&GrantGiven> {
        let given = self.given.as_deref()?;
        (self.revoked.is_none() && self.lasts_until().is_some_and(|end| now < end)).then_some(given)
    }

    /// Its access token, while it is good.
    #[must_use]
    pub fn live_token(&self, now: Timestamp) -> Option<(&GrantGiven, &AccessToken)> {
        let given = self.live(now)?;
        let token = self.token.as_ref().filter(|token| now < token.expires_at)?;
        Some((given, token))
    }

    /// Whether this is its refresh token.
    #[must_use]
    pub fn refreshes_with(&self, proof: &Proof) -> bool {
        self.refresh.as_ref().is_some_and(|own| own.is(proof))
    }

    /// What an application may do by it.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.given
            .as_ref()
            .map(|given| given.scopes.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Until when anything of it can be used: the code, then what is refreshed; or a token without either.
    #[must_use]
    pub fn lasts_until(&self) -> Option<Timestamp> {
        let given = self.given.as_ref()?;
        let end = self
            .idle_until
            .or(given.code_expires_at)
            .or(given.token_expires_at);
        Some(end.unwrap_or(given.at).min(given.expires_at))
    }

    /// Until when a code or access token that was handed out would be good by itself.
    #[must_use]
    pub fn tokens_until(&self) -> Option<Timestamp> {
        let given = self.given.as_ref()?;
        let token = self.token.as_ref().map(|token| token.expires_at);
        token.max(given.code_expires_at).max(given.token_expires_at)
    }

    /// Whether these are the tokens that are good now.
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

    /// Takes in what happened. The state is the same from the latest event of each type as from all of them.
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
            // Decided of the one that was good then.
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
    /// Whether it is stored of the token that was presented; takes the same time either way.
    #[must_use]
    pub fn is(&self, presented: &Proof) -> bool {
        presented.is_of(&self.mac, self.pepper_version)
    }
}

/// A grant with all refresh tokens that it ever had. Commands are decided from the whole log, which remembers those that were used;
/// gateways keep only the [`Grant`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFamily {
    /// The grant.
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
        if let GrantCommand::Give(given) = command {
            return match self.grant.given {
                Some(_) => Err(GrantRefusal::AlreadyGiven),
                None => Ok(vec![ControlEvent::GrantGiven(given)]),
            };
        }
        let given = self.grant.given.as_deref();
        let deciding = Deciding {
            family: self,
            given: given.ok_or(GrantRefusal::NoSuchGrant)?,
            now,
        };
        match command {
            GrantCommand::Redeem {
                app,
                code,
                challenge,
                redirect_uri,
                tokens,
            } => deciding.redeem(&app, &code, &challenge, redirect_uri.as_deref(), tokens),
            GrantCommand::Refresh {
                app,
                refresh,
                scopes,
                tokens,
                grace,
            } => deciding.refresh(&app, &refresh, scopes, tokens, grace),
            GrantCommand::ReturnToken { app, token } => deciding.return_token(&app, &token),
            GrantCommand::Return { app, refresh } => deciding.return_all(&app, &refresh),
            GrantCommand::Revoke { reason } => deciding.revoke(by, reason),
            GrantCommand::Give(_) => Ok(Vec::new()),
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
    family: &'a GrantFamily,
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
        if self.family.grant.revoked.is_some() {
            return Err(GrantRefusal::Over);
        }
        // Presented twice: either its thief uses it now or did so then, and nobody can tell which.
        if self.family.grant.idle_until.is_some() {
            return Ok(self.end(GrantEnd::CodeReused));
        }
        self.family.grant.live(self.now).ok_or(GrantRefusal::Over)?;
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
        let grant = &self.family.grant;
        if given.app != *app {
            return Err(GrantRefusal::NotYours);
        }
        grant.live(self.now).ok_or(GrantRefusal::Over)?;
        if !grant.refreshes_with(refresh) {
            let used = &self.family.used;
            if !used.iter().any(|used| used.is(refresh)) {
                return Err(GrantRefusal::NotYours);
            }
            // The last one, a moment ago: an answer was lost, or two parts of an application refresh at once.
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
        match self.family.grant.live_token(self.now) {
            Some((_, own)) if own.stored.is(token) => {}
            _ => return Ok(Vec::new()),
        }
        // Nothing else would be left of it.
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
        let family = self.family;
        let is_own =
            family.grant.refreshes_with(refresh) || family.used.iter().any(|used| used.is(refresh));
        if self.given.app != *app || !is_own {
            return Err(GrantRefusal::NotYours);
        }
        Ok(match family.grant.revoked {
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
        Ok(match self.family.grant.revoked {
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
