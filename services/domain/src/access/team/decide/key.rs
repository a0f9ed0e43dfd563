//! Decisions about API keys: creation, rotation, revocation and leak reports.

use std::time::Duration;

use super::settings::valid_name;
use super::{Deciding, Decision, unless};
use crate::access::scope::ScopeSet;
use crate::access::team::jobs_keys;
use crate::access::team::{Key, KeyDraft, KeyStatus, MAX_KEY_QUEUES, MAX_SOURCES, TeamRefusal};
use crate::actor::Actor;
use crate::event::{
    ControlEvent, KeyCreated, KeyReported, KeyRevoked, KeyRotated, LeakPolicy, RepeatableRequest,
    RevocationReason,
};
use crate::id::{KeyId, QueueName};
use crate::time::Timestamp;

/// Longest time that a rotated key may remain valid.
const MAX_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// A key in a public place is found again and again; one report a day is recorded.
const REPORT_PAUSE: Duration = Duration::from_secs(86_400);

/// Within which bounds a new key may be used.
pub(in crate::access::team) struct KeyBounds {
    pub(in crate::access::team) scopes: ScopeSet,
    pub(in crate::access::team) expires_at: Option<Timestamp>,
    pub(in crate::access::team) sources: Vec<String>,
    pub(in crate::access::team) queues: Vec<QueueName>,
}

impl Deciding<'_> {
    pub(super) fn create_key(
        &self,
        draft: &KeyDraft,
        name: &str,
        bounds: KeyBounds,
        request: Option<RepeatableRequest>,
    ) -> Decision {
        let created = self.new_key(draft, name, bounds, request)?;
        self.room_for_key()?;
        Ok(vec![ControlEvent::KeyCreated(created)])
    }

    /// A new key, wherever its number is counted.
    pub(in crate::access::team) fn new_key(
        &self,
        draft: &KeyDraft,
        name: &str,
        bounds: KeyBounds,
        request: Option<RepeatableRequest>,
    ) -> Result<KeyCreated, TeamRefusal> {
        let KeyBounds {
            scopes,
            expires_at,
            sources,
            queues,
        } = bounds;
        // A key that a bound key makes is bound too, even if the request names no networks.
        let sources = self.bound_sources(sources)?;
        self.may_hand_out(scopes, expires_at, &sources, draft)?;
        self.valid_queues(&queues)?;
        self.first_time(request.as_ref())?;
        self.needs_api_access()?;
        if scopes.is_empty() {
            return Err(TeamRefusal::invalid("scopes", "scopes must not be empty"));
        }
        self.valid_expiry(expires_at)?;
        let name = valid_name(name)?;
        Ok(KeyCreated {
            name,
            scopes: scopes.iter().collect(),
            expires_at,
            sources,
            queues,
            request,
            ..self.created(draft)?
        })
    }

    pub(super) fn rotate_key(&self, id: KeyId, draft: &KeyDraft, overlap: Duration) -> Decision {
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
        // Otherwise a chain of rotations could keep more keys valid than the plan allows.
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
            queues: key.created.queues.clone(),
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
        let terms = jobs_keys::inherited(key, &successor, self.now);
        let mut events = vec![ControlEvent::KeyCreated(successor)];
        events.extend(terms);
        events.push(ControlEvent::KeyRotated(rotated));
        Ok(events)
    }

    pub(super) fn revoke_key(&self, key: KeyId, reason: RevocationReason) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        // The holder of a key may revoke it, whatever its scopes.
        let own = reason == RevocationReason::ByHolder && *self.by == Actor::Key(key.clone());
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

    pub(super) fn report_key(
        &self,
        key: KeyId,
        reporter: String,
        source: String,
        url: Option<String>,
    ) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
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

    /// The creation event of a key, without what its command adds.
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
            queues: Vec::new(),
            rotated_from: None,
            created_by: Some(self.by.to_string()),
            request: None,
            at: self.now,
        })
    }

    /// At most so many queues, each named once. A queue need not exist yet.
    pub(in crate::access::team) fn valid_queues(
        &self,
        queues: &[QueueName],
    ) -> Result<(), TeamRefusal> {
        if queues.len() > MAX_KEY_QUEUES {
            let message = format!(
                "queues must name at most {MAX_KEY_QUEUES} queues, not {}",
                queues.len()
            );
            return Err(TeamRefusal::invalid("queues", message));
        }
        Ok(())
    }

    /// Networks that a new key is bound to: the named ones, or else those of the key that makes it.
    fn bound_sources(&self, named: Vec<String>) -> Result<Vec<String>, TeamRefusal> {
        valid_sources(&named)?;
        match self.by {
            Actor::Key(id) if named.is_empty() => Ok(self.acting_key(id)?.created.sources.clone()),
            _ => Ok(named),
        }
    }

    /// A credential can never make one that has more scopes, lives longer, works from other
    /// networks or belongs to another environment than itself.
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
        // Its successor could be limited to other queues, and a key of another kind to none.
        if !own.created.queues.is_empty() {
            return Err(TeamRefusal::BeyondCaller {
                field: "queues",
                message: "queues: a key that is limited to queues makes no keys".into(),
            });
        }
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

    /// A key of the team, if it lives in the environment of the calling key.
    pub(in crate::access::team) fn key_in_reach(&self, id: &KeyId) -> Result<&Key, TeamRefusal> {
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

    /// A request with an idempotency key makes one key, however often and by whichever gateway it
    /// is received.
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
