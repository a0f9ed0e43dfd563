//! A team's keys: the commands that change them, and the state they are decided from.

use std::collections::BTreeMap;

use crate::access::key::{ApiKey, KeyMac};
use crate::access::scope::Scope;
use crate::event::{ControlEvent, KeyCreated, KeyRevoked, TeamCreated};
use crate::id::{KeyId, TeamId};
use crate::time::Timestamp;

/// Longest name of a team or key, in characters.
pub const MAX_NAME_CHARS: usize = 100;

/// A team as its events tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Team {
    /// Set once the team exists.
    pub created: Option<TeamCreated>,
    /// All keys ever made, with the time of their revocation.
    pub keys: BTreeMap<KeyId, (KeyCreated, Option<Timestamp>)>,
}

/// What may be wanted of a team.
#[derive(Debug, Clone)]
pub enum TeamCommand {
    /// Make the team.
    Create {
        /// Its id.
        team: TeamId,
        /// For people.
        name: String,
        /// Name of its plan.
        plan: String,
    },
    /// Make a key.
    CreateKey {
        /// The key, made from fresh entropy.
        key: ApiKey,
        /// Its MAC.
        mac: KeyMac,
        /// The pepper's version.
        pepper_version: u32,
        /// For people.
        name: String,
        /// What it may do.
        scopes: Vec<Scope>,
    },
    /// Accept a key no more. Revoking twice is fine and changes nothing.
    RevokeKey {
        /// Which.
        key: KeyId,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeamRefusal {
    /// There is no such team.
    #[error("Team not found")]
    NoSuchTeam,
    /// The team is there already.
    #[error("Team already exists")]
    AlreadyExists,
    /// No such key in this team.
    #[error("API key not found")]
    NoSuchKey,
    /// A key with this public id exists: make another one.
    #[error("API key id is taken")]
    KeyIdTaken,
    /// The name does not do.
    #[error("{0}")]
    InvalidName(String),
    /// A key that may do nothing.
    #[error("scopes must not be empty")]
    NoScopes,
}

impl Team {
    /// Says yes or no, and what then happens.
    pub fn decide(
        &self,
        command: TeamCommand,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, TeamRefusal> {
        match command {
            TeamCommand::Create { team, name, plan } => {
                if self.created.is_some() {
                    return Err(TeamRefusal::AlreadyExists);
                }
                let name = valid_name(&name)?;
                Ok(vec![ControlEvent::TeamCreated(TeamCreated {
                    team,
                    name,
                    plan,
                    at: now,
                })])
            }
            TeamCommand::CreateKey {
                key,
                mac,
                pepper_version,
                name,
                scopes,
            } => {
                let team = self.existing()?.team.clone();
                let name = valid_name(&name)?;
                if scopes.is_empty() {
                    return Err(TeamRefusal::NoScopes);
                }
                if self.keys.contains_key(key.id()) {
                    return Err(TeamRefusal::KeyIdTaken);
                }
                Ok(vec![ControlEvent::KeyCreated(KeyCreated {
                    key: key.id().clone(),
                    team,
                    name,
                    prefix: key.prefix().into(),
                    last4: key.last4().into(),
                    scopes,
                    mac: mac.to_hex(),
                    pepper_version,
                    at: now,
                })])
            }
            TeamCommand::RevokeKey { key } => {
                let team = self.existing()?.team.clone();
                match self.keys.get(&key) {
                    None => Err(TeamRefusal::NoSuchKey),
                    Some((_, Some(_))) => Ok(vec![]),
                    Some((_, None)) => Ok(vec![ControlEvent::KeyRevoked(KeyRevoked {
                        key,
                        team,
                        at: now,
                    })]),
                }
            }
        }
    }

    /// Takes in what happened.
    pub fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::TeamCreated(e) => self.created = Some(e.clone()),
            ControlEvent::KeyCreated(e) => {
                self.keys.insert(e.key.clone(), (e.clone(), None));
            }
            ControlEvent::KeyRevoked(e) => {
                if let Some((_, revoked @ None)) = self.keys.get_mut(&e.key) {
                    *revoked = Some(e.at);
                }
            }
        }
    }

    fn existing(&self) -> Result<&TeamCreated, TeamRefusal> {
        self.created.as_ref().ok_or(TeamRefusal::NoSuchTeam)
    }
}

/// A name for people: trimmed, neither empty nor long, nothing that could disguise text around it.
fn valid_name(name: &str) -> Result<String, TeamRefusal> {
    let name = name.trim();
    let disguising = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if name.is_empty() {
        return Err(TeamRefusal::InvalidName("name is required".into()));
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(TeamRefusal::InvalidName(format!(
            "name must be at most {MAX_NAME_CHARS} characters, not {}",
            name.chars().count()
        )));
    }
    if name.contains(disguising) {
        return Err(TeamRefusal::InvalidName(
            "name must not contain control or direction-changing characters".into(),
        ));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::key::{ENTROPY_BYTES, Environment};

    const NOW: Timestamp = Timestamp(1_000);

    fn team() -> Team {
        let mut team = Team::default();
        let id = TeamId::new(NOW, 1);
        run(
            &mut team,
            TeamCommand::Create {
                team: id,
                name: "Ours".into(),
                plan: "free".into(),
            },
        )
        .expect("made");
        team
    }

    fn run(team: &mut Team, command: TeamCommand) -> Result<usize, TeamRefusal> {
        let events = team.decide(command, NOW)?;
        for event in &events {
            team.evolve(event);
        }
        Ok(events.len())
    }

    fn create_key(name: &str) -> TeamCommand {
        let key = ApiKey::generate("wb", Environment::Live, &[7; ENTROPY_BYTES]).expect("a key");
        let mac = key.mac(b"pepper", &TeamId::new(NOW, 1));
        TeamCommand::CreateKey {
            key,
            mac,
            pepper_version: 1,
            name: name.into(),
            scopes: vec![Scope::TasksRead],
        }
    }

    #[test]
    fn revoking_twice_is_one_event() {
        let mut team = team();
        assert_eq!(run(&mut team, create_key("ci")), Ok(1));
        let key = team.keys.keys().next().expect("one").clone();
        assert_eq!(
            run(&mut team, TeamCommand::RevokeKey { key: key.clone() }),
            Ok(1)
        );
        assert_eq!(run(&mut team, TeamCommand::RevokeKey { key }), Ok(0));
    }

    #[test]
    fn a_taken_id_and_a_bad_name_are_refused() {
        let mut team = team();
        assert_eq!(run(&mut team, create_key("ci")), Ok(1));
        assert_eq!(
            run(&mut team, create_key("ci")),
            Err(TeamRefusal::KeyIdTaken)
        );
        for name in ["", "  ", "a\u{202e}b", "a\nb", &"n".repeat(101)] {
            assert!(
                matches!(
                    run(&mut team, create_key(name)),
                    Err(TeamRefusal::InvalidName(_))
                ),
                "{name:?}"
            );
        }
    }

    #[test]
    fn nothing_happens_to_a_team_that_is_not_there() {
        let mut team = Team::default();
        assert_eq!(
            run(&mut team, create_key("ci")),
            Err(TeamRefusal::NoSuchTeam)
        );
    }
}
