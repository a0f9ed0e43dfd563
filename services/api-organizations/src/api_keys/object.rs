//! A key as this API shows it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Key;
use waybill_edge::iso::Iso;
use waybill_edge::usage::KeyUse;

use crate::permissions;

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsApiKey {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    /// What it begins with.
    pub key_prefix: String,
    /// Of `jobs:read`, `jobs:write`, `queues:read`, `queues:write`, `dlq:read` and `dlq:write`.
    pub permissions: Vec<&'static str>,
    /// The queues that it is limited to; empty: none.
    pub queues: Vec<String>,
    /// Requests per minute.
    pub rate_limit: Option<u32>,
    /// Whether it is accepted.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    /// May lag by a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Iso>,
}

impl JobsApiKey {
    pub(crate) fn new(key: &Key, used: Option<&KeyUse>) -> Self {
        let created = &key.created;
        let last = used.and_then(|used| used.last.as_ref());
        Self {
            id: created.key.to_string(),
            organization_id: created.team.to_string(),
            name: created.name.clone(),
            key_prefix: created.prefix.clone(),
            permissions: permissions::words(key.scopes),
            queues: created.queues.iter().map(ToString::to_string).collect(),
            rate_limit: key.rate_limit(),
            is_active: key.is_active() && key.revoked.is_none(),
            created_at: Iso(created.at),
            last_used: last.map(|last| Iso(last.at)),
            expires_at: created.expires_at.map(Iso),
        }
    }
}
