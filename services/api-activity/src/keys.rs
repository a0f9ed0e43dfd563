//! `GET /.well-known/waybill-audit-keys`: the public keys that sign checkpoints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::Mutex;
use tokio::time::Instant;
use waybill_projector::query::{AuditKeys, Position};

use super::checkpoint::{plain, unsigned};
use crate::state::ActivityApi;
use waybill_edge::error::{ApiError, ErrorBody};

/// How long fetched keys are answered from memory: they change once in years, and anybody may ask for them without a credential.
const KEPT: Duration = Duration::from_secs(60);
/// How long a failed fetch is answered from memory.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// The keys as last fetched. The mutex is held during the query, so that one query serves everybody who asks meanwhile.
#[derive(Default)]
pub struct KnownKeys(Mutex<Option<CachedKeys>>);

struct CachedKeys {
    until: Instant,
    keys: Result<Arc<str>, ApiError>,
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys")
    }
}

impl KnownKeys {
    async fn get(&self, state: &ActivityApi) -> Result<Arc<str>, ApiError> {
        let mut cached = self.0.lock().await;
        if let Some(cached) = cached
            .as_ref()
            .filter(|cached| Instant::now() < cached.until)
        {
            return cached.keys.clone();
        }
        let answer = state.queries.ask(AuditKeys {}, Position::default()).await;
        let (keys, kept) = match answer {
            Ok(answered) => (Ok(Arc::from(answered.value)), KEPT),
            Err(error) => (Err(unsigned(&error)), FAILURE_KEPT),
        };
        *cached = Some(CachedKeys {
            until: Instant::now() + kept,
            keys: keys.clone(),
        });
        keys
    }
}

/// The public keys that sign checkpoints of activity.
///
/// One key a line, `<name>+<key id>+<base64> <from> <until>`, as `waybill audit verify --keys` reads them. Keep a copy: keys from the
/// server whose log is to be verified prove little.
#[utoipa::path(
    get,
    path = "/.well-known/waybill-audit-keys",
    operation_id = "activity.audit_keys.list",
    tag = "activity",
    responses(
        (status = 200, description = "The keys", body = String, content_type = "text/plain"),
        (status = 503, description = "The notary does not answer; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn audit_keys(State(state): State<ActivityApi>) -> Result<Response, ApiError> {
    let keys = state.audit_keys.get(&state).await?;
    Ok(plain(keys.to_string()))
}
