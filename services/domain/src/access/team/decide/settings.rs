//! Decisions about the team itself: name, plan, policies, signing secret and deletion.

use std::time::Duration;

use super::{Deciding, Decision, unless};
use crate::access::name::is_plain;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::{MAX_NAME_CHARS, TaskDefaultsChange, TeamRefusal, VaultPolicy, vault};
use crate::actor::Actor;
use crate::event::{
    ControlEvent, LeakPolicy, TeamDeleted, TeamLeakPolicyChanged, TeamPlanChanged, TeamRenamed,
    TeamSigningSecretRotated, TeamTaskDefaultsChanged, TeamVaultPolicyChanged,
};
use crate::id::Environment;

impl Deciding<'_> {
    pub(super) fn rename(&self, name: &str) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Admin)?;
        let name = valid_name(name)?;
        let renamed = || {
            ControlEvent::TeamRenamed(TeamRenamed {
                team: id,
                name: name.clone(),
                at,
            })
        };
        Ok(unless(self.info.name == name, renamed))
    }

    pub(super) fn change_plan(&self, plan: String, rules: &Catalogue) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
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

    pub(super) fn change_leak_policy(&self, leaked_keys: LeakPolicy) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Admin)?;
        Ok(unless(self.info.leaked_keys == leaked_keys, || {
            ControlEvent::TeamLeakPolicyChanged(TeamLeakPolicyChanged {
                team: id,
                leaked_keys,
                at,
            })
        }))
    }

    pub(super) fn rotate_signing_secret(
        &self,
        environment: Environment,
        overlap: Duration,
    ) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        // The scope of keys and applications was checked before the command.
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

    pub(super) fn change_vault_policy(
        &self,
        sealed_headers: Option<&[String]>,
        require_allowed_hosts: Option<bool>,
    ) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Admin)?;
        let sealed_headers = sealed_headers.map(vault::valid_sealed_headers);
        let now = &self.info.vault;
        let wanted = VaultPolicy {
            sealed_headers: sealed_headers
                .transpose()?
                .unwrap_or_else(|| now.sealed_headers.clone()),
            require_allowed_hosts: require_allowed_hosts.unwrap_or(now.require_allowed_hosts),
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

    pub(super) fn change_task_defaults(&self, change: TaskDefaultsChange) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Admin)?;
        let now = &self.info.tasks;
        let wanted = now.changed(change)?;
        Ok(unless(wanted == *now, || {
            ControlEvent::TeamTaskDefaultsChanged(TeamTaskDefaultsChanged {
                team: id,
                success: wanted.outcome.success,
                retry_on: wanted.outcome.retry_on,
                webhook_pauses: wanted.webhook_pauses,
                queues: wanted.queues,
                at,
            })
        }))
    }

    pub(super) fn delete(&self) -> Decision {
        let (id, at) = (self.info.id.clone(), self.now);
        self.needs_role(Role::Owner)?;
        Ok(vec![ControlEvent::TeamDeleted(TeamDeleted {
            team: id,
            at,
        })])
    }
}

/// Trims and checks a name for people: not empty, not too long, and no characters that disguise the
/// text around it.
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
