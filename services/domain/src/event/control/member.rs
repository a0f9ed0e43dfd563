//! Events of a team's members.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::email::EmailHash;
use crate::access::role::Role;
use crate::id::{InvitationId, TeamId, UserId};
use crate::time::Timestamp;

/// A person joined a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberJoined {
    pub team: TeamId,
    pub user: UserId,
    pub role: Role,
    pub at: Timestamp,
}

/// The role of a member was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRoleChanged {
    pub team: TeamId,
    pub user: UserId,
    /// The new role.
    pub role: Role,
    pub at: Timestamp,
}

/// A person left a team or was removed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRemoved {
    pub team: TeamId,
    pub user: UserId,
    pub at: Timestamp,
}

/// A person was invited to a team. The token of the invitation is in the mail and in no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationSent {
    pub team: TeamId,
    pub invitation: InvitationId,
    /// Address that the mail was sent to.
    pub email: String,
    /// Keyed hash of the address: only its owner can accept.
    pub email_hash: EmailHash,
    /// Role that the invited person will have.
    pub role: Role,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the invitation expires.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}

/// An invitation was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationAccepted {
    pub team: TeamId,
    pub invitation: InvitationId,
    /// The person who accepted it.
    pub user: UserId,
    pub at: Timestamp,
}

/// An invitation was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationWithdrawn {
    pub team: TeamId,
    pub invitation: InvitationId,
    pub at: Timestamp,
}
