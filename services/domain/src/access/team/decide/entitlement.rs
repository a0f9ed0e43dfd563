//! Checks of the caller's rights and of what the plan includes.

use super::Deciding;
use crate::access::role::Role;
use crate::access::scope::Scope;
use crate::access::team::{Key, KeyStatus, TeamRefusal};
use crate::actor::Actor;
use crate::id::{Environment, KeyId};

impl Deciding<'_> {
    pub(in crate::access::team) fn needs_keys_write(&self) -> Result<(), TeamRefusal> {
        match self.by {
            Actor::Key(id) if self.acting_key(id)?.scopes.contains(Scope::KeysWrite) => Ok(()),
            Actor::Key(_) => Err(TeamRefusal::NotEntitled),
            Actor::User(_) => self.needs_role(Role::Admin).map(drop),
            // Applications cannot create keys: a key would outlive the consent that allowed it.
            Actor::App(_) => Err(TeamRefusal::NotEntitled),
            Actor::System(_) | Actor::Operator(_) => Ok(()),
        }
    }

    pub(in crate::access::team) fn acting_key(&self, id: &KeyId) -> Result<&Key, TeamRefusal> {
        let key = self.team.keys.get(id).ok_or(TeamRefusal::NotEntitled)?;
        if key.status(self.now) == KeyStatus::Active {
            Ok(key)
        } else {
            Err(TeamRefusal::NotEntitled)
        }
    }

    /// The caller's role, if it is at least `least`. An operator of the machine ranks above owners.
    pub(in crate::access::team) fn needs_role(&self, least: Role) -> Result<Role, TeamRefusal> {
        let own = match self.by {
            Actor::User(user) => self.team.role_of(user),
            Actor::System(_) | Actor::Operator(_) => Some(Role::Owner),
            Actor::Key(_) | Actor::App(_) => None,
        };
        own.filter(|role| *role >= least)
            .ok_or(TeamRefusal::NotEntitled)
    }

    /// Whether the caller has that scope in that environment.
    pub(in crate::access::team) fn needs_scope_in(
        &self,
        scope: Scope,
        environment: Environment,
    ) -> Result<(), TeamRefusal> {
        let (scopes, own) = match self.by {
            Actor::Key(id) => {
                let key = self.acting_key(id)?;
                (key.scopes, Some(key.environment()))
            }
            Actor::User(user) => {
                let role = self.team.role_of(user);
                (role.ok_or(TeamRefusal::NotEntitled)?.scopes(), None)
            }
            Actor::App(id) => {
                let app = self.team.app(id).ok_or(TeamRefusal::NotEntitled)?;
                (app.scopes, Some(app.created.environment))
            }
            Actor::System(_) | Actor::Operator(_) => return Ok(()),
        };
        if !scopes.contains(scope) {
            return Err(TeamRefusal::NotEntitled);
        }
        if own.is_some_and(|own| own != environment) {
            return Err(TeamRefusal::BeyondCaller {
                field: "environment",
                message: "environment must be that of the calling credential".into(),
            });
        }
        Ok(())
    }

    pub(in crate::access::team) fn needs_api_access(&self) -> Result<(), TeamRefusal> {
        if self.plan.api_access {
            Ok(())
        } else {
            Err(TeamRefusal::FeatureNotAllowed(self.info.plan.clone()))
        }
    }
}
