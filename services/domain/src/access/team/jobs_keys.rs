//! Keys as the jobs API makes and changes them: with a rate of their own, deactivated for a while, and narrowed afterwards.
//!
//! Scopes of a key never grow. Only keys that this API made are narrowed; of others it changes the name, the rate and whether they are
//! accepted. A key that is not active still counts against the plan, so that activating it again never exceeds the plan.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use super::decide::{Deciding, Decision, KeyBounds, valid_name};
use super::organization::Change;
use super::{Key, KeyDraft, Team, TeamRefusal};
use crate::access::plan::{Catalogue, Policy, PolicyScope};
use crate::access::scope::ScopeSet;
use crate::event::{ControlEvent, KeyCreated, KeySessionEnded, KeyTermsSet};
use crate::id::{KeyId, QueueName};
use crate::time::Timestamp;

/// Sessions of a key that were ended and whose tokens have not expired. Beyond, all its sessions so far end.
const MAX_ENDED_SESSIONS: usize = 1_000;
/// Requests per minute that a key may be limited to.
const RATE: std::ops::RangeInclusive<u32> = 1..=10_000;
const MINUTE_S: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// What the jobs API adds to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTerms {
    /// Requests per minute of this key alone.
    pub rate: Option<Arc<Policy>>,
    pub is_active: bool,
    /// Whether the jobs API made it.
    pub by_jobs_api: bool,
}

/// Properties of a new key.
#[derive(Debug, Clone)]
pub struct NewJobsKey {
    /// Name shown to people.
    pub name: String,
    pub scopes: ScopeSet,
    /// Queues that it is limited to. Empty: all.
    pub queues: Vec<QueueName>,
    /// When it expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Requests per minute.
    pub rate_limit: Option<u32>,
}

/// Changes of a key; `None` keeps.
#[derive(Debug, Clone, Default)]
pub struct JobsKeyChange {
    pub name: Option<String>,
    pub scopes: Option<ScopeSet>,
    pub queues: Option<Vec<QueueName>>,
    pub rate_limit: Change<u32>,
    pub is_active: Option<bool>,
}

/// Commands about keys that the jobs API gives.
#[derive(Debug, Clone)]
pub enum JobsKeyCommand {
    Create {
        draft: KeyDraft,
        key: NewJobsKey,
    },
    Change {
        key: KeyId,
        change: JobsKeyChange,
    },
    /// End a session that was begun with the key.
    EndSession {
        key: KeyId,
        session: String,
        /// When its last token expires.
        expires_at: Timestamp,
    },
}

impl Key {
    /// The policy that counts requests of this key alone.
    #[must_use]
    pub fn rate(&self) -> Option<&Arc<Policy>> {
        self.terms.as_ref()?.rate.as_ref()
    }

    /// Requests per minute of this key alone.
    #[must_use]
    pub fn rate_limit(&self) -> Option<u32> {
        self.rate().map(|policy| policy.quota.get())
    }

    /// Whether nobody has deactivated it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.is_active)
    }

    /// Whether a session that was begun with it at that time goes on, as far as log-outs decide.
    #[must_use]
    pub fn has_session(&self, session: &str, begun: Timestamp) -> bool {
        !self.ended_sessions.contains_key(session)
            && self.sessions_void_until.is_none_or(|until| begun > until)
    }

    pub(super) fn set_terms(&mut self, event: &KeyTermsSet) {
        self.created.name.clone_from(&event.name);
        self.created.scopes.clone_from(&event.scopes);
        self.created.queues.clone_from(&event.queues);
        self.scopes = event.scopes.iter().copied().collect();
        self.terms = Some(KeyTerms {
            rate: event.rate_limit.and_then(rate),
            is_active: event.is_active,
            by_jobs_api: event.by_jobs_api,
        });
    }

    pub(super) fn end_session(&mut self, event: &KeySessionEnded) {
        self.ended_sessions.retain(|_, until| *until > event.at);
        let ended = &mut self.ended_sessions;
        ended.insert(event.session.clone(), event.expires_at);
        if ended.len() > MAX_ENDED_SESSIONS {
            ended.clear();
            self.sessions_void_until = self.sessions_void_until.max(Some(event.at));
        }
    }
}

fn rate(per_minute: u32) -> Option<Arc<Policy>> {
    // The name is shared by all policies of this kind.
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| "api-key".into());
    Some(Arc::new(Policy {
        name: Arc::clone(&NAME),
        scope: PolicyScope::Key,
        quota: NonZeroU32::new(per_minute)?,
        window_s: MINUTE_S,
        smooth: false,
    }))
}

impl Team {
    pub(super) fn evolve_jobs_key(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::KeyTermsSet(e) => self.change_key(&e.key, |key| key.set_terms(e)),
            ControlEvent::KeySessionEnded(e) => self.change_key(&e.key, |key| key.end_session(e)),
            _ => {}
        }
    }
}

pub(super) fn decide(
    deciding: &Deciding<'_>,
    command: JobsKeyCommand,
    rules: &Catalogue,
) -> Decision {
    match command {
        JobsKeyCommand::Create { draft, key } => {
            let limits = deciding.team.jobs_limits(rules);
            let current = deciding.team.counted_keys(deciding.now) as u64;
            if let Some(limit) = limits.max_api_keys
                && current >= limit
            {
                return Err(TeamRefusal::JobsQuota {
                    resource: "api_keys",
                    current,
                    limit,
                    limits: Box::new(limits),
                });
            }
            create(deciding, &draft, key)
        }
        JobsKeyCommand::Change { key, change } => self::change(deciding, &key, change),
        JobsKeyCommand::EndSession {
            key,
            session,
            expires_at,
        } => {
            let (team, at) = (deciding.info.id.clone(), deciding.now);
            if !deciding.team.keys.contains_key(&key) {
                return Err(TeamRefusal::NoSuchKey);
            }
            Ok(vec![ControlEvent::KeySessionEnded(KeySessionEnded {
                key,
                team,
                session,
                expires_at,
                at,
            })])
        }
    }
}

fn create(deciding: &Deciding<'_>, draft: &KeyDraft, key: NewJobsKey) -> Decision {
    valid_rate(key.rate_limit)?;
    let bounds = KeyBounds {
        scopes: key.scopes,
        expires_at: key.expires_at,
        sources: Vec::new(),
        queues: key.queues,
    };
    let created = deciding.new_key(draft, &key.name, bounds, None)?;
    let terms = terms(&created, deciding.now, |terms| {
        terms.rate_limit = key.rate_limit;
        terms.by_jobs_api = true;
    });
    Ok(vec![ControlEvent::KeyCreated(created), terms])
}

/// The terms of a key as it was made, and what `set` says otherwise.
fn terms(created: &KeyCreated, at: Timestamp, set: impl FnOnce(&mut KeyTermsSet)) -> ControlEvent {
    let mut terms = KeyTermsSet {
        key: created.key.clone(),
        team: created.team.clone(),
        name: created.name.clone(),
        scopes: created.scopes.clone(),
        queues: created.queues.clone(),
        rate_limit: None,
        is_active: true,
        by_jobs_api: false,
        at,
    };
    set(&mut terms);
    ControlEvent::KeyTermsSet(terms)
}

/// The terms of the successor of a key: those of the key itself.
pub(super) fn inherited(key: &Key, successor: &KeyCreated, at: Timestamp) -> Option<ControlEvent> {
    let of = key.terms.as_ref()?;
    Some(terms(successor, at, |terms| {
        terms.rate_limit = key.rate_limit();
        terms.by_jobs_api = of.by_jobs_api;
    }))
}

fn change(deciding: &Deciding<'_>, id: &KeyId, change: JobsKeyChange) -> Decision {
    deciding.needs_keys_write()?;
    let key = deciding.key_in_reach(id)?;
    if key.revoked.is_some() {
        return Err(TeamRefusal::NoSuchKey);
    }
    let scopes = change.scopes.unwrap_or(key.scopes);
    let queues = change.queues.unwrap_or_else(|| key.created.queues.clone());
    let narrows = scopes != key.scopes || queues != key.created.queues;
    if narrows {
        let made_here = key.terms.as_ref().is_some_and(|terms| terms.by_jobs_api);
        let own = &key.created.queues;
        let is_narrower = scopes.is_within(key.scopes)
            && !scopes.is_empty()
            && (own.is_empty() || (!queues.is_empty() && queues.iter().all(|q| own.contains(q))));
        if !made_here || !is_narrower {
            return Err(TeamRefusal::ScopesStay);
        }
        deciding.valid_queues(&queues)?;
    }
    let name = match &change.name {
        Some(name) => valid_name(name)?,
        None => key.created.name.clone(),
    };
    let rate_limit = match change.rate_limit {
        Change::Keep => key.rate_limit(),
        Change::Clear => None,
        Change::Set(rate) => Some(rate),
    };
    valid_rate(rate_limit)?;
    let is_active = change.is_active.unwrap_or(key.is_active());
    let as_before = !narrows
        && name == key.created.name
        && rate_limit == key.rate_limit()
        && is_active == key.is_active();
    if as_before {
        return Ok(Vec::new());
    }
    let by_jobs_api = key.terms.as_ref().is_some_and(|terms| terms.by_jobs_api);
    Ok(vec![terms(&key.created, deciding.now, |terms| {
        terms.name = name;
        terms.scopes = scopes.iter().collect();
        terms.queues = queues;
        terms.rate_limit = rate_limit;
        terms.is_active = is_active;
        terms.by_jobs_api = by_jobs_api;
    })])
}

fn valid_rate(rate: Option<u32>) -> Result<(), TeamRefusal> {
    match rate {
        Some(rate) if !RATE.contains(&rate) => {
            let (least, most) = (RATE.start(), RATE.end());
            let message = format!("rate_limit must be between {least} and {most}, not {rate}");
            Err(TeamRefusal::invalid("rate_limit", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
