//! The decisions of a team.
//!
//! Whoever acts is checked here once more, from the same events that the append expects to be the last: a key or a member that lost
//! its rights a moment ago changes nothing (design/access.md 2.6, tier W).

use std::time::Duration;

use crate::access::name::is_plain;
use crate::access::plan::{Catalogue, Plan};
use crate::access::role::Role;
use crate::access::scope::{Scope, ScopeSet};
use crate::access::team::vault::TokenCommand;
use crate::access::team::{
    InvitationDraft, Key, KeyDraft, KeyStatus, MAX_NAME_CHARS, MAX_OPEN_INVITATIONS, MAX_SOURCES,
    Team, TeamCommand, TeamInfo, TeamRefusal, VaultPolicy, app, vault,
};
use crate::actor::Actor;
use crate::event::{
    ControlEvent, InvitationAccepted, InvitationSent, InvitationWithdrawn, KeyCreated, KeyReported,
    KeyRevoked, KeyRotated, LeakPolicy, MemberJoined, MemberRemoved, MemberRoleChanged,
    RepeatableRequest, RevocationReason, TeamCreated, TeamDeleted, TeamLeakPolicyChanged,
    TeamPlanChanged, TeamRenamed, TeamSigningSecretRotated, TeamVaultPolicyChanged,
};
use crate::id::{KeyId, TeamId, UserId};
use crate::time::Timestamp;

/// Longest grace of a rotated key.
pub(super) const MAX_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// A key that lies in the open is found again and again; one report a day is noted.
const REPORT_PAUSE: Duration = Duration::from_secs(86_400);

pub(super) type Decision = Result<Vec<ControlEvent>, TeamRefusal>;

pub(super) fn decide(
    team: &Team,
    command: TeamCommand,
    by: &Actor,
    rules: &Catalogue,
    now: Timestamp,
) -> Decision {
    if let TeamCommand::Create {
        team: id,
        name,
        plan,
        owner,
    } = command
    {
        return create(team, id, &name, plan, owner, now);
    }
    let info = team.info.as_ref().ok_or(TeamRefusal::NoSuchTeam)?;
    // All that is left to do for a team that is no more.
    let is_cleaning_up = matches!(
        command,
        TeamCommand::Token(TokenCommand::NoteShredded { .. })
    );
    if info.deleted.is_some() && !is_cleaning_up {
        return Err(TeamRefusal::NoSuchTeam);
    }
    let deciding = Deciding {
        team,
        info,
        plan: rules.plan(&info.plan),
        by,
        now,
    };
    deciding.decide(command, rules)
}

fn create(
    team: &Team,
    id: TeamId,
    name: &str,
    plan: String,
    owner: Option<UserId>,
    at: Timestamp,
) -> Decision {
    if team.info.is_some() {
        return Err(TeamRefusal::AlreadyExists);
    }
    let name = valid_name(name)?;
    let mut events = vec![ControlEvent::TeamCreated(TeamCreated {
        team: id.clone(),
        name,
        plan,
        at,
    })];
    events.extend(owner.map(|user| {
        ControlEvent::MemberJoined(MemberJoined {
            team: id,
            user,
            role: Role::Owner,
            at,
        })
    }));
    Ok(events)
}

pub(super) struct Deciding<'a> {
    pub(super) team: &'a Team,
    pub(super) info: &'a TeamInfo,
    pub(super) plan: &'a Plan,
    pub(super) by: &'a Actor,
    pub(super) now: Timestamp,
}

impl Deciding<'_> {
    fn decide(&self, command: TeamCommand, rules: &Catalogue) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        match command {
            TeamCommand::Create { .. } => Err(TeamRefusal::AlreadyExists),
            TeamCommand::Rename { name } => {
                self.needs_role(Role::Admin)?;
                let name = valid_name(&name)?;
                let renamed = || {
                    ControlEvent::TeamRenamed(TeamRenamed {
                        team: id,
                        name: name.clone(),
                        at,
                    })
                };
                Ok(unless(self.info.name == name, renamed))
            }
            TeamCommand::ChangePlan { plan } => {
                self.needs_role(Role::Owner)?;
                if rules.find(&plan).is_none() {
                    return Err(TeamRefusal::NoSuchPlan(plan));
                }
                let changed = || {
                    ControlEvent::TeamPlanChanged(TeamPlanChanged {
                        team: id,
                        plan: plan.clone(),
                        at,
                    })
                };
                Ok(unless(self.info.plan == plan, changed))
            }
            TeamCommand::ChangeLeakPolicy { leaked_keys } => {
                self.needs_role(Role::Admin)?;
                Ok(unless(self.info.leaked_keys == leaked_keys, || {
                    ControlEvent::TeamLeakPolicyChanged(TeamLeakPolicyChanged {
                        team: id,
                        leaked_keys,
                        at,
                    })
                }))
            }
            TeamCommand::RotateSigningSecret {
                environment,
                overlap,
            } => {
                // Of keys and applications the scope was asked for.
                if matches!(self.by, Actor::User(_)) {
                    self.needs_role(Role::Admin)?;
                }
                let now = self.team.signing_of(environment);
                Ok(vec![ControlEvent::TeamSigningSecretRotated(
                    TeamSigningSecretRotated {
                        team: id,
                        environment,
                        number: now.current.saturating_add(1),
                        former_until: at.plus(overlap),
                        at,
                    },
                )])
            }
            TeamCommand::ChangeVaultPolicy {
                sealed_headers,
                require_allowed_hosts,
            } => {
                self.needs_role(Role::Admin)?;
                let sealed_headers = sealed_headers.as_deref().map(vault::valid_sealed_headers);
                let now = &self.info.vault;
                let wanted = VaultPolicy {
                    sealed_headers: sealed_headers
                        .transpose()?
                        .unwrap_or_else(|| now.sealed_headers.clone()),
                    require_allowed_hosts: require_allowed_hosts
                        .unwrap_or(now.require_allowed_hosts),
                };
                Ok(unless(wanted == *now, || {
                    ControlEvent::TeamVaultPolicyChanged(TeamVaultPolicyChanged {
                        team: id,
                        sealed_headers: wanted.sealed_headers,
                        require_allowed_hosts: wanted.require_allowed_hosts,
                        at,
                    })
                }))
            }
            TeamCommand::Delete => {
                self.needs_role(Role::Owner)?;
                Ok(vec![ControlEvent::TeamDeleted(TeamDeleted {
                    team: id,
                    at,
                })])
            }
            TeamCommand::App(command) => app::decide(self, command),
            TeamCommand::Token(command) => vault::decide(self, command),
            TeamCommand::Invite(draft) => self.invite(*draft),
            TeamCommand::WithdrawInvitation { invitation } => {
                self.needs_role(Role::Admin)?;
                if !self.team.invitations.contains_key(&invitation) {
                    return Err(TeamRefusal::NoSuchInvitation);
                }
                Ok(vec![ControlEvent::InvitationWithdrawn(
                    InvitationWithdrawn {
                        team: id,
                        invitation,
                        at,
                    },
                )])
            }
            TeamCommand::AcceptInvitation {
                invitation,
                user,
                email_hash,
            } => {
                let open = self.team.invitations.get(&invitation);
                let role = open
                    .filter(|open| open.expires_at > at && open.email_hash == email_hash)
                    .map(|open| open.role)
                    .ok_or(TeamRefusal::NoSuchInvitation)?;
                if self.team.members.contains_key(&user) {
                    return Err(TeamRefusal::AlreadyMember);
                }
                self.room_for_members(self.team.members.len())?;
                Ok(vec![
                    ControlEvent::InvitationAccepted(InvitationAccepted {
                        team: id.clone(),
                        invitation,
                        user: user.clone(),
                        at,
                    }),
                    ControlEvent::MemberJoined(MemberJoined {
                        team: id,
                        user,
                        role,
                        at,
                    }),
                ])
            }
            TeamCommand::ChangeRole { user, role } => self.change_role(user, role),
            TeamCommand::RemoveMember { user } => self.remove_member(user),
            TeamCommand::CreateKey {
                draft,
                name,
                scopes,
                expires_at,
                sources,
                request,
            } => {
                // What a bound key makes is bound as well, also when nothing is said of it.
                let sources = self.bound_sources(sources)?;
                self.may_hand_out(scopes, expires_at, &sources, &draft)?;
                self.first_time(request.as_ref())?;
                self.room_for_key()?;
                if scopes.is_empty() {
                    return Err(TeamRefusal::invalid("scopes", "scopes must not be empty"));
                }
                self.valid_expiry(expires_at)?;
                let name = valid_name(&name)?;
                let created = KeyCreated {
                    name,
                    scopes: scopes.iter().collect(),
                    expires_at,
                    sources,
                    request,
                    ..self.created(&draft)?
                };
                Ok(vec![ControlEvent::KeyCreated(created)])
            }
            TeamCommand::RotateKey {
                key,
                draft,
                overlap,
            } => self.rotate(key, &draft, overlap),
            TeamCommand::RevokeKey { key, reason } => {
                // Whoever holds a key may end it, whatever it may do otherwise.
                let own =
                    reason == RevocationReason::ByHolder && *self.by == Actor::Key(key.clone());
                if !own {
                    self.needs_keys_write()?;
                }
                let found = self.key_in_reach(&key)?;
                Ok(unless(found.revoked.is_some(), || {
                    ControlEvent::KeyRevoked(KeyRevoked {
                        key,
                        team: id,
                        reason,
                        at,
                    })
                }))
            }
            TeamCommand::ReportKey {
                key,
                reporter,
                source,
                url,
            } => {
                let found = self.team.keys.get(&key).ok_or(TeamRefusal::NoSuchKey)?;
                if found.revoked.is_some() {
                    return Ok(Vec::new());
                }
                let is_told = |earlier: Timestamp| at < earlier.plus(REPORT_PAUSE);
                let mut events = unless(found.reported.is_some_and(is_told), || {
                    ControlEvent::KeyReported(KeyReported {
                        key: key.clone(),
                        team: id.clone(),
                        reporter,
                        source,
                        url,
                        at,
                    })
                });
                if self.info.leaked_keys == LeakPolicy::Revoke {
                    events.push(ControlEvent::KeyRevoked(KeyRevoked {
                        key,
                        team: id,
                        reason: RevocationReason::Leaked,
                        at,
                    }));
                }
                Ok(events)
            }
        }
    }

    fn invite(&self, draft: InvitationDraft) -> Decision {
        let own = self.needs_role(Role::Admin)?;
        if draft.role > own {
            return Err(TeamRefusal::NotEntitled);
        }
        let open = |invitation: &&super::Invitation| invitation.expires_at > self.now;
        let count = self.team.invitations.values().filter(open).count();
        let earlier = self
            .team
            .invitations
            .iter()
            .find(|(_, invitation)| invitation.email_hash == draft.email_hash);
        // A second invitation to the same address takes the place of the first.
        let others = count - usize::from(earlier.is_some_and(|(_, first)| open(&first)));
        if others >= MAX_OPEN_INVITATIONS {
            return Err(TeamRefusal::TooManyInvitations(MAX_OPEN_INVITATIONS));
        }
        self.room_for_members(self.team.members.len() + others)?;
        let mut events = Vec::new();
        events.extend(earlier.map(|(id, _)| {
            ControlEvent::InvitationWithdrawn(InvitationWithdrawn {
                team: self.info.id.clone(),
                invitation: id.clone(),
                at: self.now,
            })
        }));
        events.push(ControlEvent::InvitationSent(InvitationSent {
            team: self.info.id.clone(),
            invitation: draft.id,
            email: draft.email.as_str().to_owned(),
            email_hash: draft.email_hash,
            role: draft.role,
            mac: draft.mac,
            pepper_version: draft.pepper_version,
            expires_at: self.now.plus(draft.lifetime),
            at: self.now,
        }));
        Ok(events)
    }

    fn change_role(&self, user: UserId, role: Role) -> Decision {
        let own = self.needs_role(Role::Admin)?;
        let member = self
            .team
            .members
            .get(&user)
            .ok_or(TeamRefusal::NoSuchMember)?;
        if role > own || member.role > own {
            return Err(TeamRefusal::NotEntitled);
        }
        if member.role == Role::Owner && role != Role::Owner {
            self.another_owner(&user)?;
        }
        Ok(unless(member.role == role, || {
            ControlEvent::MemberRoleChanged(MemberRoleChanged {
                team: self.info.id.clone(),
                user,
                role,
                at: self.now,
            })
        }))
    }

    fn remove_member(&self, user: UserId) -> Decision {
        let member = self.team.members.get(&user);
        // Everybody may leave.
        if *self.by != Actor::User(user.clone()) {
            let own = self.needs_role(Role::Admin)?;
            if member.is_some_and(|member| member.role > own) {
                return Err(TeamRefusal::NotEntitled);
            }
        }
        let member = member.ok_or(TeamRefusal::NoSuchMember)?;
        if member.role == Role::Owner {
            self.another_owner(&user)?;
        }
        Ok(vec![ControlEvent::MemberRemoved(MemberRemoved {
            team: self.info.id.clone(),
            user,
            at: self.now,
        })])
    }

    fn rotate(&self, id: KeyId, draft: &KeyDraft, overlap: Duration) -> Decision {
        self.needs_keys_write()?;
        let key = self.key_in_reach(&id)?;
        let sources = &key.created.sources;
        self.may_hand_out(key.scopes, key.created.expires_at, sources, draft)?;
        self.needs_api_access()?;
        if overlap > MAX_OVERLAP {
            let message = format!(
                "overlapSeconds must be at most {}, not {}",
                MAX_OVERLAP.as_secs(),
                overlap.as_secs()
            );
            return Err(TeamRefusal::invalid("overlapSeconds", message));
        }
        match key.status(self.now) {
            KeyStatus::Active if key.rotated.is_none() => {}
            KeyStatus::Active => return Err(TeamRefusal::NotRotatable("rotated already")),
            status => return Err(TeamRefusal::NotRotatable(status.as_str())),
        }
        // Otherwise a chain of rotations would keep more keys alive than the plan has room for.
        let before = key.created.rotated_from.as_ref();
        let before = before.and_then(|before| self.team.keys.get(before));
        if before.is_some_and(|before| before.status(self.now) == KeyStatus::Active) {
            return Err(TeamRefusal::PredecessorAccepted);
        }
        if draft.key.prefix() != key.created.prefix {
            return Err(TeamRefusal::NotEntitled);
        }
        let successor = KeyCreated {
            name: key.created.name.clone(),
            scopes: key.created.scopes.clone(),
            expires_at: key.created.expires_at,
            sources: key.created.sources.clone(),
            rotated_from: Some(id.clone()),
            ..self.created(draft)?
        };
        let rotated = KeyRotated {
            key: id,
            team: self.info.id.clone(),
            successor: successor.key.clone(),
            accepted_until: self.now.plus(overlap),
            at: self.now,
        };
        Ok(vec![
            ControlEvent::KeyCreated(successor),
            ControlEvent::KeyRotated(rotated),
        ])
    }

    /// The event of a new key, but for what its command says of it.
    fn created(&self, draft: &KeyDraft) -> Result<KeyCreated, TeamRefusal> {
        let key = &draft.key;
        if self.team.keys.contains_key(key.id()) {
            return Err(TeamRefusal::KeyIdTaken);
        }
        Ok(KeyCreated {
            key: key.id().clone(),
            team: self.info.id.clone(),
            name: String::new(),
            prefix: key.prefix().into(),
            last4: key.last4().into(),
            scopes: Vec::new(),
            mac: draft.mac.to_hex(),
            pepper_version: draft.pepper_version,
            expires_at: None,
            sources: Vec::new(),
            rotated_from: None,
            created_by: Some(self.by.to_string()),
            request: None,
            at: self.now,
        })
    }

    /// The networks that a new key is bound to: those that are named, else those of the key that makes it.
    fn bound_sources(&self, named: Vec<String>) -> Result<Vec<String>, TeamRefusal> {
        valid_sources(&named)?;
        match self.by {
            Actor::Key(id) if named.is_empty() => Ok(self.acting_key(id)?.created.sources.clone()),
            _ => Ok(named),
        }
    }

    /// A credential can never make one that may do more, lives longer, comes from elsewhere or is of another environment than itself.
    fn may_hand_out(
        &self,
        scopes: ScopeSet,
        expires_at: Option<Timestamp>,
        sources: &[String],
        draft: &KeyDraft,
    ) -> Result<(), TeamRefusal> {
        self.needs_keys_write()?;
        let Actor::Key(id) = self.by else {
            return Ok(());
        };
        let own = self.acting_key(id)?;
        if let Some(scope) = scopes.first_outside(own.scopes) {
            return Err(TeamRefusal::WiderThanCaller(scope));
        }
        if let Some(until) = own.accepted_until()
            && expires_at.is_none_or(|at| at > until)
        {
            let message =
                format!("expiresAt must not be later than that of the calling key, {until}");
            return Err(TeamRefusal::BeyondCaller {
                field: "expiresAt",
                message,
            });
        }
        if !own.covers(sources) {
            return Err(TeamRefusal::BeyondCaller {
                field: "allowedSources",
                message: format!(
                    "allowedSources must lie within those of the calling key, {}",
                    own.created.sources.join(", ")
                ),
            });
        }
        if own.environment() != draft.key.environment() {
            return Err(TeamRefusal::BeyondCaller {
                field: "environment",
                message: "environment must be that of the calling key".into(),
            });
        }
        Ok(())
    }

    /// A key of the team, unless it lives in the environment that the calling key does not.
    fn key_in_reach(&self, id: &KeyId) -> Result<&Key, TeamRefusal> {
        let key = self.team.keys.get(id).ok_or(TeamRefusal::NoSuchKey)?;
        let elsewhere = match self.by {
            Actor::Key(own) => self.acting_key(own)?.environment() != key.environment(),
            _ => false,
        };
        if elsewhere {
            Err(TeamRefusal::NoSuchKey)
        } else {
            Ok(key)
        }
    }

    /// A request that is told by its idempotency key makes one key, however often and by whichever gateway it is heard.
    fn first_time(&self, request: Option<&RepeatableRequest>) -> Result<(), TeamRefusal> {
        let Some(request) = request else {
            return Ok(());
        };
        let made = self.team.keys.values().find_map(|key| {
            let earlier = key.created.request.as_ref()?;
            (earlier.idempotency_key == request.idempotency_key).then_some((key, earlier))
        });
        match made {
            None => Ok(()),
            Some((key, earlier)) if earlier.fingerprint == request.fingerprint => {
                Err(TeamRefusal::SecretAlreadyShown(key.created.key.clone()))
            }
            Some(_) => Err(TeamRefusal::RequestMismatch),
        }
    }

    fn needs_keys_write(&self) -> Result<(), TeamRefusal> {
        match self.by {
            Actor::Key(id) if self.acting_key(id)?.scopes.contains(Scope::KeysWrite) => Ok(()),
            Actor::Key(_) => Err(TeamRefusal::NotEntitled),
            Actor::User(_) => self.needs_role(Role::Admin).map(drop),
            // Applications do not hand out keys: a consent given once must not outlive its withdrawal as a key.
            Actor::App(_) => Err(TeamRefusal::NotEntitled),
            Actor::System(_) | Actor::Operator(_) => Ok(()),
        }
    }

    pub(super) fn acting_key(&self, id: &KeyId) -> Result<&Key, TeamRefusal> {
        let key = self.team.keys.get(id).ok_or(TeamRefusal::NotEntitled)?;
        if key.status(self.now) == KeyStatus::Active {
            Ok(key)
        } else {
            Err(TeamRefusal::NotEntitled)
        }
    }

    /// The role that whoever acts has, when it is at least that. The machine's operator stands above owners.
    pub(super) fn needs_role(&self, least: Role) -> Result<Role, TeamRefusal> {
        let own = match self.by {
            Actor::User(user) => self.team.role_of(user),
            Actor::System(_) | Actor::Operator(_) => Some(Role::Owner),
            Actor::Key(_) | Actor::App(_) => None,
        };
        own.filter(|role| *role >= least)
            .ok_or(TeamRefusal::NotEntitled)
    }

    pub(super) fn needs_api_access(&self) -> Result<(), TeamRefusal> {
        if self.plan.api_access {
            Ok(())
        } else {
            Err(TeamRefusal::FeatureNotAllowed(self.info.plan.clone()))
        }
    }

    fn room_for_key(&self) -> Result<(), TeamRefusal> {
        self.needs_api_access()?;
        match self.plan.max_keys {
            Some(limit) if self.team.counted_keys(self.now) >= limit as usize => {
                let plan = self.info.plan.clone();
                Err(TeamRefusal::KeyLimit { plan, limit })
            }
            _ => Ok(()),
        }
    }

    fn room_for_members(&self, taken: usize) -> Result<(), TeamRefusal> {
        match self.plan.max_members {
            Some(limit) if taken >= limit as usize => {
                let plan = self.info.plan.clone();
                Err(TeamRefusal::MemberLimit { plan, limit })
            }
            _ => Ok(()),
        }
    }

    fn valid_expiry(&self, expires_at: Option<Timestamp>) -> Result<(), TeamRefusal> {
        let invalid = |message: String| Err(TeamRefusal::invalid("expiresAt", message));
        if expires_at.is_some_and(|at| at <= self.now) {
            return invalid("expiresAt must be in the future".into());
        }
        let Some(longest) = self.plan.max_key_lifetime else {
            return Ok(());
        };
        let latest = self.now.plus(longest);
        if expires_at.is_none_or(|at| at > latest) {
            return invalid(format!(
                "expiresAt is required by the plan {} and must not be later than {latest}",
                self.info.plan
            ));
        }
        Ok(())
    }

    fn another_owner(&self, than: &UserId) -> Result<(), TeamRefusal> {
        let other =
            |(user, member): (&UserId, &super::Member)| member.role == Role::Owner && user != than;
        if self.team.members.iter().any(other) {
            Ok(())
        } else {
            Err(TeamRefusal::LastOwner)
        }
    }
}

/// Nothing when it is so already.
fn unless(is_so: bool, event: impl FnOnce() -> ControlEvent) -> Vec<ControlEvent> {
    if is_so { Vec::new() } else { vec![event()] }
}

fn valid_sources(sources: &[String]) -> Result<(), TeamRefusal> {
    let invalid = |message: String| Err(TeamRefusal::invalid("allowedSources", message));
    if sources.len() > MAX_SOURCES {
        return invalid(format!(
            "allowedSources must hold at most {MAX_SOURCES} networks, not {}",
            sources.len()
        ));
    }
    for source in sources {
        if source.parse::<ipnet::IpNet>().is_err() {
            let shown: String = source.chars().take(60).collect();
            return invalid(format!(
                "allowedSources must hold networks such as 192.0.2.0/24 or 2001:db8::/32, not {shown:?}"
            ));
        }
    }
    Ok(())
}

/// A name for people: trimmed, neither empty nor long, nothing that could disguise text around it.
pub(crate) fn valid_name(name: &str) -> Result<String, TeamRefusal> {
    let name = name.trim();
    let invalid = |message: String| Err(TeamRefusal::invalid("name", message));
    if name.is_empty() {
        return invalid("name is required".into());
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return invalid(format!(
            "name must be at most {MAX_NAME_CHARS} characters, not {}",
            name.chars().count()
        ));
    }
    if !is_plain(name) {
        let text = "name must not contain control, invisible or direction-changing characters";
        return invalid(text.into());
    }
    Ok(name.into())
}
