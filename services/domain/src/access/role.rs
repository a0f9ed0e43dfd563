//! Roles: what a member may do in a team.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::scope::{Scope, ScopeSet};

/// Role of a member. Each includes the rights of the ones before.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what the team has, and changes nothing.
    Viewer,
    /// Works with tasks and what belongs to them.
    Member,
    /// Manages keys, members and applications.
    Admin,
    /// Manages the team itself: its plan and its owners.
    Owner,
}

impl Role {
    /// Scopes that only admins and owners have: they can let others in, or sign for Waybill towards
    /// the team's receivers.
    const OF_ADMINS: [Scope; 2] = [Scope::KeysWrite, Scope::SigningSecretWrite];

    /// All roles, lowest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];

    /// The name in requests and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Reads what [`Role::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Scopes that the role implies.
    #[must_use]
    pub fn scopes(self) -> ScopeSet {
        match self {
            Self::Viewer => ScopeSet::read_only(),
            Self::Member => ScopeSet::all()
                .iter()
                .filter(|scope| !Self::OF_ADMINS.contains(scope))
                .collect(),
            Self::Admin | Self::Owner => ScopeSet::all(),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admins_and_owners_change_keys() {
        for role in Role::ALL {
            let may = role.scopes().contains(Scope::KeysWrite);
            assert_eq!(may, role >= Role::Admin, "{role}");
            let sees = role.scopes().contains(Scope::SigningSecretWrite);
            assert_eq!(sees, role >= Role::Admin, "{role}");
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
    }

    #[test]
    fn a_higher_role_may_all_that_a_lower_one_may() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[0].scopes().is_within(pair[1].scopes()));
        }
    }
}
