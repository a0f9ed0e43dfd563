//! A team as the organisation of the jobs API: its slug, what clients keep with it, and how it is founded together with its first key.
//!
//! A slug belongs to one team for ever. The history of a team does not show which slugs others have, so a founding is decided from all
//! claims of one slug in all teams.

use std::collections::BTreeMap;

use super::decide::{Deciding, Decision, valid_name};
use super::jobs_keys::{JobsKeyCommand, NewJobsKey};
use super::{KeyDraft, Team, TeamCommand, TeamRefusal};
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::plan::jobs::JobsLimits;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, TeamDeleted, TeamOrganizationSet, TeamPlanChanged, TeamRenamed, TeamSlugTaken,
};
use crate::id::TeamId;
use crate::time::Timestamp;

/// Longest `settings` of an organisation, in bytes of JSON.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;
const SLUG_CHARS: std::ops::RangeInclusive<usize> = 3..=50;
const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=100;

/// What the jobs API keeps of a team beside its name and plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Organization {
    /// `None`: the team was not founded through the jobs API.
    pub slug: Option<String>,
    pub billing_email: Option<String>,
    /// An object in JSON.
    pub settings: Option<String>,
    /// Limits that replace those of the plan.
    pub custom_limits: BTreeMap<String, u64>,
    pub stripe_customer_id: Option<String>,
    pub stripe_subscription_id: Option<String>,
    /// Number of the webhook token.
    pub webhook_token: u32,
    /// When anything of it last changed.
    pub updated_at: Option<Timestamp>,
}

/// Changes of an organisation. `None` keeps a value; of an optional one, `Some(None)` would clear it, which [`Change`] says in words.
#[derive(Debug, Clone, Default)]
pub struct OrganizationChange {
    pub name: Option<String>,
    /// Name of a plan of the catalogue.
    pub plan: Option<String>,
    pub billing_email: Change<String>,
    pub settings: Change<String>,
    pub custom_limits: Change<BTreeMap<String, u64>>,
    pub stripe_customer_id: Change<String>,
    pub stripe_subscription_id: Change<String>,
    pub webhook_token: NextToken,
}

/// What a request says about an optional value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It was not named.
    #[default]
    Keep,
    /// It was `null`.
    Clear,
    Set(T),
}

/// Whether a change moves on to the next webhook token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NextToken {
    #[default]
    Stay,
    MoveOn,
}

impl<T> Change<T> {
    fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }
}

/// Why a text is no slug; `None` if it is one.
#[must_use]
pub fn slug_fault(slug: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !SLUG_CHARS.contains(&slug.len()) {
        return Some("must be 3 to 50 characters");
    }
    let bytes = slug.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let is_plain = bytes.iter().all(|b| plain(*b) || *b == b'-')
        && ends.into_iter().flatten().all(|b| plain(*b));
    (!is_plain)
        .then_some("must consist of a-z, 0-9 and -, and begin and end with a letter or digit")
}

impl Team {
    /// The slug that it is shown with: its own, else its id.
    #[must_use]
    pub fn slug(&self) -> String {
        let own = self.organization.slug.clone();
        let id = || {
            let id = self.info.as_ref().map(|info| info.id.as_str());
            id.unwrap_or_default()
                .to_ascii_lowercase()
                .replace('_', "-")
        };
        own.unwrap_or_else(id)
    }

    pub(super) fn evolve_organization(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::TeamSlugTaken(e) => {
                self.organization.slug.get_or_insert_with(|| e.slug.clone());
            }
            ControlEvent::TeamOrganizationSet(e) => {
                let slug = self.organization.slug.take();
                self.organization = Organization {
                    slug,
                    billing_email: e.billing_email.clone(),
                    settings: e.settings.clone(),
                    custom_limits: e.custom_limits.clone(),
                    stripe_customer_id: e.stripe_customer_id.clone(),
                    stripe_subscription_id: e.stripe_subscription_id.clone(),
                    webhook_token: e.webhook_token,
                    updated_at: Some(e.at),
                };
            }
            ControlEvent::TeamRenamed(e) => self.organization.updated_at = Some(e.at),
            ControlEvent::TeamPlanChanged(e) => self.organization.updated_at = Some(e.at),
            _ => {}
        }
    }

    /// What it may use in the jobs API.
    #[must_use]
    pub fn jobs_limits(&self, plans: &Catalogue) -> JobsLimits {
        let plan = self.info.as_ref().map_or("", |info| info.plan.as_str());
        JobsLimits::of(&plans.plan(plan).name).with(&self.organization.custom_limits)
    }
}

pub(super) fn decide(
    deciding: &Deciding<'_>,
    change: OrganizationChange,
    rules: &Catalogue,
) -> Decision {
    // People change their team through the native API.
    deciding.needs_keys_write()?;
    if !matches!(deciding.by, Actor::Operator(_)) && change.is_for_administrators() {
        return Err(TeamRefusal::NotEntitled);
    }
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    let mut events = Vec::new();
    if let Some(name) = &change.name {
        let name = long_enough(name)?;
        if name != deciding.info.name {
            let team = team.clone();
            events.push(ControlEvent::TeamRenamed(TeamRenamed { team, name, at }));
        }
    }
    if let Some(plan) = &change.plan {
        let found = rules.find(plan);
        let found = found.ok_or_else(|| TeamRefusal::NoSuchPlan(plan.clone()))?;
        if *found.name != deciding.info.plan {
            let (team, plan) = (team.clone(), found.name.to_string());
            events.push(ControlEvent::TeamPlanChanged(TeamPlanChanged {
                team,
                plan,
                at,
            }));
        }
    }
    let before = &deciding.team.organization;
    let mut after = before.clone();
    change.billing_email.apply(&mut after.billing_email);
    change.settings.apply(&mut after.settings);
    let mut limits = Some(std::mem::take(&mut after.custom_limits));
    change.custom_limits.apply(&mut limits);
    after.custom_limits = limits.unwrap_or_default();
    change
        .stripe_customer_id
        .apply(&mut after.stripe_customer_id);
    let subscription = &mut after.stripe_subscription_id;
    change.stripe_subscription_id.apply(subscription);
    if change.webhook_token == NextToken::MoveOn {
        after.webhook_token = after.webhook_token.saturating_add(1);
    }
    if after != *before {
        events.push(set(team, after, at));
    }
    Ok(events)
}

pub(super) fn delete(deciding: &Deciding<'_>) -> Decision {
    deciding.needs_keys_write()?;
    if let Actor::Key(id) = deciding.by
        && !deciding.acting_key(id)?.created.queues.is_empty()
    {
        return Err(TeamRefusal::NotEntitled);
    }
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    Ok(vec![ControlEvent::TeamDeleted(TeamDeleted { team, at })])
}

fn set(team: TeamId, to: Organization, at: Timestamp) -> ControlEvent {
    ControlEvent::TeamOrganizationSet(Box::new(TeamOrganizationSet {
        team,
        billing_email: to.billing_email,
        settings: to.settings,
        custom_limits: to.custom_limits,
        stripe_customer_id: to.stripe_customer_id,
        stripe_subscription_id: to.stripe_subscription_id,
        webhook_token: to.webhook_token,
        at,
    }))
}

impl OrganizationChange {
    fn is_for_administrators(&self) -> bool {
        self.plan.is_some()
            || self.custom_limits != Change::Keep
            || self.stripe_customer_id != Change::Keep
            || self.stripe_subscription_id != Change::Keep
    }
}

fn long_enough(name: &str) -> Result<String, TeamRefusal> {
    let chars = name.trim().chars().count();
    if !NAME_CHARS.contains(&chars) {
        let message = format!("name must be 3 to 100 characters, not {chars}");
        return Err(TeamRefusal::invalid("name", message));
    }
    valid_name(name)
}

/// The claims of one slug in all teams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlugClaims {
    taken_by: Option<TeamId>,
}

/// Found an organisation, with its first key.
#[derive(Debug, Clone)]
pub struct FoundOrganization {
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    /// The slug whose claims were read.
    pub slug: String,
    /// Name of a plan of the catalogue.
    pub plan: String,
    pub billing_email: Option<String>,
    /// An object in JSON.
    pub settings: Option<String>,
    pub custom_limits: BTreeMap<String, u64>,
    /// The first key, and what it may do.
    pub draft: KeyDraft,
    pub key: NewJobsKey,
}

impl Aggregate for SlugClaims {
    type Command = FoundOrganization;
    type Rules = Catalogue;
    type Refusal = TeamRefusal;

    fn decide(
        &self,
        found: FoundOrganization,
        by: &Actor,
        rules: &Catalogue,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, TeamRefusal> {
        if let Some(fault) = slug_fault(&found.slug) {
            return Err(TeamRefusal::invalid("slug", format!("slug {fault}")));
        }
        if self.taken_by.is_some() {
            return Err(TeamRefusal::SlugTaken(found.slug));
        }
        if rules.find(&found.plan).is_none() {
            return Err(TeamRefusal::NoSuchPlan(found.plan));
        }
        let id = found.team;
        let create = TeamCommand::Create {
            team: id.clone(),
            name: long_enough(&found.name)?,
            plan: found.plan,
            owner: None,
        };
        let mut team = Team::default();
        let mut events = team.decide(create, by, rules, now)?;
        events.push(ControlEvent::TeamSlugTaken(TeamSlugTaken {
            team: id.clone(),
            slug: found.slug,
            at: now,
        }));
        let kept = Organization {
            billing_email: found.billing_email,
            settings: found.settings,
            custom_limits: found.custom_limits,
            ..Organization::default()
        };
        events.push(set(id, kept, now));
        events.iter().for_each(|event| team.evolve(event));
        let key = JobsKeyCommand::Create {
            draft: found.draft,
            key: found.key,
        };
        events.extend(team.decide(TeamCommand::JobsKey(Box::new(key)), by, rules, now)?);
        Ok(events)
    }

    fn evolve(&mut self, event: &ControlEvent) {
        if let ControlEvent::TeamSlugTaken(e) = event {
            self.taken_by.get_or_insert_with(|| e.team.clone());
        }
    }
}
