//! A token as clients see it: everything but its value.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Token;
use waybill_domain::id::Environment;

use waybill_edge::iso::Iso;
use waybill_edge::usage::CredentialUse;

/// A token of the vault, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenObject {
    /// The id by which tasks refer to it.
    #[schema(example = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    name: String,
    /// `live` or `test`: the environment whose tasks may refer to it.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// Version of its value: 1 at first. Each rotation raises it, by one or more.
    version: u32,
    /// Hosts that it may be sent to. Empty: any.
    allowed_hosts: Vec<String>,
    /// Whether its value can be sent in a header.
    fits_header: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    /// Who created it, such as `user:user_01...` or `key:key_4fG7aB2x`.
    created_by: String,
    /// When it was last rotated.
    #[schema(value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Iso>,
    /// From this time on, no task may refer to it.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Iso>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TokenUsageFields)]
    usage: Option<TokenUsage>,
    /// Where one token is read: id of the key-encryption key under which its value lies now. A rotation of that key changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kek: Option<String>,
}

/// [`TokenUsage`] for the description: the fields are present where tokens are read, and absent elsewhere.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described")]
struct TokenUsageFields {
    /// When a task last used it.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// How many times it was sent.
    use_count: Option<u64>,
}

/// How a token was used; accurate to about a minute.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// When a task last used it.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Iso>,
    /// How many times it was sent.
    use_count: u64,
}

impl TokenObject {
    pub(super) fn new(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            environment: token.environment.as_str(),
            version: token.version,
            allowed_hosts: token.allowed_hosts.clone(),
            fits_header: token.fits_header,
            created_at: Iso(token.created_at),
            created_by: token.created_by.clone(),
            rotated_at: token.rotated_at.map(Iso),
            expires_at: token.expires_at.map(Iso),
            usage: None,
            kek: None,
        }
    }

    /// Adds under which key-encryption key it lies.
    pub(super) fn under(mut self, kek: Option<String>) -> Self {
        self.kek = kek;
        self
    }

    /// Adds how the token was used. `None`: no use is known.
    pub(super) fn used(mut self, used: Option<&CredentialUse>) -> Self {
        let last = used.and_then(|used| used.last.as_ref());
        self.usage = Some(TokenUsage {
            last_used_at: last.map(|last| Iso(last.at)),
            use_count: used.map_or(0, |used| used.count),
        });
        self
    }
}

/// `{"token": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenEnvelope {
    pub(super) token: TokenObject,
}

/// `{"tokens": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// Oldest first, without revoked and expired ones.
    pub(super) tokens: Vec<TokenObject>,
}

/// A revoked token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedToken {
    pub(super) id: String,
    pub(super) name: String,
    #[schema(value_type = String, format = DateTime)]
    pub(super) revoked_at: Iso,
}

/// `{"token": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedTokenEnvelope {
    pub(super) token: RevokedToken,
}
