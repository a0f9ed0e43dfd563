//! Commands to a team, and the reasons to refuse them.

use std::time::Duration;

use crate::access::email::{Email, EmailHash};
use crate::access::key::{ApiKey, KeyMac};
use crate::access::plan::jobs::JobsLimits;
use crate::access::role::Role;
use crate::access::scope::{Scope, ScopeSet};
use crate::access::team::app::{AppCommand, AppRefusal};
use crate::access::team::jobs_keys::JobsKeyCommand;
use crate::access::team::limits::LimitCommand;
use crate::access::team::listeners::ListenerCommand;
use crate::access::team::organization::OrganizationChange;
use crate::access::team::queues::QueueCommand;
use crate::access::team::targets::TargetCommand;
use crate::access::team::task_defaults::TaskDefaultsChange;
use crate::access::team::vault::{TokenCommand, TokenRefusal};
use crate::access::team::views::ViewCommand;
use crate::access::team::workers::WorkerCommand;
use crate::event::{LeakPolicy, RepeatableRequest, RevocationReason};
use crate::id::{Environment, InvitationId, KeyId, QueueName, TeamId, UserId};
use crate::time::Timestamp;

/// A new key, made from fresh entropy, and its MAC.
#[derive(Debug, Clone)]
pub struct KeyDraft {
    pub key: ApiKey,
    pub mac: KeyMac,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
}

/// Lifetime of an invitation.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// An invitation to send.
#[derive(Debug, Clone)]
pub struct InvitationDraft {
    pub id: InvitationId,
    /// Address of the invited person.
    pub email: Email,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// HMAC of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
    /// Role that the invited person will have.
    pub role: Role,
    /// Time until the invitation expires.
    pub lifetime: Duration,
}

/// Commands to a team.
#[derive(Debug, Clone)]
pub enum TeamCommand {
    /// Create the team.
    Create {
        team: TeamId,
        /// Name shown to people.
        name: String,
        plan: String,
        /// The first member, as owner; `None` leaves the team without members.
        owner: Option<UserId>,
    },
    /// Rename the team.
    Rename {
        /// Name shown to people.
        name: String,
    },
    /// Move the team to another plan.
    ChangePlan { plan: String },
    /// Choose what happens to leaked keys.
    ChangeLeakPolicy {
        /// The new policy.
        leaked_keys: LeakPolicy,
    },
    /// Move on to the next signing secret.
    RotateSigningSecret {
        environment: Environment,
        /// How long the previous secret still signs as well.
        overlap: Duration,
    },
    /// Choose how credentials are protected; `None` leaves a value as it is.
    ChangeVaultPolicy {
        /// Headers of tasks to seal, besides those that always are.
        sealed_headers: Option<Vec<String>>,
        /// Whether new tokens must name the hosts that they may be sent to.
        require_allowed_hosts: Option<bool>,
    },
    /// Change the defaults for tasks that do not set these options.
    ChangeTaskDefaults(Box<TaskDefaultsChange>),
    /// Delete the team and everything that belongs to it.
    Delete,
    /// A command about one of the team's OAuth applications.
    App(AppCommand),
    /// A command about one of the team's vault tokens.
    Token(TokenCommand),
    /// A command about one of the team's queues.
    Queue(QueueCommand),
    /// A command about one of the hosts that the team's tasks call.
    Target(TargetCommand),
    /// Change what holds the tasks with a limit key back.
    Limit(LimitCommand),
    /// Change whether a worker is given tasks.
    Worker(WorkerCommand),
    /// Invite a person.
    Invite(Box<InvitationDraft>),
    /// Withdraw an invitation.
    WithdrawInvitation { invitation: InvitationId },
    /// Join the team. The presented token was already checked against the MAC of the invitation.
    AcceptInvitation {
        invitation: InvitationId,
        /// The person who joins.
        user: UserId,
        /// Keyed hash of that person's own address.
        email_hash: EmailHash,
    },
    /// Change the role of a member.
    ChangeRole {
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Remove a member.
    RemoveMember { user: UserId },
    /// Create an API key.
    CreateKey {
        draft: KeyDraft,
        /// Name shown to people.
        name: String,
        scopes: ScopeSet,
        /// When the key expires; `None`: never.
        expires_at: Option<Timestamp>,
        /// Networks that the key may be used from. Empty: any.
        sources: Vec<String>,
        /// Queues that the key is limited to. Empty: all.
        queues: Vec<QueueName>,
        /// Identifies a repetition of the request.
        request: Option<RepeatableRequest>,
    },
    /// Give a key a successor with the same rights.
    RotateKey {
        /// The key to replace.
        key: KeyId,
        /// The successor, with the same prefix.
        draft: KeyDraft,
        /// How long the old key remains valid.
        overlap: Duration,
    },
    /// Revoke a key. Idempotent.
    RevokeKey {
        key: KeyId,
        /// The reason to record.
        reason: RevocationReason,
    },
    /// Record that a key was found in public; the team's policy decides what follows.
    ReportKey {
        key: KeyId,
        /// Name of the reporter.
        reporter: String,
        /// Kind of place where it was found, such as a commit.
        source: String,
        /// URL of the place, if known.
        url: Option<String>,
    },
    /// Make the local owner of the installation the owner of a team that has no members.
    AdmitLocalOwner,
    /// Choose who sees the bodies and headers of tasks.
    ChangePayloadPolicy {
        /// Whether viewers do; everybody else does.
        viewers_see_payloads: bool,
    },
    /// Save or delete a view of a list.
    View(ViewCommand),
    /// A command of the jobs API about a key.
    JobsKey(Box<JobsKeyCommand>),
    /// Change what the jobs API keeps of the team, its name or plan.
    ChangeOrganization(Box<OrganizationChange>),
    /// Delete the team, as a key that administers it may through the jobs API.
    DeleteOrganization,
    /// Listen to queues or hosts of the test environment, or cease to.
    Listener(ListenerCommand),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TeamRefusal {
    #[error("Team not found")]
    NoSuchTeam,
    #[error("Team already exists")]
    AlreadyExists,
    /// The team has no such key, or the caller cannot see it.
    #[error("API key not found")]
    NoSuchKey,
    /// A key with this public id exists already; another key must be generated.
    #[error("API key id is taken")]
    KeyIdTaken,
    /// A key that is no longer valid cannot get a successor.
    #[error("Only an active API key can be rotated; this one is {0}")]
    NotRotatable(&'static str),
    /// The key that this one replaced is still valid.
    #[error(
        "This API key was made by a rotation, and the one before it is still accepted; revoke that one or wait until its time is over"
    )]
    PredecessorAccepted,
    /// The team has as many keys as its plan allows.
    #[error("The plan {plan} allows {limit} active API key(s); revoke one or change the plan")]
    KeyLimit {
        /// Name of the plan.
        plan: String,
        /// Keys that the plan allows.
        limit: u32,
    },
    /// The team has as many members and open invitations as its plan allows.
    #[error("The plan {plan} allows {limit} members, open invitations included")]
    MemberLimit {
        /// Name of the plan.
        plan: String,
        /// Members that the plan allows.
        limit: u32,
    },
    /// The plan does not include API access.
    #[error("The plan {0} does not include API access")]
    FeatureNotAllowed(String),
    #[error("plan: there is no plan {0:?}")]
    NoSuchPlan(String),
    /// A field has an invalid value.
    #[error("{message}")]
    Invalid {
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The same request has already made a key, and a key is shown only once.
    #[error(
        "This Idempotency-Key has made {0}, which was shown then and cannot be shown again; revoke it if it got lost"
    )]
    SecretAlreadyShown(KeyId),
    /// A different request was sent with the same idempotency key.
    #[error("The Idempotency-Key was used with another request")]
    RequestMismatch,
    /// A key cannot make a key that lives longer or elsewhere than itself.
    #[error("{message}")]
    BeyondCaller {
        /// The field that asks for it.
        field: &'static str,
        /// What the field may be at most.
        message: String,
    },
    /// A credential cannot pass on a scope that it does not have.
    #[error("The credential lacks the scope {0}, so it cannot give it to a key")]
    WiderThanCaller(Scope),
    /// The caller lost the right to do this, or never had it.
    #[error("Access denied")]
    NotEntitled,
    #[error("Member not found")]
    NoSuchMember,
    /// The team has no such listener, or another one took its place.
    #[error("Listener not found")]
    NoSuchListener,
    /// The person is already a member.
    #[error("This person is a member of the team already")]
    AlreadyMember,
    /// Without an owner, nobody could manage the team.
    #[error("A team needs an owner: make somebody else one first")]
    LastOwner,
    /// The invitation does not exist, has expired, or is for somebody else; the answer is the same
    /// in all cases.
    #[error("Invitation not found or no longer valid")]
    NoSuchInvitation,
    /// A refusal about an OAuth application.
    #[error(transparent)]
    App(#[from] AppRefusal),
    /// A refusal about a vault token.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The team has too many open invitations.
    #[error("A team may have {0} open invitations")]
    TooManyInvitations(usize),
    /// The settings are not those that the caller has read.
    #[error(
        "The settings are others than those that If-Match names; read them, and repeat the change with their ETag"
    )]
    SettingsChanged,
    /// The person owns too many teams.
    #[error("A person may own {0} teams")]
    TooManyTeams(usize),
    /// Only a team without members takes in the local owner.
    #[error("The team has members already, and the local owner is none of them")]
    HasMembers,
    /// Another team has that slug, or had it.
    #[error("The slug {0} is taken")]
    SlugTaken(String),
    /// Scopes and queues of a key stay as they are, or become narrower on keys of the jobs API.
    #[error(
        "permissions and queues can only be narrowed, and only on keys that were made by this API; make another key instead"
    )]
    ScopesStay,
    /// The organisation has as many of something as it may have in the jobs API.
    #[error("{resource}: {current} of {limit} are used")]
    JobsQuota {
        resource: &'static str,
        current: u64,
        limit: u64,
        limits: Box<JobsLimits>,
    },
}

impl TeamRefusal {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }
}
