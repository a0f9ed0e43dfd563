//! What happens to people. An address is one person's because all of these lie under its hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::email::EmailHash;
use crate::id::UserId;
use crate::time::Timestamp;

/// A token that was mailed before and is still good: whoever asks again must not void the letter that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailedEarlier {
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Which pepper made `mac`.
    pub pepper_version: u32,
    /// Until when the token is good.
    pub expires_at: Timestamp,
}

/// Somebody wants an account for an address, which nobody has confirmed yet. A later one of the same address replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSignedUp {
    /// Who it would be; stays the same however often it is asked for.
    pub user: UserId,
    /// The address, where the token went.
    pub email: String,
    /// Its keyed hash.
    pub email_hash: EmailHash,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Which pepper made `mac`.
    pub pepper_version: u32,
    /// Until when the token is good.
    pub expires_at: Timestamp,
    /// Tokens of earlier letters that are good as well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<MailedEarlier>,
    /// When.
    pub at: Timestamp,
}

/// A person exists: the address is theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserConfirmed {
    /// Who.
    pub user: UserId,
    /// The address.
    pub email: String,
    /// Its keyed hash.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string. Unset: they come from an outside issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// For people.
    pub name: String,
    /// Sessions of an earlier generation are void.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
}

/// How a password came to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// By somebody who knew the old one.
    Changed,
    /// By somebody who reads the mail.
    Reset,
}

/// A person has another password, and nobody is signed in as them any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPasswordChanged {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string.
    pub password: String,
    /// How.
    pub how: PasswordChange,
    /// Sessions of an earlier generation are void.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
}

/// The same password is stored in another way: it costs more to guess now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPasswordRehashed {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// Hash of the password, as a PHC string.
    pub password: String,
    /// When.
    pub at: Timestamp,
}

/// Somebody forgot a password, or says so. A later one replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserResetRequested {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// HMAC-SHA-256 of the token, in hex.
    pub mac: String,
    /// Which pepper made `mac`.
    pub pepper_version: u32,
    /// Until when the token is good.
    pub expires_at: Timestamp,
    /// Tokens of earlier letters that are good as well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<MailedEarlier>,
    /// When.
    pub at: Timestamp,
}

/// There were too many wrong passwords: none is looked at for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserLocked {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// Until when.
    pub until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// Who a person is to an outside issuer.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct OutsideAccount {
    /// The issuer's identifier.
    pub issuer: String,
    /// The person's, there.
    pub subject: String,
}

/// A person signs in by an outside issuer too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserIdentityLinked {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// All of their accounts outside; the last one is the one that was added.
    pub accounts: Vec<OutsideAccount>,
    /// When.
    pub at: Timestamp,
}

/// A person has another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRenamed {
    /// Who.
    pub user: UserId,
    /// Hash of their address.
    pub email_hash: EmailHash,
    /// For people.
    pub name: String,
    /// When.
    pub at: Timestamp,
}
