//! The errors that clients get when signing in, signing up or sending a letter fails.

use waybill_commands::CommandError;
use waybill_domain::access::session::SessionRefusal;
use waybill_domain::access::user::UserRefusal;
use waybill_identity::oidc::OidcError;
use waybill_identity::passwords::PasswordError;
use waybill_mail::OutboxRefusal;

use crate::error::{ApiError, ErrorCode};

impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        let text = error.to_string();
        match error {
            OidcError::NoSuchIssuer => Self::not_found("No such issuer"),
            OidcError::NotBegunHere => Self::bad_request(ErrorCode::LoginNotBegunHere, text),
            OidcError::Declined(_) => Self::bad_request(ErrorCode::LoginDeclined, text),
            OidcError::Unacceptable(_) => {
                tracing::warn!(%error, "an outside log-in was refused");
                Self::bad_request(
                    ErrorCode::LoginRefused,
                    "The issuer's answer is not acceptable",
                )
            }
            OidcError::Unavailable(_) => {
                tracing::warn!(%error, "an outside issuer does not answer; nobody can sign in with it now");
                Self::unavailable(
                    ErrorCode::IssuerUnavailable,
                    "The issuer does not answer; try again later",
                )
            }
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable(ErrorCode::Busy, error.to_string()),
            PasswordError::Unusable(_) => {
                tracing::error!(%error, "a stored password hash cannot be checked here; its owner cannot sign in");
                Self::unavailable(
                    ErrorCode::AuthorizationUnavailable,
                    "This password cannot be checked at the moment; try again later",
                )
            }
        }
    }
}

impl From<OutboxRefusal> for ApiError {
    fn from(refusal: OutboxRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            OutboxRefusal::Full => Self::unavailable(ErrorCode::Busy, text),
            OutboxRefusal::MailOff => Self::unavailable(ErrorCode::MailOff, text),
            OutboxRefusal::NotStored { reason } => {
                tracing::warn!(
                    reason,
                    "a letter was not stored in the stream MAIL; the client got 503 and may ask again"
                );
                Self::unavailable(
                    ErrorCode::LogUnavailable,
                    "The mail could not be stored for sending; ask for it again",
                )
            }
        }
    }
}

impl From<CommandError<UserRefusal>> for ApiError {
    fn from(error: CommandError<UserRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                let text = refusal.to_string();
                match refusal {
                    UserRefusal::TokenRefused => Self::bad_field("token", text),
                    UserRefusal::InvalidName => Self::bad_field("name", text),
                    UserRefusal::Nobody => Self::session_refused(),
                    UserRefusal::NoAddressYet => Self::conflict(ErrorCode::AddressNeeded, text),
                    UserRefusal::AlreadyConfirmed
                    | UserRefusal::PasswordMoved
                    | UserRefusal::TooManyAccounts => Self::conflict(ErrorCode::Conflict, text),
                }
            }
            CommandError::Contended => Self::unavailable(ErrorCode::Conflict, error.to_string()),
            CommandError::Read(error) => error.into(),
            CommandError::Append(error) => error.into(),
            CommandError::History(_) => Self::not_understood(),
            CommandError::Subject(_) => Self::internal(&error),
        }
    }
}

impl From<CommandError<SessionRefusal>> for ApiError {
    fn from(error: CommandError<SessionRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                tracing::debug!(%refusal, "a session is refused");
                Self::session_refused()
            }
            CommandError::Contended => Self::unavailable(ErrorCode::Conflict, error.to_string()),
            CommandError::Read(error) => error.into(),
            CommandError::Append(error) => error.into(),
            CommandError::History(_) => Self::not_understood(),
            CommandError::Subject(_) => Self::internal(&error),
        }
    }
}
