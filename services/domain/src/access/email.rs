//! E-mail addresses of people, and the keyed hash by which one is unique.

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Longest address (RFC 5321, 4.5.3.1.3: a path of 256 octets with its brackets).
pub const MAX_EMAIL_BYTES: usize = 254;

/// The address of the owner of an installation who has given none yet. Its domain receives no mail
/// (RFC 2606), and nobody can present it as theirs.
const LOCAL_OWNER: &str = "local-owner@waybill.invalid";

/// The text cannot be an email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("email must be an address such as ann@example.com, of at most {MAX_EMAIL_BYTES} bytes")]
pub struct InvalidEmail;

/// An email address in lower case, so that spellings that differ only in case belong to the same
/// person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

impl Email {
    /// Parses an address. Printable ASCII only: with look-alikes from other scripts, two people
    /// could share what looks like one address.
    /// The reserved address of a local owner is nobody's to give.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        if Self::is_of_local_owner(text) {
            return Err(InvalidEmail);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let is_local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let valid = text.len() <= MAX_EMAIL_BYTES
            && (1..=64).contains(&local.len())
            && local.bytes().all(is_local)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && domain.split('.').all(label);
        if valid {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidEmail)
        }
    }

    /// The reserved address of a local owner.
    #[must_use]
    pub fn of_local_owner() -> Self {
        Self(LOCAL_OWNER.to_owned())
    }

    /// Whether that is the reserved address of a local owner.
    #[must_use]
    pub fn is_of_local_owner(text: &str) -> bool {
        text.eq_ignore_ascii_case(LOCAL_OWNER)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without the part after a `+`, which most servers deliver to the same mailbox.
    /// Only the limit on mails per mailbox uses it; a person's identity never depends on it.
    #[must_use]
    pub fn mailbox(&self) -> Self {
        let Some((local, domain)) = self.0.rsplit_once('@') else {
            return self.clone();
        };
        match local.split_once('+') {
            Some((plain, _)) if !plain.is_empty() => Self(format!("{plain}@{domain}")),
            _ => self.clone(),
        }
    }

    /// Hash of the address under a secret key, so that a log or a subject cannot be searched for
    /// known addresses.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> EmailHash {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
        mac.update(b"email/v1");
        mac.update(self.0.as_bytes());
        EmailHash(hex::encode(&mac.finalize().into_bytes()[..16]))
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keyed hash of an address: 32 hexadecimal characters, so that it can be a token of a subject.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct EmailHash(String);

impl EmailHash {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_addresses_share_a_mailbox() {
        for (address, mailbox) in [
            ("ann@example.com", "ann@example.com"),
            ("ann+a@example.com", "ann@example.com"),
            ("ann+a+b@example.com", "ann@example.com"),
            ("+a@example.com", "+a@example.com"),
        ] {
            let email = Email::parse(address).expect("an address");
            assert_eq!(email.mailbox().as_str(), mailbox);
        }
    }

    #[test]
    fn case_and_space_around_make_no_other_person() {
        let a = Email::parse(" Ann@Example.COM ").expect("an address");
        assert_eq!(a.as_str(), "ann@example.com");
        let b = Email::parse("ann@example.com").expect("an address");
        assert_eq!(a.hash(b"k"), b.hash(b"k"));
        assert_ne!(a.hash(b"k"), b.hash(b"other"));
        assert_eq!(a.hash(b"k").as_str().len(), 32);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "a",
            "a@",
            "@b.c",
            "a b@c.d",
            "a@b..c",
            ".a@b.c",
            "a@-b.c",
            "a@b.c\r\nBcc: x@y.z",
            "ann@exämple.com",
            "a@b.c>",
            &format!("{}@b.c", "a".repeat(65)),
            &format!("a@{}", "b.".repeat(200)),
        ] {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text:?}");
        }
    }
}
