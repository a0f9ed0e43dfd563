//! Grants that a device asks for, and that a person gives elsewhere (RFC 8628): the device shows a
//! short code, and polls with a long one until somebody has decided.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::grant::{
    CODE_LIFETIME, Deciding, Decision, FreshTokens, GRANT_IDLE, GRANT_LIFETIME, Grant,
    GrantRefusal, TOKEN_LIFETIME,
};
use crate::access::proof::Proof;
use crate::access::scope::ScopeSet;
use crate::actor::Actor;
use crate::event::{ControlEvent, GrantAsked, GrantEnd, GrantGiven, GrantRedeemed, GrantRevoked};
use crate::id::{AppId, TeamId, UserId};
use crate::time::Timestamp;

/// How long a person has to decide.
pub const DEVICE_LIFETIME: Duration = Duration::from_secs(600);
/// How long a device waits between two polls.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Limit of requests of one application that nobody has decided yet.
pub const MAX_ASKED_OF_APP: usize = 50;
/// Limit of requests of all applications that nobody has decided yet.
pub const MAX_ASKED: usize = 1_000;

/// Letters of codes that people type: no vowels, so that they form no words, and none that looks
/// like another (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a code that people type: 20^8, about 34 bits.
const USER_CODE_CHARS: usize = 8;

/// The code that people type, from random or derived bytes, such as `WDJB-MJHT`.
#[must_use]
pub fn user_code(bytes: &[u8; 16]) -> String {
    // 128 bits over 34: the remainder favours no letter noticeably.
    let mut rest = u128::from_be_bytes(*bytes);
    let mut text = String::with_capacity(USER_CODE_CHARS + 1);
    for n in 0..USER_CODE_CHARS {
        if n == USER_CODE_CHARS / 2 {
            text.push('-');
        }
        let at = usize::try_from(rest % 20).unwrap_or_default();
        text.extend(LETTERS.get(at).copied().map(char::from));
        rest /= 20;
    }
    text
}

/// What somebody typed, as [`user_code`] writes it: dashes, spaces and small letters do not matter.
/// `None`: no code looks like that.
#[must_use]
pub fn typed_code(text: &str) -> Option<String> {
    let mut letters = String::with_capacity(USER_CODE_CHARS + 1);
    for c in text.chars().filter(|c| !matches!(c, '-' | ' ' | '_')) {
        let c = c.to_ascii_uppercase();
        if !c.is_ascii() || !LETTERS.contains(&u8::try_from(c).unwrap_or_default()) {
            return None;
        }
        if letters.len() == USER_CODE_CHARS / 2 {
            letters.push('-');
        }
        letters.push(c);
        if letters.len() > USER_CODE_CHARS + 1 {
            return None;
        }
    }
    (letters.len() == USER_CODE_CHARS + 1).then_some(letters)
}

impl Grant {
    /// What was asked for, while a person may still decide.
    #[must_use]
    pub fn pending(&self, now: Timestamp) -> Option<&GrantAsked> {
        let asked = self.asked.as_deref()?;
        let is_open = self.given.is_none() && self.revoked.is_none() && now < asked.expires_at;
        is_open.then_some(asked)
    }
}

pub(super) fn ask(grant: &Grant, asked: Box<GrantAsked>) -> Decision {
    if grant.asked.is_some() || grant.given.is_some() {
        return Err(GrantRefusal::AlreadyGiven);
    }
    Ok(vec![ControlEvent::GrantAsked(asked)])
}

pub(super) fn approve(
    grant: &Grant,
    (by, user): (&Actor, UserId),
    team: TeamId,
    scopes: ScopeSet,
    now: Timestamp,
) -> Decision {
    let asked = grant.pending(now).ok_or(GrantRefusal::Over)?;
    let wanted: ScopeSet = asked.scopes.iter().copied().collect();
    if *by != Actor::User(user.clone()) {
        return Err(GrantRefusal::NotYours);
    }
    if !scopes.is_within(wanted) {
        return Err(GrantRefusal::WiderThanGrant);
    }
    Ok(vec![ControlEvent::GrantGiven(Box::new(GrantGiven {
        grant: asked.grant.clone(),
        app: asked.app.clone(),
        team,
        environment: asked.environment,
        user: Some(user),
        scopes: scopes.iter().collect(),
        code_mac: Some(asked.code_mac.clone()),
        challenge: None,
        redirect_uri: None,
        // Whoever approved at the last moment has not done so in vain.
        code_expires_at: Some(asked.expires_at.max(now.plus(CODE_LIFETIME))),
        token_mac: None,
        token_expires_at: None,
        pepper_version: asked.pepper_version,
        expires_at: now.plus(GRANT_LIFETIME),
        at: now,
    }))])
}

pub(super) fn deny(grant: &Grant, by: &Actor, now: Timestamp) -> Decision {
    let asked = grant.pending(now).ok_or(GrantRefusal::Over)?;
    if !matches!(by, Actor::User(_)) {
        return Err(GrantRefusal::NotYours);
    }
    Ok(vec![ControlEvent::GrantRevoked(GrantRevoked {
        grant: asked.grant.clone(),
        app: asked.app.clone(),
        team: asked.team.clone(),
        reason: GrantEnd::Denied,
        at: now,
    })])
}

/// Exchanges the code of a device for tokens, once somebody has approved.
pub(super) fn redeem(
    grant: &Grant,
    (app, code): (&AppId, &Proof),
    tokens: FreshTokens,
    now: Timestamp,
) -> Decision {
    let asked = grant.asked.as_deref().ok_or(GrantRefusal::NoSuchGrant)?;
    if asked.app != *app || !code.is_of(&asked.code_mac, asked.pepper_version) {
        return Err(GrantRefusal::NotYours);
    }
    if grant.revoked == Some(GrantEnd::Denied) {
        return Err(GrantRefusal::Denied);
    }
    if grant.revoked.is_some() {
        return Err(GrantRefusal::Over);
    }
    let Some(given) = grant.given.as_deref() else {
        return Err(match grant.pending(now) {
            Some(_) => GrantRefusal::Undecided,
            None => GrantRefusal::Expired,
        });
    };
    let deciding = Deciding {
        grant,
        used: &[],
        given,
        now,
    };
    // Presented twice: one of the two has copied it.
    if grant.idle_until.is_some() {
        return Ok(deciding.end(GrantEnd::CodeReused));
    }
    grant.live(now).ok_or(GrantRefusal::Expired)?;
    Ok(vec![ControlEvent::GrantRedeemed(GrantRedeemed {
        grant: given.grant.clone(),
        app: given.app.clone(),
        team: given.team.clone(),
        token_mac: tokens.token_mac,
        token_expires_at: deciding.at_most(TOKEN_LIFETIME),
        refresh_mac: tokens.refresh_mac,
        pepper_version: tokens.pepper_version,
        idle_until: deciding.at_most(GRANT_IDLE),
        at: now,
    })])
}
