//! OAuth applications of a team: their state and their commands.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::access::redirect::RedirectUri;
use crate::access::role::Role;
use crate::access::scope::{Scope, ScopeSet};
use crate::event::{AppChanged, AppCreated, AppRemoved, AppSecretRotated, ControlEvent};
use crate::id::{AppId, Environment};
use crate::time::Timestamp;

use super::decide::{Deciding, Decision, valid_name};
use super::{Team, TeamRefusal};

/// Limit of applications per team.
pub const MAX_APPS: usize = 50;
/// Limit of redirect URIs per application.
pub const MAX_REDIRECTS: usize = 10;

/// An OAuth application, built from its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The application as it was registered.
    pub created: AppCreated,
    /// Name shown to people.
    pub name: String,
    /// Registered redirect URIs.
    pub redirect_uris: Vec<String>,
    /// The widest scopes that the application can be granted.
    pub scopes: ScopeSet,
    /// The MAC of its secret; `None` for a public client.
    pub secret: Option<SecretMac>,
    /// When its description or secret last changed.
    pub changed_at: Timestamp,
    /// When the application was removed.
    pub removed: Option<Timestamp>,
}

/// The stored MAC of a client secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMac {
    /// HMAC-SHA-256, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
}

/// An application to register.
#[derive(Debug, Clone)]
pub struct AppDraft {
    pub id: AppId,
    /// Name shown to people.
    pub name: String,
    /// Environment of its tokens.
    pub environment: Environment,
    /// Redirect URIs. Empty: the application acts for itself only.
    pub redirect_uris: Vec<String>,
    /// The widest scopes that the application can be granted.
    pub scopes: ScopeSet,
    /// The MAC of its secret; `None` for a public client, which could not keep a secret.
    pub secret: Option<SecretMac>,
}

/// Changes to an application; `None` leaves a value as it is.
#[derive(Debug, Clone, Default)]
pub struct AppChange {
    /// Name shown to people.
    pub name: Option<String>,
    /// Redirect URIs, which replace the registered ones.
    pub redirect_uris: Option<Vec<String>>,
    /// The widest scopes that the application can be granted.
    pub scopes: Option<ScopeSet>,
}

/// Commands about the applications of a team.
#[derive(Debug, Clone)]
pub enum AppCommand {
    /// Register an application.
    Create(Box<AppDraft>),
    /// Change the description of an application.
    Change { app: AppId, change: AppChange },
    /// Replace the secret of an application; the previous one is void at once.
    RotateSecret {
        app: AppId,
        /// The MAC of the new secret.
        secret: SecretMac,
    },
    /// Remove an application and everything that it was granted. Idempotent.
    Remove { app: AppId },
}

/// Why a command about an application is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppRefusal {
    /// The team has no such application, or it was removed.
    #[error("Application not found")]
    NoSuchApp,
    /// The team has reached the limit.
    #[error("A team may have {MAX_APPS} applications; remove one first")]
    TooMany,
    /// A public client has no secret to rotate.
    #[error("A public application has no secret")]
    NoSecret,
}

impl App {
    pub(super) fn new(created: AppCreated) -> Self {
        Self {
            name: created.name.clone(),
            redirect_uris: created.redirect_uris.clone(),
            scopes: created.scopes.iter().copied().collect(),
            secret: created.secret_mac.clone().map(|mac| SecretMac {
                mac,
                pepper_version: created.pepper_version,
            }),
            changed_at: created.at,
            removed: None,
            created,
        }
    }

    pub(super) fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::AppChanged(e) => {
                self.name.clone_from(&e.name);
                self.redirect_uris.clone_from(&e.redirect_uris);
                self.scopes = e.scopes.iter().copied().collect();
                self.changed_at = e.at;
            }
            ControlEvent::AppSecretRotated(e) => {
                self.secret = Some(SecretMac {
                    mac: e.secret_mac.clone(),
                    pepper_version: e.pepper_version,
                });
                self.changed_at = e.at;
            }
            ControlEvent::AppRemoved(e) => self.removed = Some(e.at),
            _ => {}
        }
    }

    /// Whether the application has a secret, so that it can authenticate and act for itself.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.secret.is_some()
    }

    /// The registered redirect URI that a requested one matches, if any.
    #[must_use]
    pub fn redirect(&self, asked: &str) -> Option<RedirectUri> {
        let asked = RedirectUri::parse(asked).ok()?;
        let mut registered = self
            .redirect_uris
            .iter()
            .filter_map(|uri| RedirectUri::parse(uri).ok());
        registered
            .any(|registered| asked.is(&registered))
            .then_some(asked)
    }

    /// The widest scopes that the application can have on behalf of a person with that role.
    #[must_use]
    pub fn scopes_for(&self, role: Role) -> ScopeSet {
        self.scopes.intersection(role.scopes())
    }

    /// The widest scopes that the application can have for itself: not those that read a team's
    /// people and keys, which are reserved for people.
    #[must_use]
    pub fn own_scopes(&self) -> ScopeSet {
        self.scopes.intersection(without_a_person())
    }
}

/// Scopes that an application can be registered for. The right to make keys is never among them,
/// since a key would outlive the grant.
#[must_use]
pub fn registrable() -> ScopeSet {
    without(&[Scope::KeysWrite])
}

fn without_a_person() -> ScopeSet {
    without(&[Scope::KeysWrite, Scope::KeysRead, Scope::ActivityRead])
}

fn without(left_out: &[Scope]) -> ScopeSet {
    ScopeSet::all()
        .iter()
        .filter(|scope| !left_out.contains(scope))
        .collect()
}

impl Team {
    /// An application that is not removed.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id).filter(|app| app.removed.is_none())
    }

    /// Applications that are not removed, oldest first.
    #[must_use]
    pub fn apps_by_age(&self) -> Vec<Arc<App>> {
        let there = |app: &&Arc<App>| app.removed.is_none();
        self.apps.values().filter(there).cloned().collect()
    }

    pub(super) fn evolve_app(&mut self, event: &ControlEvent) {
        let id = match event {
            // Applied again, the event changes nothing: a removed application stays removed.
            ControlEvent::AppCreated(e) => {
                self.apps
                    .entry(e.app.clone())
                    .or_insert_with(|| Arc::new(App::new(e.clone())));
                return;
            }
            ControlEvent::AppChanged(e) => &e.app,
            ControlEvent::AppSecretRotated(e) => &e.app,
            ControlEvent::AppRemoved(e) => &e.app,
            _ => return,
        };
        if let Some(app) = self.apps.get_mut(id) {
            Arc::make_mut(app).evolve(event);
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: AppCommand) -> Decision {
    deciding.needs_role(Role::Admin)?;
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    let find = |id: &AppId| deciding.team.app(id).ok_or(AppRefusal::NoSuchApp);
    match command {
        AppCommand::Create(draft) => {
            deciding.needs_api_access()?;
            if deciding.team.apps_by_age().len() >= MAX_APPS {
                return Err(AppRefusal::TooMany.into());
            }
            if deciding.team.apps.contains_key(&draft.id) {
                return Err(TeamRefusal::AlreadyExists);
            }
            valid_redirects(&draft.redirect_uris)?;
            valid_scopes(draft.scopes)?;
            if draft.secret.is_none() && draft.redirect_uris.is_empty() {
                let message = "redirectUris must not be empty for a public application";
                return Err(TeamRefusal::invalid("redirectUris", message));
            }
            let pepper_version = draft.secret.as_ref().map_or(0, |s| s.pepper_version);
            Ok(vec![ControlEvent::AppCreated(AppCreated {
                app: draft.id,
                team,
                name: valid_name(&draft.name)?,
                environment: draft.environment,
                redirect_uris: draft.redirect_uris,
                scopes: draft.scopes.iter().collect(),
                secret_mac: draft.secret.map(|secret| secret.mac),
                pepper_version,
                created_by: deciding.by.to_string(),
                at,
            })])
        }
        AppCommand::Change { app, change } => {
            let found = find(&app)?;
            let name = change.name.map(|name| valid_name(&name)).transpose()?;
            let name = name.unwrap_or_else(|| found.name.clone());
            let redirect_uris = change
                .redirect_uris
                .unwrap_or_else(|| found.redirect_uris.clone());
            let scopes = change.scopes.unwrap_or(found.scopes);
            valid_redirects(&redirect_uris)?;
            valid_scopes(scopes)?;
            if !found.is_confidential() && redirect_uris.is_empty() {
                let message = "redirectUris must not be empty for a public application";
                return Err(TeamRefusal::invalid("redirectUris", message));
            }
            let is_so = (&name, &redirect_uris, scopes)
                == (&found.name, &found.redirect_uris, found.scopes);
            if is_so {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::AppChanged(AppChanged {
                app,
                team,
                name,
                redirect_uris,
                scopes: scopes.iter().collect(),
                at,
            })])
        }
        AppCommand::RotateSecret { app, secret } => {
            if !find(&app)?.is_confidential() {
                return Err(AppRefusal::NoSecret.into());
            }
            Ok(vec![ControlEvent::AppSecretRotated(AppSecretRotated {
                app,
                team,
                secret_mac: secret.mac,
                pepper_version: secret.pepper_version,
                at,
            })])
        }
        AppCommand::Remove { app } => {
            let known = deciding.team.apps.get(&app);
            if known.ok_or(AppRefusal::NoSuchApp)?.removed.is_some() {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::AppRemoved(AppRemoved { app, team, at })])
        }
    }
}

fn valid_scopes(scopes: ScopeSet) -> Result<(), TeamRefusal> {
    if scopes.is_empty() {
        return Err(TeamRefusal::invalid("scopes", "scopes must not be empty"));
    }
    match scopes.first_outside(registrable()) {
        Some(scope) => Err(TeamRefusal::invalid(
            "scopes",
            format!("scopes: no application can be given {scope}"),
        )),
        None => Ok(()),
    }
}

fn valid_redirects(uris: &[String]) -> Result<(), TeamRefusal> {
    let invalid = |message: String| Err(TeamRefusal::invalid("redirectUris", message));
    if uris.len() > MAX_REDIRECTS {
        return invalid(format!(
            "redirectUris must hold at most {MAX_REDIRECTS} URIs, not {}",
            uris.len()
        ));
    }
    for (at, uri) in uris.iter().enumerate() {
        if let Err(why) = RedirectUri::parse(uri) {
            let shown: String = uri.chars().take(100).collect();
            return invalid(format!("redirectUris[{at}] {why}; it is {shown:?}"));
        }
    }
    Ok(())
}
