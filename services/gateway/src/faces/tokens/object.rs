//! A token as clients see it: everything but its value.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Token;

use crate::faces::tasks::object::Iso;
use crate::usage::CredentialUse;

/// A token of the vault, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenObject {
    /// What tasks refer to it by.
    #[schema(example = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    name: String,
    /// `live` or `test`: the world whose tasks may refer to it.
    environment: &'static str,
    /// Which value it has: 1, and one more with each rotation, at least.
    version: u32,
    /// Hosts that it may be sent to. Empty: any.
    allowed_hosts: Vec<String>,
    /// Whether its value can stand in a header.
    fits_header: bool,
    #[schema(value_type = String)]
    created_at: Iso,
    /// Who put it there, such as `user:user_01...` or `key:key_4fG7aB2x`.
    created_by: String,
    /// When it got the value that it has now, when that is not its first.
    #[schema(value_type = Option<String>)]
    rotated_at: Option<Iso>,
    /// From when on nothing may refer to it.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Iso>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TokenUsageFields)]
    usage: Option<TokenUsage>,
}

/// The same as it is described: where tokens are read; elsewhere these fields are not there.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described")]
struct TokenUsageFields {
    /// When a task last used it.
    last_used_at: Option<String>,
    /// How many times it was sent.
    use_count: Option<u64>,
}

/// How a token was used; accurate to about a minute.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// When a task last used it.
    #[schema(value_type = Option<String>)]
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
        }
    }

    /// The same with how it was used. `None`: it never was, as far as is known.
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
    /// Oldest first; only those that count.
    pub(super) tokens: Vec<TokenObject>,
}

/// A token that is no more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedToken {
    pub(super) id: String,
    pub(super) name: String,
    #[schema(value_type = String)]
    pub(super) revoked_at: Iso,
}

/// `{"token": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedTokenEnvelope {
    pub(super) token: RevokedToken,
}
