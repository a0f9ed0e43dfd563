//! A team with its members, invitations, keys, applications, vault tokens and queues: the state that its
//! commands are decided from, and that gateways keep a copy of.

pub mod app;
mod command;
mod decide;
mod founding;
pub mod jobs_keys;
mod key;
pub mod limits;
pub mod listeners;
pub mod organization;
pub(crate) mod pause;
mod payloads;
pub mod queues;
pub mod targets;
mod task_defaults;
#[cfg(test)]
mod tests;
pub mod vault;
pub mod views;
pub mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use app::App;
pub use command::{INVITATION_LIFETIME, InvitationDraft, KeyDraft, TeamCommand, TeamRefusal};
pub use founding::{Found, MAX_TEAMS_OWNED, Memberships};
pub use key::{Key, KeyStatus, MAX_KEY_QUEUES, MAX_SOURCES};
pub use limits::Limit;
pub use listeners::Listener;
pub use pause::Pause;
pub use queues::Queue;
pub use task_defaults::{OutcomeDefaults, QueueDefaultsChange, TaskDefaults, TaskDefaultsChange};
pub use vault::{Token, VaultPolicy};

use crate::access::Aggregate;
use crate::access::email::EmailHash;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::targets::Target;
use crate::actor::Actor;
use crate::event::{ControlEvent, LeakPolicy, RevocationReason, ViewSaved};
use crate::health::TargetHost;
use crate::id::{
    AppId, Environment, InvitationId, KeyId, LimitKey, ListenerId, QueueName, TeamId, TokenId,
    UserId, ViewId,
};
use crate::signature::Signing;
use crate::time::Timestamp;
use crate::worker::WorkerName;

/// Longest name of a team or key, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Limit of open invitations per team.
pub const MAX_OPEN_INVITATIONS: usize = 100;

/// A team, built from its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Team {
    /// `None` until the team exists.
    pub info: Option<TeamInfo>,
    /// All keys, including ended ones.
    pub keys: BTreeMap<KeyId, Arc<Key>>,
    pub members: BTreeMap<UserId, Member>,
    /// Open invitations: neither accepted nor withdrawn. They may have expired.
    pub invitations: BTreeMap<InvitationId, Invitation>,
    /// All OAuth applications, including removed ones.
    pub apps: BTreeMap<AppId, Arc<App>>,
    /// All vault tokens, including ended ones.
    pub tokens: BTreeMap<TokenId, Arc<Token>>,
    /// Queues that are paused, were until their pause ended by itself, or have limits.
    pub queues: BTreeMap<(Environment, QueueName), Queue>,
    /// Hosts that have a rule, or were opened by somebody.
    pub targets: BTreeMap<(Environment, TargetHost), Target>,
    /// The signing secrets of environments in which they were ever rotated.
    pub signing: BTreeMap<Environment, Signing>,
    /// Limit keys that are paused, were until their pause ended by itself, or are set.
    pub limits: BTreeMap<(Environment, LimitKey), Limit>,
    /// Workers that somebody drains, or did until the drain ended by itself.
    pub draining: BTreeMap<(Environment, WorkerName), Pause>,
    /// Saved views, of the team and of its members.
    pub views: BTreeMap<ViewId, ViewSaved>,
    /// What the jobs API keeps of the team.
    pub organization: organization::Organization,
    /// Who listens to what in the test environment, also with a lease that is over.
    pub listeners: BTreeMap<ListenerId, Listener>,
}

/// Properties of the team itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamInfo {
    pub id: TeamId,
    /// Name shown to people.
    pub name: String,
    pub plan: String,
    /// What happens to a key that is reported as leaked.
    pub leaked_keys: LeakPolicy,
    /// How the credentials of the team are protected.
    pub vault: VaultPolicy,
    /// Defaults for tasks that do not set these options.
    pub tasks: TaskDefaults,
    /// Whether viewers see the bodies and headers of tasks.
    pub viewers_see_payloads: bool,
    pub created_at: Timestamp,
    /// When the team was deleted; `None` while it exists.
    pub deleted: Option<Timestamp>,
}

/// A person's membership in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub role: Role,
    /// When the person joined.
    pub since: Timestamp,
}

/// An open invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Address that the mail was sent to.
    pub email: String,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// Role that the invited person will have.
    pub role: Role,
    /// HMAC of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
    /// When the invitation expires.
    pub expires_at: Timestamp,
    /// When the mail was sent.
    pub sent_at: Timestamp,
}

impl Team {
    /// The number of keys that count against the plan: not revoked, not expired and not yet
    /// replaced by a successor. One that somebody deactivated counts.
    #[must_use]
    pub fn counted_keys(&self, now: Timestamp) -> usize {
        let counts = |key: &&Arc<Key>| {
            key.rotated.is_none()
                && matches!(key.status(now), KeyStatus::Active | KeyStatus::Inactive)
        };
        self.keys.values().filter(counts).count()
    }

    /// Which secrets sign requests to the team's receivers.
    #[must_use]
    pub fn signing_of(&self, environment: Environment) -> Signing {
        self.signing.get(&environment).copied().unwrap_or_default()
    }

    /// All keys, oldest first.
    #[must_use]
    pub fn keys_by_age(&self) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by(|a, b| (a.created.at, &a.created.key).cmp(&(b.created.at, &b.created.key)));
        keys
    }

    /// The role of a person; `None` if they are not a member.
    #[must_use]
    pub fn role_of(&self, user: &UserId) -> Option<Role> {
        self.members.get(user).map(|member| member.role)
    }

    /// Whether the team exists and is not deleted.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.info
            .as_ref()
            .is_some_and(|info| info.deleted.is_none())
    }

    /// Deletes the team: nobody is a member any longer, and none of its credentials is valid.
    fn end(&mut self, at: Timestamp) {
        if let Some(info) = &mut self.info {
            info.deleted.get_or_insert(at);
        }
        self.members.clear();
        self.invitations.clear();
        self.views.clear();
        self.listeners.clear();
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
        self.evolve_organization(event);
        match event {
            ControlEvent::TeamCreated(e) => {
                self.info.get_or_insert_with(|| TeamInfo {
                    id: e.team.clone(),
                    name: e.name.clone(),
                    plan: e.plan.clone(),
                    leaked_keys: LeakPolicy::default(),
                    vault: VaultPolicy::default(),
                    tasks: TaskDefaults::default(),
                    viewers_see_payloads: false,
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
            ControlEvent::TeamPayloadPolicyChanged(e) => {
                if let Some(info) = &mut self.info {
                    info.viewers_see_payloads = e.viewers_see_payloads;
                }
            }
            ControlEvent::TeamTaskDefaultsChanged(e) => {
                if let Some(info) = &mut self.info {
                    info.tasks = TaskDefaults {
                        outcome: OutcomeDefaults {
                            success: e.success.clone(),
                            retry_on: e.retry_on.clone(),
                        },
                        webhook_pauses: e.webhook_pauses.clone(),
                        queues: e.queues.clone(),
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
                self.evolve_view(event);
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
                // Applied again, the event changes nothing: a revoked key stays revoked.
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
                self.evolve_jobs_key(event);
                self.evolve_token(event);
                self.evolve_queue(event);
                self.evolve_target(event);
                self.evolve_limit(event);
                self.evolve_worker(event);
                self.evolve_listener(event);
                self.evolve_view(event);
            }
        }
    }
}
