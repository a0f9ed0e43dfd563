//! Events: what happened, stored permanently.
//!
//! An event is MessagePack with named fields. Its type and version, such as `task.created.v1`, are
//! in the header `Wb-Event`. Within a version, fields are only ever added, with a default. A change
//! of meaning needs another version, and the old one stays readable. The golden encodings in
//! `schemas/` contain every version that was ever released.

pub mod control;
mod remains;
pub mod samples;
pub mod task;

pub use control::{
    AccessRefused, AppChanged, AppCreated, AppRemoved, AppSecretRotated, Boundary, BulkAction,
    ControlEvent, GatewayStarted, GrantAsked, GrantEnd, GrantGiven, GrantRedeemed, GrantRefreshed,
    GrantRevoked, GrantTokenRevoked, InvitationAccepted, InvitationSent, InvitationWithdrawn,
    ItemRefused, KeyCreated, KeyReported, KeyRevoked, KeyRotated, KeySessionEnded, KeyTermsSet,
    LeakPolicy, LimitPaused, LimitResumed, LimitSet, ListenerOpened, ListenerReleased,
    ListenerRemoved, ListenerRenewed, MailedEarlier, MemberJoined, MemberRemoved,
    MemberRoleChanged, OperationCancelled, OperationCreated, OperationEnded, OperationPaused,
    OperationProgressed, OperationResumed, OutsideAccount, PasswordChange, QueueDefaultsChanged,
    QueueLimited, QueuePaused, QueueResumed, RepeatableRequest, RevocationReason, ScheduleDeleted,
    SchedulePaused, ScheduleResumed, ScheduleSet, ScheduleSettled, ScheduledJob, SchedulesReached,
    SessionEnd, SessionEnded, SessionRefreshed, SessionStarted, SignaturesRequired, TargetClosed,
    TargetHealthSet, TargetOpened, TeamCreated, TeamDeleted, TeamLeakPolicyChanged,
    TeamOrganizationSet, TeamPayloadPolicyChanged, TeamPlanChanged, TeamRenamed,
    TeamSigningSecretRotated, TeamSlugTaken, TeamTaskDefaultsChanged, TeamVaultPolicyChanged,
    TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded, TokenUsed, UserConfirmed,
    UserIdentityLinked, UserLocked, UserPasswordChanged, UserPasswordRehashed, UserRenamed,
    UserResetRequested, UserSignInLinkMade, UserSignInLinkUsed, UserSignedUp, VaultKekIntroduced,
    ViewDeleted, ViewSaved, WorkerDrained, WorkerResumed,
};
pub use remains::Remains;
pub use task::{
    Answer, AttemptFailed, Blocks, BodyEncoding, CallbackFailed, CallbackSent, CancelRequested,
    Failure, FailureKind, HeaderValues, PartitionOwned, PriorityChanged, RunRequested,
    SealedHeaders, Standing, TargetDisabled, TaskCancelled, TaskCreated, TaskDead, TaskEnd,
    TaskEvent, TaskExpired, TaskLimitPaused, TaskProgressed, TaskPurged, TaskReleased,
    TaskRestated, TaskStarted, TaskSucceeded, TaskUnblocked, Waits, group_repeated,
};

/// Why a stored event could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This version knows no event of that type and version: a newer Waybill wrote it, or something
    /// else did.
    #[error("unknown event {name}; a newer version of Waybill may have written it")]
    Unknown {
        /// Value of the header `Wb-Event`.
        name: String,
    },
    /// The type is known, but the payload does not match it.
    #[error("malformed {name}: {reason}")]
    Malformed {
        /// Value of the header `Wb-Event`.
        name: String,
        /// Message of the decoder, which never quotes the payload.
        reason: String,
    },
}

/// Declares an enum of events with their stored names, and generates encoding and decoding.
macro_rules! events {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident($type:ty) = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is documented at its payload")]
        pub enum $enum {
            $($variant($type),)+
        }

        impl $enum {
            /// The stored names of all events of this kind, including their versions.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Value of the header `Wb-Event`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Encodes the payload as MessagePack with named fields.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                let encoded = match self { $(Self::$variant(event) => rmp_serde::to_vec_named(event),)+ };
                // Serialising plain structs of texts and numbers to memory cannot fail.
                encoded.unwrap_or_default()
            }

            /// Decodes a stored event by its name.
            pub fn decode(name: &str, payload: &[u8]) -> Result<Self, $crate::event::DecodeError> {
                match name {
                    $($name => rmp_serde::from_slice(payload).map(Self::$variant).map_err(|e| {
                        $crate::event::DecodeError::Malformed { name: name.into(), reason: e.to_string() }
                    }),)+
                    _ => Err($crate::event::DecodeError::Unknown { name: name.into() }),
                }
            }

            /// The JSON Schema of each event, by stored name.
            #[must_use]
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($name, schemars::schema_for!($type)),)+]
            }

            /// The event as JSON, for people and subscribers.
            pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
                match self { $(Self::$variant(event) => serde_json::to_value(event),)+ }
            }
        }
    };
}
pub(crate) use events;
