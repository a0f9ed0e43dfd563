//! Events of teams, people and their credentials.

mod app;
mod bulk;
mod grant;
mod key;
mod limit;
mod listener;
mod member;
mod operation;
mod organization;
mod queue;
mod schedule;
mod session;
mod target;
mod team;
mod user;
mod vault;
mod view;
mod worker;

pub use app::{AppChanged, AppCreated, AppRemoved, AppSecretRotated};
pub use bulk::{
    BulkAction, ItemRefused, OperationCancelled, OperationCreated, OperationEnded, OperationPaused,
    OperationProgressed, OperationResumed,
};
pub use grant::{
    GrantAsked, GrantEnd, GrantGiven, GrantRedeemed, GrantRefreshed, GrantRevoked,
    GrantTokenRevoked,
};
pub use key::{
    KeyCreated, KeyReported, KeyRevoked, KeyRotated, KeySessionEnded, KeyTermsSet,
    RepeatableRequest, RevocationReason,
};
pub use limit::{LimitPaused, LimitResumed, LimitSet};
pub use listener::{ListenerOpened, ListenerReleased, ListenerRemoved, ListenerRenewed};
pub use member::{
    InvitationAccepted, InvitationSent, InvitationWithdrawn, MemberJoined, MemberRemoved,
    MemberRoleChanged,
};
pub use operation::{AccessRefused, GatewayStarted, SignaturesRequired};
pub use organization::{TeamOrganizationSet, TeamSlugTaken};
pub use queue::{QueueDefaultsChanged, QueueLimited, QueuePaused, QueueResumed};
pub use schedule::{
    ScheduleDeleted, SchedulePaused, ScheduleResumed, ScheduleSet, ScheduleSettled, ScheduledJob,
    SchedulesReached,
};
pub use session::{SessionEnd, SessionEnded, SessionRefreshed, SessionStarted};
pub use target::{TargetClosed, TargetHealthSet, TargetOpened};
pub use team::{
    LeakPolicy, TeamCreated, TeamDeleted, TeamLeakPolicyChanged, TeamPayloadPolicyChanged,
    TeamPlanChanged, TeamRenamed, TeamSigningSecretRotated, TeamTaskDefaultsChanged,
    TeamVaultPolicyChanged,
};
pub use user::{
    MailedEarlier, OutsideAccount, PasswordChange, UserConfirmed, UserIdentityLinked, UserLocked,
    UserPasswordChanged, UserPasswordRehashed, UserRenamed, UserResetRequested, UserSignInLinkMade,
    UserSignInLinkUsed, UserSignedUp,
};
pub use vault::{
    TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded, TokenUsed,
    VaultKekIntroduced,
};
pub use view::{ViewDeleted, ViewSaved};
pub use worker::{WorkerDrained, WorkerResumed};

use crate::access::email::EmailHash;
use crate::event::events;
use crate::id::{GrantId, OperationId, ScheduleId, SessionId, TeamId};

events! {
    /// A change to teams, people or their credentials.
    ControlEvent {
        TeamCreated(TeamCreated) = "team.created.v1",
        TeamRenamed(TeamRenamed) = "team.renamed.v1",
        TeamPlanChanged(TeamPlanChanged) = "team.plan_changed.v1",
        TeamLeakPolicyChanged(TeamLeakPolicyChanged) = "team.leak_policy_changed.v1",
        TeamVaultPolicyChanged(TeamVaultPolicyChanged) = "team.vault_policy_changed.v1",
        TeamTaskDefaultsChanged(TeamTaskDefaultsChanged) = "team.task_defaults_changed.v1",
        TeamSigningSecretRotated(TeamSigningSecretRotated) = "team.signing_secret_rotated.v1",
        TeamDeleted(TeamDeleted) = "team.deleted.v1",
        MemberJoined(MemberJoined) = "member.joined.v1",
        MemberRoleChanged(MemberRoleChanged) = "member.role_changed.v1",
        MemberRemoved(MemberRemoved) = "member.removed.v1",
        InvitationSent(InvitationSent) = "invitation.sent.v1",
        InvitationAccepted(InvitationAccepted) = "invitation.accepted.v1",
        InvitationWithdrawn(InvitationWithdrawn) = "invitation.withdrawn.v1",
        KeyCreated(KeyCreated) = "key.created.v1",
        KeyRotated(KeyRotated) = "key.rotated.v1",
        KeyReported(KeyReported) = "key.reported.v1",
        KeyRevoked(KeyRevoked) = "key.revoked.v1",
        UserSignedUp(UserSignedUp) = "user.signed_up.v1",
        UserConfirmed(UserConfirmed) = "user.confirmed.v1",
        UserPasswordChanged(UserPasswordChanged) = "user.password_changed.v1",
        UserPasswordRehashed(UserPasswordRehashed) = "user.password_rehashed.v1",
        UserResetRequested(UserResetRequested) = "user.reset_requested.v1",
        UserLocked(UserLocked) = "user.locked.v1",
        UserIdentityLinked(UserIdentityLinked) = "user.identity_linked.v1",
        UserRenamed(UserRenamed) = "user.renamed.v1",
        SessionStarted(SessionStarted) = "session.started.v1",
        SessionRefreshed(SessionRefreshed) = "session.refreshed.v1",
        SessionEnded(SessionEnded) = "session.ended.v1",
        AppCreated(AppCreated) = "app.created.v1",
        AppChanged(AppChanged) = "app.changed.v1",
        AppSecretRotated(AppSecretRotated) = "app.secret_rotated.v1",
        AppRemoved(AppRemoved) = "app.removed.v1",
        GrantGiven(Box<GrantGiven>) = "grant.given.v1",
        GrantRedeemed(GrantRedeemed) = "grant.redeemed.v1",
        GrantRefreshed(GrantRefreshed) = "grant.refreshed.v1",
        GrantTokenRevoked(GrantTokenRevoked) = "grant.token_revoked.v1",
        GrantRevoked(GrantRevoked) = "grant.revoked.v1",
        TokenCreated(TokenCreated) = "token.created.v1",
        TokenRotated(TokenRotated) = "token.rotated.v1",
        TokenRevoked(TokenRevoked) = "token.revoked.v1",
        TokenShredded(TokenShredded) = "token.shredded.v1",
        TokenUsed(TokenUsed) = "token.used.v1",
        QueuePaused(QueuePaused) = "queue.paused.v1",
        QueueResumed(QueueResumed) = "queue.resumed.v1",
        QueueLimited(QueueLimited) = "queue.limited.v1",
        QueueDefaultsChanged(Box<QueueDefaultsChanged>) = "queue.defaults_changed.v1",
        VaultKekIntroduced(VaultKekIntroduced) = "vault.kek_introduced.v1",
        AccessRefused(AccessRefused) = "access.refused.v1",
        GatewayStarted(GatewayStarted) = "gateway.started.v1",
        SignaturesRequired(SignaturesRequired) = "signatures.required.v1",
        TargetHealthSet(TargetHealthSet) = "target.health_set.v1",
        OperationCreated(Box<OperationCreated>) = "operation.created.v1",
        OperationPaused(OperationPaused) = "operation.paused.v1",
        OperationResumed(OperationResumed) = "operation.resumed.v1",
        OperationCancelled(OperationCancelled) = "operation.cancelled.v1",
        OperationProgressed(OperationProgressed) = "operation.progressed.v1",
        OperationEnded(OperationEnded) = "operation.ended.v1",
        LimitSet(LimitSet) = "limit.set.v1",
        LimitPaused(LimitPaused) = "limit.paused.v1",
        LimitResumed(LimitResumed) = "limit.resumed.v1",
        UserSignInLinkMade(UserSignInLinkMade) = "user.sign_in_link_made.v1",
        UserSignInLinkUsed(UserSignInLinkUsed) = "user.sign_in_link_used.v1",
        TeamPayloadPolicyChanged(TeamPayloadPolicyChanged) = "team.payload_policy_changed.v1",
        ScheduleSet(Box<ScheduleSet>) = "schedule.set.v1",
        SchedulePaused(SchedulePaused) = "schedule.paused.v1",
        ScheduleResumed(ScheduleResumed) = "schedule.resumed.v1",
        ScheduleDeleted(ScheduleDeleted) = "schedule.deleted.v1",
        ScheduleSettled(ScheduleSettled) = "schedule.settled.v1",
        SchedulesReached(SchedulesReached) = "schedules.reached.v1",
        TargetOpened(TargetOpened) = "target.opened.v1",
        TargetClosed(TargetClosed) = "target.closed.v1",
        WorkerDrained(WorkerDrained) = "worker.drained.v1",
        WorkerResumed(WorkerResumed) = "worker.resumed.v1",
        GrantAsked(Box<GrantAsked>) = "grant.asked.v1",
        ViewSaved(ViewSaved) = "view.saved.v1",
        ViewDeleted(ViewDeleted) = "view.deleted.v1",
        KeyTermsSet(KeyTermsSet) = "key.terms_set.v1",
        KeySessionEnded(KeySessionEnded) = "key.session_ended.v1",
        TeamSlugTaken(TeamSlugTaken) = "team.slug_taken.v1",
        TeamOrganizationSet(Box<TeamOrganizationSet>) = "team.organization_set.v1",
        ListenerOpened(ListenerOpened) = "listener.opened.v1",
        ListenerRenewed(ListenerRenewed) = "listener.renewed.v1",
        ListenerReleased(ListenerReleased) = "listener.released.v1",
        ListenerRemoved(ListenerRemoved) = "listener.removed.v1",
    }
}

/// Unit of consistency: an append within a boundary expects the boundary's last event to be the one
/// that the decision was based on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// A team with its members, invitations, keys, applications, vault tokens and queues.
    Team(TeamId),
    /// A person, by the hash of the address, so that an address belongs to one person with any
    /// number of gateways.
    User(EmailHash),
    /// The session of one person on one device.
    Session(SessionId),
    /// A grant of an OAuth application.
    Grant(GrantId),
    /// Work on many tasks at once.
    Operation(OperationId),
    /// A schedule.
    Schedule(ScheduleId),
}

impl Boundary {
    /// First token of the boundary's subjects; the events of a team are below the team itself.
    const USER: &'static str = "user";
    const SESSION: &'static str = "session";
    const GRANT: &'static str = "grant";
    const OPERATION: &'static str = "operation";
    const SCHEDULE: &'static str = "schedule";

    /// The subject filter that matches exactly the events of this boundary.
    #[must_use]
    pub fn filter(&self) -> String {
        match self {
            Self::Team(id) => format!("control.{id}.>"),
            Self::User(id) => format!("control._.{}.{}", Self::USER, id.as_str()),
            Self::Session(id) => format!("control._.{}.{id}", Self::SESSION),
            Self::Grant(id) => format!("control._.{}.{id}", Self::GRANT),
            Self::Operation(id) => format!("control._.{}.{id}", Self::OPERATION),
            Self::Schedule(id) => format!("control._.{}.{id}", Self::SCHEDULE),
        }
    }
}

impl ControlEvent {
    /// Fields derived from a secret. They are shown to nobody, although they are useless on their
    /// own.
    pub const WITHHELD: &[&str] = &[
        "envelope",
        "mac",
        "password",
        "refresh_mac",
        "code_mac",
        "secret_mac",
        "token_mac",
    ];

    /// Types that are appended without an expectation. A copy of such a record changes nothing, so
    /// it may be anywhere; events of all other types count only if they name the boundary that they
    /// were decided in.
    pub const REPEATABLE: &[&str] = &[
        "token.used.v1",
        "access.refused.v1",
        "gateway.started.v1",
        "schedules.reached.v1",
    ];

    /// The team whose activity the event belongs to, wherever it is stored.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        match self {
            Self::TeamCreated(e) => Some(&e.team),
            Self::TeamRenamed(e) => Some(&e.team),
            Self::TeamPlanChanged(e) => Some(&e.team),
            Self::TeamLeakPolicyChanged(e) => Some(&e.team),
            Self::TeamVaultPolicyChanged(e) => Some(&e.team),
            Self::TeamPayloadPolicyChanged(e) => Some(&e.team),
            Self::TeamTaskDefaultsChanged(e) => Some(&e.team),
            Self::TeamSigningSecretRotated(e) => Some(&e.team),
            Self::TeamDeleted(e) => Some(&e.team),
            Self::MemberJoined(e) => Some(&e.team),
            Self::MemberRoleChanged(e) => Some(&e.team),
            Self::MemberRemoved(e) => Some(&e.team),
            Self::InvitationSent(e) => Some(&e.team),
            Self::InvitationAccepted(e) => Some(&e.team),
            Self::InvitationWithdrawn(e) => Some(&e.team),
            Self::KeyCreated(e) => Some(&e.team),
            Self::KeyRotated(e) => Some(&e.team),
            Self::KeyReported(e) => Some(&e.team),
            Self::KeyRevoked(e) => Some(&e.team),
            Self::AppCreated(e) => Some(&e.team),
            Self::AppChanged(e) => Some(&e.team),
            Self::AppSecretRotated(e) => Some(&e.team),
            Self::AppRemoved(e) => Some(&e.team),
            Self::GrantGiven(e) => Some(&e.team),
            Self::GrantRedeemed(e) => Some(&e.team),
            Self::GrantRefreshed(e) => Some(&e.team),
            Self::GrantTokenRevoked(e) => Some(&e.team),
            Self::GrantRevoked(e) => Some(&e.team),
            Self::TokenCreated(e) => Some(&e.team),
            Self::TokenRotated(e) => Some(&e.team),
            Self::TokenRevoked(e) => Some(&e.team),
            Self::TokenShredded(e) => Some(&e.team),
            Self::TokenUsed(e) => Some(&e.team),
            Self::QueuePaused(e) => Some(&e.team),
            Self::QueueResumed(e) => Some(&e.team),
            Self::QueueLimited(e) => Some(&e.team),
            Self::QueueDefaultsChanged(e) => Some(&e.team),
            Self::TargetHealthSet(e) => Some(&e.team),
            Self::TargetOpened(e) => Some(&e.team),
            Self::TargetClosed(e) => Some(&e.team),
            Self::OperationCreated(e) => Some(&e.team),
            Self::OperationPaused(e) => Some(&e.team),
            Self::OperationResumed(e) => Some(&e.team),
            Self::OperationCancelled(e) => Some(&e.team),
            Self::OperationProgressed(e) => Some(&e.team),
            Self::OperationEnded(e) => Some(&e.team),
            Self::LimitSet(e) => Some(&e.team),
            Self::LimitPaused(e) => Some(&e.team),
            Self::LimitResumed(e) => Some(&e.team),
            Self::ScheduleSet(e) => Some(&e.team),
            Self::SchedulePaused(e) => Some(&e.team),
            Self::ScheduleResumed(e) => Some(&e.team),
            Self::ScheduleDeleted(e) => Some(&e.team),
            Self::ScheduleSettled(e) => Some(&e.team),
            Self::WorkerDrained(e) => Some(&e.team),
            Self::WorkerResumed(e) => Some(&e.team),
            Self::GrantAsked(e) => Some(&e.team),
            Self::ViewSaved(e) => Some(&e.team),
            Self::ViewDeleted(e) => Some(&e.team),
            Self::KeyTermsSet(e) => Some(&e.team),
            Self::KeySessionEnded(e) => Some(&e.team),
            Self::TeamSlugTaken(e) => Some(&e.team),
            Self::TeamOrganizationSet(e) => Some(&e.team),
            Self::ListenerOpened(e) => Some(&e.team),
            Self::ListenerRenewed(e) => Some(&e.team),
            Self::ListenerReleased(e) => Some(&e.team),
            Self::ListenerRemoved(e) => Some(&e.team),
            Self::AccessRefused(e) => e.team.as_ref(),
            Self::GatewayStarted(_)
            | Self::SchedulesReached(_)
            | Self::SignaturesRequired(_)
            | Self::VaultKekIntroduced(_)
            | Self::UserSignedUp(_)
            | Self::UserConfirmed(_)
            | Self::UserPasswordChanged(_)
            | Self::UserPasswordRehashed(_)
            | Self::UserResetRequested(_)
            | Self::UserLocked(_)
            | Self::UserIdentityLinked(_)
            | Self::UserRenamed(_)
            | Self::UserSignInLinkMade(_)
            | Self::UserSignInLinkUsed(_)
            | Self::SessionStarted(_)
            | Self::SessionRefreshed(_)
            | Self::SessionEnded(_) => None,
        }
    }

    /// The boundary that the event belongs to; `None` if it belongs to none and is appended without
    /// a condition.
    #[must_use]
    pub fn boundary(&self) -> Option<Boundary> {
        match self {
            Self::AccessRefused(_)
            | Self::GatewayStarted(_)
            | Self::SignaturesRequired(_)
            | Self::TokenUsed(_)
            | Self::VaultKekIntroduced(_) => None,
            Self::UserSignedUp(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserConfirmed(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserPasswordChanged(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserPasswordRehashed(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserResetRequested(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserLocked(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserIdentityLinked(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserRenamed(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserSignInLinkMade(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::UserSignInLinkUsed(e) => Some(Boundary::User(e.email_hash.clone())),
            Self::SessionStarted(e) => Some(Boundary::Session(e.session.clone())),
            Self::SessionRefreshed(e) => Some(Boundary::Session(e.session.clone())),
            Self::SessionEnded(e) => Some(Boundary::Session(e.session.clone())),
            Self::GrantGiven(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::GrantAsked(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::GrantRedeemed(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::GrantRefreshed(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::GrantTokenRevoked(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::GrantRevoked(e) => Some(Boundary::Grant(e.grant.clone())),
            Self::OperationCreated(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::OperationPaused(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::OperationResumed(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::OperationCancelled(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::OperationProgressed(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::OperationEnded(e) => Some(Boundary::Operation(e.operation.clone())),
            Self::ScheduleSet(e) => Some(Boundary::Schedule(e.schedule.clone())),
            Self::SchedulePaused(e) => Some(Boundary::Schedule(e.schedule.clone())),
            Self::ScheduleResumed(e) => Some(Boundary::Schedule(e.schedule.clone())),
            Self::ScheduleDeleted(e) => Some(Boundary::Schedule(e.schedule.clone())),
            Self::ScheduleSettled(e) => Some(Boundary::Schedule(e.schedule.clone())),
            _ => self.team().cloned().map(Boundary::Team),
        }
    }

    /// Kind and id of the thing that the event is about: the last two tokens of its subject.
    #[must_use]
    pub fn aggregate(&self) -> (&'static str, &str) {
        match self {
            Self::TeamCreated(e) => ("team", e.team.as_str()),
            Self::TeamRenamed(e) => ("team", e.team.as_str()),
            Self::TeamPlanChanged(e) => ("team", e.team.as_str()),
            Self::TeamLeakPolicyChanged(e) => ("team", e.team.as_str()),
            Self::TeamVaultPolicyChanged(e) => ("team", e.team.as_str()),
            Self::TeamPayloadPolicyChanged(e) => ("team", e.team.as_str()),
            Self::TeamTaskDefaultsChanged(e) => ("team", e.team.as_str()),
            Self::TeamSigningSecretRotated(e) => ("team", e.team.as_str()),
            Self::TeamDeleted(e) => ("team", e.team.as_str()),
            Self::MemberJoined(e) => ("member", e.user.as_str()),
            Self::MemberRoleChanged(e) => ("member", e.user.as_str()),
            Self::MemberRemoved(e) => ("member", e.user.as_str()),
            Self::InvitationSent(e) => ("invitation", e.invitation.as_str()),
            Self::InvitationAccepted(e) => ("invitation", e.invitation.as_str()),
            Self::InvitationWithdrawn(e) => ("invitation", e.invitation.as_str()),
            Self::KeyCreated(e) => ("key", e.key.as_str()),
            Self::KeyRotated(e) => ("key", e.key.as_str()),
            Self::KeyReported(e) => ("key", e.key.as_str()),
            Self::KeyRevoked(e) => ("key", e.key.as_str()),
            Self::UserSignedUp(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserConfirmed(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserPasswordChanged(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserPasswordRehashed(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserResetRequested(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserLocked(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserIdentityLinked(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserRenamed(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserSignInLinkMade(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::UserSignInLinkUsed(e) => (Boundary::USER, e.email_hash.as_str()),
            Self::SessionStarted(e) => (Boundary::SESSION, e.session.as_str()),
            Self::SessionRefreshed(e) => (Boundary::SESSION, e.session.as_str()),
            Self::SessionEnded(e) => (Boundary::SESSION, e.session.as_str()),
            Self::AppCreated(e) => ("app", e.app.as_str()),
            Self::AppChanged(e) => ("app", e.app.as_str()),
            Self::AppSecretRotated(e) => ("app", e.app.as_str()),
            Self::AppRemoved(e) => ("app", e.app.as_str()),
            Self::GrantGiven(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::GrantRedeemed(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::GrantRefreshed(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::GrantTokenRevoked(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::GrantRevoked(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::TokenCreated(e) => ("token", e.token.as_str()),
            Self::TokenRotated(e) => ("token", e.token.as_str()),
            Self::TokenRevoked(e) => ("token", e.token.as_str()),
            Self::TokenShredded(e) => ("token", e.token.as_str()),
            // Decided outside the team's boundary, so not on the subject of the token's own events.
            Self::TokenUsed(e) => ("use", e.token.as_str()),
            Self::QueuePaused(e) => ("queue", e.queue.as_str()),
            Self::QueueResumed(e) => ("queue", e.queue.as_str()),
            Self::QueueLimited(e) => ("queue", e.queue.as_str()),
            Self::QueueDefaultsChanged(e) => ("queue", e.queue.as_str()),
            // A host is no token of a subject.
            Self::TargetHealthSet(e) => ("target", e.team.as_str()),
            Self::TargetOpened(e) => ("target", e.team.as_str()),
            Self::TargetClosed(e) => ("target", e.team.as_str()),
            Self::OperationCreated(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::OperationPaused(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::OperationResumed(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::OperationCancelled(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::OperationProgressed(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::OperationEnded(e) => (Boundary::OPERATION, e.operation.as_str()),
            Self::LimitSet(e) => ("limit", e.key.as_str()),
            Self::LimitPaused(e) => ("limit", e.key.as_str()),
            Self::LimitResumed(e) => ("limit", e.key.as_str()),
            Self::ScheduleSet(e) => (Boundary::SCHEDULE, e.schedule.as_str()),
            Self::SchedulePaused(e) => (Boundary::SCHEDULE, e.schedule.as_str()),
            Self::ScheduleResumed(e) => (Boundary::SCHEDULE, e.schedule.as_str()),
            Self::ScheduleDeleted(e) => (Boundary::SCHEDULE, e.schedule.as_str()),
            Self::SchedulesReached(_) => ("schedules", "all"),
            Self::ScheduleSettled(e) => (Boundary::SCHEDULE, e.schedule.as_str()),
            // A name of a worker is no token of a subject.
            Self::WorkerDrained(e) => ("worker", e.team.as_str()),
            Self::WorkerResumed(e) => ("worker", e.team.as_str()),
            Self::GrantAsked(e) => (Boundary::GRANT, e.grant.as_str()),
            Self::ViewSaved(e) => ("view", e.view.as_str()),
            Self::ViewDeleted(e) => ("view", e.view.as_str()),
            Self::KeyTermsSet(e) => ("key", e.key.as_str()),
            Self::KeySessionEnded(e) => ("key", e.key.as_str()),
            // A slug is claimed over all teams, by the filter of its subject.
            Self::TeamSlugTaken(e) => ("slug", &e.slug),
            Self::TeamOrganizationSet(e) => ("team", e.team.as_str()),
            Self::ListenerOpened(e) => ("listener", e.listener.as_str()),
            Self::ListenerRenewed(e) => ("listener", e.listener.as_str()),
            Self::ListenerReleased(e) => ("listener", e.listener.as_str()),
            Self::ListenerRemoved(e) => ("listener", e.listener.as_str()),
            Self::VaultKekIntroduced(e) => ("kek", &e.kek),
            Self::AccessRefused(e) => ("refused", &e.gateway),
            Self::GatewayStarted(e) => ("gateway", &e.gateway),
            Self::SignaturesRequired(e) => ("signatures", &e.key),
        }
    }

    /// Like [`Self::takes_away`], but by the stored name alone, for a record whose payload cannot
    /// be decoded.
    #[must_use]
    pub fn may_take_away(name: &str) -> bool {
        matches!(
            name,
            "team.plan_changed.v1"
                | "team.vault_policy_changed.v1"
                | "team.payload_policy_changed.v1"
                | "team.deleted.v1"
                | "member.role_changed.v1"
                | "member.removed.v1"
                | "invitation.withdrawn.v1"
                | "key.rotated.v1"
                | "user.password_changed.v1"
                | "session.ended.v1"
                | "app.changed.v1"
                | "app.secret_rotated.v1"
                | "app.removed.v1"
                | "grant.token_revoked.v1"
                | "grant.revoked.v1"
                | "token.rotated.v1"
                | "token.revoked.v1"
                | "vault.kek_introduced.v1"
                | "key.revoked.v1"
                | "key.terms_set.v1"
                | "key.session_ended.v1"
                | "team.organization_set.v1"
        )
    }

    /// Whether the event revokes rights or may do so. If it does, it is answered only once every
    /// gateway has applied it.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        match self {
            Self::TeamPlanChanged(_)
            | Self::TeamVaultPolicyChanged(_)
            | Self::TeamPayloadPolicyChanged(_)
            | Self::TeamDeleted(_)
            | Self::MemberRoleChanged(_)
            | Self::MemberRemoved(_)
            | Self::InvitationWithdrawn(_)
            | Self::KeyRotated(_)
            | Self::UserPasswordChanged(_)
            | Self::SessionEnded(_)
            | Self::AppChanged(_)
            | Self::AppSecretRotated(_)
            | Self::AppRemoved(_)
            | Self::GrantTokenRevoked(_)
            | Self::GrantRevoked(_)
            | Self::TokenRotated(_)
            | Self::TokenRevoked(_)
            | Self::VaultKekIntroduced(_)
            | Self::KeyTermsSet(_)
            | Self::KeySessionEnded(_)
            | Self::TeamOrganizationSet(_)
            | Self::KeyRevoked(_) => true,
            Self::TeamCreated(_)
            | Self::TeamSlugTaken(_)
            | Self::TeamRenamed(_)
            | Self::TeamLeakPolicyChanged(_)
            | Self::TeamTaskDefaultsChanged(_)
            | Self::TeamSigningSecretRotated(_)
            | Self::MemberJoined(_)
            | Self::InvitationSent(_)
            | Self::InvitationAccepted(_)
            | Self::KeyCreated(_)
            | Self::KeyReported(_)
            | Self::UserSignedUp(_)
            | Self::UserConfirmed(_)
            | Self::UserPasswordRehashed(_)
            | Self::UserResetRequested(_)
            | Self::UserLocked(_)
            | Self::UserIdentityLinked(_)
            | Self::UserRenamed(_)
            | Self::UserSignInLinkMade(_)
            | Self::UserSignInLinkUsed(_)
            | Self::SessionStarted(_)
            | Self::SessionRefreshed(_)
            | Self::AppCreated(_)
            | Self::GrantGiven(_)
            | Self::GrantRedeemed(_)
            | Self::GrantRefreshed(_)
            | Self::TokenCreated(_)
            | Self::TokenShredded(_)
            | Self::TokenUsed(_)
            // No right of anybody: workers take them into account.
            | Self::QueuePaused(_)
            | Self::QueueResumed(_)
            | Self::QueueLimited(_)
            | Self::QueueDefaultsChanged(_)
            | Self::TargetHealthSet(_)
            | Self::TargetOpened(_)
            | Self::TargetClosed(_)
            // Work that was allowed when it began.
            | Self::OperationCreated(_)
            | Self::OperationPaused(_)
            | Self::OperationResumed(_)
            | Self::OperationCancelled(_)
            | Self::OperationProgressed(_)
            | Self::OperationEnded(_)
            | Self::LimitSet(_)
            | Self::LimitPaused(_)
            | Self::LimitResumed(_)
            | Self::ScheduleSet(_)
            | Self::SchedulePaused(_)
            | Self::ScheduleResumed(_)
            | Self::ScheduleDeleted(_)
            | Self::ScheduleSettled(_)
            | Self::SchedulesReached(_)
            | Self::WorkerDrained(_)
            | Self::WorkerResumed(_)
            // What is asked for is not given, and a view is no right.
            | Self::GrantAsked(_)
            | Self::ViewSaved(_)
            | Self::ViewDeleted(_)
            | Self::ListenerOpened(_)
            | Self::ListenerRenewed(_)
            | Self::ListenerReleased(_)
            | Self::ListenerRemoved(_)
            | Self::AccessRefused(_)
            | Self::GatewayStarted(_)
            | Self::SignaturesRequired(_) => false,
        }
    }
}
