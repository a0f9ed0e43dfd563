//! Secrets that are not API keys: `<brand>_<kind>_<ulid26><secret32><crc6>`, such as `wb_rt_...`.
//!
//! Each token names its kind, so that a scanner knows what it has found and one kind is never
//! accepted as another. The ULID is that of the thing it belongs to, so no index over secrets is
//! needed to find it. As with keys, only a MAC is stored.

use crate::access::key::is_brand;
use crate::access::secret::{
    CHECKSUM_CHARS, ENTROPY_BYTES, KeyMac, append_random, checksum, keyed,
};

const ULID_CHARS: usize = 26;
const SECRET_CHARS: usize = 32;
const BODY_CHARS: usize = ULID_CHARS + SECRET_CHARS + CHECKSUM_CHARS;

/// Purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Refreshes a person's session; valid once.
    SessionRefresh,
    /// Calls the API on behalf of an OAuth application.
    Access,
    /// Refreshes an OAuth grant; valid once.
    GrantRefresh,
    /// Redeems an OAuth authorization; valid once.
    Code,
    /// Authenticates an OAuth application.
    ClientSecret,
    /// Accepts an invitation.
    Invitation,
    /// Confirms an email address.
    Confirmation,
    /// Sets a new password.
    Reset,
    /// Signs the owner of this installation in; valid once.
    SignInLink,
}

impl TokenKind {
    const ALL: [Self; 9] = [
        Self::SessionRefresh,
        Self::Access,
        Self::GrantRefresh,
        Self::Code,
        Self::ClientSecret,
        Self::Invitation,
        Self::Confirmation,
        Self::Reset,
        Self::SignInLink,
    ];

    /// The name within the token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionRefresh => "rt",
            Self::Access => "at",
            Self::GrantRefresh => "ort",
            Self::Code => "code",
            Self::ClientSecret => "cs",
            Self::Invitation => "inv",
            Self::Confirmation => "confirm",
            Self::Reset => "reset",
            Self::SignInLink => "link",
        }
    }
}

/// A whole token. It is never stored, and its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    kind: TokenKind,
    text: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} of {})", self.kind.as_str(), self.ulid())
    }
}

impl Token {
    /// Makes a token that belongs to the thing with that ULID. `None` in the practically impossible
    /// case that the entropy did not suffice.
    #[must_use]
    pub fn generate(
        brand: &str,
        kind: TokenKind,
        ulid: &str,
        entropy: &[u8; ENTROPY_BYTES],
    ) -> Option<Self> {
        let mut text = format!("{brand}_{}_{ulid}", kind.as_str());
        append_random(&mut text, SECRET_CHARS, entropy)?;
        text.push_str(&checksum(&text));
        Self::parse(&text)
    }

    /// Parses a token and checks its checksum. Whether it is still valid is not checked here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let (brand, rest) = text.split_once('_')?;
        let (kind, body) = rest.split_once('_')?;
        let kind = TokenKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
        let valid = is_brand(brand)
            && body.len() == BODY_CHARS
            && body.bytes().all(|b| b.is_ascii_alphanumeric());
        let (signed, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARS)?)?;
        (valid && checksum(signed) == sum).then(|| Self {
            kind,
            text: text.into(),
        })
    }

    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    #[must_use]
    pub fn brand(&self) -> &str {
        self.text.split('_').next().unwrap_or_default()
    }

    /// The ULID of the thing it belongs to.
    #[must_use]
    pub fn ulid(&self) -> &str {
        let body = self.text.len() - BODY_CHARS;
        &self.text[body..body + ULID_CHARS]
    }

    /// The token in clear text, to be handed over once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The MAC to store. The text contains kind and owner, so a MAC copied to another thing is
    /// useless there.
    #[must_use]
    pub fn mac(&self, pepper: &[u8]) -> KeyMac {
        keyed(pepper, &["token/v1", self.kind.as_str(), &self.text])
    }

    /// Whether `mac` (hexadecimal) was made from this token; an unreadable MAC matches nothing.
    #[must_use]
    pub fn matches(&self, mac: &str, pepper: &[u8]) -> bool {
        let own = self.mac(pepper);
        KeyMac::from_hex(mac).is_some_and(|mac| own.is(&mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::time::Timestamp;

    #[test]
    fn a_token_names_its_kind_and_its_owner() {
        let session = SessionId::new(Timestamp(5), 6);
        let token = Token::generate("wb", TokenKind::SessionRefresh, session.ulid(), &[9; 128])
            .expect("a token");
        assert!(token.reveal().starts_with("wb_rt_"));
        assert_eq!(SessionId::from_ulid(token.ulid()), Ok(session));
        assert_eq!(Token::parse(token.reveal()), Some(token.clone()));
        let mac = token.mac(b"pepper").to_hex();
        assert!(token.matches(&mac, b"pepper"));
        assert!(!token.matches(&mac, b"other") && !token.matches("", b"pepper"));
        assert!(!format!("{token:?}").contains(&token.reveal()[40..]));
    }

    #[test]
    fn another_kind_of_the_same_secret_is_no_token() {
        let token = Token::generate("wb", TokenKind::Code, &"0".repeat(26), &[9; 128]);
        let text = token.expect("a token").reveal().replace("_code_", "_rt_");
        assert_eq!(Token::parse(&text), None);
        for text in ["", "wb", "wb_rt_", "wb__", "é", "wb_live_x"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
