//! A session: one person, signed in on one device, kept alive by refresh tokens of which each is good once.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::proof::Proof;
use crate::actor::Actor;
use crate::event::{ControlEvent, SessionEnd, SessionEnded, SessionRefreshed, SessionStarted};
use crate::time::Timestamp;

/// A session as its latest events tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Set once it began.
    pub started: Option<SessionStarted>,
    /// Void from then on unless it is refreshed.
    pub idle_until: Timestamp,
    /// When it was last begun or refreshed.
    pub used_at: Timestamp,
    /// Set once it was ended.
    pub ended: Option<SessionEnd>,
    refresh: Option<Successor>,
}

/// What is stored of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// HMAC-SHA-256, in hex.
    pub mac: String,
    /// Which pepper made it.
    pub pepper_version: u32,
}

impl Successor {
    fn is(&self, proof: &Proof) -> bool {
        proof.is_of(&self.mac, self.pepper_version)
    }
}

/// A refresh token that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Used {
    stored: Successor,
    at: Timestamp,
}

/// What may be wanted of a session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// Begin.
    Start(Box<SessionStarted>),
    /// Use a refresh token, and have another one.
    Refresh {
        /// The token presented.
        proof: Proof,
        /// What follows on it, under each pepper that is known: derived from it, so that it is the same whoever derives it. The
        /// first one is stored.
        successors: Vec<Successor>,
        /// For so long after its use the same token gets the same successor: two tabs of a browser refresh at once, and an answer
        /// gets lost. Later, somebody has a copy.
        grace: Duration,
        /// Void from then on unless it is refreshed again.
        idle_until: Timestamp,
    },
    /// End it. Ending twice is fine and changes nothing.
    End {
        /// Why.
        reason: SessionEnd,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchSession,
    /// It exists already.
    #[error("the session exists already")]
    AlreadyStarted,
    /// It ended, or its time is over.
    #[error("the session is over")]
    Over,
    /// The token never was one of this session's.
    #[error("the refresh token is none of this session's")]
    TokenRefused,
}

impl Session {
    /// Whose it is, while it lasts.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Option<&SessionStarted> {
        let started = self.started.as_ref()?;
        let lasts = self.ended.is_none() && now < self.idle_until && now < started.expires_at;
        lasts.then_some(started)
    }

    /// Whether that is the refresh token that it waits for, as far as is known here.
    #[must_use]
    pub fn expects(&self, proof: &Proof) -> bool {
        self.refresh.as_ref().is_some_and(|stored| stored.is(proof))
    }

    /// Whether it is over for good, so that nothing of it need be remembered: not even that it ended.
    #[must_use]
    pub fn is_history(&self, now: Timestamp) -> bool {
        self.started
            .as_ref()
            .is_some_and(|started| now >= started.expires_at)
    }
}

impl Session {
    /// Takes in what happened. The state is the same from the latest event of each type as from all of them.
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

/// A session with all refresh tokens that it ever had: the family. Commands are decided from the whole log, which remembers those
/// that were used; gateways keep only the [`Session`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFamily {
    /// The session.
    pub session: Session,
    used: Vec<Used>,
}

impl SessionFamily {
    /// What followed on that token when it was used.
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
                // One that was used before: either its thief uses it now or did so then, and nobody can tell which.
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
