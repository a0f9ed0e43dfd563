//! What may be wanted of a team, and why it may be refused.

use std::time::Duration;

use crate::access::email::{Email, EmailHash};
use crate::access::key::{ApiKey, KeyMac};
use crate::access::role::Role;
use crate::access::scope::{Scope, ScopeSet};
use crate::access::team::app::{AppCommand, AppRefusal};
use crate::access::team::vault::{TokenCommand, TokenRefusal};
use crate::event::{LeakPolicy, RepeatableRequest, RevocationReason};
use crate::id::{Environment, InvitationId, KeyId, TeamId, UserId};
use crate::time::Timestamp;

/// A key just made from fresh entropy, and its MAC.
#[derive(Debug, Clone)]
pub struct KeyDraft {
    /// The key.
    pub key: ApiKey,
    /// Its MAC.
    pub mac: KeyMac,
    /// Which pepper made it.
    pub pepper_version: u32,
}

/// An invitation to be sent.
#[derive(Debug, Clone)]
pub struct InvitationDraft {
    /// Its id.
    pub id: InvitationId,
    /// To whom.
    pub email: Email,
    /// Hash of the address.
    pub email_hash: EmailHash,
    /// HMAC of the token, in hex.
    pub mac: String,
    /// Which pepper made it.
    pub pepper_version: u32,
    /// What they would be.
    pub role: Role,
    /// How long it can be accepted.
    pub lifetime: Duration,
}

/// What may be wanted of a team.
#[derive(Debug, Clone)]
pub enum TeamCommand {
    /// Make the team.
    Create {
        /// Its id.
        team: TeamId,
        /// For people.
        name: String,
        /// Name of its plan.
        plan: String,
        /// Its first member.
        owner: Option<UserId>,
    },
    /// Call it something else.
    Rename {
        /// For people.
        name: String,
    },
    /// Give it another plan.
    ChangePlan {
        /// Name of the plan.
        plan: String,
    },
    /// Decide what happens to leaked keys.
    ChangeLeakPolicy {
        /// What happens.
        leaked_keys: LeakPolicy,
    },
    /// Sign with another secret from now on.
    RotateSigningSecret {
        /// In which environment.
        environment: Environment,
        /// How long the secret before it signs too.
        overlap: Duration,
    },
    /// Decide how credentials are guarded; what is `None` stays as it is.
    ChangeVaultPolicy {
        /// Headers of tasks whose values are sealed, beside those that always are.
        sealed_headers: Option<Vec<String>>,
        /// New tokens must name the hosts that they may be sent to.
        require_allowed_hosts: Option<bool>,
    },
    /// End the team, with everything that it has.
    Delete,
    /// Something about one of its OAuth applications.
    App(AppCommand),
    /// Something about one of its tokens in the vault.
    Token(TokenCommand),
    /// Ask somebody to join.
    Invite(Box<InvitationDraft>),
    /// Take an invitation back.
    WithdrawInvitation {
        /// Which.
        invitation: InvitationId,
    },
    /// Join, with the token of an invitation that was checked against its MAC.
    AcceptInvitation {
        /// Which.
        invitation: InvitationId,
        /// Who.
        user: UserId,
        /// Hash of their own address.
        email_hash: EmailHash,
    },
    /// Let a member do more or less.
    ChangeRole {
        /// Who.
        user: UserId,
        /// What they may do.
        role: Role,
    },
    /// End a membership.
    RemoveMember {
        /// Whose.
        user: UserId,
    },
    /// Make a key.
    CreateKey {
        /// The key.
        draft: KeyDraft,
        /// For people.
        name: String,
        /// What it may do.
        scopes: ScopeSet,
        /// From when on it is accepted no more.
        expires_at: Option<Timestamp>,
        /// Networks that it may be used from. Empty: any.
        sources: Vec<String>,
        /// How the request is known again when it is repeated.
        request: Option<RepeatableRequest>,
    },
    /// Give a key a successor that may do the same.
    RotateKey {
        /// Which.
        key: KeyId,
        /// The successor, of the same prefix.
        draft: KeyDraft,
        /// How long the old one is still accepted.
        overlap: Duration,
    },
    /// Accept a key no more. Revoking twice is fine and changes nothing.
    RevokeKey {
        /// Which.
        key: KeyId,
        /// Why.
        reason: RevocationReason,
    },
    /// Take notice that a key was found in the open; the team's policy says what follows.
    ReportKey {
        /// Which.
        key: KeyId,
        /// Who says so.
        reporter: String,
        /// What kind of place.
        source: String,
        /// Where.
        url: Option<String>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeamRefusal {
    /// There is no such team.
    #[error("Team not found")]
    NoSuchTeam,
    /// The team is there already.
    #[error("Team already exists")]
    AlreadyExists,
    /// No such key in this team.
    #[error("API key not found")]
    NoSuchKey,
    /// A key with this public id exists: make another one.
    #[error("API key id is taken")]
    KeyIdTaken,
    /// A key that is accepted no more has no successor.
    #[error("Only an active API key can be rotated; this one is {0}")]
    NotRotatable(&'static str),
    /// The key that it succeeded is still accepted.
    #[error(
        "This API key was made by a rotation, and the one before it is still accepted; revoke that one or wait until its time is over"
    )]
    PredecessorAccepted,
    /// The plan has no room for another key.
    #[error("The plan {plan} allows {limit} active API key(s); revoke one or change the plan")]
    KeyLimit {
        /// Name of the plan.
        plan: String,
        /// Keys that it allows.
        limit: u32,
    },
    /// The plan has no room for another member.
    #[error("The plan {plan} allows {limit} members, open invitations included")]
    MemberLimit {
        /// Name of the plan.
        plan: String,
        /// Members that it allows.
        limit: u32,
    },
    /// The plan does not come with the API.
    #[error("The plan {0} does not include API access")]
    FeatureNotAllowed(String),
    /// There is no such plan.
    #[error("plan: there is no plan {0:?}")]
    NoSuchPlan(String),
    /// A field will not do.
    #[error("{message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The same request has made a key, and a key is shown once.
    #[error(
        "This Idempotency-Key has made {0}, which was shown then and cannot be shown again; revoke it if it got lost"
    )]
    SecretAlreadyShown(KeyId),
    /// Another request had the same idempotency key.
    #[error("The Idempotency-Key was used with another request")]
    RequestMismatch,
    /// A key makes none that lives longer or elsewhere than itself.
    #[error("{message}")]
    BeyondCaller {
        /// Which field asks for it.
        field: &'static str,
        /// What it asks for.
        message: String,
    },
    /// Nobody can give what they do not have.
    #[error("The credential lacks the scope {0}, so it cannot give it to a key")]
    WiderThanCaller(Scope),
    /// Whoever acts lost the right to, or never had it.
    #[error("Access denied")]
    NotEntitled,
    /// No such member.
    #[error("Member not found")]
    NoSuchMember,
    /// They belong to it already.
    #[error("This person is a member of the team already")]
    AlreadyMember,
    /// A team without an owner could be changed by nobody.
    #[error("A team needs an owner: make somebody else one first")]
    LastOwner,
    /// No such open invitation, or it has run out, or it is somebody else's: the same for all.
    #[error("Invitation not found or no longer valid")]
    NoSuchInvitation,
    /// Something about one of its OAuth applications.
    #[error(transparent)]
    App(#[from] AppRefusal),
    /// Something about one of its tokens in the vault.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// Too many are open.
    #[error("A team may have {0} open invitations")]
    TooManyInvitations(usize),
    /// One person owns too many.
    #[error("A person may own {0} teams")]
    TooManyTeams(usize),
}

impl TeamRefusal {
    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }
}
