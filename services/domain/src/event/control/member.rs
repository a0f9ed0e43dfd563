//! What happens to the people of a team.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::email::EmailHash;
use crate::access::role::Role;
use crate::id::{InvitationId, TeamId, UserId};
use crate::time::Timestamp;

/// A person belongs to a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberJoined {
    /// The team.
    pub team: TeamId,
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When.
    pub at: Timestamp,
}

/// A member may do more, or less, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRoleChanged {
    /// The team.
    pub team: TeamId,
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When.
    pub at: Timestamp,
}

/// A person belongs to a team no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRemoved {
    /// The team.
    pub team: TeamId,
    /// Who.
    pub user: UserId,
    /// When.
    pub at: Timestamp,
}

/// Somebody was asked to join a team. The invitation's token is in the mail and in no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationSent {
    /// The team.
    pub team: TeamId,
    /// Which invitation.
    pub invitation: InvitationId,
    /// Where the mail went.
    pub email: String,
    /// Hash of the address: only its owner can accept.
    pub email_hash: EmailHash,
    /// What they would be.
    pub role: Role,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Which pepper made `mac`.
    pub pepper_version: u32,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// An invitation was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationAccepted {
    /// The team.
    pub team: TeamId,
    /// Which invitation.
    pub invitation: InvitationId,
    /// By whom.
    pub user: UserId,
    /// When.
    pub at: Timestamp,
}

/// An invitation can be accepted no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationWithdrawn {
    /// The team.
    pub team: TeamId,
    /// Which invitation.
    pub invitation: InvitationId,
    /// When.
    pub at: Timestamp,
}
