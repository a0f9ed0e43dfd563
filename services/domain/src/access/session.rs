//! A session: one person, signed in on one device, renewed with refresh tokens that are valid once.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::proof::Proof;
use crate::actor::Actor;
use crate::event::{ControlEvent, SessionEnd, SessionEnded, SessionRefreshed, SessionStarted};
use crate::time::Timestamp;

/// A session, built from the latest event of each type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// `None` until the session starts.
    pub started: Option<SessionStarted>,
    /// When the session ends unless it is refreshed.
    pub idle_until: Timestamp,
    /// When the session was started or last refreshed.
    pub used_at: Timestamp,
    /// Why the session ended; `None` while it lasts.
    pub ended: Option<SessionEnd>,
    refresh: Option<Successor>,
}

/// The stored MAC of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// HMAC-SHA-256, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
}

impl Successor {
    fn is(&self, proof: &Proof) -> bool {
        proof.is_of(&self.mac, self.pepper_version)
    }
}

/// A refresh token that was used, and the one that replaced it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Used {
    stored: Successor,
    at: Timestamp,
}

/// Commands to a session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// Start the session.
    Start(Box<SessionStarted>),
    /// Exchange a refresh token for its successor.
    Refresh {
        /// The presented refresh token.
        proof: Proof,
        /// The next refresh token, once under each known pepper. It is derived from the presented
        /// one, so every gateway derives the same. The first is stored.
        successors: Vec<Successor>,
        /// Within this time after its first use, the same token yields the same successor: two tabs
        /// of a browser may refresh at once, and an answer may get lost. Later, the token counts as
        /// copied.
        grace: Duration,
        /// When the session ends unless it is refreshed again.
        idle_until: Timestamp,
    },
    /// End the session. Idempotent.
    End {
        /// The reason to record.
        reason: SessionEnd,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    #[error("there is no such session")]
    NoSuchSession,
    #[error("the session exists already")]
    AlreadyStarted,
    /// The session ended or expired.
    #[error("the session is over")]
    Over,
    /// The token never belonged to this session.
    #[error("the refresh token is none of this session's")]
    TokenRefused,
}

impl Session {
    /// How the session started, while it lasts.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Option<&SessionStarted> {
        let started = self.started.as_ref()?;
        let lasts = self.ended.is_none() && now < self.idle_until && now < started.expires_at;
        lasts.then_some(started)
    }

    /// Whether the presented token is the current refresh token, as far as this copy knows.
    #[must_use]
    pub fn expects(&self, proof: &Proof) -> bool {
        self.refresh.as_ref().is_some_and(|stored| stored.is(proof))
    }

    /// Whether the current refresh token is one of `successors`, as far as this copy knows: then
    /// the caller presented the token before it.
    #[must_use]
    pub fn waits_for_one_of(&self, successors: &[Successor]) -> bool {
        self.refresh
            .as_ref()
            .is_some_and(|next| successors.contains(next))
    }

    /// Whether the session has expired for good, so that even its end can be forgotten.
    #[must_use]
    pub fn is_history(&self, now: Timestamp) -> bool {
        self.started
            .as_ref()
            .is_some_and(|started| now >= started.expires_at)
    }
}

impl Session {
    /// Applies an event. The latest event of each type gives the same state as all events.
    pub fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::SessionStarted(e) if self.started.is_none() => {
                self.idle_until = e.idle_until;
                self.used_at = e.at;
                self.refresh = Some(Successor {
                    mac: e.refresh_mac.clone(),
                    pepper_version: e.pepper_version,
                });
                self.started = Some(e.clone());
            }
            ControlEvent::SessionRefreshed(e) => {
                self.idle_until = e.idle_until;
                self.used_at = e.at;
                self.refresh = Some(Successor {
                    mac: e.refresh_mac.clone(),
                    pepper_version: e.pepper_version,
                });
            }
            ControlEvent::SessionEnded(e) => self.ended = Some(e.reason),
            _ => {}
        }
    }
}

/// A session with every refresh token that it ever had: the token family. Commands are decided from
/// the whole history, which has the used tokens; gateways keep only the [`Session`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFamily {
    pub session: Session,
    used: Vec<Used>,
}

impl SessionFamily {
    /// The token that replaced the presented one when it was used.
    #[must_use]
    pub fn successor_of(&self, proof: &Proof) -> Option<&Successor> {
        let used = self.used.iter().position(|used| used.stored.is(proof))?;
        let next = self.used.get(used + 1).map(|used| &used.stored);
        next.or(self.session.refresh.as_ref())
    }
}

impl Aggregate for SessionFamily {
    type Command = SessionCommand;
    type Rules = ();
    type Refusal = SessionRefusal;

    fn decide(
        &self,
        command: SessionCommand,
        _by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, SessionRefusal> {
        let session = &self.session;
        if let SessionCommand::Start(started) = command {
            return match session.started {
                Some(_) => Err(SessionRefusal::AlreadyStarted),
                None => Ok(vec![ControlEvent::SessionStarted(*started)]),
            };
        }
        let started = session
            .started
            .as_ref()
            .ok_or(SessionRefusal::NoSuchSession)?;
        let (id, user) = (started.session.clone(), started.user.clone());
        let end = |reason| {
            let (session, user) = (id.clone(), user.clone());
            vec![ControlEvent::SessionEnded(SessionEnded {
                session,
                user,
                reason,
                at: now,
            })]
        };
        match command {
            SessionCommand::Refresh {
                proof,
                successors,
                grace,
                idle_until,
            } => {
                session.live(now).ok_or(SessionRefusal::Over)?;
                if session.expects(&proof) {
                    let next = successors.into_iter().next();
                    let next = next.ok_or(SessionRefusal::TokenRefused)?;
                    return Ok(vec![ControlEvent::SessionRefreshed(SessionRefreshed {
                        session: id,
                        user,
                        refresh_mac: next.mac,
                        pepper_version: next.pepper_version,
                        idle_until: idle_until.min(started.expires_at),
                        at: now,
                    })]);
                }
                let used = self.used.iter().find(|used| used.stored.is(&proof));
                let used = used.ok_or(SessionRefusal::TokenRefused)?;
                let answered = self.successor_of(&proof);
                let again = answered.is_some_and(|answered| successors.contains(answered));
                if again && now.since(used.at) < grace {
                    return Ok(Vec::new());
                }
                // A used token was presented: the thief uses it either now or did so before, and
                // the two cannot be told apart.
                Ok(end(SessionEnd::Reused))
            }
            SessionCommand::End { reason } => Ok(match session.ended {
                Some(_) => Vec::new(),
                None => end(reason),
            }),
            SessionCommand::Start(_) => Ok(Vec::new()),
        }
    }

    fn evolve(&mut self, event: &ControlEvent) {
        let before = self.session.refresh.clone();
        self.session.evolve(event);
        if before != self.session.refresh {
            let at = self.session.used_at;
            self.used.extend(before.map(|stored| Used { stored, at }));
        }
    }
}
