//! Events: what happened, as it is stored for ever.
//!
//! An event is MessagePack with named fields; its type and version travel beside it in the header `Wb-Event`, such as
//! `task.created.v1`. Within a version fields are only ever added, with a default; a change of meaning is another version,
//! and the old one stays readable. The golden encodings in `schemas/` hold every version ever shipped.

pub mod control;
mod remains;
pub mod samples;
pub mod task;

pub use control::{
    AccessRefused, AppChanged, AppCreated, AppRemoved, AppSecretRotated, Boundary, ControlEvent,
    GatewayStarted, GrantEnd, GrantGiven, GrantRedeemed, GrantRefreshed, GrantRevoked,
    GrantTokenRevoked, InvitationAccepted, InvitationSent, InvitationWithdrawn, KeyCreated,
    KeyReported, KeyRevoked, KeyRotated, LeakPolicy, MailedEarlier, MemberJoined, MemberRemoved,
    MemberRoleChanged, OutsideAccount, PasswordChange, RepeatableRequest, RevocationReason,
    SessionEnd, SessionEnded, SessionRefreshed, SessionStarted, SignaturesRequired, TeamCreated,
    TeamDeleted, TeamLeakPolicyChanged, TeamPlanChanged, TeamRenamed, TeamSigningSecretRotated,
    TeamVaultPolicyChanged, TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded,
    TokenUsed, UserConfirmed, UserIdentityLinked, UserLocked, UserPasswordChanged,
    UserPasswordRehashed, UserRenamed, UserResetRequested, UserSignedUp, VaultKekIntroduced,
};
pub use remains::Remains;
pub use task::{
    Answer, AttemptFailed, BodyEncoding, CallbackFailed, CallbackSent, Failure, FailureKind,
    HeaderValues, PartitionOwned, SealedHeaders, Standing, TaskCancelled, TaskCreated, TaskDead,
    TaskEnd, TaskEvent, TaskExpired, TaskReleased, TaskRestated, TaskStarted, TaskSucceeded,
    group_repeated,
};

/// Why a stored event could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No event of that type and version is known here: written by a newer Waybill, or not by Waybill.
    #[error("unknown event {name}; a newer version of Waybill may have written it")]
    Unknown {
        /// The value of `Wb-Event`.
        name: String,
    },
    /// The type is known, but the bytes do not fit it.
    #[error("malformed {name}: {reason}")]
    Malformed {
        /// The value of `Wb-Event`.
        name: String,
        /// What the decoder says; it never quotes the payload.
        reason: String,
    },
}

/// Declares an enum of events with their stored names, and both directions of their encoding.
macro_rules! events {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident($type:ty) = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is documented at its payload")]
        pub enum $enum {
            $($variant($type),)+
        }

        impl $enum {
            /// The stored names of all events of this kind, with their versions.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The value of the header `Wb-Event`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// MessagePack with named fields.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                let encoded = match self { $(Self::$variant(event) => rmp_serde::to_vec_named(event),)+ };
                // Writing plain structs of texts and numbers to memory has no way to fail.
                encoded.unwrap_or_default()
            }

            /// Reads a stored event of a given name.
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
