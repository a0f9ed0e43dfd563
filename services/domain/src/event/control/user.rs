//! Events of people. An address belongs to one person, because all of these are stored under its
//! hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::email::EmailHash;
use crate::id::UserId;
use crate::time::Timestamp;

/// A token from an earlier mail that is still valid: another request must not void a mail that is
/// on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailedEarlier {
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// An account was requested for an address that is not confirmed yet. A later event for the same
/// address replaces this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSignedUp {
    /// Id that the person will have, however often an account is requested.
    pub user: UserId,
    /// The address, to which the token was sent.
    pub email: String,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// Tokens of earlier mails that are valid as well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<MailedEarlier>,
    pub at: Timestamp,
}

/// A person confirmed their address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserConfirmed {
    pub user: UserId,
    /// Email address that the person has proved to receive mail at.
    pub email: String,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string. Absent if the person signs in through an external
    /// issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Name shown to people.
    pub name: String,
    /// Sessions of an earlier generation are void.
    pub generation: u64,
    pub at: Timestamp,
}

/// How a password was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// With the old password.
    Changed,
    /// With a token from a mail.
    Reset,
}

/// A password was changed. All sessions of the person end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPasswordChanged {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string.
    pub password: String,
    pub how: PasswordChange,
    /// Sessions of an earlier generation are void.
    pub generation: u64,
    pub at: Timestamp,
}

/// The same password was hashed again with a function that is more expensive to attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPasswordRehashed {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string.
    pub password: String,
    pub at: Timestamp,
}

// Of an address that nobody has confirmed it changes nothing. It is stored so that the answer does
// not tell whether there is an account.
/// A password reset was requested. A later event replaces this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserResetRequested {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// Tokens of earlier mails that are valid as well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<MailedEarlier>,
    pub at: Timestamp,
}

/// After too many wrong passwords, no password is checked for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserLocked {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// End of the lock.
    pub until: Timestamp,
    pub at: Timestamp,
}

/// A person's account at an external issuer.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct OutsideAccount {
    /// Identifier of the issuer.
    pub issuer: String,
    /// Identifier of the person at the issuer.
    pub subject: String,
}

/// A person linked an account at an external issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserIdentityLinked {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// All linked accounts, the new one last.
    pub accounts: Vec<OutsideAccount>,
    pub at: Timestamp,
}

/// A person changed their displayed name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRenamed {
    pub user: UserId,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
    /// Name shown to people.
    pub name: String,
    pub at: Timestamp,
}

/// A link was made that signs the owner of this installation in once. A later event replaces this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSignInLinkMade {
    pub user: UserId,
    /// Keyed hash of the reserved address.
    pub email_hash: EmailHash,
    /// HMAC-SHA-256 of the link's token, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the link expires.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}

/// A sign-in link was used, and is good for nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSignInLinkUsed {
    pub user: UserId,
    /// Keyed hash of the reserved address.
    pub email_hash: EmailHash,
    /// The `mac` of the link.
    pub mac: String,
    pub at: Timestamp,
}
