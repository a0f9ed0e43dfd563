//! The roster: the names of keys, applications, people, teams and invitations over time, and the
//! teams of each person.
//!
//! Names are looked up when activity is read, by the time of the entry. So events of tasks need
//! nothing but the actor that they carry, and both logs can be read in any order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{Environment, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_store::{Batch, Store, View};

use super::{ModelError, ROSTER, decode, encode};

/// Limit of names kept per thing. Older entries are shown with the oldest name kept.
const MAX_NAMES: usize = 50;
/// Limit of teams that are shown what one person does: the first ones that they joined. Each costs
/// a row in the same batch.
pub(super) const MAX_TEAMS: usize = 500;
/// Limit of rows cached between batches.
const MAX_CACHED: usize = 4_096;

/// What is known about a person or thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Its names, each with the time since when it was used.
    names: Vec<(Timestamp, String)>,
    /// Email address of a person.
    email: Option<String>,
    /// Environment of a key, an application or a token.
    environment: Option<Environment>,
    /// Teams of a person.
    teams: Vec<TeamId>,
}

impl Known {
    /// The name at that time.
    pub(super) fn name_at(&self, at: Timestamp) -> Option<&str> {
        let then = self.names.iter().rev().find(|(from, _)| *from <= at);
        let (_, name) = then.or(self.names.first())?;
        Some(name)
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    fn call(&mut self, at: Timestamp, name: &str) {
        if self.names.last().is_some_and(|(_, last)| last == name) {
            return;
        }
        if self.names.len() == MAX_NAMES {
            self.names.remove(0);
        }
        self.names.push((at, name.to_owned()));
    }
}

/// Reads an entry of the roster; `None` if nothing is known.
pub(super) fn known(view: &View<'_>, id: &str) -> Result<Option<Known>, ModelError> {
    let row = view.get(ROSTER, id.as_bytes())?;
    row.map(|row| decode(ROSTER, &row)).transpose()
}

/// The roster as of the last batch.
#[derive(Default)]
pub(super) struct Roster {
    cached: HashMap<String, Known>,
}

impl Roster {
    fn of(&mut self, store: &Store, id: &str) -> Result<&mut Known, ModelError> {
        match self.cached.entry(id.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let row = store.get(ROSTER, id.as_bytes())?;
                let known = row.map(|row| decode(ROSTER, &row)).transpose()?;
                Ok(vacant.insert(known.unwrap_or_default()))
            }
        }
    }

    /// Trims the cache. Call it only between batches: before, cached rows may not be in the store.
    pub(super) fn trim(&mut self) {
        if self.cached.len() > MAX_CACHED {
            self.cached.clear();
        }
    }

    /// The environment of a key or an application.
    pub(super) fn environment(
        &mut self,
        store: &Store,
        id: &str,
    ) -> Result<Option<Environment>, ModelError> {
        Ok(self.of(store, id)?.environment)
    }

    /// The teams of a person.
    pub(super) fn teams(
        &mut self,
        store: &Store,
        user: &UserId,
    ) -> Result<Vec<TeamId>, ModelError> {
        Ok(self.of(store, user.as_str())?.teams.clone())
    }

    /// Applies an event. `at` is when it was stored.
    pub(super) fn evolve(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        event: &ControlEvent,
        at: Timestamp,
    ) -> Result<(), ModelError> {
        match event {
            ControlEvent::TeamCreated(e) => {
                self.change(store, batch, e.team.as_str(), |team| team.call(at, &e.name))
            }
            ControlEvent::TeamRenamed(e) => {
                self.change(store, batch, e.team.as_str(), |team| team.call(at, &e.name))
            }
            ControlEvent::KeyCreated(e) => self.change(store, batch, e.key.as_str(), |key| {
                key.call(at, &e.name);
                key.environment = Some(environment_of(&e.prefix));
            }),
            ControlEvent::AppCreated(e) => self.change(store, batch, e.app.as_str(), |app| {
                app.call(at, &e.name);
                app.environment = Some(e.environment);
            }),
            ControlEvent::AppChanged(e) => {
                self.change(store, batch, e.app.as_str(), |app| app.call(at, &e.name))
            }
            ControlEvent::GrantAsked(e) => self.change(store, batch, e.grant.as_str(), |grant| {
                grant.environment = Some(e.environment);
            }),
            ControlEvent::ViewSaved(e) => {
                self.change(store, batch, e.view.as_str(), |view| view.call(at, &e.name))
            }
            ControlEvent::GrantGiven(e) => self.change(store, batch, e.grant.as_str(), |grant| {
                grant.environment = Some(e.environment);
            }),
            ControlEvent::TokenCreated(e) => self.change(store, batch, e.token.as_str(), |token| {
                token.call(at, &e.name);
                token.environment = Some(e.environment);
            }),
            ControlEvent::InvitationSent(e) => {
                let id = e.invitation.as_str();
                self.change(store, batch, id, |invitation| invitation.call(at, &e.email))
            }
            ControlEvent::UserSignedUp(e) => self.change(store, batch, e.user.as_str(), |user| {
                user.email = Some(e.email.clone());
            }),
            ControlEvent::UserConfirmed(e) => self.change(store, batch, e.user.as_str(), |user| {
                user.email = Some(e.email.clone());
                user.call(at, &e.name);
            }),
            ControlEvent::UserRenamed(e) => {
                self.change(store, batch, e.user.as_str(), |user| user.call(at, &e.name))
            }
            ControlEvent::MemberJoined(e) => self.change(store, batch, e.user.as_str(), |user| {
                if user.teams.len() < MAX_TEAMS && !user.teams.contains(&e.team) {
                    user.teams.push(e.team.clone());
                }
            }),
            ControlEvent::MemberRemoved(e) => self.change(store, batch, e.user.as_str(), |user| {
                user.teams.retain(|team| *team != e.team);
            }),
            _ => Ok(()),
        }
    }

    fn change(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        id: &str,
        change: impl FnOnce(&mut Known),
    ) -> Result<(), ModelError> {
        let known = self.of(store, id)?;
        change(known);
        batch.put(ROSTER, id, encode(known));
        Ok(())
    }
}

/// The environment of a key, decided in the same way as by access control.
fn environment_of(prefix: &str) -> Environment {
    if prefix.ends_with("_test_") {
        Environment::Test
    } else {
        Environment::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shown_with_the_name_of_its_time() {
        let mut known = Known::default();
        assert_eq!(known.name_at(Timestamp(1)), None);
        known.call(Timestamp(10), "first");
        known.call(Timestamp(20), "second");
        known.call(Timestamp(25), "second");
        for (at, name) in [(1, "first"), (10, "first"), (19, "first"), (20, "second")] {
            assert_eq!(known.name_at(Timestamp(at)), Some(name), "{at}");
        }
        assert_eq!(known.names.len(), 2);
    }

    #[test]
    fn names_are_kept_up_to_a_limit() {
        let mut known = Known::default();
        for number in 0..=MAX_NAMES {
            let at = Timestamp(i64::try_from(number).expect("small"));
            known.call(at, &format!("n{number}"));
        }
        assert_eq!(known.names.len(), MAX_NAMES);
        assert_eq!(known.name_at(Timestamp(0)), Some("n1"));
    }
}
