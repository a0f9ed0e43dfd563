//! A team with its members, invitations, keys, applications and tokens of the vault: the state that its commands are decided from, and that gateways ask.

pub mod app;
mod command;
mod decide;
mod founding;
mod key;
#[cfg(test)]
mod tests;
pub mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use app::App;
pub use command::{InvitationDraft, KeyDraft, TeamCommand, TeamRefusal};
pub use founding::{Found, MAX_TEAMS_OWNED, Memberships};
pub use key::{Key, KeyStatus, MAX_SOURCES};
pub use vault::{Token, VaultPolicy};

use crate::access::Aggregate;
use crate::access::email::EmailHash;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::actor::Actor;
use crate::event::{ControlEvent, LeakPolicy, RevocationReason};
use crate::id::{AppId, Environment, InvitationId, KeyId, TeamId, TokenId, UserId};
use crate::signature::Signing;
use crate::time::Timestamp;

/// Longest name of a team or key, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Invitations of one team that may be open at a time.
pub const MAX_OPEN_INVITATIONS: usize = 100;

/// A team as its events tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Team {
    /// Set once the team exists.
    pub info: Option<TeamInfo>,
    /// All keys ever made.
    pub keys: BTreeMap<KeyId, Arc<Key>>,
    /// Who belongs to it.
    pub members: BTreeMap<UserId, Member>,
    /// Invitations that are neither accepted nor withdrawn; they may have run out.
    pub invitations: BTreeMap<InvitationId, Invitation>,
    /// All OAuth applications ever registered.
    pub apps: BTreeMap<AppId, Arc<App>>,
    /// All tokens of the vault that there ever were.
    pub tokens: BTreeMap<TokenId, Arc<Token>>,
    /// Which secrets sign, where they were ever rotated.
    pub signing: BTreeMap<Environment, Signing>,
}

/// What is told of a team itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamInfo {
    /// Its id.
    pub id: TeamId,
    /// For people.
    pub name: String,
    /// Name of its plan.
    pub plan: String,
    /// What happens to leaked keys.
    pub leaked_keys: LeakPolicy,
    /// How its credentials are guarded.
    pub vault: VaultPolicy,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Since when it is no more.
    pub deleted: Option<Timestamp>,
}

/// A person in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What they may do.
    pub role: Role,
    /// Since when they belong to it.
    pub since: Timestamp,
}

/// An invitation that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the mail went.
    pub email: String,
    /// Hash of the address.
    pub email_hash: EmailHash,
    /// What they would be.
    pub role: Role,
    /// HMAC of the token, in hex.
    pub mac: String,
    /// Which pepper made it.
    pub pepper_version: u32,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
    /// When it was sent.
    pub sent_at: Timestamp,
}

impl Team {
    /// Keys that can still be used, or could if nothing else were in the way, but for those that have a successor: what a plan counts.
    #[must_use]
    pub fn counted_keys(&self, now: Timestamp) -> usize {
        let counts =
            |key: &&Arc<Key>| key.rotated.is_none() && key.status(now) == KeyStatus::Active;
        self.keys.values().filter(counts).count()
    }

    /// Which secrets sign what is called for it.
    #[must_use]
    pub fn signing_of(&self, environment: Environment) -> Signing {
        self.signing.get(&environment).copied().unwrap_or_default()
    }

    /// Keys, oldest first.
    #[must_use]
    pub fn keys_by_age(&self) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by(|a, b| (a.created.at, &a.created.key).cmp(&(b.created.at, &b.created.key)));
        keys
    }

    /// The role of a person, when they belong to the team.
    #[must_use]
    pub fn role_of(&self, user: &UserId) -> Option<Role> {
        self.members.get(user).map(|member| member.role)
    }

    /// Whether it exists, and still does.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.info
            .as_ref()
            .is_some_and(|info| info.deleted.is_none())
    }

    /// Nobody belongs to it any more, and nothing of it counts.
    fn end(&mut self, at: Timestamp) {
        if let Some(info) = &mut self.info {
            info.deleted.get_or_insert(at);
        }
        self.members.clear();
        self.invitations.clear();
        for key in self.keys.values_mut() {
            let key = Arc::make_mut(key);
            key.revoked
                .get_or_insert((at, RevocationReason::TeamDeleted));
        }
        for app in self.apps.values_mut() {
            Arc::make_mut(app).removed.get_or_insert(at);
        }
        self.end_tokens(at);
    }

    fn change_key(&mut self, id: &KeyId, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.get_mut(id) {
            change(Arc::make_mut(key));
        }
    }
}

impl Aggregate for Team {
    type Command = TeamCommand;
    type Rules = Catalogue;
    type Refusal = TeamRefusal;

    fn decide(
        &self,
        command: TeamCommand,
        by: &Actor,
        rules: &Catalogue,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, TeamRefusal> {
        decide::decide(self, command, by, rules, now)
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::TeamCreated(e) => {
                self.info.get_or_insert_with(|| TeamInfo {
                    id: e.team.clone(),
                    name: e.name.clone(),
                    plan: e.plan.clone(),
                    leaked_keys: LeakPolicy::default(),
                    vault: VaultPolicy::default(),
                    created_at: e.at,
                    deleted: None,
                });
            }
            ControlEvent::TeamRenamed(e) => {
                if let Some(info) = &mut self.info {
                    info.name.clone_from(&e.name);
                }
            }
            ControlEvent::TeamPlanChanged(e) => {
                if let Some(info) = &mut self.info {
                    info.plan.clone_from(&e.plan);
                }
            }
            ControlEvent::TeamLeakPolicyChanged(e) => {
                if let Some(info) = &mut self.info {
                    info.leaked_keys = e.leaked_keys;
                }
            }
            ControlEvent::TeamVaultPolicyChanged(e) => {
                if let Some(info) = &mut self.info {
                    info.vault = VaultPolicy {
                        sealed_headers: e.sealed_headers.clone(),
                        require_allowed_hosts: e.require_allowed_hosts,
                    };
                }
            }
            ControlEvent::TeamSigningSecretRotated(e) => {
                let signing = Signing {
                    current: e.number,
                    former_until: Some(e.former_until),
                };
                self.signing.insert(e.environment, signing);
            }
            ControlEvent::TeamDeleted(e) => self.end(e.at),
            ControlEvent::MemberJoined(e) => {
                let (role, since) = (e.role, e.at);
                self.members.insert(e.user.clone(), Member { role, since });
            }
            ControlEvent::MemberRoleChanged(e) => {
                if let Some(member) = self.members.get_mut(&e.user) {
                    member.role = e.role;
                }
            }
            ControlEvent::MemberRemoved(e) => {
                self.members.remove(&e.user);
            }
            ControlEvent::InvitationSent(e) => {
                let invitation = Invitation {
                    email: e.email.clone(),
                    email_hash: e.email_hash.clone(),
                    role: e.role,
                    mac: e.mac.clone(),
                    pepper_version: e.pepper_version,
                    expires_at: e.expires_at,
                    sent_at: e.at,
                };
                self.invitations.insert(e.invitation.clone(), invitation);
            }
            ControlEvent::InvitationAccepted(e) => {
                self.invitations.remove(&e.invitation);
            }
            ControlEvent::InvitationWithdrawn(e) => {
                self.invitations.remove(&e.invitation);
            }
            ControlEvent::KeyCreated(e) => {
                // Told twice, it changes nothing: what was revoked stays revoked.
                self.keys
                    .entry(e.key.clone())
                    .or_insert_with(|| Arc::new(Key::new(e.clone())));
            }
            ControlEvent::KeyRotated(e) => self.change_key(&e.key, |key| {
                key.rotated = Some((e.successor.clone(), e.accepted_until));
            }),
            ControlEvent::KeyReported(e) => self.change_key(&e.key, |key| {
                key.reported = Some(e.at);
            }),
            ControlEvent::KeyRevoked(e) => self.change_key(&e.key, |key| {
                key.revoked.get_or_insert((e.at, e.reason));
            }),
            _ => {
                self.evolve_app(event);
                self.evolve_token(event);
            }
        }
    }
}
