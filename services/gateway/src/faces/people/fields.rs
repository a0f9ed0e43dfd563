//! What clients send, checked one field at a time.

use waybill_domain::access::email::Email;

use crate::error::ApiError;
use crate::people::passwords::{Candidate, MOST_BYTES, NewPassword, PasswordError};

/// A field that must be there.
pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::bad_field(field, format!("{field} is required")))
}

/// An address. What is wrong with it is the same whether or not it is known.
pub(crate) fn email(value: Option<String>) -> Result<Email, ApiError> {
    Email::parse(&required("email", value)?)
        .map_err(|invalid| ApiError::bad_field("email", invalid.to_string()))
}

/// A password that somebody says is theirs.
pub(crate) fn candidate(field: &'static str, value: Option<String>) -> Result<Candidate, ApiError> {
    let text = required(field, value)?;
    if text.is_empty() || text.len() > MOST_BYTES {
        let message = format!("{field} must have 1 to {MOST_BYTES} bytes");
        return Err(ApiError::bad_field(field, message));
    }
    Ok(Candidate::new(text))
}

/// A password that somebody wants to have. `email` is what it must not be.
pub(super) fn new_password(
    field: &'static str,
    value: String,
    email: &str,
) -> Result<NewPassword, ApiError> {
    NewPassword::parse(value, email)
        .map_err(|refused| ApiError::bad_field(field, format!("{field} {refused}")))
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable("busy", error.to_string()),
            PasswordError::Unusable(_) => {
                tracing::error!(%error, "a password cannot be checked");
                Self::unavailable(
                    "authorization_unavailable",
                    "This password cannot be checked at the moment; try again later",
                )
            }
        }
    }
}
