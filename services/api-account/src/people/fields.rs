//! What clients send, checked one field at a time.

use waybill_domain::access::email::Email;

use waybill_edge::error::ApiError;
use waybill_identity::passwords::{Candidate, MOST_BYTES, NewPassword};

/// A field that must be there.
pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::bad_field(field, format!("{field} is required")))
}

/// An address. Its errors do not depend on whether it is known.
pub(crate) fn email(value: Option<String>) -> Result<Email, ApiError> {
    Email::parse(&required("email", value)?)
        .map_err(|invalid| ApiError::bad_field("email", invalid.to_string()))
}

/// A password that somebody presents.
pub(crate) fn candidate(field: &'static str, value: Option<String>) -> Result<Candidate, ApiError> {
    let text = required(field, value)?;
    if text.is_empty() || text.len() > MOST_BYTES {
        let message = format!("{field} must have 1 to {MOST_BYTES} bytes");
        return Err(ApiError::bad_field(field, message));
    }
    Ok(Candidate::new(text))
}

/// A new password. `email` is what it must not be.
pub(super) fn new_password(
    field: &'static str,
    value: String,
    email: &str,
) -> Result<NewPassword, ApiError> {
    NewPassword::parse(value, email)
        .map_err(|refused| ApiError::bad_field(field, format!("{field} {refused}")))
}
